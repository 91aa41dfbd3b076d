"""A server that answers like OPA until it does not: no fault may ever read as "nobody to touch" or as a revocation."""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.adapters.opa import OpaServer
from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError
from reconciler.core.model import EngineInfo, Evaluation, PolicySet
from reconciler.evaluation import evaluate
from tests.worlds import company, starter

Reply = tuple[int, str, str]
"""Status, content type, body."""
Fault = Callable[[dict[str, Any]], Reply]


def ok(document: Any) -> Reply:
    """Answer with JSON."""
    return 200, "application/json", json.dumps(document)


class FaultyOpa(ThreadingHTTPServer):
    """Keeps policies and data as OPA does, decides with a sound engine, and fails as told."""

    daemon_threads = True

    def __init__(
        self, engine: EmbeddedRego, fault: Fault | None, *, spare_canaries: bool = True, version: str = "1.22.2"
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = engine
        self.fault, self.spare_canaries, self.version = fault, spare_canaries, version
        self.policies: dict[str, str] = {}
        self.data: dict[str, Any] = {}
        self.seen_tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def decide(self, request: dict[str, Any]) -> dict[str, Any]:
        """Decide truly, and wrap as OPA does."""
        provenance = {"provenance": {"version": self.version}}
        if not request:
            return provenance
        return {"result": dict(self.engine.evaluate(request)), **provenance}


class _Handler(BaseHTTPRequestHandler):
    server: FaultyOpa
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _reply(self, reply: Reply) -> None:
        status, kind, text = reply
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        if status in {301, 302, 307, 308}:
            self.send_header("location", text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.seen_tokens.add(self.headers.get("authorization"))
        path = self.path.partition("?")[0].strip("/").split("/", 2)
        if path[1] == "policies":
            held = {name: self._policy(name) for name in self.server.policies}
            name = path[2] if len(path) > 2 else ""
            return self._reply(ok({"result": held[name] if name else list(held.values())}))
        place: Any = self.server.data
        for part in path[2].split("/"):
            place = place[part]
        return self._reply(ok({"result": place}))

    def _policy(self, name: str) -> dict[str, Any]:
        words = ["data", *name.removesuffix(".rego").split("/")]
        return {
            "id": name,
            "raw": self.server.policies[name],
            "ast": {"package": {"path": [{"value": word} for word in words]}},
        }

    def do_PUT(self) -> None:
        path = self.path.strip("/").split("/", 2)
        body = self._body().decode()
        if path[1] == "policies":
            self.server.policies[path[2]] = body
            return self._reply(ok({}))
        place = self.server.data
        *folders, last = path[2].split("/")
        for part in folders:
            place = place.setdefault(part, {})
        place[last] = json.loads(body)
        return self._reply((204, "application/json", ""))

    def do_POST(self) -> None:
        request = json.loads(self._body())["input"]
        fault = self.server.fault
        spared = not request or (self.server.spare_canaries and request["request_id"].endswith("/canaries"))
        if fault is None or spared:
            return self._reply(ok(self.server.decide(request)))
        return self._reply(fault(self.server.decide(request)))


class Recorder:
    """Takes note of the documents that an evaluation would load."""

    documents: Mapping[str, Json]

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        self.documents = documents
        raise PolicyError("noted")

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        raise NotImplementedError

    def info(self) -> EngineInfo:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def sound() -> Iterator[EmbeddedRego]:
    """Load an engine once with what every test here sends: the sample company."""
    recorder = Recorder()
    with pytest.raises(PolicyError, match="noted"):
        evaluate(recorder, company())
    engine = EmbeddedRego(deadline_seconds=20)
    engine.load(starter(), recorder.documents)
    yield engine
    engine.close()


@pytest.fixture
def serve(sound: EmbeddedRego) -> Iterator[Callable[..., FaultyOpa]]:
    """Start faulty servers, and stop them all."""
    running: list[FaultyOpa] = []

    def start(fault: Fault | None, **options: Any) -> FaultyOpa:
        server = FaultyOpa(sound, fault, **options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def run(server: FaultyOpa, seconds: float = 5.0) -> Evaluation:
    """Evaluate the sample company against a server."""
    engine = OpaServer(server.url, "secret", decide_timeout_seconds=seconds, control_timeout_seconds=5.0)
    try:
        return evaluate(engine, company())
    finally:
        engine.close()


def changed(**changes: Any) -> Fault:
    """Answer truly but for some fields of the decision."""

    def fault(true: dict[str, Any]) -> Reply:
        answer = copy.deepcopy(true)
        answer["result"].update(changes)
        return ok(answer)

    return fault


def without_the_leaver(true: dict[str, Any]) -> Reply:
    """Leave the leaver's principal out of the findings."""
    answer = copy.deepcopy(true)
    for key in list(answer["result"]["findings"]):
        if "alice" in key:
            del answer["result"]["findings"][key]
    return ok(answer)


def one_item_fewer(true: dict[str, Any]) -> Reply:
    """Say of every principal that one access item fewer was looked at."""
    answer = copy.deepcopy(true)
    answer["result"]["evaluated"] = {key: count - 1 for key, count in answer["result"]["evaluated"].items()}
    return ok(answer)


def all_clean(true: dict[str, Any]) -> Reply:
    """Say that nothing was looked at and nothing found."""
    answer = copy.deepcopy(true)
    answer["result"] |= {"evaluated": {}, "findings": {}}
    return ok(answer)


def stronger(true: dict[str, Any]) -> Reply:
    """Use an effect that nobody defined, on everything found."""
    answer = copy.deepcopy(true)
    for found in answer["result"]["findings"].values():
        for finding in found:
            finding["effect"] = "erase"
    return ok(answer)


def slow(true: dict[str, Any]) -> Reply:
    """Answer truly, and too late."""
    time.sleep(0.6)
    return ok(true)


SILENT: dict[str, Fault] = {
    "an empty object": lambda _: ok({}),
    "HTML": lambda _: (200, "text/html", "<html>Sign in</html>"),
    "status 500 without a reason": lambda _: (500, "text/plain", "oops"),
    "status 500 with another reason": lambda _: (500, "application/json", '{"code": "internal_error"}'),
    "status 401": lambda _: (401, "application/json", '{"code": "unauthorized"}'),
    "status 502": lambda _: (502, "text/html", "<html>Bad gateway</html>"),
    "a list": lambda _: ok([]),
    "a number": lambda _: ok(7),
    "a redirect elsewhere": lambda _: (307, "text/plain", "http://127.0.0.2:9/v1/data"),
    "slow": slow,
    "no principal at all": all_clean,
    "fewer items": one_item_fewer,
    "result false": lambda true: ok(true | {"result": False}),
    "result null": lambda true: ok(true | {"result": None}),
    "result a list": lambda true: ok(true | {"result": []}),
    "no result": lambda true: ok({key: value for key, value in true.items() if key != "result"}),
    "a field too many": changed(more=1),
    "depth without end": lambda _: (200, "application/json", '{"result":' * 50_000 + "1" + "}" * 50_000),
    "depth without end as a failure": lambda _: (500, "application/json", '{"errors":' * 50_000 + "1" + "}" * 50_000),
    "a number of 5,000 digits": lambda _: (200, "application/json", '{"result":' + "9" * 5000 + "}"),
    "another version": lambda true: ok(true | {"provenance": {"version": "1.23.0"}}),
}


@pytest.mark.parametrize("fault", SILENT.values(), ids=list(SILENT))
def test_no_answer_is_unknown(serve: Callable[..., FaultyOpa], fault: Fault) -> None:
    """After good canaries, a request without a usable answer leaves its principals unknown: not clean, not touched."""
    try:
        found = run(serve(fault), seconds=0.3)
    except PolicyError:
        return
    assert found.findings == ()
    assert len(found.unknown) == 5
    assert found.evaluated == 0
    assert found.problems


WRONG_GROUND: dict[str, tuple[Fault, str]] = {
    "another roster": (changed(roster={"digest": "sha256:00"}), "roster"),
    "other waivers": (changed(waivers={"digest": "sha256:00"}), "waivers"),
    "fewer rules": (changed(rules=["orphan"]), "rules"),
    "no rules": (changed(rules=[]), "rules"),
    "another request": (changed(request_id="x"), "request"),
    "another cycle": (changed(cycle_id="x"), "cycle"),
    "another instant": (changed(now_ns=1), "instant"),
    "another config": (changed(config="access.config/v2"), "config"),
}


@pytest.mark.parametrize(("fault", "names"), WRONG_GROUND.values(), ids=list(WRONG_GROUND))
def test_another_ground_fails_the_cycle(serve: Callable[..., FaultyOpa], fault: Fault, names: str) -> None:
    """An answer that rests on something else than what was sent ends the cycle, and the error says on what."""
    with pytest.raises(PolicyError, match=names):
        run(serve(fault))


@pytest.mark.parametrize(
    "fault", [stronger, without_the_leaver], ids=["an effect nobody defined", "the leaver missing"]
)
def test_a_fault_on_one_principal_spares_the_others(serve: Callable[..., FaultyOpa], fault: Fault) -> None:
    """Content that is wrong for some principals makes those unknown, and never a finding."""
    found = run(serve(fault))
    assert "alice" in {principal for _, principal in found.unknown}
    assert "bob" not in {principal for _, principal in found.unknown}
    assert "alice" not in {finding.principal_id for finding in found.findings}


@pytest.mark.parametrize("fault", [*SILENT.values(), stronger], ids=[*SILENT, "an effect nobody defined"])
def test_bad_canaries_fail_the_cycle(serve: Callable[..., FaultyOpa], fault: Fault) -> None:
    """A server that is wrong from the start is found out before anybody real is asked about."""
    with pytest.raises(PolicyError):
        run(serve(fault, spare_canaries=False), seconds=0.3)


@pytest.mark.parametrize("version", ["1.21.2", "0.70.0", "", "edge"])
def test_an_old_server_is_refused(serve: Callable[..., FaultyOpa], version: str) -> None:
    """A version that accepts stripped bundle signatures, or tells none, is refused before anything is uploaded."""
    server = serve(None, version=version)
    with pytest.raises(PolicyError, match="OPA"):
        run(server)
    assert server.policies == {}
    assert server.data == {}


def test_a_server_that_is_down_fails_the_cycle(serve: Callable[..., FaultyOpa]) -> None:
    """Nobody listening is an error that says so, and no other engine takes over."""
    server = serve(None)
    server.shutdown()
    server.server_close()
    with pytest.raises(PolicyError, match="did not answer"):
        run(server)


def test_a_sound_server_decides(serve: Callable[..., FaultyOpa], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a fault the very same server is believed; proxies of the environment are not asked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = serve(None)
    found = run(server)
    assert (found.evaluated, found.unknown) == (10, ())
    assert server.seen_tokens == {"Bearer secret"}
