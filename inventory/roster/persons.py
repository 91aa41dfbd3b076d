"""From records to persons: who is one human, and whether *every* record of them has ended.

Two records are one person when they share a worker id, or when HR links them by `rehire_of_employment_id`. A shared
e-mail address links nobody: addresses are handed on. It only makes a case for a human.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from operator import attrgetter

from inventory.roster.csv_settings import CsvRosterSettings
from inventory.roster.ends import UNDATED_RULE, RecordEnd, end_of
from inventory.roster.model import Worker, WorkerId
from inventory.roster.records import EmploymentRecord
from inventory.roster.zones import start_of_day

SET_ASIDE_RULE = "row_set_aside"
"""`access_end_rule` of a worker with a record that nobody understands: it could be open."""
MAX_REHIRE_HINTS = 10
"""So many holders of one address are named; a placeholder address in every row must not grow as its square."""

_Node = tuple[str, str]


@dataclass(slots=True)
class _Person:
    """The records of one human, while they are put together."""

    records: list[EmploymentRecord] = field(default_factory=list)
    tainted: bool = False


class WorkerMemory:
    """The workers of the last fold that rest on one record each, by that record.

    Kept by identity: a record that was understood once stays the same object as long as its row does.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[EmploymentRecord, Worker]] = {}

    def worker(self, record: EmploymentRecord) -> Worker | None:
        """Return the worker that rests on this very record."""
        known = self._known.get(id(record))
        return known[1] if known is not None and known[0] is record else None

    def keep(self, pairs: Iterable[tuple[EmploymentRecord, Worker]]) -> None:
        """Replace what is known; an end that the age of the data made is made anew each time."""
        self._known = {id(pair[0]): pair for pair in pairs if pair[1].access_end_rule != UNDATED_RULE}


def fold(
    records: Sequence[EmploymentRecord],
    *,
    as_of: datetime,
    at: datetime,
    settings: CsvRosterSettings,
    memory: WorkerMemory | None = None,
) -> tuple[Worker, ...]:
    """Return one worker per person, sorted by id; the order of the rows plays no part.

    `at` is the instant by which an end lies behind or ahead, for telling a possible rehire. `memory` is that of
    earlier folds under the same settings.
    """
    memory = memory or WorkerMemory()
    nameless = frozenset(
        address for record in records if record.set_aside and not record.worker_id for address in record.emails
    )
    alone, linked = _apart(records)
    workers: list[Worker] = []
    untainted: list[tuple[EmploymentRecord, Worker]] = []
    for record in alone:
        tainted = record.set_aside or not nameless.isdisjoint(record.emails)
        known = None if tainted else memory.worker(record)
        worker = known or _worker(_Person(records=[record], tainted=tainted), as_of, settings)
        workers.append(worker)
        if not tainted:
            untainted.append((record, worker))
    memory.keep(untainted)
    workers += (
        _worker(person, as_of, settings)
        for person in _persons(linked, nameless)
        if any(record.worker_id for record in person.records)
    )
    return tuple(sorted(_with_shared_emails(workers, at), key=attrgetter("worker_id")))


def _apart(records: Sequence[EmploymentRecord]) -> tuple[list[EmploymentRecord], list[EmploymentRecord]]:
    """Return the records that share no id with any other, and all the rest; nearly everybody has one record.

    Those without a worker id are among the rest.
    """
    workers = Counter([record.worker_id for record in records])
    employments = Counter([record.employment_id for record in records])
    employments.update([record.rehire_of for record in records])
    alone: list[EmploymentRecord] = []
    linked: list[EmploymentRecord] = []
    for record in records:
        named = (record.employment_id, record.rehire_of)
        shares = workers[record.worker_id] > 1 or any(one and employments[one] > 1 for one in named)
        (linked if shares or not record.worker_id else alone).append(record)
    return alone, linked


def _persons(records: Iterable[EmploymentRecord], nameless: frozenset[str]) -> list[_Person]:
    named = [(record, _nodes(record)) for record in records]
    parents: dict[_Node, _Node] = {}
    for _, nodes in named:
        for node in nodes[1:]:
            parents[_root(parents, node)] = _root(parents, nodes[0])
    persons: defaultdict[_Node, _Person] = defaultdict(_Person)
    for record, nodes in named:
        if nodes:
            person = persons[_root(parents, nodes[0])]
            person.records.append(record)
            tainted = record.set_aside or not nameless.isdisjoint(record.emails)
            person.tainted = person.tainted or tainted
    return list(persons.values())


def _nodes(record: EmploymentRecord) -> list[_Node]:
    nodes = [("worker", record.worker_id)] if record.worker_id else []
    nodes += [("employment", one) for one in (record.employment_id, record.rehire_of) if one]
    return nodes


def _root(parents: dict[_Node, _Node], node: _Node) -> _Node:
    while (parent := parents.get(node, node)) != node:
        parents[node] = node = parents.get(parent, parent)
    return node


def _worker(person: _Person, as_of: datetime, settings: CsvRosterSettings) -> Worker:
    ends = {id(one): None if one.set_aside else end_of(one, as_of, settings) for one in person.records}
    ranked = sorted(
        (record for record in person.records if record.worker_id),
        key=lambda record: _weight(record, ends[id(record)]),
        reverse=True,
    )
    counting = ranked[0]
    known = [end for end in ends.values() if end is not None]
    last = max(known, key=lambda end: (end.at, end.rule)) if len(known) == len(ends) and not person.tainted else None
    return Worker(
        worker_id=WorkerId(counting.worker_id),
        former_ids=tuple(sorted({WorkerId(one.worker_id) for one in ranked} - {WorkerId(counting.worker_id)})),
        status=counting.status,
        kind=counting.kind,
        display_name=counting.display_name,
        emails=_first_then_rest(counting.emails, (one.emails for one in person.records)),
        usernames=_first_then_rest(counting.usernames, (one.usernames for one in person.records)),
        manager_id=WorkerId(counting.manager_id) if counting.manager_id else None,
        department=counting.department,
        former_departments=counting.former_departments,
        department_since=None
        if counting.department_since is None
        else start_of_day(counting.department_since, counting.zone),
        access_end_at=None if last is None else last.at,
        access_end_rule=SET_ASIDE_RULE if person.tainted else "" if last is None else last.rule,
        records=len(person.records),
    )


def _weight(record: EmploymentRecord, end: RecordEnd | None) -> tuple[object, ...]:
    """Return the rank of a record: open before ended, understood before set aside, later before earlier.

    Every field takes part at last, so that equal ranks mean equal records and the order of rows cannot decide.
    """
    return (
        end is None,
        not record.set_aside,
        datetime.min.replace(tzinfo=UTC) if end is None else end.at,
        record.start or date.min,
        record.worker_id,
        record.employment_id,
        (record.status, record.kind, record.display_name, record.emails),
        (record.usernames, record.manager_id, record.department),
        (record.former_departments, str(record.department_since)),
    )


def _first_then_rest(first: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    rest = sorted({text for texts in others for text in texts} - set(first))
    return (*first, *rest)


def _with_shared_emails(workers: list[Worker], at: datetime) -> list[Worker]:
    first: dict[str, Worker] = {}
    several: dict[str, list[Worker]] = {}
    for worker in workers:
        for address in worker.emails:
            holder = first.setdefault(address, worker)
            if holder is not worker:
                several.setdefault(address, [holder]).append(worker)
    shared = {address: _Holders.of(those, at) for address, those in several.items()}
    return [worker if shared.keys().isdisjoint(worker.emails) else _marked(worker, shared, at) for worker in workers]


@dataclass(frozen=True, slots=True)
class _Holders:
    """The persons of one address, ended and others; each list sorted and cut."""

    ended: tuple[WorkerId, ...]
    others: tuple[WorkerId, ...]

    @classmethod
    def of(cls, workers: list[Worker], at: datetime) -> "_Holders":
        ended = sorted(worker.worker_id for worker in workers if _is_ended(worker, at))
        others = sorted(worker.worker_id for worker in workers if not _is_ended(worker, at))
        return cls(tuple(ended[:MAX_REHIRE_HINTS]), tuple(others[:MAX_REHIRE_HINTS]))


def _marked(worker: Worker, shared: dict[str, _Holders], at: datetime) -> Worker:
    mine = tuple(address for address in worker.emails if address in shared)
    ended = _is_ended(worker, at)
    counterparts = {one for address in mine for one in (shared[address].others if ended else shared[address].ended)}
    return replace(worker, shared_emails=mine, possible_rehire_of=tuple(sorted(counterparts)))


def _is_ended(worker: Worker, at: datetime) -> bool:
    return worker.access_end_at is not None and worker.access_end_at <= at
