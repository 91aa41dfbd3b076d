"""Finding the real servers that tests run against."""

import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def find(name: str) -> str | None:
    """Return the path of an executable: on PATH, in the project's tool folder, beside Python, or in /usr/sbin."""
    places = (os.environ.get("PATH", ""), str(ROOT / ".tools" / "bin"), str(Path(sys.executable).parent), "/usr/sbin")
    return shutil.which(name, path=os.pathsep.join(places))


def find_postgresql(name: str) -> str | None:
    """Return the path of a program of the PostgreSQL server: Debian keeps each version's in a folder of its own."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name), reverse=True)
    return shutil.which(name, path=os.pathsep.join(map(str, folders))) or find(name)


def require(name: str) -> str:
    """Return the path of an executable; a missing one skips the test locally and fails it with CI=true."""
    return _present(find(name), name)


def require_postgresql(name: str) -> str:
    """Do the same for a program of the PostgreSQL server."""
    return _present(find_postgresql(name), f"{name} of PostgreSQL")


def require_account(name: str) -> str:
    """Do the same for an unprivileged account, under which root has to start a server that refuses to run as root."""
    known = any(one.pw_name == name for one in pwd.getpwall())
    return _present(name if known else None, f"the account {name}")


def require_node_verifier() -> list[str]:
    """Do the same for the verifier in JavaScript, and return the command that runs it."""
    script = ROOT / "tests" / "node-verifier" / "verify.mjs"
    program = find("node") if (script.parent / "node_modules" / "@sigstore" / "verify").is_dir() else None
    return [_present(program, "@sigstore/verify, or node to run it,"), str(script)]


def require_sigstore_service(name: str) -> str:
    """Do the same for one of the real services of Sigstore, or its `cosign`."""
    program = ROOT / ".tools" / "sigstore" / name
    return _present(str(program) if os.access(program, os.X_OK) else None, f"{name} of `make e2e-sigstore`")


def _present(found: str | None, name: str) -> str:
    if found is None:
        message = f"{name} is not installed: run `make setup`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found
