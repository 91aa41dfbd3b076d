"""How a process of the simulation is interrupted: it dies at a place, or stands still while another takes over."""

import threading

from reconciler.core.errors import ReconcilerError
from reconciler.core.model import Mode
from reconciler.core.record import CycleRecord
from tests.crash.failpoints import Crash, Failpoints
from tests.simulation.counts import COUNTS
from tests.simulation.office import Office

LONGEST_PAUSE_SECONDS = 60.0


def live_and_die(office: Office, at: int, mode: Mode = Mode.ENFORCE) -> CycleRecord | None:
    """Live one cycle and die at its n-th place; the record, when the cycle has fewer places."""
    office.failpoints = Failpoints(at)
    try:
        record = office.cycle(mode)
    except Crash:
        COUNTS["kills"] += 1
        office.end()
        return None
    finally:
        office.failpoints = None
    return record


class Standstill(Failpoints):
    """A process that stops at a place, as under SIGSTOP, until it is let go on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self._stop_at = at

    def hit(self, name: str) -> None:
        super().hit(name)
        if len(self.passed) == self._stop_at:
            self.reached.set()
            if not self.go_on.wait(LONGEST_PAUSE_SECONDS):
                raise TimeoutError(name)


class Paused:
    """A cycle in a thread of its own that stands still at its n-th place, or ends when it has fewer."""

    def __init__(self, office: Office, at: int) -> None:
        self.points = office.failpoints = Standstill(at)
        self._office = office
        self.record: CycleRecord | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        while not self.points.reached.wait(0.005) and self._thread.is_alive():
            pass

    @property
    def place(self) -> str:
        """Return where it stands still; empty when it ended without."""
        return self.points.passed[-1] if self.points.reached.is_set() else ""

    def resume(self) -> None:
        """Let it go on to its end, whichever that is."""
        self.points.go_on.set()
        self._thread.join(LONGEST_PAUSE_SECONDS)
        assert not self._thread.is_alive()
        self._office.end()

    def _live(self) -> None:
        try:
            self.record = self._office.cycle()
        except ReconcilerError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asserts
            self.error = error
