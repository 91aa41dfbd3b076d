"""The key of the running log: Ed25519, in a file of its own, and used for nothing but checkpoints.

Whose log it is rests on the statements, which name the key; the key alone shows that two checkpoints are of one log.
"""

from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconciler.adapters.key_file import private_key
from reconciler.core.checkpoint import Checkpoint, VerifierKey
from reconciler.core.errors import SigningError

ORIGIN = "access-reconciler.dev/log/"
"""Begins the name of every log; the random id of the installation follows. An example value, not an address."""


class LogKey:
    """Signs the checkpoints of one installation's log."""

    def __init__(self, private: Ed25519PrivateKey, origin: str) -> None:
        form = serialization.PublicFormat.Raw
        self._private = private
        self._verifier = VerifierKey(origin, private.public_key().public_bytes(serialization.Encoding.Raw, form))

    @classmethod
    def open(cls, path: Path, instance_id: str) -> Self:
        """Return the key in a file, making it on first use.

        Raises `SigningError` for a file that others may read or that holds no Ed25519 key, and `EvidenceError` for an
        installation's id that no log can be named after.
        """
        try:
            private = private_key(path, Ed25519PrivateKey.generate, what="log key")
        except OSError as error:
            msg = f"the log key {path} cannot be used: {error.strerror}"
            raise SigningError(
                msg, advice="check that the folder exists and that this account may write to it"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            msg = f"{path} is not an Ed25519 key"
            raise SigningError(msg, advice="take the log's own key from a backup: statements name it")
        return cls(private, ORIGIN + instance_id)

    @property
    def verifier(self) -> VerifierKey:
        """Return the public half, under the log's name."""
        return self._verifier

    def note(self, checkpoint: Checkpoint) -> bytes:
        """Return a checkpoint as a signed note; the same bytes each time."""
        return checkpoint.note(self._verifier, self._private.sign)
