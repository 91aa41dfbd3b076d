"""The policy engine beside the daemon, started as deploy/ starts it: what its authorisation lets whom do."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from reconciler.adapters.opa import OpaServer
from reconciler.core.errors import PolicyError
from reconciler.demo.process import RunningServer, ServerCommand, free_port, start_server
from reconciler.evaluation import evaluate
from tests import peers
from tests.worlds import company, starter

TOKEN = "one-of-32-random-bytes"  # the engine knows its hash only
AUTHZ = peers.ROOT / "deploy" / "opa" / "authz.rego"


def run_opa(folder: Path, **environment: str) -> RunningServer:
    """Start OPA with the arguments of compose.yaml, on a port of its own."""
    service = yaml.safe_load((peers.ROOT / "deploy" / "docker" / "compose.yaml").read_text())["services"]["opa"]
    address = f"127.0.0.1:{free_port()}"
    moved = {"--addr=127.0.0.1:8181": f"--addr={address}", "/authz/authz.rego": str(AUTHZ)}
    assert moved.keys() <= set(service["command"])
    command = (peers.require("opa"), *(moved.get(one, one) for one in service["command"]))

    def ready() -> bool:
        try:
            return requests.get(f"http://{address}/health", timeout=1).ok
        except requests.ConnectionError:
            return False

    server = ServerCommand(name="opa", command=command, url=f"http://{address}", environment=environment)
    return start_server(server, log=folder / "log", ready=ready)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the engine with the hash of the daemon's token; return its address."""
    known = sha256(TOKEN.encode()).hexdigest()
    with run_opa(tmp_path_factory.mktemp("opa"), ACCESS_RECONCILER_TOKEN_SHA256=known) as server:
        yield server.url


def ask(url: str, method: str, path: str, token: str = TOKEN, **more: Any) -> int:
    """Ask the engine as somebody with a token; return the status."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, f"{url}{path}", headers=headers, timeout=10, **more).status_code


def test_the_daemon_can_do_its_work(sidecar: str) -> None:
    """It loads policies, roster and waivers, reads them back, and gets its decisions."""
    engine = OpaServer(sidecar, TOKEN, decide_timeout_seconds=20, control_timeout_seconds=20)
    try:
        answer = evaluate(engine, company())
    finally:
        engine.close()
    assert answer.engine.revision == starter().digest
    assert answer.findings


@pytest.mark.parametrize("token", ["", "guessed", sha256(TOKEN.encode()).hexdigest()])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/data/roster"),
        ("POST", "/v1/data/access/driver/decide"),
        ("GET", "/v1/policies"),
        ("GET", "/v1/config"),
    ],
)
def test_nobody_else_is_let_in(sidecar: str, token: str, method: str, path: str) -> None:
    """Without the token, or with the hash that the engine holds, nothing is told and nothing decided."""
    assert ask(sidecar, method, path, token) == 401
    assert ask(sidecar, "GET", "/health", token) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/policies/authz"),
        ("PUT", "/v1/policies/access"),
        ("PUT", "/v1/policies/accessory/rule.rego"),
        ("DELETE", f"/v1/policies/{AUTHZ}".replace("//", "/")),
        ("PUT", "/v1/data/system"),
        ("PUT", "/v1/data"),
        ("GET", "/v1/data"),
        ("PATCH", "/v1/data/other"),
        ("POST", "/v1/query"),
        ("POST", "/v1/compile"),
        ("GET", "/v1/config"),
        ("GET", "/metrics"),
        ("POST", "/"),
    ],
)
def test_not_even_the_daemon_can_change_who_is_let_in(sidecar: str, method: str, path: str) -> None:
    """A stolen token reaches the policies that decide and their data, and nothing that guards the engine itself."""
    assert ask(sidecar, method, path, json={}) == 401


def test_without_a_known_token_nobody_is_let_in(tmp_path: Path) -> None:
    """An engine that was given no hash, or an empty one, refuses everybody instead of trusting everybody."""
    with run_opa(tmp_path, ACCESS_RECONCILER_TOKEN_SHA256="") as server:
        assert ask(server.url, "GET", "/v1/policies", TOKEN) == 401
        assert ask(server.url, "GET", "/v1/policies", "") == 401
        engine = OpaServer(server.url, TOKEN, decide_timeout_seconds=5, control_timeout_seconds=5)
        with pytest.raises(PolicyError, match="refused our token"):
            evaluate(engine, company())
        engine.close()
