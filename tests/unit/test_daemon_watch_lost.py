"""Watching files that cannot be reached any more: links in a circle, and folders that may not be entered."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.test_daemon_watch import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Return a watch that runs."""
    one = Watched(tmp_path)
    one.watch.start()
    yield one
    one.watch.close()


def test_links_in_a_circle_end_no_watch(watched: Watched) -> None:
    """A roster and a tree that lead back to themselves are a change, and what replaces them is seen."""
    watched.roster.unlink()
    watched.roster.symlink_to(watched.roster)
    (watched.policies / "rule.rego").unlink()
    watched.policies.rmdir()
    watched.policies.symlink_to(watched.policies)
    assert watched.watch.changed()
    watched.watch.mark()
    watched.watch.mend()
    watched.settle()
    watched.feeds.joinpath("aside").write_text("second")
    watched.feeds.joinpath("aside").replace(watched.roster)
    assert watched.hinted()
    assert watched.watch.changed()


def test_a_folder_that_may_not_be_entered_ends_no_watch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost permissions are a change like any other, and the watch goes on once they are back."""
    closed, real = watched.feeds, {name: getattr(os, name) for name in ("stat", "lstat", "open", "scandir")}

    def refusing(name: str) -> Callable[..., object]:
        def ask(path: object, *arguments: object, **more: object) -> object:
            if str(path).startswith(f"{closed}{os.sep}"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real[name](path, *arguments, **more)

        return ask

    with monkeypatch.context() as patched:  # as the kernel does to everybody but root, whom tests may run as
        for name in real:
            patched.setattr(os, name, refusing(name))
        assert watched.watch.changed()
        watched.watch.mark()
        watched.watch.mend()
        assert not watched.watch.changed()
    assert watched.watch.changed()
    watched.watch.mend()
    watched.settle()
    watched.roster.write_text("second")
    assert watched.hinted()
