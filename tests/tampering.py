"""Every place of a Sigstore bundle, changed: what each verifier has to find, or has no reason to look at."""

import base64
import binascii
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.core.canonical import dumps
from tests.verifiers import Case, Judge, b64

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
            yield b64(flipped)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A cycle of ours, and the same cycle as a statement of another kind, both truly signed."""

    case: Case
    other_kind: Case
    other_trust: dict[str, object]
    """The trust configuration of another instance, whose services have the same names."""


ANOTHER = "https://corp.example/workloads/another"
WRONG: dict[str, Callable[[Offered], Case]] = {
    "identity": lambda offered: replace(offered.case, identity=ANOTHER),
    "identity, by its beginning": lambda offered: replace(offered.case, identity=offered.case.identity[:-1]),
    "issuer": lambda offered: replace(offered.case, issuer=offered.case.issuer + "/"),
    "trust root": lambda offered: replace(offered.case, trust=offered.other_trust),
    "predicate type": lambda offered: offered.other_kind,
    "subject": lambda offered: replace(offered.case, evidence=offered.case.evidence + b"\n"),
}
UNASKED = {
    "ours": set[str](),
    "sigstore": {"predicate type"},
    "node": {"predicate type", "subject"},
    "cosign": set[str](),
}
"""What a verifier is not there to check: docs/attestations.md says so to auditors."""

UNREAD = {
    "ours": set[str](),
    "sigstore": {"tlogEntries.logIndex", "logId.keyId"},
    "cosign": {
        "tlogEntries.canonicalizedBody",  # made anew from what was signed
        "kindVersion.kind",
        "kindVersion.version",
        "inclusionProof.logIndex",
        "inclusionProof.rootHash",
        "inclusionProof.treeSize",
        "rfc3161Timestamps.signedTimestamp",  # not in what is stamped
    },
    "node": {
        "tlogEntries.logIndex",
        "inclusionProof.rootHash",  # the checkpoint's is taken
        "inclusionProof.treeSize",
        "certificate.rawBytes",  # only in how its DER is tagged
        "rfc3161Timestamps.signedTimestamp",  # not in what is stamped; the trusted root's certificate is taken
    },
}
"""Places of a bundle that a verifier does not rely on: changed, they change nothing of what it proves."""


def wrongly_accepted(judge: Judge, offered: Offered, folder: Path) -> set[str]:
    """Return which expectations that the bundle does not meet a verifier let pass."""
    verdicts = judge([make(offered) for make in WRONG.values()], folder)
    return {what for what, verdict in zip(WRONG, verdicts, strict=True) if verdict.accepted}


def unread(judge: Judge, case: Case, samples: int, folder: Path) -> set[str]:
    """Return the places of a bundle in which a verifier lets a changed bit pass: never with another statement."""
    cases = list(changed(case, samples))
    passed = set()
    for (place, _), verdict in zip(cases, judge([other for _, other in cases], folder), strict=True):
        if verdict.accepted:
            assert verdict.statement == case.statement, place
            passed.add(place)
    return passed


def restated(case: Case, step: int) -> list[Case]:
    """Return the case with another statement inside the envelope and beside it: one bit in every so many bytes."""
    document = json.loads(case.bundle)
    cases = []
    for index in range(0, len(case.statement), step):
        statement = bytearray(case.statement)
        statement[index] ^= 1
        document["dsseEnvelope"]["payload"] = b64(bytes(statement))
        cases.append(replace(case, bundle=dumps(document), statement=bytes(statement)))
    return cases
