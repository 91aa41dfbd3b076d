"""The real OPA server: as somebody else's, and as a child of ours that must not outlive us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from reconciler.adapters import opa_process
from reconciler.adapters.opa import ManagedOpa, OpaServer
from reconciler.adapters.opa_process import OpaProcess
from reconciler.core.errors import PolicyError
from reconciler.demo.process import RunningServer
from reconciler.evaluation import evaluate
from tests import peers
from tests.fakes.faulty_company import opa_server
from tests.worlds import company, emit, rule_source, starter, with_modules


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Run an OPA server that is not ours, without authorisation."""
    with opa_server(tmp_path) as running:
        yield running


@pytest.fixture
def engine(server: RunningServer) -> Iterator[OpaServer]:
    """Connect to it."""
    made = OpaServer(server.url, None, decide_timeout_seconds=20, control_timeout_seconds=20)
    yield made
    made.close()


def test_policies_are_replaced_whole(engine: OpaServer) -> None:
    """A rule of an earlier policy set is gone, and a helper may change its shape between two sets."""
    lib = dict(starter().modules)["access/lib/lib.rego"]
    older = with_modules(
        starter(),
        access__lib__lib=lib + "\n\nextra(item) if item.live\n",
        access__rules__probe__probe=rule_source("probe", emit("data.access.lib.extra(item)")),
    )
    assert "probe" in {finding.rule for finding in evaluate(engine, company(policies=older)).findings}
    newer = evaluate(engine, company())
    assert "probe" not in {finding.rule for finding in newer.findings}
    assert newer.engine.revision == starter().digest


def test_a_foreign_module_is_refused(engine: OpaServer, server: RunningServer) -> None:
    """Somebody else's module in our packages could add or hide findings: it is refused, wherever it is stored."""
    foreign = "package access.rules.leaver\n\nfinding contains {} if false\n"
    requests.put(f"{server.url}/v1/policies/elsewhere", data=foreign, timeout=5).raise_for_status()
    with pytest.raises(PolicyError, match="other policies"):
        evaluate(engine, company())


def test_another_package_may_share_the_server(engine: OpaServer, server: RunningServer) -> None:
    """A server that decides for others too is fine."""
    requests.put(f"{server.url}/v1/policies/other", data="package other\n\nx := 1\n", timeout=5).raise_for_status()
    assert evaluate(engine, company()).unknown == ()


def test_policies_deployed_by_somebody_else_are_compared(server: RunningServer) -> None:
    """Without publishing, missing or different policies fail the cycle and equal ones are used."""
    reader = OpaServer(server.url, None, publish=False)
    with pytest.raises(PolicyError):
        evaluate(reader, company())
    publisher = OpaServer(server.url, None)
    evaluate(publisher, company())
    assert evaluate(reader, company()).unknown == ()
    reader.close()
    publisher.close()


def test_the_managed_server_answers_to_us_alone(tmp_path: Path) -> None:
    """Without the token nothing but health is answered, and with it no ad-hoc query either."""
    process = OpaProcess(Path(peers.require("opa")), tmp_path)
    try:
        process.wait_ready()
        url = f"http://127.0.0.1:{process.port}"
        ours = {"Authorization": f"Bearer {process.token}"}
        assert requests.get(f"{url}/v1/policies", timeout=5).status_code in {401, 403}
        assert requests.get(f"{url}/v1/policies", headers={"Authorization": "Bearer x"}, timeout=5).status_code == 401
        assert requests.get(f"{url}/v1/policies", headers=ours, timeout=5).status_code == 200
        assert requests.get(f"{url}/v1/query?q=1", headers=ours, timeout=5).status_code == 401
        assert requests.get(f"{url}/health", timeout=5).status_code == 200
        assert process.token not in process.authz_source
        assert not process.authz.exists()
    finally:
        process.stop()
    assert not process.alive


def test_a_killed_child_is_an_error_and_the_next_load_starts_another(tmp_path: Path) -> None:
    """When the child dies, what is asked fails; the next cycle has a fresh one."""
    engine = ManagedOpa(Path(peers.require("opa")), directory=tmp_path)
    try:
        evaluate(engine, company())
        assert engine._process is not None
        os.killpg(engine._process._process.pid, signal.SIGKILL)
        engine._process._process.wait()
        with pytest.raises(PolicyError, match="ended by itself"):
            engine.info()
        assert evaluate(engine, company()).unknown == ()
    finally:
        engine.close()


def test_a_hung_child_is_replaced_instead_of_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is stopped holds nobody up until a call times out: the next load ends it and starts another."""
    monkeypatch.setattr(opa_process, "ANSWER_SECONDS", 0.5)
    engine = ManagedOpa(Path(peers.require("opa")), directory=tmp_path, control_timeout_seconds=60)
    try:
        evaluate(engine, company())
        assert engine._process is not None
        hung = engine._process
        os.killpg(hung._process.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert evaluate(engine, company()).unknown == ()
        assert time.monotonic() - began < 60
        assert engine._process is not hung
        assert not hung.alive
    finally:
        engine.close()


def test_what_is_no_opa_does_not_start(tmp_path: Path) -> None:
    """A program that ends at once, or is not there, is an error that names it or its log."""
    with pytest.raises(PolicyError, match="did not start"):
        ManagedOpa(Path("/bin/false"), directory=tmp_path).load(starter(), {})
    with pytest.raises(PolicyError, match="did not start"):
        ManagedOpa(tmp_path / "missing", directory=tmp_path).load(starter(), {})


def test_a_folder_that_cannot_be_written_is_named_and_keeps_no_child_alive(tmp_path: Path) -> None:
    """A state folder that is full or read-only is no defect: the folder is named, and a child that runs is ended."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PolicyError, match="cannot be written") as caught:
        OpaProcess(Path(peers.require("opa")), tmp_path / "file" / "opa")
    assert "make room" in caught.value.advice
    process = OpaProcess(Path(peers.require("opa")), tmp_path)
    process.wait_ready()
    process.authz = tmp_path  # what cannot be removed, also for an administrator
    process.stop()
    assert not process.alive


PARENT = """
import sys, time
from pathlib import Path
from reconciler.adapters.opa_process import OpaProcess
process = OpaProcess(Path(sys.argv[1]), Path(sys.argv[2]))
process.wait_ready()
print(process.port, flush=True)
time.sleep(60)
"""


def test_the_child_ends_with_us_however_we_end(tmp_path: Path) -> None:
    """A daemon killed with SIGKILL leaves no policy server behind."""
    root = str(Path(__file__).resolve().parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, peers.require("opa"), str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        text=True,
    )
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            requests.get(f"http://127.0.0.1:{port}/health", timeout=1)
        except requests.ConnectionError:
            return
        time.sleep(0.05)
    pytest.fail("the child still answers 10 s after its parent was killed")
