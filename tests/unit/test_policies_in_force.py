"""Which policies decide: the last revision that was accepted, whatever becomes of the folder that is followed."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_store import MOST_KEPT, Adopted, PolicyStore, tree_files
from reconciler.core.errors import PolicyError, SettingsError
from reconciler.policies.in_force import Following, PoliciesInForce
from tests.fakes.clock import FakeClock
from tests.small_policies import small_policies

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ANSWER_SECONDS = 60.0
WAIVERS = """\
waivers:
  - id: {name}
    rule: leaver
    worker_id: W1
    reason: hand-over of the ledger
    owner: ana
    approved_by: bo
    expires_at: "2026-03-20T00:00:00Z"
"""


class Examiner:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wrong: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, folder: Path, now: datetime) -> tuple[str, ...]:
        self.asked.append(load_policies(folder).digest)
        assert self.may_end.wait(ANSWER_SECONDS)
        if self.error is not None:
            raise self.error
        return self.wrong


class Place:
    """A followed folder with its store."""

    def __init__(self, root: Path) -> None:
        self.folder = small_policies(root)
        self.store = PolicyStore(root / "state")
        self.examiner = Examiner()
        self.ended = threading.Semaphore(0)

    def open(self, *, beside: bool = False, may_act: bool = True, shipped: str = "") -> PoliciesInForce:
        """Return what a process that starts now would ask."""
        following = Following(
            folder=self.folder,
            examine=self.examiner,
            max_waiver_days=90,
            may_act=may_act,
            shipped=lambda: shipped,
        )
        return PoliciesInForce(following, self.store, FakeClock(NOW), beside=self.ended.release if beside else None)

    def change(self, days: int) -> str:
        """Change a threshold, and return the digest of the revision that makes."""
        path = self.folder / "access" / "config" / "data.json"
        data = json.loads(path.read_text())
        data["leaver"]["grace_days"] = days
        path.write_text(json.dumps(data))
        return load_policies(self.folder).digest

    def await_end(self) -> None:
        """Wait for the end of an examination beside."""
        assert self.ended.acquire(timeout=ANSWER_SECONDS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a few rules, of which nothing is known yet."""
    return Place(tmp_path)


def test_a_good_revision_is_examined_once(place: Place) -> None:
    """What was found good is remembered over restarts: check and test cost once for each revision."""
    first = place.open().policies()
    again = place.open()
    assert again.policies().digest == first.digest
    assert again.policies() is again.policies()
    assert place.examiner.asked == [first.digest]
    assert place.store.standing().in_force is not None


def test_a_refused_revision_leaves_the_last_good_one(place: Place) -> None:
    """A revision that fails decides nothing, and says so; going back to the good one ends the noise."""
    good = place.open().policies().digest
    bad = place.change(3)
    place.examiner.wrong = ("access/rules/leaver/leaver.rego:3: broken", "and more")
    found = place.open().policies()
    assert found.digest == good
    assert found.doubts == (
        f"Policies refused: {bad}: access/rules/leaver/leaver.rego:3: broken (and 1 more); {good} stays in force",
    )
    assert place.open().policies().doubts == found.doubts
    assert place.examiner.asked == [good, bad]  # refused once is known as refused


def test_a_mended_test_makes_the_same_policies_good(place: Place) -> None:
    """A revision that was refused for its tests is examined again when they change, though it decides the same."""
    good = place.open().policies().digest
    bad = place.change(3)
    place.examiner.wrong = ("a test fails",)
    assert place.open().policies().digest == good
    test = place.folder / "access" / "rules" / "leaver" / "leaver_test.rego"
    test.write_text(test.read_text() + "\n# mended\n")
    place.examiner.wrong = ()
    found = place.open().policies()
    assert (found.digest, found.doubts) == (bad, ())


@pytest.mark.parametrize("ruin", ["gone", "half", "link"])
def test_a_folder_that_cannot_be_loaded_leaves_the_last_good_one(place: Place, tmp_path: Path, ruin: str) -> None:
    """A folder that is gone, half written or links out of itself is no revision, also right after a restart."""
    good = place.open().policies()
    rule = place.folder / "access" / "rules" / "leaver" / "leaver.rego"
    if ruin == "gone":
        shutil.rmtree(place.folder)
    elif ruin == "half":
        rule.write_text(rule.read_text()[:200])
    else:
        outside = tmp_path / "outside.rego"
        rule.rename(outside)
        rule.symlink_to(outside)
    found = place.open().policies()
    assert (found.digest, found.modules) == (good.digest, good.modules)
    assert found.doubts[0].startswith("Policies refused: folder: ")
    assert place.open(beside=True).policies().doubts == found.doubts


def test_without_a_good_one_a_refused_one_fails_the_cycle(place: Place) -> None:
    """There is nothing to stay with on a first start: nothing decides."""
    place.examiner.wrong = ("access/driver.rego:1: broken",)
    with pytest.raises(PolicyError, match=r"was refused: access/driver\.rego:1: broken"):
        place.open().policies()
    with pytest.raises(PolicyError, match="was refused"):
        place.open(beside=True).policies()
    assert len(place.examiner.asked) == 1


def test_examined_beside_the_last_good_one_decides_meanwhile(place: Place) -> None:
    """The daemon does not wait: cycles go on by the last good revision until the new one is found good."""
    running = place.open(beside=True)
    good = running.policies().digest
    place.examiner.may_end.clear()
    new = place.change(3)
    assert [running.policies().digest for _ in range(3)] == [good] * 3
    assert running.policies().doubts == ()
    place.examiner.may_end.set()
    place.await_end()
    assert running.policies().digest == new
    assert place.examiner.asked == [good, new]


def test_examined_beside_and_refused(place: Place) -> None:
    """What is refused beside the cycles is told by the next one, and to whoever watches."""
    running = place.open(beside=True)
    told: list[tuple[str, bool]] = []
    running.tell = lambda digest, refused: told.append((digest, refused))
    good = running.policies().digest
    place.examiner.wrong = ("broken",)
    bad = place.change(3)
    running.policies()
    place.await_end()
    assert running.policies().doubts == (f"Policies refused: {bad}: broken; {good} stays in force",)
    assert told[0] == (good, False)
    assert told[-1] == (good, True)


def test_what_was_examined_is_what_is_kept(place: Place) -> None:
    """A folder that is swapped while it is examined gains nothing: the copy that was looked at is what is good."""
    running = place.open(beside=True)
    good = running.policies().digest
    place.examiner.may_end.clear()
    looked_at = place.change(3)
    running.policies()
    swapped = place.change(9)
    place.examiner.may_end.set()
    place.await_end()
    assert place.store.holds(looked_at)
    assert not place.store.holds(swapped)
    assert running.policies().digest == good  # and the swapped one is looked at next
    place.await_end()
    assert running.policies().digest == swapped
    assert place.examiner.asked == [good, looked_at, swapped]


@pytest.mark.parametrize("error", [PolicyError("did not end within 600 s"), RuntimeError("a defect")])
def test_an_examination_without_an_end_adopts_nothing(place: Place, error: Exception) -> None:
    """What cannot be told good decides nothing, and it is said why; it is not remembered as refused."""
    running = place.open(beside=True)
    good = running.policies().digest
    place.examiner.error = error
    new = place.change(3)
    running.policies()
    place.await_end()
    found = running.policies()
    assert found.digest == good
    assert "did not end" in found.doubts[0] or "RuntimeError while it was examined" in found.doubts[0]
    place.examiner.error = None
    assert place.open().policies().digest == new


def test_the_policies_that_were_shipped_are_good(place: Place) -> None:
    """A first cycle does not wait for a check and test that the release went through."""
    digest = load_policies(place.folder).digest
    assert place.open(shipped=digest).policies().digest == digest
    assert place.examiner.asked == []
    assert place.store.holds(digest)


def test_without_opa_one_may_look_and_not_act(place: Place) -> None:
    """Where nothing is done on their word, policies that cannot be examined are looked with, and never kept."""
    place.examiner.error = SettingsError("`opa` was not found", advice="install it")
    with pytest.raises(PolicyError, match="cannot be examined: `opa` was not found"):
        place.open().policies()
    digest = place.open(may_act=False).policies().digest
    assert not place.store.holds(digest)


def test_waivers_follow_the_folder_and_outlive_it(place: Place) -> None:
    """A waiver counts at once, without any examination, and still does when the folder is gone."""
    running = place.open()
    running.policies()
    assert running.waivers(NOW).whole == ()
    file = place.folder / "waivers" / "ledger.yaml"
    file.write_text(WAIVERS.format(name="ledger"))
    running.policies()
    assert [one.waiver_id for one in running.waivers(NOW).whole] == ["ledger"]
    place.change(3)
    place.examiner.wrong = ("broken",)
    (place.folder / "waivers" / "late.yaml").write_text(WAIVERS.format(name="late"))
    refusing = place.open()
    refusing.policies()
    assert [one.waiver_id for one in refusing.waivers(NOW).whole] == ["ledger", "late"]
    shutil.rmtree(place.folder)
    after = place.open()
    after.policies()
    assert [one.waiver_id for one in after.waivers(NOW).whole] == ["ledger"]


def test_waivers_out_of_sight_take_nothing_from_the_copy(place: Place) -> None:
    """Where the waivers cannot be listed they were not withdrawn: the copy keeps what it has."""
    folder = place.folder / "waivers"
    (folder / "ledger.yaml").write_text(WAIVERS.format(name="ledger"))
    running = place.open()
    running.policies()
    assert len(running.waivers(NOW).whole) == 1
    folder.rename(place.folder / "elsewhere")
    folder.write_text("no folder")
    running.policies()
    with pytest.raises(PolicyError, match="the folder cannot be read"):
        running.waivers(NOW)
    shutil.rmtree(place.folder)
    after = place.open()
    after.policies()
    assert [one.waiver_id for one in after.waivers(NOW).whole] == ["ledger"]


def test_a_withdrawn_waiver_is_withdrawn_from_the_copy(place: Place) -> None:
    """What the folder takes back does not come back with the copy."""
    file = place.folder / "waivers" / "ledger.yaml"
    file.write_text(WAIVERS.format(name="ledger"))
    running = place.open()
    running.policies()
    assert len(running.waivers(NOW).whole) == 1
    file.unlink()
    running.policies()
    assert running.waivers(NOW).whole == ()
    shutil.rmtree(place.folder)
    after = place.open()
    after.policies()
    assert after.waivers(NOW).whole == ()


def test_a_copy_that_was_changed_does_not_decide(place: Place) -> None:
    """The kept copy is believed by its digest alone."""
    good = place.open().policies().digest
    shutil.rmtree(place.folder)
    module = place.store.folder(good) / "access" / "rules" / "leaver" / "leaver.rego"
    module.write_text(module.read_text() + "\n# changed\n")
    with pytest.raises(PolicyError, match="was changed"):
        place.open().policies()


def test_a_damaged_standing_is_named(place: Place) -> None:
    """A file of the store that is no standing stops the cycle by name; nothing is guessed."""
    place.open().policies()
    place.store.standing_file.write_text("{")
    with pytest.raises(PolicyError, match=r"standing\.json: is damaged"):
        place.open().policies()


def test_a_pinned_revision_stays_whatever_the_folder_says(place: Place) -> None:
    """Until another one is adopted, the folder is not followed, and its waivers do not count."""
    first = place.open().policies().digest
    pinned = Adopted(digest=first, source="main", at="2026-03-02T09:00:00Z", git_commit="a" * 40, pinned=True)
    place.store.change(lambda standing: replace(standing, in_force=pinned))
    place.change(3)
    (place.folder / "waivers" / "ledger.yaml").write_text(WAIVERS.format(name="ledger"))
    running = place.open()
    found = running.policies()
    assert (found.digest, found.git_commit, found.doubts) == (first, "a" * 40, ())
    assert running.waivers(NOW).whole == ()
    assert len(place.examiner.asked) == 1


def test_adopted_beside_a_running_process(place: Place) -> None:
    """A process that runs sees what another one put in force, at its next look."""
    running = place.open(beside=True)
    first = running.policies().digest
    other = Path(shutil.copytree(place.folder, place.folder.parent / "other"))
    data = other / "access" / "config" / "data.json"
    data.write_text(data.read_text().replace('"grace_days"', '"grace_days" '))
    config = json.loads(data.read_text())
    config["leaver"]["grace_days"] = 5
    data.write_text(json.dumps(config))
    digest = load_policies(other).digest
    place.store.keep(digest, tree_files(other))
    pinned = Adopted(digest=digest, source="other", at="2026-03-02T09:00:00Z", pinned=True, key_id="k1")
    PolicyStore(place.store.standing_file.parent).change(lambda standing: replace(standing, in_force=pinned))
    found = running.policies()
    assert digest != first
    assert (found.digest, found.key_id, found.previewed) == (digest, "k1", False)


def test_old_revisions_make_room(place: Place) -> None:
    """The store holds so many revisions, and always the one in force and the one before."""
    running = place.open()
    running.policies()
    digests = []
    for days in range(2, MOST_KEPT + 5):
        digests.append(place.change(days))
        place.open().policies()
    kept = [one for one in digests if place.store.holds(one)]
    assert len(kept) == MOST_KEPT
    assert set(digests[-2:]) <= set(kept)


@pytest.fixture(autouse=True)
def _nobody_waits(place: Place) -> Iterator[None]:
    """Let examinations end that a failed test left waiting."""
    yield
    place.examiner.may_end.set()


def test_refusals_expire_with_their_instant(place: Place) -> None:
    """An examination that came to no end is tried again after a while, without a restart."""
    clock = FakeClock(NOW)
    following = Following(folder=place.folder, examine=place.examiner, max_waiver_days=90)
    running = PoliciesInForce(following, place.store, clock, beside=place.ended.release)
    running.policies()
    new = place.change(3)
    place.examiner.error = PolicyError("OPA did not start")
    running.policies()
    place.await_end()
    assert running.policies().doubts
    place.examiner.error = None
    clock.sleep(timedelta(minutes=11).total_seconds())
    running.policies()
    place.await_end()
    assert running.policies().digest == new
