"""Checkpoints of the running log: C2SP tlog-checkpoint, a signed note of three lines, signed by Ed25519.

Whoever keeps one can show later that a log was rewritten or cut: two checkpoints of one log must be consistent. Formats
are https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint. Notes of ours have one signature; others may add
lines with theirs (witnesses), which are read over.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reconciler.core.errors import EvidenceError
from reconciler.core.merkle import HASH_BYTES

_ED25519 = b"\x01"
"""The type byte of Ed25519 keys in C2SP signed notes."""
_KEY_BYTES = 32
_ID_BYTES = 4
_NAME = re.compile(r"[^\s+]+\Z")
_VKEY = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/=]+)\Z")
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")
_SIGNATURE = re.compile(r"\u2014 (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/=]+)\Z")
_ADVICE = "give a checkpoint as it lies in the folder checkpoints, unchanged"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a log's key, under the log's name."""

    name: str
    public: bytes
    """Ed25519, raw."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or len(self.public) != _KEY_BYTES:
            msg = f"{self.name!r} with a key of {len(self.public)} bytes is no verifier key"
            raise EvidenceError(msg, advice="names have neither spaces nor a plus sign; Ed25519 keys have 32 bytes")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name+id+key`. Raises `EvidenceError` when it is none, or its id is another key's."""
        match = _VKEY.match(text.strip())
        raw = b"" if match is None else _decoded(match["key"])
        if match is None or raw[:1] != _ED25519 or len(raw) != _KEY_BYTES + 1:
            msg = "this is no verifier key of an Ed25519 log"
            raise EvidenceError(msg, advice="take the line in log/vkey, or predicate.log.verifierKey of a statement")
        key = cls(match["name"], raw[1:])
        if key.text != text.strip():
            msg = f"the verifier key of {key.name} has the id of another one"
            raise EvidenceError(msg, advice="it was changed: take it anew from where it came from")
        return key

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that stand before a signature by this key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """Return `name+id+key`, as tools for C2SP notes read it."""
        return f"{self.name}+{self.key_id.hex()}+{_encoded(_ED25519 + self.public)}"

    def signed(self, signature: bytes, body: bytes) -> bool:
        """Say whether the signature over the body is by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, body)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How many leaves a log has, and their root."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> bytes:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{_encoded(self.root)}\n".encode()

    def note(self, key: VerifierKey, sign: Callable[[bytes], bytes]) -> bytes:
        """Return the signed note; `sign` makes the Ed25519 signature, which is the same for the same body."""
        signature = _encoded(key.key_id + sign(self.body))
        return self.body + f"\n\u2014 {key.name} {signature}\n".encode()


def read_checkpoint(content: bytes, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint of a note that this key signed.

    Raises `EvidenceError` when it is no checkpoint, is not of the key's log, or has no good signature by the key.
    """
    body, signatures = _parts(content)
    lines = body.split("\n")
    root = b"" if len(lines) < 4 else _decoded(lines[2])  # noqa: PLR2004 - three lines and what follows the last
    if len(root) != HASH_BYTES or not _SIZE.match(lines[1]):
        msg = "this is no checkpoint: it lacks an origin, a size, or a root of 32 bytes"
        raise EvidenceError(msg, advice=_ADVICE)
    if lines[0] != key.name:
        msg = f"this checkpoint is of another log: {lines[0]!r}, not {key.name!r}"
        raise EvidenceError(msg, advice="give one of the log that the statements name")
    ours = [signature for name, signature in signatures if (name, signature[:_ID_BYTES]) == (key.name, key.key_id)]
    if not ours:
        msg = f"this checkpoint has no signature by the key {key.text}"
        raise EvidenceError(msg, advice="another key signed it: find out whose log it is")
    if not any(key.signed(signature[_ID_BYTES:], body.encode()) for signature in ours):
        msg = "the signature of this checkpoint is not good: it was changed"
        raise EvidenceError(msg, advice=_ADVICE)
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)


def _parts(content: bytes) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """Return the signed text of a note and its signatures, each with its name."""
    try:
        body, separator, tail = content.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        body, separator, tail = "", "", ""
    if not separator or not tail.endswith("\n"):
        msg = "this is no signed note: it lacks an empty line and signatures after it"
        raise EvidenceError(msg, advice=_ADVICE)
    return body + "\n", tuple(_signatures(tail))


def _signatures(tail: str) -> Iterator[tuple[str, bytes]]:
    for line in tail.removesuffix("\n").split("\n"):
        match = _SIGNATURE.match(line)
        raw = b"" if match is None else _decoded(match["signature"])
        if match is None or len(raw) <= _ID_BYTES:
            msg = "a line of this signed note is no signature"
            raise EvidenceError(msg, advice=_ADVICE)
        yield match["name"], raw


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    """Return the bytes of base64 text; none for what is not in its one form."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
    return raw if _encoded(raw) == text else b""
