"""Private keys in files: made on first use, readable by their owner only, and refused when others may read them."""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from reconciler.adapters.durable_file import create_file, make_folder
from reconciler.core.errors import SigningError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_key(path: Path, make: Callable[[], PrivateKeyTypes], *, what: str) -> PrivateKeyTypes:
    """Return the key in a PEM file, making one when there is none yet; `what` names it in errors.

    When another process makes one at the same time, the one that got the name is the key. Raises `SigningError` for a
    file that others may read or that holds no unencrypted key, and OSError as the file system does.
    """
    if not path.exists():
        pem = make().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            create_file(path, pem)
    return read_key(path, what=what)


def read_key(path: Path, *, what: str) -> PrivateKeyTypes:
    """Return the key in a PEM file; raises `SigningError` and OSError as `private_key` does."""
    try:
        return serialization.load_pem_private_key(_content(path, what), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"{path} is not an unencrypted PEM private key"
        raise SigningError(msg, advice="give a PKCS#8 file; move a damaged one away to have a new key made") from error


def _content(path: Path, what: str) -> bytes:
    with path.open("rb") as source:
        facts = os.fstat(source.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_mode & _OTHERS:
            msg = f"the {what} {path} may be read by others (mode {stat.S_IMODE(facts.st_mode):04o})"
            raise SigningError(
                msg, advice=f"make it 0600: chmod 600 {path}; if others may have read it, make a new key"
            )
        return source.read()
