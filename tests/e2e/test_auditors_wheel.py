"""The wheel with the extra `verify` alone, in an environment of its own: all that an auditor runs, without network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.adapters.opa import ManagedOpa
from tests import peers
from tests.disclosed import Disclosing, decided
from tests.pack_builders import run as in_process

pytestmark = [pytest.mark.proof, pytest.mark.timeout(500)]

INSTALLED = "import importlib.metadata as m; print(*sorted({one.name.lower() for one in m.distributions()}))"
NO_NETWORK = """
import socket, sys
def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto"}:
        raise OSError(f"a verifier asks nobody: {event} {arguments}")
sys.addaudithook(refuse)
from reconciler.cli.main import main
sys.argv[0] = "access-reconciler"
main()
"""
"""Runs the installed command where any attempt to reach another machine is an error."""


def run(*command: str | Path, cwd: Path, allowed: int = 0) -> str:
    """Run a command with nothing of ours in its surroundings but `opa` and return what it prints."""
    clean = {"PATH": os.defpath, "HOME": str(cwd), "LANG": "C.UTF-8"}
    index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    arguments = [str(part) for part in command]
    done = subprocess.run(
        arguments, cwd=cwd, env=clean | index, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == allowed, f"{arguments[:6]} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", name="home")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auditor")


@pytest.fixture(scope="module", name="python")
def _python(home: Path) -> Path:
    """Build the wheel and install it with `[verify]` alone: what the lock holds, and then the wheel without index."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", home, peers.ROOT, cwd=home)
    (wheel,) = home.glob("*.whl")
    run(sys.executable, "-m", "venv", home / "own", cwd=home)
    pip = (home / "own" / "bin" / "python", "-I", "-m", "pip", "--no-input", "install", "--quiet")
    run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", peers.ROOT / "requirements" / "verify.txt", cwd=home)
    run(*pip, "--no-index", f"{wheel}[verify]", cwd=home)  # fails where the lock lacks anything that the extra names
    return home / "own" / "bin" / "python"


@pytest.fixture(scope="module", name="whom")
def _whom(home: Path) -> tuple[str | Path, ...]:
    """Attest a cycle with decisions of the real opa, and hand the auditor a pack and the signer's key."""
    made = Disclosing(home / "evidence")
    engine = ManagedOpa(Path(peers.require("opa")), directory=home / "engine", decide_timeout_seconds=20)
    try:
        made.attest(decided(engine, 1))
    finally:
        engine.close()
    key = home / "signer.pub"
    key.write_bytes(made.signer.verifying_key.pem)
    pack = home / "pack.zip"
    answer = in_process("export", "--pack", made.root, "--key", key, "--out", pack, "--disclose", "full")
    assert answer.exit_code == 0
    return "--pack", pack, "--key", key


def test_the_environment_holds_the_extra_alone(home: Path, python: Path) -> None:
    """No provider's, database's, engine's or daemon's library is there."""
    names = run(python, "-I", "-c", INSTALLED, cwd=home).split()
    assert {"access-reconciler", "sigstore", "typer"} <= set(names)
    assert not {"boto3", "sqlalchemy", "httpx", "apscheduler", "opa-python-client", "ldap3"} & set(names)


@pytest.mark.parametrize(
    ("command", "exit_code", "says"),
    [
        (("verify",), 3, "1 attestations, verified"),
        (("verify-leaf", "--leaf", "1:decision-log:0"), 0, "in the tree of"),
        (("chain",), 3, "interrupted cycles without an attestation: none"),
        (("replay",), 0, "0 different, 0 not disclosed"),
    ],
)
def test_an_auditor_needs_nothing_else(
    home: Path, python: Path, whom: tuple[str | Path, ...], command: tuple[str, ...], exit_code: int, says: str
) -> None:
    """Each command answers on a pack alone: no network, no checkout, no configuration, and `opa` only for `replay`.

    The cycle could not see everything (3), which every command that speaks of the cycles as a whole says.
    """
    program = (python, "-I", "-c", NO_NETWORK)
    more = ("--opa", peers.require("opa")) if command[0] == "replay" else ()
    assert says in run(*program, "attestations", *command, *whom, *more, cwd=home, allowed=exit_code)


def test_a_list_needs_no_key(home: Path, python: Path, whom: tuple[str | Path, ...]) -> None:
    """`list` shows what lies in the pack, and where."""
    shown = run(python, "-I", "-c", NO_NETWORK, "attestations", "list", *whom[:2], "--output", "json", cwd=home)
    assert "pack.zip/attestations/000001-" in shown


def test_a_changed_byte_is_found_there_too(home: Path, python: Path, whom: tuple[str | Path, ...]) -> None:
    """The installation verifies, and does not only answer: a pack with one other byte is refused with exit code 1."""
    content = bytearray(Path(whom[1]).read_bytes())
    at = content.index(b"population.csv") + len("population.csv") + 5
    content[at] ^= 1
    changed = home / "changed.zip"
    changed.write_bytes(content)
    whole = ("attestations", "verify", "--pack", changed, *whom[2:])
    assert "pack_damaged" in run(python, "-I", "-c", NO_NETWORK, *whole, cwd=home, allowed=1)
