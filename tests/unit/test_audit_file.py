"""The audit file: whole lines only, each record once, its owner's only, and nobody else's content touched."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.audit_file import LINES_AT_ONCE, JsonLinesStream
from reconciler.adapters.audit_outbox import KeptRecord
from reconciler.core.canonical import dumps
from reconciler.core.errors import AuditError
from tests.builders import NOW


def kept(*numbers: int, padding: int = 0) -> tuple[KeptRecord, ...]:
    """Build records as the outbox hands them over."""
    return tuple(
        KeptRecord(
            position=number,
            record_id=f"id-{number}",
            at=NOW,
            document=dumps({"at": "2026", "id": f"id-{number}", "x": "y" * padding}).decode(),
        )
        for number in numbers
    )


def ids(path: Path) -> list[str]:
    """Return the ids of the file, each line being whole JSON."""
    content = path.read_text()
    assert content == "" or content.endswith("\n")
    return [json.loads(line)["id"] for line in content.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file in a folder that does not exist yet."""
    return tmp_path / "state" / "audit.jsonl"


def test_the_file_is_private_from_the_start(path: Path) -> None:
    """The file is its owner's only, whatever the umask, and also when it lay open before."""
    before = os.umask(0)
    try:
        JsonLinesStream(path).write(kept(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    JsonLinesStream(path).write(kept(2))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ids(path) == ["id-1", "id-2"]


def test_records_handed_over_again_are_not_written_again(path: Path) -> None:
    """A hand-over whose acknowledgement was lost is repeated without a second line, and what is new follows."""
    JsonLinesStream(path).write(kept(1, 2, 3))
    JsonLinesStream(path).write(kept(1, 2, 3, 4))
    assert ids(path) == ["id-1", "id-2", "id-3", "id-4"]


def test_a_whole_hand_over_is_recognised(path: Path) -> None:
    """The largest hand-over, of records that span many blocks, is known to its first line."""
    batch = kept(*range(LINES_AT_ONCE), padding=400)
    JsonLinesStream(path).write(kept(-1, -2))
    JsonLinesStream(path).write(batch)
    JsonLinesStream(path).write(batch)
    assert len(ids(path)) == LINES_AT_ONCE + 2


@pytest.mark.parametrize("length", [1, 5, 30, -1])
def test_a_cut_off_line_is_written_again_whole(path: Path, length: int) -> None:
    """A record that a crash cut off anywhere is replaced by the whole record; lines before it stay."""
    JsonLinesStream(path).write(kept(1))
    line = kept(2)[0].document.encode()
    with path.open("ab") as file:
        file.write(line[:length])
    JsonLinesStream(path).write(kept(2))
    assert ids(path) == ["id-1", "id-2"]


def test_a_file_of_nothing_but_a_cut_off_record_is_mended(path: Path) -> None:
    """A crash in the very first line leaves nothing behind."""
    path.parent.mkdir()
    path.write_bytes(b'{"at":"2026')
    JsonLinesStream(path).write(kept(1))
    assert ids(path) == ["id-1"]


def test_foreign_content_is_never_cut(path: Path) -> None:
    """A file that ends in something else is refused and left as it is."""
    path.parent.mkdir()
    path.write_bytes(b"line\nroot:x:0:0")
    with pytest.raises(AuditError, match="no audit record") as refused:
        JsonLinesStream(path).write(kept(1))
    assert "audit.jsonl" in refused.value.advice
    assert path.read_bytes() == b"line\nroot:x:0:0"


def test_whole_foreign_lines_do_no_harm(path: Path) -> None:
    """Lines that are no JSON, or no objects, count as nobody's record."""
    path.parent.mkdir()
    path.write_bytes(b"hello\n[1]\n\xff\n")
    JsonLinesStream(path).write(kept(1))
    assert path.read_bytes().startswith(b"hello\n[1]\n\xff\n{")


def test_a_rotated_file_is_begun_anew(path: Path) -> None:
    """After a rename the next hand-over makes a new private file; nothing goes into the old one."""
    stream = JsonLinesStream(path)
    stream.write(kept(1))
    path.rename(path.with_suffix(".1"))
    stream.write(kept(2))
    assert ids(path) == ["id-2"]
    assert ids(path.with_suffix(".1")) == ["id-1"]


def test_a_link_or_a_device_is_refused(path: Path, tmp_path: Path) -> None:
    """A link planted in place of the file is not followed, and a pipe or a folder is no file."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="cannot be written"):
        JsonLinesStream(path).write(kept(1))
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(AuditError, match="Is a directory"):
        JsonLinesStream(tmp_path).write(kept(1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(AuditError, match="no regular file"):
        JsonLinesStream(pipe).write(kept(1))


def test_a_full_disk_loses_and_doubles_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk takes half of a hand-over and then no more, the repetition completes it line by line."""
    real, room = os.write, [150]

    def write(handle: int, content: Any) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        taken = real(handle, bytes(content)[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(AuditError, match="No space left") as full:
        JsonLinesStream(path).write(kept(1, 2, 3, 4, 5, 6))
    assert "wait in the journal" in full.value.advice
    monkeypatch.setattr(os, "write", real)
    JsonLinesStream(path).write(kept(1, 2, 3, 4, 5, 6))
    assert ids(path) == [f"id-{number}" for number in range(1, 7)]


def test_it_is_on_the_disk_when_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced after it was written, and the folder too when the file is new."""
    synced: list[tuple[bool, int]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        found = os.fstat(handle)
        synced.append((stat.S_ISDIR(found.st_mode), found.st_size))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    JsonLinesStream(path).write(kept(1))
    assert [folder for folder, _ in synced] == [True, False]
    assert synced[-1][1] == path.stat().st_size
