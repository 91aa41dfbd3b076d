"""Whoever has left, by whatever history of records: measured against an oracle that is too simple to be wrong."""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.roster.gate import accepted_of
from inventory.roster.model import Roster
from tests import feeds
from tests.builders import NOW

DAYS = [date(2026, 1, 10), date(2026, 2, 20), date(2026, 3, 1), date(2026, 3, 2), date(2026, 5, 1)]
EMAILS = ["", "a@example.com", "b@example.com", "c@example.com"]


@dataclass(frozen=True)
class Stint:
    """One row of a generated history, in the few terms that decide."""

    number: int
    worker: int
    follows: int
    """Number of the stint that HR links it to; its own for none."""
    status: str
    last_day: date | None
    readable: bool
    email: str

    def row(self) -> dict[str, str]:
        """Return the row as HR would export it."""
        return {
            "worker_id": f"W{self.worker}",
            "employment_id": f"S{self.number}",
            "rehire_of_employment_id": "" if self.follows == self.number else f"S{self.follows}",
            "status": self.status if self.readable else "???",
            "last_day_of_work": "" if self.last_day is None else self.last_day.isoformat(),
            "work_email": self.email,
        }


@st.composite
def histories(draw: st.DrawFn) -> list[Stint]:
    """Generate up to eight stints of up to five workers, some linked, some unreadable."""
    count = draw(st.integers(1, 8))
    return [
        Stint(
            number=number,
            worker=draw(st.integers(1, 5)),
            follows=draw(st.one_of(st.just(number), st.integers(0, count + 1))),
            status=draw(st.sampled_from(["Active", "Terminated", "Notice", "On Leave", "Pre-Hire"])),
            last_day=draw(st.one_of(st.none(), st.sampled_from(DAYS))),
            readable=draw(st.sampled_from([True, True, True, True, False])),
            email=draw(st.sampled_from(EMAILS)),
        )
        for number in range(count)
    ]


def _read(stints: Sequence[Stint], order: Sequence[int] | None = None) -> Roster | None:
    rows = [stint.row() for stint in stints]
    with tempfile.TemporaryDirectory() as folder:
        path = feeds.write(Path(folder), feeds.csv_text([rows[at] for at in order or range(len(rows))]))
        return feeds.load(path).roster


def _ended(stint: Stint) -> bool:
    """Say, as naively as can be, whether HR positively says that this stint is over by NOW. All zones are UTC."""
    if not stint.readable:
        return False
    if stint.last_day is None:
        return stint.status == "Terminated"
    over = datetime(stint.last_day.year, stint.last_day.month, stint.last_day.day, tzinfo=UTC) + timedelta(days=1)
    if stint.status in {"Active", "On Leave", "Pre-Hire"} and over + timedelta(hours=24) <= feeds.WRITTEN_AT:
        return False
    return over <= NOW


def _same_person(stints: Sequence[Stint]) -> list[set[Stint]]:
    """Group stints into persons by merging until nothing moves."""
    groups: list[set[Stint]] = []
    for stint in stints:
        groups.append({stint})
        for _ in groups:
            touching = [group for group in groups if _touch(group, groups[-1])]
            groups = [group for group in groups if group not in touching] + [set().union(*touching)]
    return groups


def _touch(one: set[Stint], other: set[Stint]) -> bool:
    return any(a.worker == b.worker or {a.number, a.follows} & {b.number, b.follows} for a in one for b in other)


def _naive_leavers(stints: Sequence[Stint]) -> set[frozenset[str]]:
    return {
        frozenset(f"W{stint.worker}" for stint in person)
        for person in _same_person(stints)
        if all(_ended(stint) for stint in person)
    }


@settings(max_examples=150, deadline=None)
@given(histories())
def test_leaver_only_when_every_record_has_ended(stints: list[Stint]) -> None:
    """Whoever the folding calls a leaver, the naive oracle does too, and the other way round."""
    roster = _read(stints)
    if roster is None:
        assert not any(stint.readable for stint in stints) or _all_in_doubt(stints)
        return
    found = {
        frozenset({str(worker.worker_id), *map(str, worker.former_ids)})
        for worker in roster.workers
        if worker.access_end_at is not None and worker.access_end_at <= NOW
    }
    assert found == _naive_leavers(stints)


def _all_in_doubt(stints: Sequence[Stint]) -> bool:
    """Say whether each row is unreadable or contradicts itself: then the feed as a whole is refused."""
    return all(
        not stint.readable
        or (stint.last_day in {DAYS[0], DAYS[1]} and stint.status in {"Active", "On Leave", "Pre-Hire"})
        for stint in stints
    )


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_order_of_the_rows_plays_no_part(stints: list[Stint], chance: random.Random) -> None:
    """The same rows in any order give the same workers."""
    order = list(range(len(stints)))
    chance.shuffle(order)
    first, second = _read(stints), _read(stints, order)
    if first is None or second is None:
        assert first is second
        return
    assert first.workers == second.workers
    assert sorted(problem.code for problem in first.problems) == sorted(problem.code for problem in second.problems)


@settings(max_examples=100, deadline=None)
@given(histories(), st.sampled_from(["Active", "Terminated"]))
def test_an_unrelated_row_changes_nobody(stints: list[Stint], status: str) -> None:
    """A joiner, or somebody missing, changes nothing for anybody else: absence and presence are not contagious."""
    stranger = Stint(
        number=99, worker=99, follows=99, status=status, last_day=None, readable=True, email="z@example.com"
    )
    without, with_stranger = _read(stints), _read([*stints, stranger])
    if without is None:
        return
    assert with_stranger is not None
    assert [worker for worker in with_stranger.workers if worker.worker_id != "W99"] == list(without.workers)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_ids_are_unique_and_each_known_once(stints: list[Stint]) -> None:
    """Every worker id of the feed belongs to exactly one person, as id or former id; counts agree."""
    roster = _read(stints)
    if roster is None:
        return
    ids = [one for worker in roster.workers for one in (worker.worker_id, *worker.former_ids)]
    assert sorted(ids) == sorted({f"W{stint.worker}" for stint in stints})
    assert [worker.worker_id for worker in roster.workers] == sorted(worker.worker_id for worker in roster.workers)
    assert sum(worker.records for worker in roster.workers) == len(stints) == roster.rows
    assert accepted_of(roster).open_workers == sum(worker.access_end_at is None for worker in roster.workers)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_shared_addresses_are_no_evidence_on_either_side(stints: list[Stint]) -> None:
    """An address is shared exactly when two persons hold it, and a leaver beside an open holder is in doubt."""
    roster = _read(stints)
    if roster is None:
        return
    people = roster.workers
    for worker in people:
        held_elsewhere = {address for other in people if other is not worker for address in other.emails}
        assert set(worker.shared_emails) == set(worker.emails) & held_elsewhere
        for other_id in worker.possible_rehire_of:
            other = next(one for one in people if one.worker_id == other_id)
            assert worker.worker_id in other.possible_rehire_of
            assert feeds.leavers(roster).count(worker.worker_id) + feeds.leavers(roster).count(other_id) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 60))
def test_damaged_bytes_never_raise_nor_depart_anybody_else(noise: bytes, place: int, cut: int) -> None:
    """Whatever happens to the bytes, the feed is refused, held or read; nobody open in it becomes a leaver."""
    text = feeds.csv_text(
        [feeds.row("W1", work_email="a@example.com"), feeds.row("W2", "Terminated", last_day_of_work="2026-02-01")]
    ).encode()
    place = min(place, len(text))
    damaged = text[:place] + noise[:8] + text[place + cut :]
    with tempfile.TemporaryDirectory() as folder:
        verdict = feeds.load(feeds.write(Path(folder), damaged))
    assert (verdict.roster is None) is bool(verdict.refused)
    if verdict.roster is not None:
        assert "W1" not in feeds.leavers(verdict.roster)
