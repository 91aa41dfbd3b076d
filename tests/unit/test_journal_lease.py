"""The lease of a state folder: one writer, named to whoever comes second."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.adapters.lease import FileLease
from reconciler.core.errors import JournalError, LeaseLost
from tests.builders import NOW


def test_the_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    """A second taker is refused at once, with process, purpose and since when; the holder is not disturbed."""
    with FileLease(tmp_path, purpose="cycle", now=NOW):
        with pytest.raises(LeaseLost, match=rf"process {os.getpid()} \(cycle, since 2026-03-02T09:00") as refused:
            FileLease(tmp_path, purpose="approve", now=NOW)
        assert "wait" in refused.value.advice
        assert json.loads((tmp_path / "writer.json").read_text())["purpose"] == "cycle"


def test_a_lease_given_back_can_be_taken(tmp_path: Path) -> None:
    """Closing frees the lease, twice harmlessly, and leaves no holder's name behind."""
    lease = FileLease(tmp_path / "state", purpose="cycle", now=NOW)
    lease.close()
    lease.close()
    assert not (tmp_path / "state" / "writer.json").exists()
    with FileLease(tmp_path / "state", purpose="cycle", now=NOW):
        pass


def test_the_files_are_private(tmp_path: Path) -> None:
    """Lock and holder's name are readable by their owner only, whatever the umask."""
    before = os.umask(0)
    try:
        with FileLease(tmp_path / "state", purpose="cycle", now=NOW):
            modes = {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}


def test_a_torn_holder_file_does_not_hide_the_lease(tmp_path: Path) -> None:
    """Whatever the holder's file says, the lock counts."""
    with FileLease(tmp_path, purpose="cycle", now=NOW):
        for content in ("", "[]", '{"pid": "x", "purpose": 1, "since": 2}'):
            (tmp_path / "writer.json").write_text(content)
            with pytest.raises(LeaseLost, match="another process holds"):
                FileLease(tmp_path, purpose="cycle", now=NOW)


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    """The lease of a process that was killed can be taken at once, though its name still lies there."""
    code = (
        "import sys, pathlib, datetime; from reconciler.adapters.lease import FileLease;"
        "now = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC);"
        "lease = FileLease(pathlib.Path(sys.argv[1]), purpose='run', now=now);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."}
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(LeaseLost, match=rf"process {child.pid} \(run"):
            FileLease(tmp_path, purpose="cycle", now=NOW)
        child.kill()
    assert (tmp_path / "writer.json").exists()
    FileLease(tmp_path, purpose="cycle", now=NOW).close()


def test_a_lease_that_cannot_be_signed_is_given_back(tmp_path: Path) -> None:
    """When the holder's name cannot be written the lock does not stay behind."""
    (tmp_path / "writer.new").mkdir()
    with pytest.raises(JournalError, match="Is a directory"):
        FileLease(tmp_path, purpose="cycle", now=NOW)
    (tmp_path / "writer.new").rmdir()
    FileLease(tmp_path, purpose="cycle", now=NOW).close()


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    """A state folder that is a file gives an error with advice, not a lease."""
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalError) as refused:
        FileLease(tmp_path / "state", purpose="cycle", now=NOW)
    assert "local disk" in refused.value.advice


def test_a_lease_whose_lock_was_replaced_is_lost(tmp_path: Path) -> None:
    """A removed or replaced lock file excludes nobody any more: its holder finds that out by asking."""
    with FileLease(tmp_path, purpose="run", now=NOW) as lease:
        lease.check()
        (tmp_path / "writer.lock").unlink()
        with pytest.raises(LeaseLost, match="not the one that was taken"):
            lease.check()
        with FileLease(tmp_path, purpose="cycle", now=NOW), pytest.raises(LeaseLost) as lost:
            lease.check()
        assert "restart" in lost.value.advice


def test_a_lease_that_was_given_back_is_lost(tmp_path: Path) -> None:
    """After closing, asking says that it is gone."""
    lease = FileLease(tmp_path, purpose="run", now=NOW)
    lease.close()
    with pytest.raises(LeaseLost):
        lease.check()
