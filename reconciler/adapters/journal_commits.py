"""Writers that wait for the disk at the same time share one commit.

Each commit costs a flush of the disk, and a cycle that acts on many items at once writes many small rows. Whoever gets
the turn commits for all that wait; nobody returns before its row is durable. A row that cannot be written makes the
others be written one by one: nobody fails for a neighbour.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

Work = Callable[[Connection], None]
Transaction = Callable[[str, Work], None]
"""Does work in a transaction of its own, durable when it returns; the text says what could not be done."""


@dataclass(slots=True, eq=False)
class _Job:
    what: str
    work: Work
    ended: bool = False
    error: BaseException | None = None


class SharedCommits:
    """Makes one transaction of what several threads write at the same time."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._turn = threading.Lock()
        self._waiting: deque[_Job] = deque()

    def write(self, what: str, work: Work) -> None:
        """Do work, durable when this returns; raises what it raises, or what kept it from being durable."""
        job = _Job(what, work)
        self._waiting.append(job)
        with self._turn:
            if not job.ended:
                self._serve([self._waiting.popleft() for _ in range(len(self._waiting))])
        if job.error is not None:
            raise job.error

    def _serve(self, batch: list[_Job]) -> None:
        if len(batch) == 1 or not self._together(batch):
            for job in batch:
                self._alone(job)

    def _together(self, batch: list[_Job]) -> bool:
        def work(connection: Connection) -> None:
            for job in batch:
                job.work(connection)

        try:
            self._transaction(f"{batch[0].what}, and {len(batch) - 1} more", work)
        except BaseException:  # noqa: BLE001 - met again by the job that it belongs to, alone
            return False
        for job in batch:
            job.ended = True
        return True

    def _alone(self, job: _Job) -> None:
        try:
            self._transaction(job.what, job.work)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that it belongs to
            job.error = error
        job.ended = True
