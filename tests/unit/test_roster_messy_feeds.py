"""Every line of the messy-file list that concerns a feed as a whole: refused, held or accepted."""

import codecs
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inventory.roster.csv_file import CsvRosterSettings, CsvRosterSource
from inventory.roster.feed import MAX_LINE_CHARACTERS, FeedRefused, OpenFeed, lines_of, open_feed
from inventory.roster.gate import accepted_of
from tests import feeds
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = "worker_id,status,last_day_of_work,work_email\n"
ROWS = HEAD + "E1,Active,,ann@example.com\nE2,Terminated,2026-02-01,bo@example.com\n"

ACCEPTED: dict[str, tuple[str | bytes, dict[str, Any]]] = {
    "UTF-8 BOM": (codecs.BOM_UTF8 + ROWS.encode(), {}),
    "UTF-16 little endian": (codecs.BOM_UTF16_LE + ROWS.encode("utf-16-le"), {}),
    "UTF-16 big endian": (codecs.BOM_UTF16_BE + ROWS.encode("utf-16-be"), {}),
    "UTF-16 without a mark, named": (ROWS.encode("utf-16-le"), {"encoding": "utf-16-le"}),
    "Latin-1, named": (ROWS.replace("ann@", "änn@").encode("latin-1"), {"encoding": "latin-1"}),
    "CRLF": (ROWS.replace("\n", "\r\n"), {}),
    "lone CR": (ROWS.replace("\n", "\r"), {}),
    "embedded newlines": (
        (
            "worker_id,status,last_day_of_work,department\n"
            'E1,Active,,"two\nlines"\nE2,Terminated,2026-02-01,"three\r\nmore\nlines"\n'
        ),
        {},
    ),
    "no line end at the end": (ROWS.rstrip("\n"), {}),
    "blank lines and empty rows": (ROWS + "\n,,,\n\n", {}),
    "; delimiter": (ROWS.replace(",", ";"), {}),
    "tab delimiter": (ROWS.replace(",", "\t"), {}),
    "| delimiter": (ROWS.replace(",", "|"), {}),
    "delimiter named": (ROWS.replace(",", "|"), {"delimiter": "|"}),
    "header reordered": (
        "status,work_email,worker_id,last_day_of_work\nActive,,E1,\nTerminated,,E2,2026-02-01\n",
        {},
    ),
    "header in other case": (ROWS.replace("worker_id,status", " Worker_ID ,STATUS"), {}),
    "header renamed and mapped": (
        ROWS.replace("worker_id", "Personalnummer").replace("status", "Stand"),
        {"columns": {"worker_id": "Personalnummer", "status": "Stand"}},
    ),
    "further columns": (
        "worker_id,status,last_day_of_work,shoe_size\nE1,Active,,41\nE2,Terminated,2026-02-01,42\n",
        {},
    ),
    "column that only looks like ours": (
        "worker_id,status,last_day_of_work,Work_Email_2\nE1,Active,,a\nE2,Terminated,2026-02-01,b\n",
        {"other_columns": ["work_email_2"]},
    ),
    "column of a neighbouring name": (
        "worker_id,status,last_day_of_work,termination_type\nE1,Active,,a\nE2,Terminated,2026-02-01,b\n",
        {},
    ),
    "trailer row, expected": (ROWS + "TOTAL 2,,,\n", {"trailer_rows": r"TOTAL (?P<count>[0-9]+)"}),
    "short trailer row, expected": (ROWS + "End of report\n", {"trailer_rows": "End of report"}),
    "row count as expected": (ROWS, {"expected_count": 2}),
}

REFUSED: dict[str, tuple[str | bytes, dict[str, Any], tuple[str, int, int]]] = {
    "Latin-1": (ROWS.replace("bo@", "bö@").encode("latin-1"), {}, ("encoding_invalid", 3, 4)),
    "UTF-16 cut in a character": (
        codecs.BOM_UTF16_LE + ROWS.rstrip("\n").encode("utf-16-le")[:-1],
        {},
        ("encoding_invalid", 3, 4),
    ),
    "UTF-32": (codecs.BOM_UTF32_LE + ROWS.encode("utf-32-le"), {}, ("encoding_unexpected", 1, 0)),
    "mark of another encoding than named": (
        codecs.BOM_UTF16_LE + ROWS.encode("utf-16-le"),
        {"encoding": "utf-8"},
        ("encoding_unexpected", 1, 0),
    ),
    "mojibake": (ROWS.replace("bo@", "b\u00c3\u00b6@"), {}, ("mojibake", 3, 4)),
    "characters lost before": (ROWS.replace("bo@", "b\ufffd@"), {}, ("mojibake", 3, 4)),
    "mojibake by a named encoding": (
        ROWS.replace("bo@", "bö@").encode(),
        {"encoding": "latin-1"},
        ("mojibake", 3, 4),
    ),
    "header renamed": (ROWS.replace("worker_id", "Personalnummer"), {}, ("header_missing", 1, 0)),
    "header slightly renamed": (
        "worker_id,status,last_day_of_work,employment_idd\nE1,Active,,\n",
        {},
        ("header_renamed", 1, 4),
    ),
    "header written with spaces": (
        "worker_id,status,termination_date,Last Day Of Work\nE1,Active,,\n",
        {},
        ("header_renamed", 1, 4),
    ),
    "header missing (data in its place)": ("E1,Active,\nE2,Active,\n", {}, ("header_missing", 1, 0)),
    "column mapped and missing": (ROWS, {"columns": {"termination_date": "Austritt"}}, ("header_missing", 1, 0)),
    "column required and missing": (ROWS, {"required_columns": ["work_timezone"]}, ("header_missing", 1, 0)),
    "header duplicated": (
        "worker_id,status,last_day_of_work,Status\nE1,Active,,Active\n",
        {},
        ("header_duplicate", 1, 4),
    ),
    "header repeated (two exports joined)": (ROWS + ROWS, {}, ("header_repeated", 4, 0)),
    "cut mid-row": (ROWS[:-20], {}, ("row_cut", 3, 4)),
    "cut inside a quoted field": (ROWS + 'E3,Active,,"cy@exam', {}, ("row_cut", 4, 4)),
    "cut at a row boundary (row count)": (ROWS, {"expected_count": 3}, ("count_mismatch", 0, 0)),
    "too few fields in the middle": (HEAD + "E1,Active\nE2,Active,,\n", {}, ("row_width", 2, 3)),
    "unquoted delimiter": (HEAD + "E1,Active,,a,b\nE2,Active,,\n", {}, ("row_width", 2, 5)),
    "broken quoting": (HEAD + 'E1,"Act"ive,,\n', {}, ("quoting", 2, 0)),
    "empty": ("", {}, ("empty_file", 0, 0)),
    "only a byte order mark": (codecs.BOM_UTF8, {}, ("header_missing", 1, 0)),
    "header only": (HEAD, {}, ("no_rows", 1, 0)),
    "trailer row, not expected": (ROWS + "TOTAL 2\n", {}, ("row_width", 4, 2)),
    "trailer row counts other rows": (
        ROWS + "TOTAL 3,,,\n",
        {"trailer_rows": r"TOTAL (?P<count>[0-9]+)"},
        ("count_mismatch", 0, 0),
    ),
    "trailer that counts no number": (
        ROWS + "TOTAL many,,,\n",
        {"trailer_rows": r"TOTAL (?P<count>.*)"},
        ("count_mismatch", 4, 1),
    ),
    "too many rows": (ROWS, {"max_rows": 1}, ("too_many_rows", 3, 0)),
    "rows after the trailer": (
        ROWS + "TOTAL 2,,,\nE3,Active,,\n",
        {"trailer_rows": "TOTAL .*"},
        ("row_after_trailer", 5, 0),
    ),
    "termination column gone in silence": ("worker_id,status\nE1,Active\n", {}, ("header_missing", 1, 0)),
    "HTML login page with status 200": ("<!DOCTYPE html>\n<html></html>\n", {}, ("not_csv", 1, 1)),
    "JSON in its place": ('{"workers": []}\n', {}, ("not_csv", 1, 1)),
    "NUL bytes": (ROWS.replace("bo@", "b\0@"), {}, ("nul_byte", 3, 4)),
    "too large": (ROWS, {"max_bytes": 20}, ("too_large", 0, 0)),
    "a line without end": (ROWS + "E" * (MAX_LINE_CHARACTERS + 10), {}, ("line_too_long", 4, 0)),
    "duplicate id, conflicting": (HEAD + "E1,Active,,\nE1,Terminated,2026-01-31,\n", {}, ("duplicate_conflict", 3, 1)),
    "no row can be used": (HEAD + "E1,?,,\nE2,?,,\n", {}, ("rows_unusable", 2, 0)),
    "most of many rows cannot be used": (
        HEAD + "".join(f"E{at},{'?' if at < 106 else 'Active'},,\n" for at in range(100, 110)),
        {},
        ("rows_unusable", 2, 0),
    ),
    "as_of that is no instant": (
        "worker_id,status,last_day_of_work,as_of\nE1,Active,,2026-03-02T06:00:00\n",
        {},
        ("instant_without_offset", 2, 4),
    ),
    "as_of blank in one row": (
        "worker_id,status,last_day_of_work,as_of\nE1,Active,,2026-03-02T06:00:00Z\nE2,Active,,\n",
        {},
        ("as_of_blank", 3, 4),
    ),
    "as_of column asked for and missing": (ROWS, {"as_of_from": "column"}, ("header_missing", 1, 0)),
    "side file asked for and missing": (ROWS, {"as_of_from": "sidecar"}, ("sidecar_missing", 0, 0)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_feed_is_accepted(case: str, tmp_path: Path) -> None:
    """A feed that is merely written differently is read to the same two workers, one of them a leaver."""
    content, settings = ACCEPTED[case]
    roster = feeds.roster_of(feeds.load(feeds.write(tmp_path, content), **settings))
    assert [worker.worker_id for worker in roster.workers] == ["E1", "E2"]
    assert feeds.leavers(roster) == ["E2"]
    assert roster.problems == ()
    assert roster.rows == 2


@pytest.mark.parametrize("case", REFUSED)
def test_feed_is_refused(case: str, tmp_path: Path) -> None:
    """A feed that is not whole is refused whole, by code, line and column."""
    content, settings, expected = REFUSED[case]
    problem = feeds.refusal_of(feeds.load(feeds.write(tmp_path, content), **settings))
    assert (problem.code, problem.line, problem.column) == expected
    assert problem.message


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_hold_no_personal_data(case: str, tmp_path: Path) -> None:
    """A refusal never repeats an address or any other cell of the feed."""
    content, settings, _ = REFUSED[case]
    problem = feeds.refusal_of(feeds.load(feeds.write(tmp_path, content), **settings))
    for text in ("@", "ann@", "bo@", "example.com", "E1", "E3", "Personalnummer"):
        assert text not in problem.message


def _missing(folder: Path) -> Path:
    return folder / "absent.csv"


def _folder(folder: Path) -> Path:
    return folder


def _dangling(folder: Path) -> Path:
    link = folder / "link.csv"
    link.symlink_to(folder / "absent.csv")
    return link


def _loop(folder: Path) -> Path:
    link = folder / "loop.csv"
    link.symlink_to(link)
    return link


def _device(_: Path) -> Path:
    return Path("/dev/zero")


def _pipe(folder: Path) -> Path:
    pipe = folder / "pipe.csv"
    os.mkfifo(pipe)
    return pipe


PLACES = {
    "missing": (_missing, "unreadable"),
    "folder": (_folder, "not_a_file"),
    "dangling link": (_dangling, "unreadable"),
    "link to itself": (_loop, "unreadable"),
    "device": (_device, "not_a_file"),
    "pipe": (_pipe, "not_a_file"),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_is_no_readable_file_is_refused(case: str, tmp_path: Path) -> None:
    """A path that leads to no regular file is refused at once, never raised or waited for; the fingerprint says so."""
    place: tuple[Callable[[Path], Path], str] = PLACES[case]
    path = place[0](tmp_path)
    assert feeds.refusal_of(feeds.load(path)).code == place[1]
    fingerprint = CsvRosterSource(CsvRosterSettings(path=path), FakeClock()).fingerprint()
    assert fingerprint == f"unreadable:{place[1]}"


def test_file_that_we_may_not_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission error is a refusal that says so."""
    path = feeds.write(tmp_path, ROWS)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    problem = feeds.refusal_of(feeds.load(path))
    assert problem.code == "unreadable"
    assert "Permission denied" in problem.message


def test_disk_that_fails_while_reading_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input/output error in the middle of the file refuses the feed."""
    path = feeds.write(tmp_path, ROWS)

    def fail(_: OpenFeed) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(OpenFeed, "read", fail)
    problem = feeds.refusal_of(feeds.load(path))
    assert problem.code == "unreadable"
    assert "Input/output error" in problem.message


def test_endless_line_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """A line far beyond the bound is given up as soon as the bound is passed, long before its end."""
    path = feeds.write(tmp_path, ROWS + "E" * (8 * MAX_LINE_CHARACTERS))
    with open_feed(path, 64 * 1024 * 1024) as feed:
        with pytest.raises(FeedRefused) as caught:
            list(lines_of(feed, "auto"))
        assert feed.size < 2 * MAX_LINE_CHARACTERS
    assert caught.value.problem.code == "line_too_long"


def test_symlink_to_a_feed_is_followed(tmp_path: Path) -> None:
    """An atomically swapped link, as Kubernetes mounts files, is read."""
    feeds.write(tmp_path, ROWS, name="v1.csv")
    link = tmp_path / "roster.csv"
    link.symlink_to("v1.csv")
    assert feeds.load(link).accepted


def test_file_written_while_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows under the reading is refused: nobody knows which of the two it was."""
    path = feeds.write(tmp_path, ROWS)
    original = CsvRosterSettings.kinds

    def grow(settings: CsvRosterSettings) -> Any:
        with path.open("a") as file:
            file.write("E3,Active,,\n")
        return original(settings)

    monkeypatch.setattr(CsvRosterSettings, "kinds", grow)
    assert feeds.refusal_of(feeds.load(path)).code == "changed_while_read"


def test_file_that_grows_past_the_limit_while_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size limit holds for what is read, not only for what the file system said before."""
    path = feeds.write(tmp_path, ROWS)
    monkeypatch.setattr("inventory.roster.feed.CHUNK_BYTES", 16)
    original = CsvRosterSettings.kinds

    def grow(settings: CsvRosterSettings) -> Any:
        with path.open("a") as file:
            file.write("E3,Active,,\n" * 10)
        return original(settings)

    monkeypatch.setattr(CsvRosterSettings, "kinds", grow)
    assert feeds.refusal_of(feeds.load(path, max_bytes=len(ROWS))).code == "too_large"


def test_same_feed_twice_gives_the_same(tmp_path: Path) -> None:
    """Loading one file again changes nothing and is accepted: idempotent."""
    path = feeds.write(tmp_path, ROWS)
    first = feeds.roster_of(feeds.load(path))
    assert feeds.roster_of(feeds.load(path, accepted_of(first))) == first


def test_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    """The fingerprint is the roster's digest until the file changes."""
    path = feeds.write(tmp_path, ROWS)
    source = CsvRosterSource(CsvRosterSettings(path=path), FakeClock())
    roster = feeds.roster_of(source.load(None))
    assert source.fingerprint() == roster.digest
    feeds.write(tmp_path, ROWS + "E3,Active,,\n")
    assert source.fingerprint() != roster.digest


def test_active_only_feed_is_held(tmp_path: Path) -> None:
    """A feed that suddenly lacks everybody who has left is shrunken, and makes nobody a leaver."""
    whole = [feeds.row(f"E{at:03}", "Terminated" if at < 20 else "Active") for at in range(100)]
    before = feeds.roster_of(feeds.load(feeds.write(tmp_path, feeds.csv_text(whole))))
    verdict = feeds.load(feeds.write(tmp_path, feeds.csv_text(whole[20:])), accepted_of(before))
    assert [problem.code for problem in verdict.held] == ["roster_shrunken"]
    assert verdict.roster is not None
    assert feeds.leavers(verdict.roster) == []


def test_undecodable_bytes_far_down_are_found_by_line(tmp_path: Path) -> None:
    """The line of a bad byte is right beyond the first chunk, and across quoted line breaks."""
    body = "".join(f"E{at},Active,,\n" for at in range(10_000))
    content = (HEAD + 'E,Active,,"a\nb"\n' + body).encode() + b"EX,Act\xffive,,\n"
    problem = feeds.refusal_of(feeds.load(feeds.write(tmp_path, content)))
    assert (problem.code, problem.line, problem.column) == ("encoding_invalid", 10_004, 2)


@pytest.mark.parametrize("last", ["worker_id", "employment_id", "rehire_of_employment_id"])
def test_unended_line_whose_last_column_is_an_id_is_set_aside(last: str, tmp_path: Path) -> None:
    """A cut id is another id: without a line end the last row of such a feed makes nobody a leaver."""
    header = [name for name in ("worker_id", "status", "last_day_of_work") if name != last] + [last]
    people = [feeds.row("E10", **({} if last == "worker_id" else {last: "A10"}))]
    people.append(feeds.row("E1234", "Terminated", **({} if last == "worker_id" else {last: "B1234"})))
    text = feeds.csv_text(people, header).replace('"', "")
    whole = feeds.roster_of(feeds.load(feeds.write(tmp_path, text)))
    assert feeds.leavers(whole) == ["E1234"]
    cut = feeds.roster_of(feeds.load(feeds.write(tmp_path, text[:-3])))
    assert feeds.leavers(cut) == []
    assert [problem.code for problem in cut.problems] == ["row_unended"]
