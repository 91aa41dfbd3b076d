"""What deploy/docker promises, as far as it can be held without a container engine."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli import health
from reconciler.settings import DaemonSettings, load_settings
from tests import peers

DEPLOY = peers.ROOT / "deploy"
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text(encoding="utf-8"))
OLDEST_OPA = (1, 21, 3)
"""Before it, a bundle whose signature was taken off passed (GHSA-g2pf-6v5v-qcc8)."""


def steps() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage by its name, the ARGs before the first one left out."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in steps():
        if word == "FROM":
            found[rest.rpartition(" AS ")[2]] = []
        elif found:
            found[list(found)[-1]].append((word, rest))
    return found


def finals() -> list[dict[str, str]]:
    """Return the two images that are run, the last value of each instruction by its name."""
    return [dict(stages()[name]) for name in ("runtime-ldap", "runtime")]


def let_through(path: str) -> bool:
    """Say whether the ignore file lets a path into the build."""
    lines = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    return any(path == line[1:] or path.startswith(f"{line[1:]}/") for line in lines if line.startswith("!"))


def test_everything_that_is_copied_is_there_and_nothing_else_gets_in() -> None:
    """Each source of a COPY is in the checkout and passes the ignore file, which refuses all else first."""
    copied = [rest.split()[:-1] for word, rest in steps() if word == "COPY" and "--from=" not in rest]
    sources = [source for line in copied for source in line]
    assert len(sources) >= 8
    assert [source for source in sources if not (peers.ROOT / source).exists() or not let_through(source)] == []
    lines = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert [name for name in (".git", "state", "tests", ".venv", "deploy/docker/secrets") if let_through(name)] == []


def test_the_build_has_what_the_wheel_is_made_of() -> None:
    """Packages, policies, licence, readme and the build hook are copied, so the image's wheel is the tested wheel."""
    copied = {source for word, rest in steps() if word == "COPY" for source in rest.split()[:-1]}
    project = tomllib.loads((peers.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], wheel["hooks"]["custom"]["path"], project["project"]["readme"], "policies", "LICENSE"}
    assert needed - copied == set()


def test_both_images_run_the_program_as_nobody() -> None:
    """A numeric user, no shell in between, the daemon as what is run, and a state folder that this user owns."""
    project = tomllib.loads((peers.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(stages())[-1] == "runtime"
    for image in finals():
        assert image["USER"] == "65532:65532"
        (entry,) = yaml.safe_load(image["ENTRYPOINT"])
        assert Path(entry).name in project["project"]["scripts"]
        assert yaml.safe_load(image["CMD"])[:2] == ["run", "--config"]
        asked = yaml.safe_load(image["HEALTHCHECK"].partition("CMD ")[2])
        assert asked[:2] == [entry, "health"]
        assert health.Question(asked[2]) is health.Question.LIVE
        assert "ACCESS_RECONCILER_STATE_DIR=/var/lib/access-reconciler" in image["ENV"]
    assert DOCKERFILE.count("--chown=65532:65532 /state /var/lib/access-reconciler") == 2


def test_both_images_hold_the_engine_that_examines_new_policies() -> None:
    """Each image that is run has an `opa` on its path, of the very version that decides beside it."""
    for name in ("runtime-ldap", "runtime"):
        (copied,) = [rest for word, rest in stages()[name] if word == "COPY" and "--from=opa " in rest]
        assert copied.split()[-2:] == ["/opa", "/usr/local/bin/opa"]
    (image,) = re.findall(r"^ARG OPA_IMAGE=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert image == COMPOSE["services"]["opa"]["image"]
    assert ("FROM", "${OPA_IMAGE} AS opa") in steps()


def test_nothing_is_fetched_but_by_the_locks_and_debian() -> None:
    """No ADD, no download by hand, no moving tag; packages come through the script that the wheel's test runs too."""
    assert [word for word, _ in steps() if word == "ADD"] == []
    assert re.findall(r"\b(?:curl|wget|pip install|:latest)\b", DOCKERFILE) == []
    assert DOCKERFILE.count("assemble /source /opt/access-reconciler") == 2
    script = (DEPLOY / "docker" / "assemble").read_text(encoding="utf-8")
    fetching = [line for line in script.splitlines() if " -r " in line]
    assert len(fetching) == 3
    assert [line for line in fetching if "--require-hashes" not in line] == []


def test_each_container_is_locked_down() -> None:
    """Read-only, without capabilities, without a way to more, with bounds, and reachable by nobody."""
    assert set(COMPOSE["services"]) == {"access-reconciler", "opa"}
    for service in COMPOSE["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "65532:65532"
        assert {"pids_limit", "mem_limit", "tmpfs", "restart"} <= set(service)
        assert {"ports", "expose", "privileged", "cap_add", "devices"} & set(service) == set()


def test_the_engine_is_reached_over_loopback_with_a_token_only() -> None:
    """It shares the daemon's network, listens on loopback, asks for a token, and is one that checks signatures."""
    opa = COMPOSE["services"]["opa"]
    assert opa["network_mode"] == "service:access-reconciler"
    assert {"--addr=127.0.0.1:8181", "--authentication=token", "--authorization=basic"} <= set(opa["command"])
    version = re.search(r":(\d+)\.(\d+)\.(\d+)-static", opa["image"])
    assert version is not None
    assert tuple(map(int, version.groups())) >= OLDEST_OPA
    assert "decision" not in str(opa)
    assert opa["command"][-1] == "/authz/authz.rego"
    assert (DEPLOY / "docker" / opa["volumes"][0].split(":")[0] / "authz.rego").is_file()


def test_the_daemon_gets_its_time_to_drain() -> None:
    """Docker waits for longer than the running cycle may take."""
    grace = COMPOSE["services"]["access-reconciler"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > DaemonSettings().drain_seconds


def test_the_sample_configuration_is_one() -> None:
    """It loads, names the engine beside it and the token where the secret lies, and takes nothing away."""
    settings = load_settings(DEPLOY / "docker" / "config" / "access-reconciler.yaml")
    (secret,) = COMPOSE["services"]["access-reconciler"]["secrets"]
    assert (settings.engine.kind, settings.engine.url) == ("url", "http://127.0.0.1:8181")
    assert settings.engine.token_file == Path(f"/run/secrets/{secret}")
    assert settings.state_dir == Path("/var/lib/access-reconciler")
    assert settings.providers == {}
    assert settings.daemon.health_port == health.DEFAULT_PORT


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """Copy deploy/ to a place where images may be pinned, and return the program that pins them."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    return tmp_path / "deploy" / "docker" / "pin-images"


def pin(program: Path, answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with a `docker` that gives an answer."""
    tools = program.parents[2] / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "docker").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tools / "docker").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [program, *arguments], env={"PATH": path}, capture_output=True, text=True, check=False, timeout=30
    )


def test_images_are_pinned_in_place_and_checked(pins: Path) -> None:
    """Unpinned fails the check by name; pinned, each image of a registry has its digest, and ours is left alone."""
    unpinned = pin(pins, "", "--check")
    assert unpinned.returncode == 1
    assert all(name in unpinned.stderr for name in ("debian:bookworm-slim", "python3-debian12", "deployment.yaml"))
    assert pin(pins, f"sha256:{'ab' * 32}").returncode == 0
    assert pin(pins, "", "--check").returncode == 0
    compose = yaml.safe_load((pins.parent / "compose.yaml").read_text())["services"]
    assert compose["opa"]["image"].endswith(f"-static@sha256:{'ab' * 32}")
    assert "@" not in compose["access-reconciler"]["image"]
    assert pin(pins, f"sha256:{'cd' * 32}").returncode == 0
    assert f"sha256:{'ab' * 32}" not in (pins.parent / "Dockerfile").read_text()


def test_a_registry_that_gives_no_digest_pins_nothing(pins: Path) -> None:
    """An answer that is no digest ends it with an error, and the files stay as they were."""
    before = (pins.parent / "Dockerfile").read_text()
    assert pin(pins, "not found").returncode == 1
    assert (pins.parent / "Dockerfile").read_text() == before
