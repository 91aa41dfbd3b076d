"""A real process that works off a long queue of statements is killed with SIGKILL, again and again."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.spool import Office
from tests.peers import ROOT
from tests.simulation.office import FAST

WAITING = 500
KILLED_AFTER = (1, 20, 133)
"""Statements signed before each kill; 20 are signed in one go."""


@pytest.fixture
def office() -> Iterator[Office]:
    """Return five hundred statements that wait, in memory: syncs of a busy disk are no part of what is tested."""
    with tempfile.TemporaryDirectory(prefix="queue-", dir=FAST) as folder:
        yield Office(Path(folder), waiting=WAITING)


def bundles(office: Office) -> list[int]:
    """Return the sequence numbers that are signed, as they lie there."""
    return sorted(int(path.name[:6]) for path in (office.root / "attestations").glob("*.sigstore.json"))


def stated(office: Office) -> str:
    """Return a digest over all statements and their names."""
    every = sorted((office.root / "attestations").glob("*.statement.json"))
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in every)).hexdigest()


def started(office: Office) -> subprocess.Popen[bytes]:
    """Start the process that signs."""
    command = [sys.executable, "-m", "tests.crash.killed_signer", str(office.root), office.genesis]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_queue_of_five_hundred_outlives_every_kill(office: Office) -> None:
    """Whenever the process dies, what is signed is a beginning of the queue; the last one signs the rest, in order."""
    before, signed = stated(office), 0
    for more in KILLED_AFTER:
        with started(office) as child:
            assert child.stdin is not None
            child.stdin.write(b"\n" * more)
            child.stdin.flush()
            signed += more
            until = time.monotonic() + 60
            while len(bundles(office)) < signed and child.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        assert bundles(office) == list(range(1, signed + 1))
        assert office.left() == list(range(signed + 1, WAITING + 1))
        assert office.spool.backlog().attempts.failures == 0
    with started(office) as child:
        child.communicate(b"\n" * WAITING, timeout=60)
    assert child.returncode == 0
    assert bundles(office) == list(range(1, WAITING + 1))
    assert office.left() == []
    assert stated(office) == before
