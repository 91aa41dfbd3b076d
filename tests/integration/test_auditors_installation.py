"""What an auditor installs: the extra `verify` alone, without provider, database, policy engine or daemon."""

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.architecture import tree
from tests.record_builders import attested_chain, cycle_record

ONLY = """
import sys
from importlib.abc import MetaPathFinder
refused = set({refused!r})
class Only(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"not in the lock: {{name}}", name=name)
sys.meta_path.insert(0, Only())
from reconciler.cli.main import run
code = run(sys.argv[1:])
print(code, "loaded" if "sigstore" in sys.modules else "spared", file=sys.stderr)
sys.exit(code)
"""
"""Runs the command line where no package can be imported that the lock does not hold."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the command line that sees nothing but the auditor's packages."""
    lines = tree.text("requirements/verify.txt").splitlines()
    locked = {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line}
    ours = {"inventory", "reconciler", "tests"}
    kept, refused = set[str](ours), set[str]()
    for top, owners in packages_distributions().items():
        (kept if locked & {canonicalize_name(owner) for owner in owners} else refused).add(top)
    refused -= kept
    assert {"sigstore", "cryptography", "typer"} <= kept
    assert {"boto3", "sqlalchemy", "apscheduler", "opa_client", "google", "httpx"} <= refused
    path = tmp_path_factory.mktemp("program") / "only.py"
    path.write_text(ONLY.format(refused=sorted(refused)))
    return path


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the auditor's installation, with no setting and nothing else on the path."""
    environment = {"PYTHONPATH": os.pathsep.join([str(tree.ROOT)]), "PATH": os.defpath, "HOME": str(program.parent)}
    command = [sys.executable, str(program), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


def test_everything_of_an_auditor_runs(program: Path, tmp_path: Path) -> None:
    """List, show, export and verify run on a folder and on a pack, with nothing of the daemon's libraries."""
    chain = attested_chain(tmp_path / "evidence", cycle_record(), cycle_record(sequence=2))
    key, pack = tmp_path / "signer.pub", tmp_path / "pack.zip"
    key.write_bytes(chain.key.pem)
    state, root = ("--pack", chain.store.root), ("--key", key)
    for command in (("list", *state), ("show", "2", *state), ("verify", *state, *root)):
        done = run(program, "attestations", *command)
        assert done.returncode == 0, done.stderr
    done = run(program, "attestations", "export", *state, *root, "--out", pack)
    assert done.returncode == 0, done.stderr
    done = run(program, "attestations", "verify", "--pack", pack, *root)
    assert done.returncode == 0, done.stderr
    assert "2 attestations, verified" in done.stdout


def test_keyless_verification_is_part_of_it(program: Path, tmp_path: Path) -> None:
    """The client of Sigstore is there: it is asked, and refuses a file that is no trusted root."""
    chain = attested_chain(tmp_path / "evidence", cycle_record())
    whom = ("--trust-root", chain.files(1)[0], "--identity", "https://corp.example/w", "--issuer", "https://i.example")
    done = run(program, "attestations", "verify", "--pack", chain.store.root, *whom)
    assert done.returncode == 1
    assert "is no trusted root" in done.stderr
    assert "1 loaded" in done.stderr


def test_a_command_of_the_daemon_says_what_is_missing(program: Path) -> None:
    """What the auditor's installation cannot do is one sentence with what to install, not a trace."""
    done = run(program, "cycle")
    assert done.returncode == 1
    assert "pip install 'access-reconciler[daemon]'" in done.stderr
    assert "Traceback" not in done.stderr
