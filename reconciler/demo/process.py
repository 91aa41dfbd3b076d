"""Starting a real server as a child on a free loopback port, and ending exactly that child."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from reconciler.core.errors import ReconcilerError


class ServerFailed(ReconcilerError):
    """A server did not come up; the message holds the end of its log."""


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server answers, and what a client needs besides."""

    url: str
    details: Mapping[str, str]


@dataclass(slots=True)
class RunningServer:
    """A child process of ours and the address it answers on."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    details: Mapping[str, str] = field(default_factory=dict)
    """What a client needs besides the URL, such as a bind DN. Throw-away secrets of the demo only."""

    @property
    def address(self) -> Address:
        """Return where it answers, without the process."""
        return Address(url=self.url, details=self.details)

    def stop(self) -> None:
        """End the child: politely, then after five seconds by force."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """How to start one server."""

    name: str
    command: Sequence[str]
    url: str
    """The address that it will answer on."""
    environment: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


def start_server(
    server: ServerCommand, *, log: Path, ready: Callable[[], bool], deadline_seconds: float = 30.0
) -> RunningServer:
    """Start a child and wait until `ready` answers True; raises `ServerFailed` with the end of its log."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            list(server.command),
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **server.environment},
        )
    running = RunningServer(name=server.name, url=server.url, process=process, log=log, details=server.details)
    until = time.monotonic() + deadline_seconds
    while time.monotonic() < until and process.poll() is None:
        if ready():
            return running
        time.sleep(0.05)
    running.stop()
    tail = log.read_text(errors="replace")[-2000:]
    msg = f"{server.name} did not answer on {server.url} within {deadline_seconds:.0f} s:\n{tail}"
    raise ServerFailed(msg)
