"""Finding the real servers that tests run against."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def find(name: str) -> str | None:
    """Return the path of an executable: on PATH, in the project's tool folder, beside Python, or in /usr/sbin."""
    places = (os.environ.get("PATH", ""), str(ROOT / ".tools" / "bin"), str(Path(sys.executable).parent), "/usr/sbin")
    return shutil.which(name, path=os.pathsep.join(places))


def require(name: str) -> str:
    """Return the path of an executable; a missing one skips the test locally and fails it with CI=true."""
    found = find(name)
    if found is None:
        message = f"{name} is not installed: run `make setup`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found
