"""What passes that failed leave behind: leavers who are still new, and clients that are still good."""

from pathlib import Path

import pytest

from inventory.errors import Unavailable
from reconciler.core.record import CycleOutcome
from tests.unit.test_daemon_passes import ONE_LEFT, Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Return a daemon that has seen everything once, when nobody had left."""
    made = Daemon(tmp_path)
    assert made.whole().outcome is CycleOutcome.COMPLETE
    return made


def test_a_leaver_whose_pass_failed_is_tried_again(daemon: Daemon) -> None:
    """An engine that ends in the middle loses nobody: the next look finds the leaver as new, without a listing."""
    listed = daemon.provider.collected
    daemon.engine.down = True
    failed = daemon.hear(ONE_LEFT)
    assert failed is not None
    assert failed.outcome is CycleOutcome.FAILED
    assert any("nobody answers" in error for error in failed.errors)
    assert daemon.revoked == []
    daemon.engine.down = False
    again = daemon.hear(ONE_LEFT)
    assert again is not None
    assert daemon.revoked == ["lea/access_key/1"]
    assert daemon.provider.collected == listed
    assert daemon.hear(ONE_LEFT) is None


def test_a_refused_roster_is_no_doubt_about_the_clients(daemon: Daemon) -> None:
    """Nothing was read, so nothing is built anew: whoever leaves by the next roster does not wait for that either."""
    daemon.built.feed.refused = True
    assert daemon.whole().outcome is CycleOutcome.FAILED
    assert daemon.whole().outcome is CycleOutcome.FAILED
    assert daemon.opened == 1
    daemon.built.feed.refused = False

    def silent() -> None:
        raise Unavailable("no answer")

    daemon.provider.listed = silent
    assert daemon.whole().outcome is CycleOutcome.PARTIAL
    assert daemon.opened == 1
    daemon.whole()
    assert daemon.opened == 2
