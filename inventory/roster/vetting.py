"""What is only seen when all rows are known: ids that clash, records that contradict themselves or one another."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from inventory.roster.csv_settings import Column, CsvRosterSettings
from inventory.roster.ends import contradicted, end_of
from inventory.roster.feed import FeedRefused
from inventory.roster.records import EmploymentRecord, RowReader


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """Why a record that reads well by itself is set aside all the same."""

    column: Column
    code: str
    message: str


_CONFUSABLE = _Doubt(
    column=Column.WORKER_ID,
    code="worker_id_ambiguous",
    message="another worker id differs only in leading zeros, case or letter form: it may be the same worker",
)
_SHARED_EMPLOYMENT = _Doubt(
    column=Column.EMPLOYMENT_ID,
    code="employment_id_shared",
    message="another worker has the same employment id: two workers were merged, or an id is used twice",
)
_CONTRADICTION = _Doubt(
    column=Column.STATUS,
    code="status_contradicts_dates",
    message="HR calls the worker current, yet the end of work lies behind: HR must correct the status or the date",
)


def vetted(
    records: Sequence[EmploymentRecord], reader: RowReader, as_of: datetime, settings: CsvRosterSettings
) -> tuple[EmploymentRecord, ...]:
    """Return the records without repeats, those in doubt set aside with a problem each.

    Raises `FeedRefused` when two rows say different things of one employment: which one is true decides who has left.
    """
    distinct = _without_repeats(records, reader)
    confusable = _held_by_many((_comparable(one.worker_id), one.worker_id) for one in distinct if one.worker_id)
    shared = _held_by_many((one.employment_id, one.worker_id) for one in distinct if one.employment_id)
    return tuple(
        _judged(record, reader, _doubts(record, as_of, settings, confusable=confusable, shared=shared))
        for record in distinct
    )


def _doubts(
    record: EmploymentRecord,
    as_of: datetime,
    settings: CsvRosterSettings,
    *,
    confusable: frozenset[str],
    shared: frozenset[str],
) -> Iterable[_Doubt]:
    if record.worker_id and _comparable(record.worker_id) in confusable:
        yield _CONFUSABLE
    if record.employment_id in shared:
        yield _SHARED_EMPLOYMENT
    end = None if record.set_aside else end_of(record, as_of, settings)
    if end is not None and contradicted(record, end, as_of, settings):
        yield _CONTRADICTION


def _judged(record: EmploymentRecord, reader: RowReader, doubts: Iterable[_Doubt]) -> EmploymentRecord:
    for doubt in doubts:
        reader.note(record.line, doubt.column, doubt.code, f"row set aside: {doubt.message}")
        record = replace(record, set_aside=True)
    return record


def _without_repeats(records: Sequence[EmploymentRecord], reader: RowReader) -> list[EmploymentRecord]:
    first: dict[tuple[str, ...], EmploymentRecord] = {}
    kept: list[EmploymentRecord] = []
    for record in records:
        if record.set_aside:
            kept.append(record)
            continue
        earlier = first.setdefault(record.employment, record)
        if earlier is record:
            kept.append(record)
        elif earlier != record:
            raise FeedRefused(
                "duplicate_conflict",
                f"the row says something else of the same employment than line {earlier.line}: "
                "give each employment an employment_id, or remove the wrong row",
                line=record.line,
                column=reader.column(Column.WORKER_ID),
            )
    return kept


def _held_by_many(pairs: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the keys that occur with more than one worker id."""
    first: dict[str, str] = {}
    return frozenset(key for key, worker_id in pairs if first.setdefault(key, worker_id) != worker_id)


def _comparable(worker_id: str) -> str:
    """Return an id without what spreadsheets and people lose: leading zeros, case, letter forms."""
    text = worker_id.lower() if worker_id.isascii() else unicodedata.normalize("NFKC", worker_id).casefold()
    return text.lstrip("0") if text.isdigit() else text
