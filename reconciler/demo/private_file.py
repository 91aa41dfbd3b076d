"""Writing a throw-away secret of the demo so that only its owner can read it."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> Path:
    """Write a file with mode 0600 from the start; an older one of that name is replaced."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as sink:
        sink.write(text)
    return path
