"""Waivers: whole ones hold until they end, malformed ones hold nothing and hide nobody, and all are counted."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.waiver_files import read_waivers
from reconciler.circumstances import Ground, recheck
from reconciler.cli.main import run
from reconciler.core import predicate
from reconciler.core.record import CycleOutcome
from reconciler.core.waivers import WaiverSet, in_force, set_digest, waiver_facts
from reconciler.policies.problems import Level
from reconciler.policies.waiving import waiver_problems
from tests import builders
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.fakes.house import Feed, House
from tests.output_schemas import problems
from tests.worlds import starter

ENTRY = {
    "id": "W1",
    "rule": "leaver",
    "provider": "corp-aws",
    "principal_id": "alice",
    "reason": "Swap on the 20th.",
    "owner": "payments",
    "approved_by": "ciso",
    "expires_at": "2026-03-20T18:00:00Z",
}


def write(root: Path, *entries: dict[str, str], name: str = "some.yaml") -> Path:
    """Write one file of waivers into a policy folder and return the folder."""
    (root / "waivers").mkdir(exist_ok=True)
    (root / "waivers" / name).write_text(yaml.safe_dump({"waivers": list(entries)}, sort_keys=False))
    return root


def test_a_malformed_waiver_takes_no_other_with_it(tmp_path: Path) -> None:
    """One bad entry, one bad file: the rest holds, and each bad one is named by file and line."""
    write(tmp_path, ENTRY, ENTRY | {"id": "W2", "expires_at": "soon"}, ENTRY | {"id": "W3"})
    (tmp_path / "waivers" / "broken.yaml").write_text("waivers: [a: b")
    read = read_waivers(tmp_path, NOW)
    assert [one.waiver.waiver_id for one in read.whole] == ["W1", "W3"]
    assert [(one.path, one.line) for one in read.refused] == [("waivers/broken.yaml", 2), ("waivers/some.yaml", 17)]
    assert all(line.startswith("Waiver refused: waivers/") for line in read.as_set().errors())


@pytest.mark.parametrize("approver", ["payments", " Payments ", "payments@example.com", "@payments"])
def test_nobody_approves_their_own(tmp_path: Path, approver: str) -> None:
    """However the name is written, an owner's own approval is refused."""
    read = read_waivers(write(tmp_path, ENTRY | {"approved_by": approver}), NOW)
    assert read.whole == ()
    assert "somebody else than its owner" in str(read.refused[0])


def test_the_longest_time_is_a_setting(tmp_path: Path) -> None:
    """What runs longer than the setting from now is refused; to the instant, it is not."""
    folder = write(tmp_path, ENTRY)
    left = read_waivers(folder, NOW).whole[0].waiver.expires_at - timedelta(days=10)
    assert read_waivers(folder, left, max_days=10).refused == ()
    assert "10 days at most" in str(read_waivers(folder, left - timedelta(seconds=1), max_days=10).refused[0])


def test_the_digest_is_of_all_that_is_in_force(tmp_path: Path) -> None:
    """Order and files change nothing, a word of a reason does, and an expired one is not in it."""
    second = ENTRY | {"id": "W2", "expires_at": "2026-05-01T00:00:00Z"}
    one = read_waivers(write(tmp_path, ENTRY, second), NOW).as_set().whole
    write(tmp_path, second)
    write(tmp_path, ENTRY, name="another.yaml")
    assert set_digest(read_waivers(tmp_path, NOW).as_set().whole, NOW) == set_digest(one, NOW)
    write(tmp_path, second | {"reason": "Another one."})
    assert set_digest(read_waivers(tmp_path, NOW).as_set().whole, NOW) != set_digest(one, NOW)
    later = one[0].expires_at
    assert [waiver.waiver_id for waiver in in_force(one, later)] == ["W2"]
    assert set_digest(one, later) == set_digest(one[1:], later)


def test_what_the_record_says_of_waivers(tmp_path: Path) -> None:
    """In force, ending within 30 days, refused: each is counted."""
    write(
        tmp_path,
        ENTRY,
        ENTRY | {"id": "W2", "expires_at": "2026-05-01T00:00:00Z"},
        ENTRY | {"id": "W3", "expires_at": "2026-02-01T00:00:00Z"},
        ENTRY | {"id": "W4", "owner": "ciso"},
    )
    facts = waiver_facts(read_waivers(tmp_path, NOW).as_set(), NOW)
    assert (facts.in_force, facts.expiring_soon, facts.refused) == (2, 1, 1)
    assert waiver_facts(WaiverSet(), NOW).digest == set_digest((), NOW)


@pytest.mark.parametrize(
    ("changes", "level", "says"),
    [
        ({"expires_at": "2026-03-01T00:00:00Z"}, Level.ERROR, "expired on 2026-03-01 00:00 UTC and waives nothing"),
        ({"rule": "leavers"}, Level.ERROR, "is about no rule: leavers"),
        ({"expires_at": "2026-03-10T00:00:00Z"}, Level.WARNING, "ends on 2026-03-10"),
        ({"reason": " "}, Level.ERROR, "field 'reason' must be a text"),
    ],
)
def test_a_waiver_that_waives_nothing_is_a_problem(
    tmp_path: Path, changes: dict[str, str], level: Level, says: str
) -> None:
    """Expired, malformed and pointless ones fail the check by file and line; one that ends soon is a warning."""
    read = read_waivers(write(tmp_path, ENTRY | {"expires_at": "2026-05-01T00:00:00Z"} | changes), NOW)
    (problem,) = waiver_problems(read, starter().rules, NOW)
    assert (problem.level, problem.path, says in problem.message) == (level, "waivers/some.yaml", True)


def test_a_malformed_waiver_hides_no_leaver(tmp_path: Path) -> None:
    """The cycle says so loudly, counts it in its attestation, and deals with the leaver all the same."""
    house = House(tmp_path)
    house.observe_first()
    house.waivers = WaiverSet(refused=("waivers/some.yaml:3: field 'owner' is missing",))
    record = house.run()
    assert [one.action.worker_id for one in record.results] == ["L1"]
    assert record.outcome is CycleOutcome.COMPLETE
    assert "Waiver refused: waivers/some.yaml:3: field 'owner' is missing" in record.errors
    assert predicate.cycle(record)["errors"] == {"count": 1, "codes": {"waiver_refused": 1}}
    assert predicate.waivers(record)["refused"] == 1


@pytest.mark.parametrize(("known", "stopped"), [((), True), (("waivers/some.yaml:1: not YAML",), False)])
def test_a_waiver_that_cannot_be_read_since_stops_an_act(
    tmp_path: Path, known: tuple[str, ...], *, stopped: bool
) -> None:
    """One that turned up after the plan may be about this very act; one that was refused before it is not news."""
    feed = Feed()
    ground = Ground(
        clock=FakeClock(NOW),
        roster=feed,
        last_roster=None,
        load_policies=starter,
        load_waivers=lambda _: WaiverSet(refused=("waivers/some.yaml:1: not YAML",)),
        policy_digest=starter().digest,
        roster_digest=feed.fingerprint(),
        refused=known,
    )
    act = builders.action(builders.principal(), builders.credential())
    assert ("a waiver that was written since" in recheck(ground)(act)) is stopped


def test_the_list_of_waivers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`policies waivers` names those that waive nothing and exits with 2; its JSON is as its schema says."""
    assert run(["policies", "waivers", str(write(tmp_path))]) == 0
    write(tmp_path, ENTRY | {"expires_at": "2020-01-01T00:00:00Z"}, ENTRY | {"id": "W2", "owner": "ciso"})
    capsys.readouterr()
    assert run(["policies", "waivers", str(tmp_path), "--output", "json"]) == 2
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert problems("policies-waivers", document) == []
    assert [(one["id"], one["state"]) for one in document["waivers"]] == [("W1", "expired")]
    assert document["refused"][0]["path"] == "waivers/some.yaml"
    assert run(["policies", "waivers", str(tmp_path)]) == 2
    shown = capsys.readouterr().out
    assert "(expired)" in shown
    assert "waives nothing: waivers/some.yaml:" in shown
    assert run(["policies", "waivers", str(tmp_path / "nowhere")]) == 1
