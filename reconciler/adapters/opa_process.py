"""A managed OPA server: one child of ours on a free loopback port, reachable with one token, gone when we are.

The child hangs on a lifeline: the read end of a pipe whose write end only we hold. When we end, however we end, the
pipe closes and a watcher beside the child stops it; a parent-death signal would be tied to one thread and to Linux.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import PolicyError

READY_SECONDS = 20.0
ANSWER_SECONDS = 5.0
"""A child that does not say in so long that it is well is replaced, which takes a second."""
_GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.05
_LOG_TAIL = 1500

_GOGC = "400"
"""The child's heap may grow to five times what it holds before it is swept: a third less processor time a cycle."""

_LIFELINE = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
( exec >/dev/null 2>&1; cat <&3; kill -TERM "$child" ) &
watcher=$!
exec 3<&-
wait "$child"
code=$?
kill "$watcher"
exit "$code"
"""

_AUTHZ = """# Who may ask this server what. Read at start; never part of the policies that decide.
# Start NONCE: only the server that read this file can show this line.
package system.authz

default allow := false

allow if input.path == ["health"]

allow if {
	crypto.sha256(input.identity) == "TOKEN_SHA256"
	input.path[0] == "v1"
	input.path[1] in {"data", "policies"}
}
"""


class OpaProcess:
    """One running `opa run --server`. Restarted by making another one."""

    def __init__(self, executable: Path, directory: Path) -> None:
        """Start the child; `directory` keeps its log and its authorisation policy. Raises `PolicyError`."""
        self.token = secrets.token_urlsafe(32)
        self.port = _free_port()
        self.log = directory / "opa.log"
        self.authz = directory / f"authz-{self.port}.rego"
        self.authz_source = _AUTHZ.replace("TOKEN_SHA256", sha256_hex(self.token.encode()))
        self.authz_source = self.authz_source.replace("NONCE", secrets.token_hex(16))
        self._write_authz(directory)
        command = [
            *(str(executable), "run", "--server", "--addr", f"127.0.0.1:{self.port}"),
            *("--authentication", "token", "--authorization", "basic", "--log-level", "error"),
            *(
                "--skip-version-check",
                "--optimize-store-for-read-speed",
                "--shutdown-grace-period",
                "1",
                str(self.authz),
            ),
        ]
        try:
            with self.log.open("wb") as sink:
                self._process = subprocess.Popen(  # noqa: S603 - the configured executable and fixed arguments
                    ["/bin/sh", "-c", _LIFELINE, "opa-lifeline", *command],
                    stdin=subprocess.PIPE,
                    stdout=sink,
                    stderr=sink,
                    env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "GOGC": _GOGC},
                    start_new_session=True,
                )
        except OSError as error:
            msg = f"the policy engine {executable} could not be started: {error.strerror}"
            raise PolicyError(msg, advice="install opa, or give the URL of a running server") from error

    def _write_authz(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.authz.unlink(missing_ok=True)
            self.authz.touch(mode=0o600)
            self.authz.write_text(self.authz_source)
        except OSError as error:
            msg = f"the policy engine cannot be started: its folder {directory} cannot be written: {error.strerror}"
            raise PolicyError(msg, advice="make room there, or give the folder to this account") from error

    def _remove_authz(self) -> None:
        """Remove what the child has read; it holds a token's hash alone, so that one left behind tells nothing."""
        with contextlib.suppress(OSError):  # a disk that turned read-only: the child is ready, or to be ended, anyhow
            self.authz.unlink(missing_ok=True)

    @property
    def alive(self) -> bool:
        """Say whether the child still runs."""
        return self._process.poll() is None

    def answers(self) -> bool:
        """Say whether the child runs and answers soon: one that hangs would hold up a leaver until a call times out."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", "/health")
            return self.alive and connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Wait until the child accepts connections; raises `PolicyError` with the end of its log."""
        until = time.monotonic() + READY_SECONDS
        while self.alive and time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(_POLL_SECONDS)
            else:
                self._remove_authz()
                return
        self.stop()
        raise PolicyError(f"the managed OPA did not start: {self.log_tail()}", advice=f"see {self.log}")

    def log_tail(self) -> str:
        """Return the end of the child's log on one line."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return " ".join(text[-_LOG_TAIL:].split()) or "(empty log)"

    def stop(self) -> None:
        """End the child: let go of the lifeline, then after three seconds by force."""
        self._remove_authz()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
