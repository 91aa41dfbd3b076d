"""Checkpoints: the C2SP formats to the byte, and nothing believed that the log's key did not sign."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconciler.core.checkpoint import Checkpoint, VerifierKey, read_checkpoint
from reconciler.core.errors import EvidenceError

# The key and the note of the documentation of Go's note package, whose format C2SP took up.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
KEY = VerifierKey(
    "example.org/log",
    PRIVATE.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw),
)
CHECKPOINT = Checkpoint(origin=KEY.name, size=12, root=b"r" * 32)


def note(checkpoint: Checkpoint = CHECKPOINT, key: VerifierKey = KEY) -> bytes:
    """Return a checkpoint, signed."""
    return checkpoint.note(key, PRIVATE.sign)


def test_a_key_of_another_implementation_is_read() -> None:
    """The known verifier key has the known id, verifies the known signature, and is written as it was."""
    key = VerifierKey.parse(VKEY + "\n")
    raw = base64.b64decode(SIGNATURE)
    assert key.text == VKEY
    assert key.key_id == raw[:4]
    assert key.signed(raw[4:], TEXT)
    assert not key.signed(raw[4:], TEXT + b"\n")


def test_a_note_has_the_form_of_the_specification() -> None:
    """Origin, size and root, an empty line, an em dash, the name, and key id and signature in base64."""
    lines = note().decode().split("\n")
    assert lines[:4] == ["example.org/log", "12", base64.b64encode(b"r" * 32).decode(), ""]
    dash, name, signature = lines[4].split(" ")
    assert (dash, name) == ("\u2014", "example.org/log")
    assert base64.b64decode(signature) == KEY.key_id + PRIVATE.sign(CHECKPOINT.body)
    assert lines[5:] == [""]


def test_a_note_comes_back() -> None:
    """What was signed is read again, also of an empty log."""
    assert read_checkpoint(note(), KEY) == CHECKPOINT
    empty = replace(CHECKPOINT, size=0)
    assert read_checkpoint(note(empty), KEY) == empty


def test_other_signatures_are_read_over() -> None:
    """A witness may add a line of its own; without ours the note is nobody's."""
    witness = "\u2014 witness.example " + base64.b64encode(b"w" * 70).decode() + "\n"
    assert read_checkpoint(note() + witness.encode(), KEY) == CHECKPOINT
    with pytest.raises(EvidenceError, match="no signature by the key"):
        read_checkpoint(CHECKPOINT.body + b"\n" + witness.encode(), KEY)


def test_every_changed_byte_is_refused() -> None:
    """Whatever byte of a note is changed, it is not taken for what was signed."""
    whole = note()
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(EvidenceError):
            read_checkpoint(changed, KEY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no signed note"),
        (b"\xff\n\n\xfe\n", "no signed note"),
        (note()[:-1], "no signed note"),
        (CHECKPOINT.body + b"\n", "no signed note"),
        (note() + b"junk\n", "is no signature"),
        (note().replace(b"\n12\n", b"\n012\n"), "no checkpoint"),
        (note().replace(b"\n12\n", b"\n-1\n"), "no checkpoint"),
        (note(replace(CHECKPOINT, root=b"r")), "no checkpoint"),
        (note(replace(CHECKPOINT, origin="example.org/other")), "of another log"),
        (note().replace(b"\n12\n", b"\n13\n"), "is not good"),
    ],
)
def test_what_is_no_checkpoint_is_told_apart(content: bytes, words: str) -> None:
    """Each kind of bad note is refused in its own words."""
    with pytest.raises(EvidenceError, match=words):
        read_checkpoint(content, KEY)


def test_another_key_of_the_same_name_is_another_log() -> None:
    """The key counts, not what it calls itself."""
    with pytest.raises(EvidenceError, match="no signature by the key"):
        read_checkpoint(note(), VerifierKey(KEY.name, b"k" * 32))


@pytest.mark.parametrize(
    "text",
    ["", "a+b", VKEY.replace("c74f20a3", "c74f20a4"), VKEY[:-4], "a b" + VKEY[12:], VKEY.replace("+AR", "+BR")],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    """A key without its parts, of another type or length, or under another key's id is none."""
    with pytest.raises(EvidenceError, match=r"verifier key"):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b"])
def test_a_name_that_notes_cannot_hold_is_refused(name: str) -> None:
    """Spaces and plus signs would make a signature line ambiguous."""
    with pytest.raises(EvidenceError, match="no verifier key"):
        VerifierKey(name, b"k" * 32)
