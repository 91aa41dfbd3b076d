"""What people are told: what needs them, once, without what they are not set to get, and never in a cycle's way."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inventory.model import PrincipalKind
from reconciler.adapters.notice_file import JsonNoticeFile
from reconciler.adapters.notify import AppriseNotifier
from reconciler.core.errors import NotifyError
from reconciler.core.model import CycleId, HoldCode, HoldReason, OutcomeState
from reconciler.core.notices import MOST_IDS, Event, Include, Memory
from reconciler.core.record import Breadth, CycleOutcome, CycleRecord, WaiverFacts
from reconciler.core.spooling import Backlog, Waiting
from reconciler.daemon.notifying import MOST_OWED, Notifications, Patience, Receiver
from tests import builders
from tests.builders import NOW, PROVIDER
from tests.fakes.clock import FakeClock
from tests.fakes.receiver import HttpReceiver
from tests.record_builders import action_result, cycle_record, guard_facts, inventory_facts, plan
from tests.unit.test_daemon_metrics import told

HOUR = 3600.0
PATIENCE = Patience(
    quiet_seconds=60, repeat_seconds=24 * HOUR, incomplete_seconds=HOUR, overdue_seconds=HOUR, unsigned_seconds=900
)
REASON = HoldReason(code=HoldCode.CAP_COUNT, message="corp-aws: 30 principals; the limit is 25", provider=PROVIDER)
HELD = cycle_record(outcome=CycleOutcome.HELD, guard=guard_facts(hold_reasons=(REASON,)), results=())
QUIET = cycle_record(results=())


class Kept:
    """A notifier that keeps what it sends, or refuses."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.down = False

    def send(self, title: str, body: str) -> None:
        if self.down:
            raise NotifyError("nobody is there", advice="look")
        self.sent.append((title, body))


class Desk:
    """Notifications to one receiver, on a clock that the test moves, without threads."""

    def __init__(
        self, folder: Path, *, events: frozenset[Event] = frozenset(Event), include: Include = Include.COUNTS
    ) -> None:
        self.clock = FakeClock(NOW)
        self.kept = Kept()
        self.file = JsonNoticeFile(folder / "notices.json")
        self.receiver = Receiver(name="chat.url", notifier=self.kept, events=events, include=include)
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        self.notifications = Notifications((self.receiver,), (PROVIDER,), PATIENCE, self.file, self.clock)

    def ended(self, record: CycleRecord, **changes: Any) -> list[str]:
        """End a cycle now and return the bodies of what is told after a quiet time."""
        then = replace(record, finished_at=self.clock.now())
        self.notifications.cycle_ended(told(record=then, **changes))
        return self.later(61)

    def later(self, seconds: float) -> list[str]:
        """Let time pass and return the bodies of what is told then."""
        self.clock.sleep(seconds)
        before = len(self.kept.sent)
        self.notifications.turn(0)
        return [body for _, body in self.kept.sent[before:]]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a desk that tells counts of everything."""
    return Desk(tmp_path)


def failed(outcome: OutcomeState = OutcomeState.FAILED, number: int = 1) -> CycleRecord:
    """Return a cycle whose acts failed."""
    results = tuple(replace(action_result(), outcome=outcome, verification=None) for _ in range(number))
    return cycle_record(outcome=CycleOutcome.PARTIAL, results=results)


def test_a_held_plan_is_told_once_and_its_end_once(desk: Desk) -> None:
    """Digest, reason and next command are told; the same plan is not told again, and its end is told once."""
    (body,) = desk.ended(HELD)
    assert body == (
        f"plan_held: A plan of 1 action is held (cap_count): {plan().digest}\n"
        f"Next: access-reconciler attestations show 1, then access-reconciler approve {plan().digest}"
    )
    assert desk.ended(HELD) == []
    assert desk.ended(QUIET) == ["Resolved: plan_held"]
    assert desk.ended(QUIET) == []
    assert [title for title, _ in desk.kept.sent] == ["access-reconciler: 1 notice", "access-reconciler: 1 resolved"]


def test_a_pass_over_leavers_ends_nothing_that_a_whole_one_found(desk: Desk) -> None:
    """A held plan stays held while leavers are dealt with beside it, and what gave way says nothing at all."""
    desk.ended(HELD)
    assert desk.ended(replace(QUIET, breadth=Breadth.LEAVERS)) == []
    assert desk.ended(QUIET, gave_way=True) == []
    assert len(desk.ended(replace(failed(), breadth=Breadth.LEAVERS))) == 1
    assert desk.ended(QUIET) == ["Resolved: action_failed/corp-aws\n\nResolved: plan_held"]


def test_another_plan_is_news_and_a_lasting_one_is_told_again(tmp_path: Path) -> None:
    """A new digest is told at once, an old one after the time to repeat."""
    desk = Desk(tmp_path, events=frozenset({Event.PLAN_HELD}))
    desk.ended(HELD)
    assert len(desk.ended(replace(HELD, plan=plan(digest="sha256:" + "1" * 64)))) == 1
    assert desk.later(23 * HOUR) == []
    assert "plan_held" in desk.later(HOUR)[0]


def test_a_hold_that_no_approval_lifts_asks_for_none(desk: Desk) -> None:
    """Whoever is told of a stale roster is not sent to approve it."""
    stale = HoldReason(code=HoldCode.ROSTER_STALE, message="900 h old")
    (body,) = desk.ended(replace(HELD, guard=guard_facts(hold_reasons=(stale,))))
    assert "no approval lifts this" in body
    assert "access-reconciler approve" not in body


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (OutcomeState.FAILED, "corp-aws: 2 acts failed, 0 with an unknown end"),
        (OutcomeState.UNKNOWN, "corp-aws: 0 acts failed, 2 with an unknown end"),
    ],
)
def test_acts_that_failed_are_grouped(outcome: OutcomeState, text: str, desk: Desk) -> None:
    """One paragraph for a provider, whatever the number of its acts."""
    (body,) = desk.ended(failed(outcome, number=2))
    assert text in body


def test_only_who_is_set_to_gets_ids(tmp_path: Path) -> None:
    """By default nobody is named; with ids principals and items are, and a long list is cut and counted."""
    record = failed(number=MOST_IDS + 5)
    (counts,) = Desk(tmp_path / "a").ended(record)
    assert "alice" not in counts
    (ids,) = Desk(tmp_path / "b", include=Include.IDS).ended(record)
    assert "- alice: alice/access_key/1" in ids
    assert "- and 5 more" in ids
    assert ids.count("alice/access_key/1") == MOST_IDS


def test_events_of_one_cycle_are_one_message(desk: Desk) -> None:
    """A cycle that was held after the lease was lost gives one message with both, not two."""
    desk.notifications.cycle_broke("LeaseLost")
    (body,) = desk.ended(HELD)
    assert "lease_lost: " in body
    assert "plan_held: " in body


def test_a_receiver_gets_what_it_asked_for(tmp_path: Path) -> None:
    """Other events are not told, and neither is their end."""
    desk = Desk(tmp_path, events=frozenset({Event.BREAK_GLASS_USED}))
    assert desk.ended(HELD) == []
    assert desk.ended(QUIET) == []


def test_messages_keep_a_pause(desk: Desk) -> None:
    """What comes within the pause waits for its end, and is told as it is then."""
    desk.ended(HELD)
    desk.notifications.cycle_ended(told(record=replace(failed(), finished_at=desk.clock.now())))
    assert desk.later(0) == []
    assert desk.later(30) == []
    assert desk.later(31)[0].count("\n\n") == 1


def glass(minutes: float | None) -> Any:
    """Return a snapshot with an emergency account that was used so many minutes after the start."""
    at = None if minutes is None else NOW + timedelta(minutes=minutes)
    owner = builders.principal("root", kind=PrincipalKind.BREAK_GLASS, last_used_at=at)
    return builders.snapshot(builders.inventory((owner,), ()))


def test_the_use_of_an_emergency_account_is_told(desk: Desk) -> None:
    """The first sight is no use; each advance of the last use is one, told once and never resolved."""
    assert desk.ended(QUIET, snapshot=glass(-5)) == []
    assert desk.ended(QUIET, snapshot=glass(-5)) == []
    (body,) = desk.ended(QUIET, snapshot=glass(1))
    assert body.startswith("break_glass_used: corp-aws: 1 emergency account used\n")
    assert "root" not in body
    assert desk.ended(QUIET, snapshot=glass(1)) == []
    assert len(desk.ended(QUIET, snapshot=glass(2))) == 1


def test_a_first_use_is_one(desk: Desk) -> None:
    """An account that had never been used and now was is told of, and what is not known later is no use."""
    desk.ended(QUIET, snapshot=glass(None))
    assert len(desk.ended(QUIET, snapshot=glass(1))) == 1
    assert desk.ended(QUIET, snapshot=glass(None)) == []
    assert desk.ended(QUIET, snapshot=glass(1)) == []


def test_a_use_waits_for_a_receiver_that_is_down(desk: Desk) -> None:
    """What happened once is owed until it is told, however many quiet cycles come between."""
    desk.ended(QUIET, snapshot=glass(-5))
    desk.kept.down = True
    assert desk.ended(QUIET, snapshot=glass(1)) == []
    for _ in range(3):
        assert desk.ended(QUIET, snapshot=glass(1)) == []
    desk.kept.down = False
    assert len(desk.later(HOUR)) == 1
    assert desk.notifications.counts == {"sent": 1, "failed": desk.notifications.counts["failed"], "dropped": 0}
    assert desk.notifications.counts["failed"] > 0


def test_what_waits_is_bounded(desk: Desk) -> None:
    """A receiver that stays down is owed so many single events; the oldest goes, and is counted."""
    desk.kept.down = True
    names = [f"provider-{number}" for number in range(MOST_OWED + 3)]
    for at in (-5.0, 1.0):
        moment = NOW + timedelta(minutes=at)
        owners = [
            builders.principal("root", provider=name, kind=PrincipalKind.BREAK_GLASS, last_used_at=moment)
            for name in names
        ]
        desk.ended(QUIET, snapshot=builders.snapshot(builders.inventory(tuple(owners), ())))
    assert desk.notifications.counts["dropped"] == 3


def test_a_provider_that_stays_incomplete_is_told(desk: Desk) -> None:
    """Not the first partial reading, but one that lasts; a whole one resolves it."""
    partial = replace(QUIET, inventories=(inventory_facts(complete=False),))
    assert desk.ended(partial) == []
    desk.clock.sleep(HOUR)
    (body,) = desk.ended(partial)
    assert "provider_incomplete: corp-aws has not been read whole since 2026-03-02 09:00 UTC" in body
    assert desk.ended(partial) == []
    assert desk.ended(QUIET) == ["Resolved: provider_incomplete/corp-aws"]


def test_no_whole_cycle_is_told_without_any_cycle_ending(desk: Desk) -> None:
    """A daemon whose cycles hang says so by the clock alone."""
    assert desk.later(HOUR - 1) == []
    (body,) = desk.later(2)
    assert body.startswith("cycle_overdue: No cycle has been whole since 2026-03-02 09:00 UTC")
    assert "cycle_overdue" in desk.ended(QUIET)[0]


def test_a_restart_tells_nothing_again(desk: Desk) -> None:
    """What was told is kept; even after a long stop nothing is called overdue before a cycle had its chance."""
    desk.ended(HELD)
    desk.clock.sleep(5 * HOUR)
    desk.start()
    assert desk.later(1) == []
    assert desk.ended(HELD) == []
    desk.start()
    assert desk.ended(QUIET) == ["Resolved: plan_held"]


def test_signing_that_stays_behind_is_told(desk: Desk) -> None:
    """One failure is no news; a quarter of an hour of them is, until a cycle is signed."""
    desk.notifications.cycle_broke("SigningError")
    assert desk.later(60) == []
    assert "unsigned_backlog" in desk.later(900)[0]
    assert desk.ended(QUIET) == ["Resolved: unsigned_backlog"]


def test_statements_that_wait_too_long_are_told(desk: Desk) -> None:
    """Past the limit the oldest statement without a signature is told once, with how many wait; its end is told too."""
    desk.ended(QUIET)
    waiting = (Waiting(sequence=7, cycle_id=CycleId("c7")), Waiting(sequence=8, cycle_id=CycleId("c8")))
    desk.notifications.signing(Backlog(waiting=waiting, since=desk.clock.now()))
    assert desk.later(890) == []
    (body,) = desk.later(20)
    assert body.startswith("unsigned_backlog: 2 statements wait for their signature, the oldest since 2026-03-02 ")
    assert "access-reconciler attestations pending" in body
    desk.notifications.signing(Backlog(waiting=waiting[1:], since=desk.clock.now() - timedelta(seconds=901)))
    assert desk.later(120) == []
    desk.notifications.signing(Backlog())
    assert desk.later(60) == ["Resolved: unsigned_backlog"]


def test_what_is_told_of_waivers_stays_until_they_are_looked_at(desk: Desk) -> None:
    """A cycle that never came to look at waivers ends no notice about them."""
    facts = WaiverFacts(in_force=4, ending=2, refused=1, held=1, digest="sha256:" + "d" * 64)
    assert len(desk.ended(replace(QUIET, waivers=facts))) == 1
    assert desk.ended(replace(QUIET, waivers=WaiverFacts())) == []
    assert desk.ended(QUIET) == ["Resolved: waiver_ending\n\nResolved: waiver_refused"]


def test_refused_policies_are_told(desk: Desk) -> None:
    """A cycle that failed for its policies is told by its kind; the error's own words stay in the log."""
    refused = cycle_record(outcome=CycleOutcome.FAILED, results=(), plan=None, errors=("PolicyError: canary",))
    (body,) = desk.ended(refused)
    assert body.startswith("policy_refused: ")
    assert "canary" not in body


def test_a_refusal_is_tried_again_ever_more_rarely(desk: Desk) -> None:
    """The pause doubles, the cycle is not held up, and what is told at last is what is so then."""
    desk.kept.down = True
    with capture_logs() as logs:
        desk.ended(HELD)
        for _ in range(100):
            desk.later(30)
    assert 3 <= len(logs) <= 8
    assert {line["event"] for line in logs} == {"notify.failed"}
    desk.kept.down = False
    (body,) = desk.later(2 * HOUR)
    assert "plan_held" in body


def test_a_memory_that_cannot_be_read_or_written_stops_nothing(tmp_path: Path) -> None:
    """A damaged file is begun anew and a missing folder is a line in the log; both are told."""
    path = tmp_path / "notices.json"
    path.write_text("{")
    with capture_logs() as logs:
        assert JsonNoticeFile(path).load() == Memory()
        JsonNoticeFile(tmp_path / "none" / "notices.json").save(Memory())
    assert [line["event"] for line in logs] == ["notices.forgotten", "notices.not_kept"]
    JsonNoticeFile(path).save(Memory(whole_cycle_at=NOW))
    assert JsonNoticeFile(path).load().whole_cycle_at == NOW
    assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """Yield a receiver that listens."""
    with HttpReceiver() as receiver:
        yield receiver


def address(folder: Path, http: HttpReceiver, more: str = "") -> Path:
    """Write the address of a receiver, with a secret in it, into a file."""
    path = folder / "chat.url"
    path.write_text(f"json://user:canary-secret@127.0.0.1:{http.port}/hook{more}\n")
    return path


def test_apprise_brings_a_message_to_a_real_receiver(http: HttpReceiver, tmp_path: Path) -> None:
    """Title and body arrive over HTTP as they were written, and nothing is left in a folder of Apprise's own."""
    AppriseNotifier(address(tmp_path, http), 10).send("title", "body\n- line")
    (got,) = http.received
    document: Mapping[str, Any] = json.loads(got.body)
    assert (document["title"], document["message"]) == ("title", "body\n- line")
    assert got.path == "/hook"


def test_what_a_receiver_refuses_is_an_error_without_its_address(http: HttpReceiver, tmp_path: Path) -> None:
    """HTTP 500, nobody listening, a slow receiver, no file, and no address: each says which file, and no secret."""
    path = address(tmp_path, http)
    errors = []
    http.status = 500
    errors.append(refusal(path, 10))
    http.status, http.delay_seconds = 200, 5
    errors.append(refusal(path, 0.3))
    path.write_text("json://user:canary-secret@127.0.0.1:9/\n")
    errors.append(refusal(path, 10))
    path.write_text("no address canary-secret")
    errors.append(refusal(path, 10))
    path.write_text("canary-secret://x")
    errors.append(refusal(path, 10))
    errors.append(refusal(tmp_path / "none", 10))
    assert all("chat.url" in one or "none" in one for one in errors)
    assert not any("canary-secret" in one for one in errors)
    assert "timeout" in errors[1]


def refusal(path: Path, seconds: float) -> str:
    """Send and return what the refusal says."""
    with pytest.raises(NotifyError) as caught:
        AppriseNotifier(path, seconds).send("title", "body")
    return f"{caught.value} {caught.value.advice}"


def test_a_hung_receiver_holds_up_neither_cycle_nor_others(http: HttpReceiver, tmp_path: Path) -> None:
    """With real threads: the cycle goes on at once, and the other receiver is told meanwhile."""
    http.delay_seconds = 3
    kept = Kept()
    everything = frozenset(Event)
    slow = Receiver(
        name="slow", notifier=AppriseNotifier(address(tmp_path, http), 10), events=everything, include=Include.COUNTS
    )
    quick = Receiver(name="quick", notifier=kept, events=everything, include=Include.COUNTS)
    clock = FakeClock(NOW)
    notifications = Notifications(
        (slow, quick), (PROVIDER,), PATIENCE, JsonNoticeFile(tmp_path / "notices.json"), clock
    )
    notifications.start()
    notifications.cycle_ended(told(record=HELD))
    assert http.wait()
    notifications.cycle_ended(told(record=HELD))
    notifications.close(seconds=0.2)
    assert [title for title, _ in kept.sent] == ["access-reconciler: 1 notice"]
