"""Snapshots that the daemon records, and a change of policies tried on the days that were."""

import errno
import gzip
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.cli.main import run
from reconciler.core.errors import PolicyError
from reconciler.core.model import Mode, PolicySet
from reconciler.core.record import CycleOutcome
from reconciler.cycle import run_cycle
from reconciler.observation import CycleRules, Picture
from reconciler.policies import recording as form
from reconciler.policies.backtest import backtest, backtest_document
from reconciler.policies.backtest_text import backtest_markdown
from reconciler.policies.deciding import Revision, decide
from reconciler.policies.difference import Difference, compare
from reconciler.policies.export import keeper
from reconciler.policies.recording import Recording, read_recording
from reconciler.policies.shelf import Shelf, taken_at
from reconciler.snapshot_settings import SnapshotSettings
from tests import peers
from tests.builders import NOW, credential
from tests.fakes.house import House
from tests.output_schemas import problems
from tests.recordings import recording
from tests.worlds import POLICIES, emit, rule_source, starter, with_modules

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def rego() -> Iterator[EmbeddedRego]:
    """Decide in one process for all tests."""
    engine = EmbeddedRego(deadline_seconds=20)
    yield engine
    engine.close()


def shelf(folder: Path, **settings: float) -> Shelf:
    """Return a shelf in a folder that is made when it is needed."""
    return Shelf(folder / "snapshots", SnapshotSettings.model_validate(settings))


def at(now: datetime, *keys: str) -> Recording:
    """Return a recording of some instant, on which bob holds these keys besides."""
    one = recording()
    (inventory,) = one.snapshot.inventories
    items = (*inventory.items, *(credential("bob", access_id=f"bob/{name}") for name in keys))
    return replace(one, now=now, snapshot=replace(one.snapshot, inventories=(replace(inventory, items=items),)))


def test_a_snapshot_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    """Packed, durable, and readable by its owner alone."""
    path = shelf(tmp_path).put(at(NOW))
    assert path is not None
    back, wanted = read_recording(path), at(NOW)
    assert back == replace(wanted, snapshot=back.snapshot)
    assert set(back.snapshot.items()) == set(wanted.snapshot.items())
    assert tuple(back.snapshot.principals()) == tuple(wanted.snapshot.principals())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert taken_at(path) == NOW.replace(microsecond=0)
    assert shelf(tmp_path).put(at(NOW)) is None


def test_one_is_due_when_the_last_is_old_enough(tmp_path: Path) -> None:
    """None twice within the time, one that a clock ahead has dated delays nothing, and none at all when told so."""
    here = shelf(tmp_path, every_hours=24)
    assert here.due(NOW)
    here.put(at(NOW))
    assert not here.due(NOW + timedelta(hours=23))
    assert here.due(NOW + DAY)
    assert here.due(NOW - timedelta(hours=1))
    assert not shelf(tmp_path, keep=0).due(NOW + 9 * DAY)


def test_the_oldest_go(tmp_path: Path) -> None:
    """By number; what lies beside them and is no snapshot stays."""
    here = shelf(tmp_path, keep=3)
    for day in range(5):
        here.put(at(NOW + day * DAY))
        (here.folder / "notes.txt").touch()
    assert [taken_at(path) for path in here.newest(9)] == [NOW.replace(microsecond=0) + day * DAY for day in (2, 3, 4)]
    assert [taken_at(path) for path in here.newest(1)] == [NOW.replace(microsecond=0) + 4 * DAY]
    assert (here.folder / "notes.txt").exists()


def test_the_oldest_go_where_room_is_short(tmp_path: Path) -> None:
    """By size; the newest stays even where it alone is too large."""
    here = shelf(tmp_path, max_megabytes=1)
    for day in range(3):
        path = here.put(at(NOW + day * DAY))
        assert path is not None
        path.write_bytes(bytes(700_000))
        path.chmod(0o600)
    here.put(at(NOW + 3 * DAY))
    assert [taken_at(path).day for path in here.newest(9)] == [(NOW + day * DAY).day for day in (2, 3)]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is no recorded snapshot"), (b"no gzip", "cannot be read"), (gzip.compress(b"{}")[:-9], "cannot be read")],
    ids=["empty", "something else", "cut off"],
)
def test_what_is_no_snapshot_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    """A file that was cut off or replaced is an error with its name."""
    path = tmp_path / "20261122T070000Z.json.gz"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=says) as caught:
        read_recording(path)
    assert path.name in str(caught.value)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on what comes out."""
    monkeypatch.setattr(form, "MOST_BYTES", 10_000)
    path = tmp_path / "20261122T070000Z.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_001))
    with pytest.raises(PolicyError, match="more than a recording may hold"):
        read_recording(path)


def test_a_cycle_records_what_it_saw(tmp_path: Path) -> None:
    """The first of a day is recorded; a rehearsal never is, nor one that somebody waits for."""
    company, here = House(tmp_path / "house"), shelf(tmp_path)
    keep = keeper(here, company.journal)
    for changes in ({"urgent": lambda: True}, {"decide_at": NOW + 9 * DAY}, {}, {}):
        house = replace(company.house(Mode.OBSERVE), keep_snapshot=keep, **changes)
        run_cycle(house, company.rules(Mode.OBSERVE))
        company.clock.sleep(60)
        assert len(here.recorded()) == (0 if changes else 1)
    (path,) = here.recorded()
    assert {one.worker_id for one in read_recording(path).correlations} >= {"L1"}


def test_a_cycle_without_room_for_a_snapshot_is_as_good(tmp_path: Path) -> None:
    """A full disk under the snapshots is told in the cycle's errors, and the leaver's access goes."""
    company = House(tmp_path / "house")
    company.observe_first()

    def full(picture: Picture, rules: CycleRules) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    house = replace(company.house(Mode.ENFORCE), keep_snapshot=full)
    record = run_cycle(house, company.rules(Mode.ENFORCE)).record
    assert record.outcome is CycleOutcome.COMPLETE
    assert record.results
    assert record.errors == ("no snapshot was recorded to try policies on: No space left on device",)


def differences(rego: EmbeddedRego, head: PolicySet, *recorded: Recording) -> Iterator[Difference]:
    """Compare the policies of this repository with changed ones on recordings."""
    for one in recorded:
        sides = [
            decide(one, Revision(name=name, policies=policies, waivers=one.waivers), rego)
            for name, policies in (("main", starter()), ("change", head))
        ]
        yield compare(one, sides[0], sides[1])


def test_a_rule_that_bites_on_one_day_shows(rego: EmbeddedRego) -> None:
    """Each day says what changes on it, each decision on how many of the days; the document fits its schema."""
    body = emit('access_id in {"bob/old", "bob/new"}', effect='"revoke"', code='"forbidden_key"')
    head = with_modules(starter(), access__rules__forbidden_key__forbidden_key=rule_source("forbidden_key", body))
    days = [at(NOW, "old"), at(NOW + DAY, "old", "new"), at(NOW + 2 * DAY)]
    found = backtest("main", "change", 5, differences(rego, head, *days))
    assert [day.changes_effects for day in found.days] == [True, True, False]
    assert [(one.line.access_id, one.times, one.last) for one in found.lines] == [
        ("bob/old", 2, NOW + DAY),
        ("bob/new", 1, NOW + DAY),
    ]
    assert "forbidden_key" not in found.never_matched
    assert "mover" in found.never_matched
    assert problems("policies-backtest", json.loads(json.dumps(backtest_document(found)))) == []
    comment = backtest_markdown(found)
    assert "**Decisions change on 2 of 3 snapshots.**" in comment
    assert "Only 3 snapshots are recorded; 5 were asked for." in comment
    assert "| access\\_key | keep | revoke | `forbidden_key` | 2 of 3 |" in comment.replace(
        "access_key", "access\\_key"
    )
    calm = backtest("main", "main", 3, differences(rego, starter(), *days))
    assert not calm.changes_effects
    assert "**No decision changes on any of 3 snapshots.**" in backtest_markdown(calm)


def test_the_command_on_recorded_snapshots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real OPA: the newest is the default, fewer than asked for is said, and none at all is an error."""
    peers.require("opa")
    changed = tmp_path / "changed"
    for path in (POLICIES / "access").rglob("*"):
        place = changed / path.relative_to(POLICIES)
        place.mkdir(parents=True, exist_ok=True) if path.is_dir() else place.write_bytes(path.read_bytes())
    data = changed / "access/config/data.json"
    data.write_text(json.dumps({**json.loads(data.read_text()), "orphan": {"effect": "quarantine"}}))
    config = tmp_path / "access-reconciler.yaml"
    config.write_text(f"roster: {{path: roster.csv}}\npolicies: {POLICIES}\n")
    monkeypatch.chdir(tmp_path)
    two = ["policies", "diff", str(POLICIES), str(changed)]
    assert run([*two, "--backtest", "2"]) == 1
    assert "no snapshot is recorded" in capsys.readouterr().err
    for day in (0, 1):
        Shelf(tmp_path / "state" / "snapshots", SnapshotSettings()).put(at(NOW + day * DAY))
    assert run([*two, "--output", "json"]) == 2
    newest = json.loads(capsys.readouterr().out)
    assert newest["as_of"].startswith(f"{NOW + DAY:%Y-%m-%d}")
    assert run([*two, "--backtest", "3", "--output", "json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert problems("policies-backtest", told) == []
    assert (told["asked"], len(told["snapshots"])) == (3, 2)
    assert {line["rule"] for line in told["lines"]} == {"orphan"}
    assert run([*two[:3], str(POLICIES), "--backtest", "1"]) == 0
    assert run([*two, "--backtest", "1", "--snapshot", "x.json"]) not in (0, 1, 2)
