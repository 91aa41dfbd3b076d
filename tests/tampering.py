"""Every place of a Sigstore bundle, changed: what each verifier has to find, or has no reason to look at."""

import base64
import binascii
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from reconciler.core.canonical import dumps
from tests.verifiers import Case

Place = tuple[str | int, ...]

_LEAST = 16
"""Base64 shorter than this is taken for text."""
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_SIGNER_INFO = bytes.fromhex("02010130")
_ECDSA = bytes.fromhex("06082a8648ce3d0403")


def unsigned(stamp: bytes) -> frozenset[int]:
    """Return which bytes of a time stamp nobody signs, and say nothing (RFC 5652); none where there is no stamp.

    They are the version of the signed data, that of the signer's part, and the name of the signature's algorithm.
    """
    if _SIGNED_DATA not in stamp:
        return frozenset()
    data = stamp.index(b"\x02\x01", stamp.index(_SIGNED_DATA)) + 2
    algorithm = stamp.rindex(_ECDSA)
    signer = stamp.rindex(_SIGNER_INFO, 0, algorithm) + 2
    return frozenset({data, signer, *range(algorithm, algorithm + len(_ECDSA) + 1)})


def places(document: Any, at: Place = ()) -> Iterator[Place]:
    """Give the place of every string and number of a JSON document."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from places(value, (*at, name))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from places(value, (*at, number))
    else:
        yield at


def named(place: Place) -> str:
    """Return a place as people write it: the last two names on the way to it."""
    return ".".join([part for part in place if isinstance(part, str)][-2:])


def changed(case: Case, samples: int) -> Iterator[tuple[str, Case]]:
    """Give the case with one bit of its bundle changed: at so many positions of every place.

    Base64 is changed in what it says, so that the bundle can still be read. Spared is what nobody signs.
    """
    document = json.loads(case.bundle)
    for place in places(document):
        for value in _others(_at(document, place), samples):
            other = copy.deepcopy(document)
            _at(other, place[:-1])[place[-1]] = value
            yield named(place), replace(case, bundle=dumps(other))


def _at(document: Any, place: Place) -> Any:
    for part in place:
        document = document[part]
    return document


def _others(value: Any, samples: int) -> Iterator[str]:
    text = str(value)
    content = _decoded(text)
    if content is None:
        for index in _sampled(len(text), samples):
            yield text[:index] + _neighbour(text[index]) + text[index + 1 :]
        return
    spared = unsigned(content)
    for index in _sampled(len(content), samples):
        if index not in spared:
            flipped = content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]
            yield base64.b64encode(flipped).decode()


def _decoded(text: str) -> bytes | None:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if len(text) >= _LEAST else None


def _sampled(length: int, samples: int) -> list[int]:
    """Return positions spread over a length, both ends among them."""
    if length == 0:
        return []
    return sorted({round(number * (length - 1) / max(1, samples - 1)) for number in range(samples)})


def _neighbour(character: str) -> str:
    return chr(ord(character) ^ 1)
