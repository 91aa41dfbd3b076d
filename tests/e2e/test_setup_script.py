"""`scripts/setup` on a machine that lacks things, with programs that only record what they are asked to do."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import peers

PROGRAMS = (
    "bash",
    "cat",
    "cmp",
    "cp",
    "dirname",
    "env",
    "grep",
    "head",
    "id",
    "mkdir",
    "rm",
    "sed",
    "sh",
    "sort",
    "tail",
)

PYTHON = """#!/bin/sh
# Stands in for the environment's Python: pip and python-ldap are pretended, everything else is the real one.
case "$*" in
  "-m pip install"*) echo "$*" >>"{calls}"; exit 0 ;;
  *"import ldap"*) exit 1 ;;
esac
exec "{python}" "$@"
"""

OLD_OPA = """#!/bin/sh
echo "Version: 1.20.9"
"""

NEW_OPA = """#!/bin/sh
echo "Version: 1.23.0"
"""

GO = """#!/bin/sh
[ "$*" = "env GOVERSION" ] && echo "{version}" && exit 0
echo "$*" >>"{calls}"
cp "{opa}" "$GOBIN/opa"
"""


NPM = """#!/bin/sh
echo "npm $*" >>"{calls}"
mkdir -p "$2/node_modules"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A checkout in a folder with spaces in its name, and a PATH with nothing on it but what a test puts there."""

    checkout: Path
    programs: Path
    calls: Path

    def has(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        program = self.programs / name
        program.write_text(script)
        program.chmod(0o755)

    def setup(self, *arguments: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        environment = {"PATH": str(self.programs), "HOME": str(self.checkout)} | ({"CI": "true"} if ci else {})
        return subprocess.run(
            [self.checkout / "scripts" / "setup", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def called(self) -> list[str]:
        """Return what pip and Go were asked for since the last time, and forget it."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Make a machine without OPA, Go, a compiler and Debian's package manager."""
    checkout = tmp_path / "a checkout with spaces"
    for folder in ("scripts", "requirements"):
        shutil.copytree(peers.ROOT / folder, checkout / folder)
    shutil.copy(peers.ROOT / "pyproject.toml", checkout)
    (checkout / "tests" / "node-verifier").mkdir(parents=True)
    shutil.copy(peers.ROOT / "tests" / "node-verifier" / "package-lock.json", checkout / "tests" / "node-verifier")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found, name
        (programs / name).symlink_to(found)
    calls = tmp_path / "calls"
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(calls=calls, python=sys.executable))
    python.chmod(0o755)
    return Machine(checkout=checkout, programs=programs, calls=calls)


def test_what_cannot_be_had_is_left_out_and_named(machine: Machine) -> None:
    """Without OPA, Go and OpenLDAP the set-up goes on with Python alone, and says what that means."""
    done = machine.setup("demo")
    assert done.returncode == 0, done.stderr
    assert "left out: OPA" in done.stdout
    assert "in-process engine" in done.stdout
    assert "left out: LDAP provider" in done.stdout
    assert "apt-get install libldap-dev" in done.stdout


def test_with_ci_nothing_may_be_left_out(machine: Machine) -> None:
    """What is a remark on somebody's laptop is a failure in CI, and the last line names it."""
    done = machine.setup("demo", ci=True)
    assert done.returncode == 1
    assert "2 left out: OPA" in done.stderr


def test_a_second_run_installs_nothing(machine: Machine) -> None:
    """The stamp holds: pip runs once for the lock and once for the project, and not again."""
    machine.setup("dev")
    first = machine.called()
    assert [line.split(" ")[-1] for line in first] == ["requirements/dev.txt", "."]
    assert "--require-hashes" in first[0]
    assert "--no-deps --no-build-isolation -e" in first[1]
    done = machine.setup("dev")
    assert "Python packages are as locked" in done.stdout
    assert machine.called() == []


def test_dev_is_enough_for_the_demo_but_not_the_other_way_round(machine: Machine) -> None:
    """Going from the tests to the demo installs nothing; going from the demo to the tests does."""
    machine.setup("demo")
    assert len(machine.called()) == 2
    machine.setup("dev")
    assert len(machine.called()) == 2
    machine.setup("demo")
    assert machine.called() == []


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "pyproject.toml"])
def test_a_changed_lock_is_installed(machine: Machine, changed: str) -> None:
    """A new lock or project file makes the stamp void."""
    machine.setup("dev")
    machine.called()
    with (machine.checkout / changed).open("a") as file:
        file.write("\n# changed\n")
    machine.setup("dev")
    assert len(machine.called()) == 2


def test_an_old_opa_is_not_taken(machine: Machine) -> None:
    """An OPA older than what the policies need does not count as one."""
    machine.has("opa", OLD_OPA)
    assert "left out: OPA" in machine.setup("demo").stdout


def test_an_opa_on_the_path_is_taken(machine: Machine) -> None:
    """A recent OPA of the machine is used, and none is built."""
    machine.has("opa", NEW_OPA)
    machine.has("go", GO.format(version="go1.26.0", calls=machine.calls, opa=machine.programs / "opa"))
    shown = machine.setup("demo").stdout
    assert "OPA 1.23.0" in shown
    assert not any("opa" in line for line in machine.called())


def test_opa_is_built_by_a_recent_go(machine: Machine) -> None:
    """With Go and without OPA the pinned version is built into the checkout's own tool folder."""
    machine.has("built-opa", NEW_OPA)
    machine.has("go", GO.format(version="go1.26.0", calls=machine.calls, opa=machine.programs / "built-opa"))
    done = machine.setup("demo")
    assert "built OPA" in done.stdout
    assert os.access(machine.checkout / ".tools" / "bin" / "opa", os.X_OK)
    (built,) = [line for line in machine.called() if line.startswith("install")]
    assert built.startswith("install -trimpath")
    assert built.endswith("github.com/open-policy-agent/opa@v1.22.2")


def test_an_old_go_builds_nothing(machine: Machine) -> None:
    """A Go that cannot build OPA is named with its version, and not tried."""
    machine.has("go", GO.format(version="go1.19.8", calls=machine.calls, opa="/bin/true"))
    shown = machine.setup("demo").stdout
    assert "Go 1.19.8 is older than" in shown
    assert not any(line.startswith("install") for line in machine.called())


def test_a_failing_build_leaves_opa_out(machine: Machine) -> None:
    """A build that fails is reported with the end of its output and does not stop the rest."""
    machine.has("go", GO.format(version="go1.26.0", calls=machine.calls, opa="/nonexistent"))
    done = machine.setup("demo")
    assert done.returncode == 0
    assert "its build failed" in done.stdout
    assert "cp:" in done.stderr


def test_an_unknown_level_is_refused(machine: Machine) -> None:
    """A typing error does nothing but show the usage."""
    done = machine.setup("production")
    assert done.returncode == 1
    assert "usage: scripts/setup [demo|dev]" in done.stderr
    assert machine.called() == []


def test_the_tests_want_postgresql_and_the_demo_does_not(machine: Machine) -> None:
    """For the tests a server is found wherever Debian keeps it, or is left out by name; the demo has no use for one."""
    found = peers.find_postgresql("postgres")
    told = machine.setup("dev").stdout
    if found is None:
        assert "left out: PostgreSQL server" in told
        assert "apt-get install postgresql" in told
    else:
        assert f"({found})" in told
    assert "PostgreSQL" not in machine.setup("demo").stdout


def test_the_second_verifier_is_installed_as_locked(machine: Machine) -> None:
    """The tests get it by `npm ci`, which runs no script of a package, once for each lock; the demo does not."""
    assert "left out: second verifier: node is missing" in machine.setup("dev").stdout
    machine.called()
    machine.has("node", "#!/bin/sh\necho v20.20.2\n")
    machine.has("npm", NPM.format(calls=machine.calls))
    assert "verifier" not in machine.setup("demo").stdout
    assert "installed @sigstore/verify (node v20.20.2)" in machine.setup("dev").stdout
    assert machine.called() == ["npm --prefix tests/node-verifier ci --ignore-scripts --no-audit --no-fund"]
    assert "@sigstore/verify is as locked" in machine.setup("dev").stdout
    lock = machine.checkout / "tests" / "node-verifier" / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    machine.setup("dev")
    assert len(machine.called()) == 1
