"""Reads a small file that somebody else put there: never longer than asked for, and never waiting for a writer.

A path in the settings can lead to anything. Opening a pipe waits for its other end for ever, a device has no end, and a
file of gigabytes fills the memory: none of them may stop or kill a daemon.
"""

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a regular file; links are followed.

    Raises `OSError`, whose `strerror` says why: cannot be opened or read, no regular file, or longer than `most_bytes`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = bytearray()
        while chunk := os.read(descriptor, most_bytes + 1 - len(content)):
            content += chunk
        if len(content) > most_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes", str(path))
    finally:
        os.close(descriptor)
    return bytes(content)
