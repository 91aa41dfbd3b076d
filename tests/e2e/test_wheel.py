"""The wheel, built from this checkout and installed into an environment that holds nothing else."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import peers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

OWNERS = """
from importlib.metadata import packages_distributions
owners = packages_distributions()
print(owners["inventory"], owners["reconciler"])
"""


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints; its errors stand in the failure."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, f"{command[0]} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the locked build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, peers.ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the environment that an image holds, by the script that an image is built with; return its programs."""
    home = tmp_path_factory.mktemp("environment of its own")
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_NO_COMPILE": "1"}
    run(peers.ROOT / "deploy" / "docker" / "assemble", peers.ROOT, home, cwd=home, environment=environment)
    return home / "bin"


def test_the_wheel_holds_the_two_packages_and_the_starter_policies(wheel: Path) -> None:
    """The wheel has our two packages with all schemas, the policies that `init` hands out, the licence, and no more."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"inventory", "reconciler", "access_reconciler"}
    assert "reconciler/starter/policies/access/driver.rego" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    schemas = {path.name for path in (peers.ROOT / "reconciler" / "schemas").glob("*.json")}
    assert {"cycle.schema.json", "access-reconciler.schema.json"} <= schemas
    assert {f"reconciler/schemas/{name}" for name in schemas} <= set(names)
    strays = [name for name in names if name.endswith((".pyc", ".so")) or Path(name).name.startswith("test_")]
    assert strays == []


def test_the_wheel_is_well_made(wheel: Path) -> None:
    """check-wheel-contents finds nothing: no stray top level, no empty or duplicate file."""
    run(peers.require("check-wheel-contents"), "--config", peers.ROOT / "pyproject.toml", wheel, cwd=wheel.parent)


def test_the_command_line_runs_in_an_empty_environment(installed: Path, tmp_path: Path) -> None:
    """`access-reconciler --help` needs nothing but the locked runtime packages: no checkout, no extra, no setting."""
    clean = {"PATH": os.defpath, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    shown = run(installed / "access-reconciler", "--help", cwd=tmp_path, environment=clean)
    assert "cycle" in shown
    assert not (installed / "pip").exists()


def test_a_probe_needs_no_more_than_the_image_has(installed: Path, tmp_path: Path) -> None:
    """`health` runs there, and says that nobody answers: the exit code that a probe counts as a failure."""
    done = subprocess.run([installed / "access-reconciler", "health", "live", "--port", "1"], check=False, cwd=tmp_path)
    assert done.returncode == 1


def test_both_packages_are_ours_alone(installed: Path, tmp_path: Path) -> None:
    """No other distribution provides `inventory` or `reconciler`, so nothing was silently replaced."""
    shown = run(installed / "python", "-I", "-c", OWNERS, cwd=tmp_path)
    assert shown.strip() == "['access-reconciler'] ['access-reconciler']"
