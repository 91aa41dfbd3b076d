"""A file of waivers that becomes malformed waives nothing; acts on what it covered wait for one grace."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
import yaml
from pydantic import ValidationError

from reconciler.adapters.policy_files import PolicyFolder
from reconciler.adapters.waiver_files import read_waivers
from reconciler.adapters.waiver_memory import WaiverMemory
from reconciler.core.model import Waiver
from reconciler.core.notices import Event, of_cycle
from reconciler.core.record import WaiverFacts
from reconciler.core.waivers import HeldWaiver, WaiverSet, waiver_facts
from reconciler.policies.problems import Level
from reconciler.policies.waiving import waiver_problems
from reconciler.waiver_settings import WaiverSettings
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.fakes.house import House
from tests.record_builders import cycle_record
from tests.worlds import starter

GRACE = timedelta(hours=1)
ENTRY = {
    "id": "W1",
    "rule": "leaver",
    "worker_id": "L1",
    "reason": "Swap on the 20th.",
    "owner": "payments",
    "approved_by": "ciso",
    "expires_at": "2026-03-20T18:00:00Z",
}
FILE = "waivers/some.yaml"


class Folder:
    """A folder of waivers that is looked at again and again, by a daemon that may be started anew."""

    def __init__(self, place: Path, *, keep: bool = True) -> None:
        self.root = place / "policies"
        self.state = place / "last-whole.json"
        self.keep = keep
        (self.root / "waivers").mkdir(parents=True)
        self.restart()

    def restart(self) -> None:
        """Forget what is not kept in the state."""
        self.folder = PolicyFolder(self.root, FakeClock(NOW), memory=WaiverMemory(self.state, GRACE, keep=self.keep))

    def write(self, *entries: dict[str, str], file: str = FILE) -> None:
        """Write a whole file."""
        (self.root / file).write_text(yaml.safe_dump({"waivers": list(entries)}))

    def half_write(self) -> None:
        """Cut the file in its middle, as a reader may find it."""
        text = (self.root / FILE).read_text()
        (self.root / FILE).write_text(text[: len(text) // 2] + '"')

    def held(self, after: timedelta) -> list[tuple[str, datetime]]:
        """Return the waivers for which acts wait so long after the beginning, and until when."""
        return [(one.waiver.waiver_id, one.until) for one in self.folder.waivers(NOW + after).held]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder with one whole file that was seen."""
    made = Folder(tmp_path)
    made.write(ENTRY)
    assert made.held(timedelta(0)) == []
    return made


def test_a_half_written_file_gives_one_grace(folder: Folder) -> None:
    """It counts from the first look at the malformed file, over a restart too, and is over after an hour."""
    folder.half_write()
    minute = timedelta(minutes=1)
    until = NOW + minute + GRACE
    with structlog.testing.capture_logs() as logs:
        assert folder.held(minute) == [("W1", until)]
    assert [(one["event"], one["path"], one["waivers"]) for one in logs] == [("waivers.malformed", FILE, 1)]
    assert folder.folder.waivers(NOW + minute).whole == ()
    folder.restart()
    with structlog.testing.capture_logs() as logs:
        assert folder.held(30 * minute) == [("W1", until)]
        assert folder.held(minute + GRACE) == []
    assert logs == []


def test_a_grace_is_given_anew_only_after_the_file_was_whole(folder: Folder) -> None:
    """Another way of being malformed prolongs nothing; a repaired file waives again, and may break again later."""
    folder.half_write()
    assert folder.held(timedelta(0)) == [("W1", NOW + GRACE)]
    (folder.root / FILE).write_text("waivers: nonsense")
    assert folder.held(timedelta(minutes=30)) == [("W1", NOW + GRACE)]
    assert folder.held(GRACE) == []
    folder.write(ENTRY)
    assert folder.held(2 * GRACE) == []
    assert len(folder.folder.waivers(NOW + 2 * GRACE).whole) == 1
    folder.half_write()
    assert folder.held(3 * GRACE) == [("W1", NOW + 4 * GRACE)]


def test_what_is_taken_out_gets_no_grace(folder: Folder) -> None:
    """A file that is removed, and an entry taken out of a whole file, end at once."""
    folder.write(ENTRY, ENTRY | {"id": "W2"})
    folder.held(timedelta(0))
    folder.write(ENTRY | {"id": "W2"})
    assert folder.held(timedelta(minutes=1)) == []
    (folder.root / FILE).unlink()
    assert folder.held(timedelta(minutes=2)) == []
    (folder.root / FILE).write_text("waivers: [")
    assert folder.held(timedelta(minutes=3)) == []


def test_nothing_waits_past_the_end_of_its_waiver(folder: Folder) -> None:
    """A grace ends with the waiver, and one that has expired already gets none."""
    soon = "2026-03-02T09:10:00Z"
    folder.write(ENTRY | {"expires_at": soon}, ENTRY | {"id": "W2", "expires_at": "2026-03-02T09:00:30Z"})
    folder.held(timedelta(0))
    folder.half_write()
    assert folder.held(timedelta(minutes=1)) == [("W1", datetime.fromisoformat(soon))]
    assert folder.held(timedelta(minutes=10)) == []


def test_one_bad_entry_holds_only_what_is_not_given_any_more(folder: Folder) -> None:
    """Entries that can still be read waive as before, here or in another file; the broken one is held."""
    folder.write(ENTRY, ENTRY | {"id": "W2"}, ENTRY | {"id": "W3"})
    folder.held(timedelta(0))
    folder.write(ENTRY, ENTRY | {"id": "W2", "owner": "ciso"}, ENTRY | {"id": "W9", "rule": ""})
    folder.write(ENTRY | {"id": "W3"}, file="waivers/another.yaml")
    assert folder.held(timedelta(0)) == [("W2", NOW + GRACE)]


def test_a_clock_that_goes_back_prolongs_nothing(folder: Folder) -> None:
    """A file that became malformed in what is now the future counts from now."""
    folder.half_write()
    folder.held(timedelta(days=2))
    assert folder.held(timedelta(0)) == [("W1", NOW + GRACE)]
    assert folder.held(GRACE) == []


def test_who_only_looks_leaves_no_memory(tmp_path: Path) -> None:
    """A plan that is only shown goes by the daemon's memory and writes none; a memory that is broken holds nothing."""
    looking = Folder(tmp_path, keep=False)
    looking.write(ENTRY)
    looking.held(timedelta(0))
    assert not looking.state.exists()
    looking.state.write_text("[")
    looking.restart()
    looking.half_write()
    with structlog.testing.capture_logs() as logs:
        assert looking.held(timedelta(0)) == []
    assert [one["event"] for one in logs] == ["waivers.forgotten"]


def test_a_state_folder_that_is_full_stops_no_cycle(tmp_path: Path) -> None:
    """What cannot be kept is a line in the log; within the process it is still remembered."""
    full = Folder(tmp_path)
    full.state = tmp_path / "missing" / "last-whole.json"
    full.restart()
    full.write(ENTRY)
    with structlog.testing.capture_logs() as logs:
        full.held(timedelta(0))
    assert [one["event"] for one in logs] == ["waivers.not_kept"]
    full.half_write()
    assert full.held(timedelta(0)) == [("W1", NOW + GRACE)]


def held_of(worker_id: str) -> WaiverSet:
    """Return a file that became malformed and waived everything of a worker."""
    waiver = Waiver(
        waiver_id="W1",
        rule="leaver",
        worker_id=worker_id,  # type: ignore[arg-type]  # an id in a test
        reason="x",
        owner="payments",
        approved_by="ciso",
        expires_at=NOW + timedelta(days=1),
    )
    held = HeldWaiver(waiver=waiver, path=FILE, until=NOW + GRACE)
    return WaiverSet(refused=(f"{FILE}:1: not YAML",), held=(held,))


@pytest.mark.parametrize(("worker_id", "acts"), [("L1", 0), ("somebody", 1)])
def test_a_cycle_waits_with_what_the_file_covered_and_with_nothing_else(
    tmp_path: Path, worker_id: str, acts: int
) -> None:
    """The finding stays, the act is withheld with the waiver's name, and the record counts both."""
    house = House(tmp_path)
    house.observe_first()
    house.waivers = held_of(worker_id)
    record = house.run()
    assert len(record.results) == acts
    assert record.plan is not None
    told = {one.message for one in record.plan.withheld if one.code == "waiver_unread"}
    said = f"waiver W1 cannot be read in {FILE}: repair or remove it before {NOW + GRACE:%Y-%m-%d %H:%M} UTC"
    assert told == (set() if acts else {said})
    assert (record.waivers.refused, record.waivers.held) == (1, 1)


def test_the_grace_is_bounded() -> None:
    """An hour by default, none at all if so wished, and a day at most."""
    assert WaiverSettings().malformed_grace_seconds == 3600
    assert WaiverSettings(malformed_grace_seconds=0).malformed_grace_seconds == 0
    for wrong in (-1, 24 * 3600 + 1):
        with pytest.raises(ValidationError):
            WaiverSettings(malformed_grace_seconds=wrong)


def test_waivers_that_end_within_a_week_are_counted(tmp_path: Path) -> None:
    """The eighth day is not within it, and an expired one counts no more."""
    folder = Folder(tmp_path)
    days = {"W1": 7, "W2": 8, "W3": -1, "W4": 0}
    folder.write(
        *(
            ENTRY | {"id": name, "expires_at": f"{NOW + timedelta(days=n):%Y-%m-%dT%H:%M:%SZ}"}
            for name, n in days.items()
        )
    )
    facts = waiver_facts(read_waivers(folder.root, NOW).as_set(), NOW)
    assert facts == WaiverFacts(in_force=2, expiring_soon=2, ending=1, digest=facts.digest)


def test_waivers_that_end_or_cannot_be_read_are_told() -> None:
    """Counts and the next command, nobody's name; nothing is told where there is nothing to do."""
    facts = WaiverFacts(in_force=4, ending=2, refused=1, held=1)
    ending, refused = of_cycle(cycle_record(waivers=facts, results=()))
    assert (ending.event, ending.text) == (Event.WAIVER_ENDING, "2 waivers of 4 in force to end within 7 days")
    assert (refused.event, refused.ids) == (Event.WAIVER_REFUSED, ())
    assert "1 place in the files of waivers malformed: nothing is waived there" in refused.text
    assert "acts on what 1 waiver covered wait for one grace" in refused.text
    assert "policies check" in refused.advice
    assert of_cycle(cycle_record(waivers=WaiverFacts(in_force=4, expiring_soon=4), results=())) == ()


@pytest.mark.parametrize(
    ("owner", "approver", "whole"),
    [
        ("ana@example.com", "Ana B. <ANA@example.com>", False),
        ("ana", "\uff41\uff4e\uff41", False),
        ("ana", "a\u200bna", False),
        ("ana", "ana+ciso@example.com", False),
        ("ana", "mailto:ana@example.com", False),
        ("ana, bob", "bob@example.com", False),
        ("ana", "ana; ciso", True),
        ("ana", "anna", True),
        ("payments", "l1", False),
    ],
)
def test_who_approves_is_somebody_else(tmp_path: Path, owner: str, approver: str, whole: bool) -> None:  # noqa: FBT001 - a table
    """However a name is written, neither the owner nor whom the waiver is for approves it alone."""
    folder = Folder(tmp_path)
    folder.write(ENTRY | {"owner": owner, "approved_by": approver})
    read = read_waivers(folder.root, NOW)
    assert bool(read.whole) is whole
    assert ("approved by somebody else" in str(read.refused)) is not whole


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("waivers:\n- id: W1\n  id: W2\n", ":3: field 'id' is given twice"),
        ("waivers: []\nwaivers: []\n", ":2: field 'waivers' is given twice"),
        ("waivers:\n- {expires_at: 2026-03-20}\n", "names an access_id"),
        ("", "nothing is declared"),
    ],
)
def test_files_that_say_two_things_or_nothing(tmp_path: Path, text: str, says: str) -> None:
    """They are refused by file and line."""
    folder = Folder(tmp_path)
    (folder.root / FILE).write_text(text)
    (error,) = read_waivers(folder.root, NOW).refused
    assert says in str(error)
    assert str(error).startswith(FILE)


@pytest.mark.parametrize(
    ("instant", "whole"),
    [
        ("2026-03-20T18:00:00+14:00", True),
        ("2026-03-20 18:00:00Z", True),
        ("2026-05-31T09:00:00Z", True),
        ("2026-05-31T09:00:01Z", False),
        ("2026-05-31T04:00:00-05:00", True),
        ("2026-05-31T04:00:01-05:00", False),
        ("2026-03-20", False),
        ("2026-03-20T18:00:00", False),
        ("2026-W12-5T18:00:00Z", False),
        ("9999-12-31T23:59:59-23:59", False),
    ],
)
def test_how_long_a_waiver_may_run_is_counted_in_instants(tmp_path: Path, instant: str, whole: bool) -> None:  # noqa: FBT001 - a table
    """90 days from now to the second, in whatever zone; a day alone, or no zone, is no instant."""
    folder = Folder(tmp_path)
    folder.write(ENTRY | {"expires_at": instant})
    assert bool(read_waivers(folder.root, NOW).whole) is whole


def test_a_waiver_ends_at_its_instant(tmp_path: Path) -> None:
    """On its last day it holds until the instant, and not at it."""
    folder = Folder(tmp_path)
    folder.write(ENTRY | {"expires_at": "2026-03-02T09:00:00Z"})
    read = read_waivers(folder.root, NOW - timedelta(seconds=1))
    assert waiver_facts(read.as_set(), NOW - timedelta(microseconds=1)).in_force == 1
    assert waiver_facts(read.as_set(), NOW).in_force == 0


def test_a_waiver_about_no_provider_is_a_warning(tmp_path: Path) -> None:
    """Where a configuration names the instances, one that it does not name is called by file and line."""
    folder = Folder(tmp_path)
    folder.write(ENTRY | {"provider": "corp-asw"}, ENTRY | {"id": "W2", "provider": "corp-aws"}, ENTRY | {"id": "W3"})
    read = read_waivers(folder.root, NOW)
    (found,) = waiver_problems(read, starter().rules, NOW, {"corp-aws"})
    assert (found.level, found.line) == (Level.WARNING, 2)
    assert "waiver W1 is about no provider of the configuration: corp-asw" in str(found)
    assert list(waiver_problems(read, starter().rules, NOW)) == []
