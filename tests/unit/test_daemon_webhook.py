"""The webhook: who may wake the daemon, what it costs to try, and that nothing else ever comes of it."""

import base64
import os
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from reconciler.adapters.clock import SystemClock
from reconciler.cli.run import webhook_of
from reconciler.core.errors import SettingsError
from reconciler.daemon import webhook, webhook_messages
from reconciler.daemon.wakeups import Reason, Wakeups
from reconciler.daemon.webhook import Door, WebhookServer
from reconciler.daemon.webhook_messages import REMEMBERED_SECONDS, Gate, Remembered, Secrets, Verdict
from reconciler.settings import WebhookSettings
from tests import peers
from tests.fakes.clock import FakeClock
from tests.webhooks import BODY, OTHER, SECRET, call, request, seal, secret_file, status


def headers(fields: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as a server hands them on."""
    return [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Return a gate with one secret."""
    clock = FakeClock()
    return Gate(Secrets([secret_file(tmp_path)], clock), Remembered(clock))


def test_an_authentic_message_counts_once(gate: Gate) -> None:
    """The library would take the same message for five minutes; a known id is a replay, whatever it says now."""
    assert gate.judge(headers(seal("m1")), BODY) is Verdict.ACCEPTED
    assert gate.judge(headers(seal("m1")), BODY) is Verdict.REPLAYED
    assert gate.judge(headers(seal("m1", body=b"other")), b"other") is Verdict.REPLAYED
    assert gate.judge(headers(seal("m2")), BODY) is Verdict.ACCEPTED


def forgeries() -> dict[str, tuple[dict[str, str], bytes]]:
    """Return calls that are not authentic, signed now where they are signed."""
    return {
        "another body": (seal("m1"), b"{}"),
        "another secret": (seal("m1", secret=OTHER), BODY),
        "too old": (seal("m1", at=time.time() - 3600), BODY),
        "from the future": (seal("m1", at=time.time() + 3600), BODY),
        "no signature": ({name: value for name, value in seal("m1").items() if name != "webhook-signature"}, BODY),
        "no id": ({name: value for name, value in seal("m1").items() if name != "webhook-id"}, BODY),
        "signature without a version": ({**seal("m1"), "webhook-signature": "abc"}, BODY),
        "signature with two commas": ({**seal("m1"), "webhook-signature": "v1,a,b"}, BODY),
        "signature out of base64": ({**seal("m1"), "webhook-signature": "v1,\xe9"}, BODY),
        "another version": (
            {**seal("m1"), "webhook-signature": seal("m1")["webhook-signature"].replace("v1", "v2")},
            BODY,
        ),
        "time is no number": ({**seal("m1"), "webhook-timestamp": "nan"}, BODY),
        "time with a fraction": ({**seal("m1"), "webhook-timestamp": f"{seal('m1')['webhook-timestamp']}.0"}, BODY),
        "time beyond time": ({**seal("m1"), "webhook-timestamp": "9" * 12}, BODY),
        "a full stop in the id": (seal("m1.1"), BODY),
        "an endless id": (seal("m" * 257), BODY),
        "a space in the id": (seal("m 1"), BODY),
        "body is not UTF-8": (seal("m1", body=b"\xff\xfe"), b"\xff\xfe"),
    }


@pytest.mark.parametrize("name", forgeries())
def test_whatever_is_not_authentic_is_forged(name: str, gate: Gate) -> None:
    """No malformed, old or differently signed message raises, is taken, or uses up its id."""
    fields, body = forgeries()[name]
    assert gate.judge(headers(fields), body) is Verdict.FORGED
    assert gate.judge(headers(seal("m1")), BODY) is Verdict.ACCEPTED


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_doubled_header_is_forged(name: str, gate: Gate) -> None:
    """Where a header comes twice, sender and receiver may mean different ones: neither is taken."""
    fields = headers(seal("m1"))
    assert gate.judge([*fields, (name.encode(), dict(fields)[name.encode()])], BODY) is Verdict.FORGED


def test_a_border_cannot_be_moved_under_one_signature(gate: Gate) -> None:
    """Id, time and body are signed with full stops between them: no other way to cut the same bytes is taken."""
    inner = f"{int(time.time())}.{BODY.decode()}".encode()
    signed = seal("m1", body=inner)
    moved = {**signed, "webhook-id": f"m1.{signed['webhook-timestamp']}", "webhook-timestamp": inner[:10].decode()}
    assert gate.judge(headers(moved), BODY) is Verdict.FORGED


def test_ids_are_kept_for_ten_minutes_and_within_a_bound() -> None:
    """An id is known as long as its message could be valid; the memory never grows beyond its bound."""
    clock = FakeClock()
    remembered = Remembered(clock, most=100)
    assert remembered.is_new("m1")
    clock.sleep(REMEMBERED_SECONDS - 1)
    assert not remembered.is_new("m1")
    clock.sleep(1)
    assert remembered.is_new("m1")
    assert all(remembered.is_new(f"flood-{number}") for number in range(1000))
    assert len(remembered) == 100


def test_secrets_change_over_without_a_gap(tmp_path: Path) -> None:
    """Two secrets are valid side by side; a file that changes or goes counts within a second, without a restart."""
    clock = FakeClock()
    old, new = secret_file(tmp_path), secret_file(tmp_path, OTHER, "next")
    gate = Gate(Secrets([old, new], clock), Remembered(clock))
    assert gate.judge(headers(seal("m1", secret=SECRET)), BODY) is Verdict.ACCEPTED
    assert gate.judge(headers(seal("m2", secret=OTHER)), BODY) is Verdict.ACCEPTED
    old.unlink()
    clock.sleep(1)
    with structlog.testing.capture_logs() as logs:
        assert gate.judge(headers(seal("m3", secret=SECRET)), BODY) is Verdict.FORGED
        assert gate.judge(headers(seal("m4", secret=OTHER)), BODY) is Verdict.ACCEPTED
        clock.sleep(1)
        assert gate.judge(headers(seal("m5", secret=OTHER)), BODY) is Verdict.ACCEPTED
    assert [(one["event"], str(old) in one["error"]) for one in logs] == [("webhook.secret_unusable", True)]
    secret_file(tmp_path)
    clock.sleep(1)
    assert gate.judge(headers(seal("m6", secret=SECRET)), BODY) is Verdict.ACCEPTED


def test_a_secret_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    """Too short, not base64, missing or a pipe: each is refused by file, and its text stands in no error."""
    path = tmp_path / "secret"
    for content in (b"whsec_" + base64.b64encode(b"short"), b"not base64 !", b"\xff\xfe", b"", b"A" * 5000):
        path.write_bytes(content)
        with pytest.raises(SettingsError) as refused:
            Secrets([path], FakeClock())
        assert str(path) in str(refused.value)
        assert content.decode("latin-1") not in str(refused.value) or not content
        assert isinstance(refused.value.__cause__, OSError | None)  # an error of the decoder would show the bytes
    path.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        Secrets([path], FakeClock())
    os.mkfifo(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        Secrets([path], FakeClock())


class Hook:
    """A webhook that listens, and how often it woke."""

    def __init__(self, folder: Path, **door: Any) -> None:
        self.wakes: list[float] = []
        clock = SystemClock()
        gate = Gate(Secrets([secret_file(folder)], clock), Remembered(clock))
        place = {"bind": "127.0.0.1", "port": 0, "path": "/webhook", "max_bytes": 65_536, "gap_seconds": 0.0, **door}
        self.server = WebhookServer(Door(**place), gate.judge, lambda: self.wakes.append(time.monotonic()))

    def call(self, raw: bytes) -> int:
        """Call with raw bytes and return the status."""
        return status(call(self.server.port, raw))

    def until(self, true: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for something to come true."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.server.counts
            time.sleep(0.01)


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    """Return a webhook that listens."""
    made = Hook(tmp_path)
    with made.server:
        yield made


def test_a_signed_call_wakes_and_says_nothing(hook: Hook) -> None:
    """The answer to an authentic call is empty, and the same when it comes again; only the first one wakes."""
    raw = request(seal("m1"))
    first, again = call(hook.server.port, raw), call(hook.server.port, raw)
    assert first == again
    assert status(first) == 204
    hook.until(lambda: len(hook.wakes) == 1)
    counts = hook.server.counts
    assert (counts.accepted, counts.replayed, counts.forged) == (1, 1, 0)


def refusals() -> dict[str, tuple[bytes, str]]:
    """Return calls that are turned away, and as what they are counted."""
    return {
        "forged": (request(seal("m1", secret=OTHER)), "forged"),
        "unsigned": (request({}), "forged"),
        "another path": (request(seal("m1"), head="POST /webhook/ HTTP/1.1"), "refused"),
        "another method": (request(seal("m1"), head="PUT /webhook HTTP/1.1"), "refused"),
        "a query": (request(seal("m1"), head="POST /webhook?x=1 HTTP/1.1"), "refused"),
        "a look": (b"GET /webhook HTTP/1.1\r\nHost: localhost\r\n\r\n", "refused"),
        "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "refused"),
        "an endless head": (b"POST /webhook HTTP/1.1\r\nX: " + b"a" * 100_000, "refused"),
        "length and chunks": (
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "refused",
        ),
        "announced too large": (
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + b"a" * 1000,
            "too_large",
        ),
        "too large in chunks": (
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"4000\r\n" + b"a" * 0x4000 + b"\r\n") * 5,
            "too_large",
        ),
    }


@pytest.mark.parametrize("name", refusals())
def test_every_refusal_sounds_alike(name: str, hook: Hook) -> None:
    """Whoever is turned away learns nothing of the reason, wakes nobody, and is counted."""
    raw, fate = refusals()[name]
    answer = call(hook.server.port, raw)
    assert answer == b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert getattr(hook.server.counts, fate) == 1
    assert hook.call(request(seal("m1"))) == 204
    hook.until(lambda: len(hook.wakes) == 1)


def test_a_client_that_waits_to_be_asked_is_asked(hook: Hook) -> None:
    """A sender that announces its body first (`Expect: 100-continue`) is told to go on."""
    fields = {**seal("m1"), "Expect": "100-continue"}
    head, _, body = request(fields).partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", hook.server.port), timeout=10) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(100).startswith(b"HTTP/1.1 204 ")


def test_a_body_in_chunks_is_taken(hook: Hook) -> None:
    """A sender may cut its body into chunks; what is checked is the body."""
    lines = [f"{name}: {value}" for name, value in seal("m1").items()]
    head = "\r\n".join(["POST /webhook HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", *lines]).encode()
    half = len(BODY) // 2
    parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:half], BODY[half:], b"")]
    assert hook.call(head + b"\r\n\r\n" + b"".join(parts)) == 204


def test_a_slow_caller_is_hung_up_on(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that drip never add up to more time: the deadline is one for the whole call."""
    monkeypatch.setattr(webhook, "REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", hook.server.port), timeout=10) as client:
        client.settimeout(0.02)
        began, ended = time.monotonic(), False
        while not ended and time.monotonic() - began < 20:
            client.send(b"P")
            try:
                ended = client.recv(100) == b""
            except TimeoutError:
                continue
            except ConnectionResetError:
                ended = True
    assert ended
    assert hook.server.counts.too_slow == 1


def test_slow_callers_shut_nobody_out(hook: Hook) -> None:
    """With twice as many silent connections as are held, a signed call is answered at once."""
    idle = [socket.create_connection(("127.0.0.1", hook.server.port)) for _ in range(2 * webhook.MOST_CLIENTS)]
    try:
        hook.until(lambda: hook.server.counts.overloaded >= webhook.MOST_CLIENTS)
        assert hook.call(request(seal("m1"))) == 204
        assert len(hook.server._clients) <= webhook.MOST_CLIENTS
    finally:
        for client in idle:
            client.close()


def test_wakes_keep_their_distance(tmp_path: Path) -> None:
    """Many authentic calls wake once now and once at the end of each gap: a talkative sender drives no storm."""
    made = Hook(tmp_path, gap_seconds=0.5)
    with made.server:
        began = time.monotonic()
        assert {made.call(request(seal(f"m{number}"))) for number in range(20)} == {204}
        gaps = (time.monotonic() - began) / 0.5
        made.until(lambda: len(made.wakes) >= 2)
        made.call(request(seal("last")))
        seen = len(made.wakes)
        made.until(lambda: len(made.wakes) > seen)
    assert seen <= 2 + gaps
    assert all(late - soon >= 0.49 for soon, late in pairwise(made.wakes))


def test_what_comes_is_never_logged(hook: Hook) -> None:
    """Refusals are told as numbers, once a minute; no byte of a call, and no address, stands in the log."""
    with structlog.testing.capture_logs() as logs:
        for number in range(5):
            body = f"canary-body-{number}".encode()
            hook.call(request(seal(f"canary-id-{number}", body=body, secret=OTHER), body=body))
        hook.until(lambda: hook.server.counts.forged == 5)
    assert [one["event"] for one in logs] == ["webhook.turned_away"]
    assert "canary" not in str(logs)
    assert "127.0.0.1" not in str(logs)


def test_sockets_that_cannot_be_had_are_waited_for(hook: Hook) -> None:
    """Without a free descriptor the intake rests, says so once, and takes calls again when there is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with structlog.testing.capture_logs() as logs, socket.socket() as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
        try:
            client.connect(("127.0.0.1", hook.server.port))
            hook.until(lambda: hook.server.counts.pauses >= 3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.sendall(request(seal("m1")))
        assert status(client.recv(100)) == 204
    assert [one.get("error") for one in logs] == ["EMFILE"]


def test_closing_hangs_up_and_frees_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that ends waits for no caller, and the next one can listen at once."""
    monkeypatch.setattr(webhook, "REQUEST_SECONDS", 100.0)
    made = Hook(tmp_path)
    port = made.server.port
    with socket.create_connection(("127.0.0.1", port), timeout=50) as client:
        made.until(lambda: bool(made.server._clients))
        began = time.monotonic()
        made.server.close()
        assert time.monotonic() - began < 50
        assert client.recv(10) == b""
    Hook(tmp_path, port=port).server.close()


def test_the_settings_open_it_and_it_wakes_the_queue(tmp_path: Path) -> None:
    """What the settings name is what listens; a call puts one token of its own into the queue."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = WebhookSettings(port=port, secret_files=(secret_file(tmp_path),), path="/hr")
    wakeups = Wakeups()
    with webhook_of(settings, wakeups, SystemClock()):
        assert status(call(port, request(seal("m1"), head="POST /hr HTTP/1.1"))) == 204
        assert wakeups.take(60) == {Reason.WEBHOOK}
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1 port {port}"):
            webhook_of(settings, wakeups, SystemClock())


@pytest.mark.parametrize(
    "block",
    [
        {"port": 0, "secret_files": ["s"]},
        {"port": 8581, "secret_files": []},
        {"port": 8581, "secret_files": ["s"], "bind": "localhost"},
        {"port": 8581, "secret_files": ["s"], "path": "hook"},
        {"port": 8581, "secret_files": ["s"], "path": "/a b"},
    ],
)
def test_settings_that_cannot_work_are_refused(block: dict[str, Any]) -> None:
    """A name instead of an address, no secret, or a path that no request can have is an error at the start."""
    with pytest.raises(ValueError, match="validation error"):
        WebhookSettings(**block)


def test_the_shell_example_of_the_page_works(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/operations.md tells to type makes a secret and a call that wakes."""
    monkeypatch.setattr(webhook_messages, "_READ_AGAIN_SECONDS", 0.0)
    page = (peers.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    make, send = re.search(r"```sh\n(\(umask.*?)```", page, re.DOTALL), re.search(r"```bash\n(.*?)```", page, re.DOTALL)
    assert make is not None
    assert send is not None
    url = f"http://127.0.0.1:{hook.server.port}/webhook"
    for script in (make[1], send[1]):
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "url": url, "secret_file": "webhook-secret"},
            check=True,
            timeout=60,
        )
    hook.until(lambda: len(hook.wakes) == 1)


def test_threads_end_with_it(tmp_path: Path) -> None:
    """However often it is opened and closed, no thread stays behind."""
    before = threading.active_count()
    for _ in range(5):
        Hook(tmp_path).server.close()
    assert threading.active_count() == before
