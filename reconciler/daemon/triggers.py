"""What wakes the daemon: a timer, known instants, and changes of the files that decide.

Level-triggered: each of them only puts a token into the queue. APScheduler keeps the time and watchdog reports events;
neither is relied upon. A missed tick is followed by the next one, and what watchdog does not tell is found by hashing
the files again at an interval.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from reconciler.daemon.wakeups import Reason
from reconciler.daemon.watched_files import digest_of_files, identity_of

log = structlog.get_logger(__name__)

SCHEDULER_SETTINGS: Final = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
"""A late job fires once and late, never not at all: APScheduler's own default drops a job that is 1 s late."""
_TROUBLE: Final = {EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "still_running", EVENT_JOB_ERROR: "raised"}
_CHANGING_EVENTS: Final[list[type[FileSystemEvent]]] = [
    *(FileCreatedEvent, FileModifiedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent, FileAttribEvent),
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
]
"""Not opening and closing for reading: hashing the files would wake the daemon to hash them again, for ever."""
_UNWATCHED: Final = (
    "changes are found by comparing the files every daemon.poll_seconds meanwhile; where inotify ran out, "
    "raise fs.inotify.max_user_watches or max_user_instances"
)
_OBSERVER_STOP_SECONDS: Final = 5.0


class Timer:
    """Ticks at an interval, and once at the next known instant."""

    def __init__(
        self,
        tick: Callable[[], object],
        at_instant: Callable[[], object],
        *,
        interval_seconds: float,
        jitter_seconds: int,
    ) -> None:
        """Take what to call, which must only put a token into the queue; `jitter_seconds` spreads many daemons."""
        self._at_instant = at_instant
        self.troubles: dict[str, int] = dict.fromkeys(_TROUBLE.values(), 0)
        """How often a job was missed, still running when due again, or raised."""
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults=SCHEDULER_SETTINGS,
            executors={"tick": ThreadPoolExecutor(1), "instant": ThreadPoolExecutor(1)},
        )
        self._scheduler.add_listener(self._note_trouble, sum(_TROUBLE))
        jitter = min(jitter_seconds, int(interval_seconds) - 1)
        self._scheduler.add_job(
            tick,
            IntervalTrigger(seconds=interval_seconds, timezone=UTC, jitter=jitter if jitter > 0 else None),
            id="tick",
            executor="tick",
        )

    def start(self) -> None:
        """Start ticking."""
        self._scheduler.start()

    def arm(self, instant: datetime | None) -> None:
        """Wake at an instant, in place of the one armed before; one that has passed wakes at once, None disarms."""
        if instant is None:
            try:
                self._scheduler.remove_job("instant")
            except JobLookupError:
                return
            return
        self._scheduler.add_job(
            self._at_instant,
            DateTrigger(run_date=instant, timezone=UTC),
            id="instant",
            executor="instant",
            replace_existing=True,
        )

    def close(self) -> None:
        """Stop ticking without waiting for a job: all that one does is put a token in."""
        if self._scheduler.running:
            # First the jobs, under the scheduler's lock: shut down in the middle of a round, it ends with a traceback.
            self._scheduler.remove_all_jobs()
            self._scheduler.shutdown(wait=False)

    def _note_trouble(self, event: object) -> None:
        what = _TROUBLE[getattr(event, "code", EVENT_JOB_ERROR)]
        self.troubles[what] += 1
        failure = getattr(event, "exception", None)
        log.warning("timer.trouble", what=what, job=getattr(event, "job_id", ""), error=type(failure).__name__)


class _Hint(FileSystemEventHandler):
    """Passes on that something happened, and how soon it is worth looking; an exception in here would end the thread.

    Nothing else of an event is believed: whether anything changed is seen by comparing the files.
    """

    def __init__(self, hint: Callable[[Reason], None]) -> None:
        self._hint = hint
        self.concerns: Callable[[str], bool] = lambda _: True
        """Says of a path whether what is written there may matter."""

    def dispatch(self, event: FileSystemEvent) -> None:
        """Put the token in, unless another file of the folder is being written, as a log beside the roster."""
        written = isinstance(event, FileModifiedEvent | FileClosedEvent | FileAttribEvent)
        if written and not self.concerns(os.fsdecode(event.src_path)):
            return
        if isinstance(event, FileMovedEvent | DirMovedEvent):
            self._hint(Reason.REPLACED)
        else:
            self._hint(Reason.WRITTEN if isinstance(event, FileClosedEvent) else Reason.HINT)


class FileWatch:
    """Knows whether the files that decide have changed, and gets hints when it is worth looking.

    Folders are watched, not files: a file that is replaced by a rename, or reached over a link that is swapped, sends
    no event to whoever watches it. `mend` and the comparison of digests make up for what watchdog loses.
    """

    def __init__(
        self,
        files: Sequence[Path],
        trees: Sequence[Path],
        hint: Callable[[Reason], None],
        *,
        make_observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        """Take the files and folder trees to watch, and what to call on an event, from watchdog's thread."""
        self._files = tuple(files)
        self._trees = tuple(trees)
        self._handler = _Hint(hint)
        self._make_observer = make_observer
        self._observer: BaseObserver | None = None
        self._watched: Mapping[Path, tuple[int, int] | None] = {}
        self._seen = ""
        self.restarts = 0
        """How often the observer was replaced."""

    def start(self) -> None:
        """Remember how the files are and begin to watch; without watchdog's help the comparison goes on alone."""
        self.mark()
        self._observe()

    def mark(self) -> None:
        """Remember how the files are now: right before a cycle reads them, so that what changes later is news."""
        self._seen = self._digest()

    def changed(self) -> bool:
        """Say whether the files are not what they were at the last mark."""
        return self._digest() != self._seen

    def mend(self, *, blind: bool = False) -> None:
        """Replace the observer where it died, lost a folder, or (`blind`) did not tell of a change that was found."""
        if blind or not self._sound():
            self.restarts += 1
            log.warning("watch.restarted", blind=blind)
            self.close()
            self._observe()

    def close(self) -> None:
        """Stop watching."""
        observer, self._observer = self._observer, None
        if observer is not None and observer.is_alive():
            # It waits for its own threads without a limit; one that hangs is left behind, and ends with the process.
            stopping = threading.Thread(target=observer.stop, name="watch-stop", daemon=True)
            stopping.start()
            stopping.join(_OBSERVER_STOP_SECONDS)

    def _digest(self) -> str:
        return digest_of_files(self._files, self._trees)

    def _sound(self) -> bool:
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            # The emitter of a folder that was removed ends by itself while its observer lives on.
            and all(emitter.is_alive() for emitter in observer.emitters)
            and self._watched == self._identities()
        )

    def _folders(self) -> dict[Path, bool]:
        """Return the folders to watch, and whether with all that is below.

        Real folders only: watchdog watches a link itself and not what it leads to. Where a path goes over links, the
        folder that holds each link is watched too, for it is the one that learns when the link is swapped.
        """
        roots = (*self._files, *self._trees)
        links = (place for root in roots for place in (root, *root.parents) if os.path.islink(place))  # noqa: PTH114 - see `_real`
        places = {_real(place.parent) for place in (*roots, *links)} | {_real(root).parent for root in roots}
        trees = map(_real, self._trees)
        return dict.fromkeys(sorted(places), False) | dict.fromkeys(trees, True)

    def _identities(self) -> Mapping[Path, tuple[int, int] | None]:
        return {folder: identity_of(folder) for folder in self._folders()}

    def _concerns(self) -> Callable[[str], bool]:
        """Return the test whether a path is one of our files, by any of its names, or lies below one of our trees."""
        files = {str(name) for path in self._files for name in (path, _real(path))}
        trees = tuple(f"{name}{os.sep}" for tree in self._trees for name in (tree, _real(tree)))
        return lambda path: path in files or path.startswith(trees)

    def _observe(self) -> None:
        self._watched = self._identities()
        self._handler.concerns = self._concerns()
        observer = self._make_observer()
        try:
            for folder, recursive in self._folders().items():
                if self._watched[folder] is not None:
                    observer.schedule(
                        self._handler, str(folder), recursive=recursive, event_filter=list(_CHANGING_EVENTS)
                    )
            observer.start()
        except OSError as error:
            # No inotify instances or watches are left, or a folder went away meanwhile: the next `mend` tries again.
            log.warning("watch.unavailable", error=error.strerror, errno=error.errno, advice=_UNWATCHED)
            observer.stop()
            return
        self._observer = observer


def _real(path: Path) -> Path:
    """Return where a path leads to, as far as it can be followed.

    `Path.resolve` and `Path.is_symlink` raise where links lead in a circle or a folder may not be entered any more:
    neither may end the watch.
    """
    return Path(os.path.realpath(path))
