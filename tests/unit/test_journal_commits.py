"""Shared commits: what several threads write at once costs one flush, and nobody fails for a neighbour."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from reconciler.adapters.journal_commits import SharedCommits, Work
from reconciler.core.errors import JournalError


class Disk:
    """Transactions that keep rows when they end well, and can be held up once, or refused."""

    hold: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.commits: list[int] = []
        self.told: list[str] = []
        self.refused: set[str] = set()

    def transaction(self, what: str, work: Work) -> None:
        """Write what a transaction holds, or nothing of it."""
        hold, self.hold = self.hold, None
        if hold is not None:
            hold()
        self.told.append(what)
        rows: Any = []
        work(rows)
        if self.refused & set(rows):
            raise JournalError("the disk is full")
        self.rows += rows
        self.commits.append(len(rows))


def adding(row: str) -> Work:
    """Write one row."""

    def work(connection: Any) -> None:
        connection.append(row)

    return work


def broken(_: Any) -> None:
    """Be a defect."""
    raise ZeroDivisionError


WORK = {"broken": broken}


def crowd(disk: Disk, commits: SharedCommits, names: list[str]) -> list[BaseException | None]:
    """Let the first writer hold the disk until all others wait, and return what each met."""
    first, others_wait = threading.Event(), threading.Event()

    def hold() -> None:
        first.set()
        assert others_wait.wait(10)

    disk.hold = hold
    with ThreadPoolExecutor(len(names)) as pool:
        ends = [pool.submit(commits.write, names[0], adding(names[0]))]
        assert first.wait(10)
        ends += [pool.submit(commits.write, name, WORK.get(name) or adding(name)) for name in names[1:]]
        while len(commits._waiting) < len(names) - 1:
            threading.Event().wait(0.001)
        others_wait.set()
    return [end.exception() for end in ends]


def test_whoever_waits_shares_a_commit() -> None:
    """While one row is flushed, nine more come in: they are one transaction, and everybody's row is there."""
    disk = Disk()
    names = [f"row {number}" for number in range(10)]
    assert crowd(disk, SharedCommits(disk.transaction), names) == [None] * 10
    assert disk.commits == [1, 9]
    assert sorted(disk.rows) == names


def test_nobody_fails_for_a_neighbour() -> None:
    """A row that cannot be written fails its own writer; the others are written one by one."""
    disk = Disk()
    disk.refused = {"row 2"}
    met = crowd(disk, SharedCommits(disk.transaction), [f"row {number}" for number in range(4)])
    assert [type(one) for one in met] == [type(None), type(None), JournalError, type(None)]
    assert sorted(disk.rows) == ["row 0", "row 1", "row 3"]
    assert disk.commits == [1, 1, 1]


def test_a_defect_among_others_is_its_own_alone() -> None:
    """A defect in shared work loses nobody's row, and is raised where it belongs."""
    disk = Disk()
    met = crowd(disk, SharedCommits(disk.transaction), ["row 0", "row 1", "broken", "row 3"])
    assert [type(one) for one in met] == [type(None), type(None), ZeroDivisionError, type(None)]
    assert sorted(disk.rows) == ["row 0", "row 1", "row 3"]


def test_a_defect_is_raised_in_the_thread_that_it_belongs_to() -> None:
    """What work raises comes out of its own call, and the next writer is served."""
    disk = Disk()
    commits = SharedCommits(disk.transaction)

    with pytest.raises(ZeroDivisionError):
        commits.write("broken", broken)
    commits.write("whole", adding("whole"))
    assert disk.rows == ["whole"]
