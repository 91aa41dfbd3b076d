"""The webhook: a signed HTTP call that wakes the daemon, and nothing else.

It stands where anybody may call, so every bound is strict and none depends on the caller: connections, bytes and time
of each, and how many are taken a second. What comes faster waits in the kernel's queue and is dropped there, at no cost
to the cycles that share this process. The answer is one of two constants. Nothing that came is logged or kept.
"""

import asyncio
import contextlib
import errno
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, Self

import h11
import structlog

from reconciler.daemon.webhook_messages import Headers, Verdict

log = structlog.get_logger(__name__)

MOST_CLIENTS: Final = 64
"""Connections held at a time. One more ends the oldest of them, so that slow ones shut nobody out."""
REQUEST_SECONDS: Final = 5.0
"""For a whole call, from its connection to the answer."""
CALLS_A_SECOND: Final = 200.0
"""Taken on average; a tenth of one core, measured. No HR system has that much to say."""
_BURST: Final = 200.0
_PAUSE_SECONDS: Final = 0.1
_BACKLOG: Final = 128
_HEAD_BYTES: Final = 8 * 1024
_CHUNK: Final = 16 * 1024
_MOST_DISCARDED: Final = 256 * 1024
_DISCARD_SECONDS: Final = 1.0
_TELL_SECONDS: Final = 60.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_YES: Final = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
_NO: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Fate(StrEnum):
    """What became of a call."""

    ACCEPTED = Verdict.ACCEPTED.value
    REPLAYED = Verdict.REPLAYED.value
    FORGED = Verdict.FORGED.value
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    """Not a POST to our path, or not HTTP."""
    TOO_SLOW = "too_slow"
    OVERLOADED = "overloaded"
    """Ended to make room for another one."""
    BROKEN_OFF = "broken_off"
    """The caller hung up."""


_AUTHENTIC: Final = frozenset({Fate.ACCEPTED, Fate.REPLAYED})
"""Answered alike: a sender that sends again because no answer came must not be told that it failed."""

_UNREAD: Final = frozenset({Fate.TOO_LARGE, Fate.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookCounts:
    """How many calls came to which end since the start."""

    accepted: int
    replayed: int
    forged: int
    too_large: int
    refused: int
    too_slow: int
    overloaded: int
    broken_off: int
    pauses: int
    """How often the intake rested because calls came faster than they are taken."""

    @property
    def calls(self) -> Mapping[str, int]:
        """Return the number of calls by what became of them."""
        return {fate.value: getattr(self, fate.value) for fate in Fate}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where calls come in, and what one may be."""

    bind: str
    """Address to listen on."""
    port: int
    """0 for a free one."""
    path: str
    max_bytes: int
    """Of a body."""
    gap_seconds: float
    """Wakes are at least this far apart; what comes sooner is one wake at the end of the gap."""


class WebhookServer:
    """Listens from construction to `close`, in one thread of its own."""

    def __init__(self, door: Door, judge: Callable[[Headers, bytes], Verdict], wake: Callable[[], None]) -> None:
        """Listen; raises `OSError` when the address cannot be had. `judge` and `wake` are called from the thread."""
        self._door = door
        self._judge = judge
        self._wake = wake
        self._fates: Counter[Fate] = Counter()
        self._pauses = 0
        self._credit = _BURST
        self._credited_at = self._tell_at = self._wake_at = 0.0
        self._pending: asyncio.TimerHandle | None = None
        self._clients: dict[asyncio.Task[None], None] = {}
        family = socket.AF_INET6 if ":" in door.bind else socket.AF_INET
        self._listener = socket.create_server((door.bind, door.port), family=family, backlog=_BACKLOG)
        self._listener.settimeout(0)
        self._loop = asyncio.new_event_loop()
        self._intake = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._listener.getsockname()[1])

    @property
    def counts(self) -> WebhookCounts:
        """Return how many calls came to which end; for any thread."""
        return WebhookCounts(pauses=self._pauses, **{fate.value: self._fates[fate] for fate in Fate})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and hang up on whoever is there."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._intake.cancel)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._intake)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        try:
            await self._take_in()
        finally:
            clients = tuple(self._clients)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _take_in(self) -> None:
        while True:
            await self._turn()
            try:
                client, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:
                # Hung up before its turn, or no descriptors are left: neither may end the intake.
                self._pauses += 1
                self._tell(error=errno.errorcode.get(error.errno or 0, ""))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._make_room()
            task = self._loop.create_task(self._attend(client))
            self._clients[task] = None
            task.add_done_callback(self._left)
            # Neither await above gives way while callers queue: those who are in would starve behind them.
            await asyncio.sleep(0)

    async def _turn(self) -> None:
        """Wait until the next call may be taken."""
        while True:
            now = self._loop.time()
            self._credit = min(_BURST, self._credit + (now - self._credited_at) * CALLS_A_SECOND)
            self._credited_at = now
            if self._credit >= 1:
                self._credit -= 1
                return
            self._pauses += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    def _make_room(self) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.cancel()
            self._fates[Fate.OVERLOADED] += 1
            self._tell()

    def _left(self, task: asyncio.Task[None]) -> None:
        self._clients.pop(task, None)
        defect = None if task.cancelled() else task.exception()
        if defect is not None:
            # Its kind only: the message of an unforeseen error may hold what came.
            log.error("webhook.failed", error=type(defect).__name__)

    async def _attend(self, client: socket.socket) -> None:
        with client:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    fate = await self._hear(client)
                    if fate is Fate.ACCEPTED:
                        self._wake_soon()
                    await self._loop.sock_sendall(client, _YES if fate in _AUTHENTIC else _NO)
            except TimeoutError:
                fate = Fate.TOO_SLOW
            except OSError:
                fate = Fate.BROKEN_OFF
            self._fates[fate] += 1
            if fate not in _AUTHENTIC:
                self._tell()
            if fate in _UNREAD:
                await self._discard(client)

    async def _hear(self, client: socket.socket) -> Fate:
        """Read one request and judge it; what is not wanted is not read to its end."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        request = await self._next(client, connection)
        if not isinstance(request, h11.Request):
            return Fate.REFUSED
        unwanted = self._unwanted(request)
        if unwanted is not None:
            return unwanted
        body = bytearray()
        while isinstance(event := await self._next(client, connection), h11.Data):
            body += event.data
            if len(body) > self._door.max_bytes:
                return Fate.TOO_LARGE
        if not isinstance(event, h11.EndOfMessage):
            return Fate.REFUSED
        return Fate(self._judge(list(request.headers), bytes(body)))

    async def _next(self, client: socket.socket, connection: h11.Connection) -> h11.Event | None:
        """Return what comes next of a request; None where it is not HTTP or breaks off."""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return None
            if isinstance(event, h11.Event):
                return event
            await self._receive(client, connection)

    async def _receive(self, client: socket.socket, connection: h11.Connection) -> None:
        if connection.they_are_waiting_for_100_continue:
            connection.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self._loop.sock_sendall(client, _CONTINUE)
        connection.receive_data(await self._loop.sock_recv(client, _CHUNK))

    def _unwanted(self, request: h11.Request) -> Fate | None:
        """Return why a request is not read any further, by its head alone."""
        if request.method != b"POST" or request.target != self._door.path.encode():
            return Fate.REFUSED
        announced = [int(value) for name, value in request.headers if name == b"content-length"]
        return Fate.TOO_LARGE if announced and announced[0] > self._door.max_bytes else None

    async def _discard(self, client: socket.socket) -> None:
        """Read on for a moment: a socket closed over unread bytes resets the connection, and the answer is lost."""
        rest = _MOST_DISCARDED
        try:
            client.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_DISCARD_SECONDS):
                while rest > 0 and (chunk := await self._loop.sock_recv(client, _CHUNK)):
                    rest -= len(chunk)
        except OSError:
            return  # gone, or out of time, which is an OSError too: the answer was sent

    def _wake_soon(self) -> None:
        if self._pending is None:
            self._pending = self._loop.call_at(max(self._wake_at, self._loop.time()), self._wake_now)

    def _wake_now(self) -> None:
        self._pending = None
        self._wake_at = self._loop.time() + self._door.gap_seconds
        self._wake()

    def _tell(self, **facts: str) -> None:
        """Say once a minute that calls were turned away: numbers only, and the error of a socket."""
        if self._loop.time() >= self._tell_at:
            self._tell_at = self._loop.time() + _TELL_SECONDS
            log.warning("webhook.turned_away", **asdict(self.counts), **facts)
