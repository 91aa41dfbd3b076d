"""Watching files: each way in which watchdog is known to fall silent, on real files."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from watchdog.events import FileModifiedEvent
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from reconciler.daemon import watched_files
from reconciler.daemon.triggers import FileWatch, _Hint
from reconciler.daemon.wakeups import Reason, Wakeups
from reconciler.daemon.watched_files import digest_of_files

QUIET = 0.1


class Watched:
    """A roster and a policy tree under watch."""

    def __init__(self, folder: Path) -> None:
        self.feeds, self.policies = folder / "feeds", folder / "policies"
        self.feeds.mkdir()
        self.policies.mkdir()
        self.roster = self.feeds / "roster.csv"
        self.roster.write_text("first")
        (self.policies / "rule.rego").write_text("first")
        self.wakeups = Wakeups()
        self.observers: list[BaseObserver] = []
        self.make: Callable[[], BaseObserver] = Observer
        self.watch = FileWatch(
            (self.roster,), (self.policies,), lambda _: self.wakeups.wake(Reason.HINT), make_observer=self.observer
        )

    def observer(self) -> BaseObserver:
        """Make an observer and remember it."""
        self.observers.append(self.make())
        return self.observers[-1]

    def hinted(self, seconds: float = 30) -> bool:
        """Say whether a hint comes in time."""
        return Reason.HINT in self.wakeups.take(seconds)

    def settle(self) -> None:
        """Take all hints that are under way."""
        while self.hinted(QUIET):
            continue


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Return a watch that runs."""
    one = Watched(tmp_path)
    one.watch.start()
    yield one
    one.watch.close()


def test_a_written_file_hints_and_is_a_change(watched: Watched) -> None:
    """Writing the roster gives a hint, and the comparison says that it changed until the next mark."""
    assert not watched.watch.changed()
    watched.roster.write_text("second")
    assert watched.hinted()
    assert watched.watch.changed()
    watched.watch.mark()
    assert not watched.watch.changed()


def test_a_file_replaced_by_a_rename_hints(watched: Watched) -> None:
    """An export that writes aside and renames, twice over, is told each time: the folder is watched, not the file."""
    for text in ("second", "third"):
        fresh = watched.feeds / "roster.new"
        fresh.write_text(text)
        watched.settle()
        fresh.replace(watched.roster)
        assert watched.hinted()
        assert watched.watch.changed()
        watched.watch.mark()


def test_the_same_bytes_again_are_no_change(watched: Watched) -> None:
    """A file that is written anew with what it held gives a hint, and no reason for a cycle."""
    watched.roster.write_text("first")
    assert watched.hinted()
    assert not watched.watch.changed()


def test_comparing_does_not_hint(watched: Watched) -> None:
    """Reading the files to compare them gives no hint, or the daemon would keep itself awake for ever."""
    watched.settle()
    for _ in range(5):
        watched.watch.changed()
        watched.watch.mend()
    assert not watched.hinted(QUIET)


def test_three_hundred_writes_are_one_token(watched: Watched) -> None:
    """However many events a burst makes, at most one hint waits."""
    for number in range(300):
        watched.roster.write_text(str(number))
    assert watched.hinted()
    assert watched.wakeups._tokens.qsize() <= 1
    watched.settle()


def test_files_deep_in_the_tree_are_watched(watched: Watched) -> None:
    """A rule in a folder made after the start gives a hint and is a change."""
    rules = watched.policies / "access" / "rules"
    rules.mkdir(parents=True)
    watched.settle()
    (rules / "leaver.rego").write_text("package x")
    assert watched.hinted()
    assert watched.watch.changed()


def test_a_configmap_swap_is_seen(tmp_path: Path) -> None:
    """Kubernetes swaps the link `..data` and never touches the visible file: the swap hints and is a change."""
    mount = tmp_path / "mount"
    (mount / "..v1").mkdir(parents=True)
    (mount / "..v1" / "roster.csv").write_text("first")
    (mount / "..data").symlink_to("..v1")
    (mount / "roster.csv").symlink_to("..data/roster.csv")
    wakeups = Wakeups()
    watch = FileWatch((mount / "roster.csv",), (), lambda _: wakeups.wake(Reason.HINT))
    watch.start()
    try:
        (mount / "..v2").mkdir()
        (mount / "..v2" / "roster.csv").write_text("second")
        (mount / "..data_tmp").symlink_to("..v2")
        while wakeups.take(QUIET):
            continue
        (mount / "..data_tmp").rename(mount / "..data")
        assert Reason.HINT in wakeups.take(30)
        assert watch.changed()
        watch.mark()
        # What the link led to before goes away; the watch follows the link to where it leads now.
        watch.mend()
        assert not watch.changed()
        (mount / "..v2" / "roster.csv").write_text("third")
        assert Reason.HINT in wakeups.take(30)
    finally:
        watch.close()


def test_a_tree_behind_a_swapped_link_is_seen(tmp_path: Path) -> None:
    """A policy tree that is a link to a release, as git-sync makes it, changes with the link."""
    for name in ("release-1", "release-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rule.rego").write_text(name)
    (tmp_path / "policies").symlink_to("release-1")
    wakeups = Wakeups()
    watch = FileWatch((), (tmp_path / "policies",), lambda _: wakeups.wake(Reason.HINT))
    watch.start()
    try:
        (tmp_path / "next").symlink_to("release-2")
        (tmp_path / "next").rename(tmp_path / "policies")
        assert Reason.HINT in wakeups.take(30)
        assert watch.changed()
        watch.mark()
        watch.mend()
        while wakeups.take(QUIET):
            continue
        (tmp_path / "release-2" / "rule.rego").write_text("edited")
        assert Reason.HINT in wakeups.take(30)
    finally:
        watch.close()


def test_a_folder_removed_and_made_again_is_watched_again(watched: Watched) -> None:
    """An observer stays silent for ever about a folder that came back: mending notices, and hints come again."""
    watched.roster.unlink()
    watched.feeds.rmdir()
    assert watched.hinted()
    assert watched.watch.changed()
    watched.watch.mend()
    watched.feeds.mkdir()
    watched.watch.mend()
    watched.settle()
    watched.roster.write_text("back")
    assert watched.hinted()
    assert watched.watch.restarts >= 1


def test_a_folder_that_came_back_between_two_looks_is_watched_again(watched: Watched) -> None:
    """Removed and remade before anybody looked, perhaps with the same number on disk: noticed nevertheless."""
    watched.roster.unlink()
    watched.feeds.rmdir()
    watched.feeds.mkdir()
    watched.hinted()
    for emitter in list(watched.observers[-1].emitters):
        if emitter.watch.path == str(watched.feeds):
            emitter.join(60)
    watched.watch.mend()
    assert watched.watch.restarts == 1
    watched.settle()
    watched.roster.write_text("back")
    assert watched.hinted()


def test_a_dead_observer_is_replaced(watched: Watched) -> None:
    """An observer whose thread ended hints no more: mending starts another one."""
    watched.observers[-1].stop()
    watched.observers[-1].join(60)
    watched.roster.write_text("second")
    assert not watched.hinted(QUIET)
    assert watched.watch.changed()
    watched.watch.mend()
    watched.roster.write_text("third")
    assert watched.hinted()
    assert len(watched.observers) == 2


def test_a_sound_observer_is_left_alone(watched: Watched) -> None:
    """Mending without need changes nothing."""
    watched.watch.mend()
    assert (len(watched.observers), watched.watch.restarts) == (1, 0)


def test_a_blind_observer_is_replaced(watched: Watched) -> None:
    """One that seems well and did not tell of a change that the poll found, as on a network file system, goes."""
    watched.watch.mend(blind=True)
    assert len(watched.observers) == 2
    assert not watched.observers[0].is_alive()
    watched.roster.write_text("second")
    assert watched.hinted()


def test_without_inotify_the_comparison_goes_on_alone(watched: Watched) -> None:
    """An observer that cannot start raises nothing; changes are found by comparing, and later it is tried again."""

    class Exhausted(Observer):  # type: ignore[misc,valid-type]  # the class is chosen by the system
        def start(self) -> None:
            raise OSError(28, "inotify watch limit reached")

    watched.make = Exhausted
    with capture_logs() as logs:
        watched.watch.mend(blind=True)
    (told,) = [one for one in logs if one["event"] == "watch.unavailable"]
    assert "inotify" in told["error"]
    assert "max_user_watches" in told["advice"]
    watched.roster.write_text("second")
    assert watched.watch.changed()
    watched.make = Observer
    watched.watch.mend()
    watched.roster.write_text("third")
    assert watched.hinted()


def test_a_folder_that_is_missing_at_the_start(tmp_path: Path) -> None:
    """Files that are not there yet are no error, and are watched from the first mending after they come."""
    wakeups = Wakeups()
    watch = FileWatch((tmp_path / "later" / "roster.csv",), (tmp_path / "no",), lambda _: wakeups.wake(Reason.HINT))
    watch.start()
    try:
        assert not watch.changed()
        (tmp_path / "later").mkdir()
        watch.mend()
        (tmp_path / "later" / "roster.csv").write_text("here")
        assert Reason.HINT in wakeups.take(30)
        assert watch.changed()
    finally:
        watch.close()


def test_the_handler_only_wakes() -> None:
    """Any event, even one about nothing, becomes a token and nothing else: an exception would end watchdog's thread."""
    wakeups = Wakeups()
    handler = _Hint(lambda _: wakeups.wake(Reason.HINT))
    for path in ("", "\0", "a" * 10_000):
        handler.dispatch(FileModifiedEvent(path))
    assert wakeups.take(0) == {Reason.HINT}


def test_the_digest_tells_names_and_places_apart(tmp_path: Path) -> None:
    """A file renamed, moved, emptied, removed or made unreadable is a change; a file elsewhere is none."""
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "a").write_text("x")
    seen = [digest_of_files((), (tree,))]
    steps: tuple[Callable[[], object], ...] = (
        lambda: (tree / "a").rename(tree / "b"),
        lambda: (tree / "b").rename(tree / "below" / "b"),
        lambda: (tree / "below" / "b").write_text(""),
        (tree / "below" / "b").unlink,
        lambda: (tree / "c").symlink_to("nowhere"),
    )
    for step in steps:
        step()
        seen.append(digest_of_files((), (tree,)))
    assert len(set(seen)) == len(seen)
    (tmp_path / "elsewhere").write_text("y")
    assert digest_of_files((), (tree,)) == seen[-1]


def test_the_digest_looks_at_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy folder that is by mistake the root of a disk costs a bounded look."""
    for number in range(10):
        (tmp_path / f"{number}").write_text("x")
    whole = digest_of_files((), (tmp_path,))
    monkeypatch.setattr(watched_files, "_MOST_FILES", 5)
    first = digest_of_files((), (tmp_path,))
    assert first != whole
    (tmp_path / "9").write_text("y")
    assert digest_of_files((), (tmp_path,)) == first
    (tmp_path / "0").write_text("y")
    assert digest_of_files((), (tmp_path,)) != first


def test_the_digest_ends_whatever_lies_there(tmp_path: Path) -> None:
    """A pipe, a link to its own parent and a file over the size are looked at without hanging."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    large = tmp_path / "large"
    with large.open("wb") as sink:
        sink.truncate(65 * 1024 * 1024)
    first = digest_of_files((tmp_path / "pipe", large), (tmp_path,))
    assert digest_of_files((tmp_path / "pipe", large), (tmp_path,)) == first
    with large.open("ab") as sink:
        sink.write(b"x")
    assert digest_of_files((large,), ()) != digest_of_files((tmp_path / "pipe", large), ())
    assert digest_of_files((tmp_path / "pipe", large), (tmp_path,)) != first


def test_a_file_written_beside_the_roster_is_no_hint(tmp_path: Path) -> None:
    """A log in the roster's folder does not keep the files from ever being quiet; a rename there may be anything."""
    feeds, policies = tmp_path / "feeds", tmp_path / "policies"
    feeds.mkdir()
    policies.mkdir()
    (feeds / "roster.csv").write_text("first")
    log = (feeds / "daemon.log").open("a")
    wakeups = Wakeups()
    watch = FileWatch((feeds / "roster.csv",), (policies,), wakeups.wake)
    watch.start()
    try:
        for _ in range(20):
            log.write("line\n")
            log.flush()
        assert wakeups.take(0.5) == frozenset()
        (feeds / "roster.csv").write_text("second")
        assert wakeups.take(30)
        wakeups.take(0.5)
        (feeds / "aside").write_text("third")
        (feeds / "aside").replace(feeds / "..data")
        seen: frozenset[Reason] = frozenset()
        while Reason.REPLACED not in seen:
            more = wakeups.take(30)
            assert more
            seen |= more
    finally:
        watch.close()
        log.close()


def test_an_observer_that_does_not_end_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes or mends the watch is not held up by threads of the library that hang."""
    monkeypatch.setattr("reconciler.daemon.triggers._OBSERVER_STOP_SECONDS", 0.05)
    released = threading.Event()

    class Hanging(Observer):  # type: ignore[valid-type,misc]  # the observer of this platform
        def stop(self) -> None:
            assert released.wait(60)
            super().stop()

    (tmp_path / "roster.csv").write_text("first")
    watch = FileWatch((tmp_path / "roster.csv",), (), lambda _: None, make_observer=Hanging)
    watch.start()
    began = time.monotonic()
    watch.mend(blind=True)
    watch.close()
    assert time.monotonic() - began < 30
    released.set()
