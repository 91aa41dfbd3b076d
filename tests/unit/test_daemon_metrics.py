"""What a metrics server is shown: what the record of a cycle says, no more, and bounded."""

import http.client
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.roster.model import WorkerId
from reconciler.core.model import BeforeImage, CycleId, HoldCode, HoldReason, OutcomeState, VerificationState
from reconciler.core.record import Breadth, CycleOutcome, LeaverState, LeaverVerdict, WaiverFacts
from reconciler.core.spooling import Backlog, Waiting
from reconciler.daemon.health import Health, Silence
from reconciler.daemon.metric_table import PREFIX, TABLE
from reconciler.daemon.metrics import Metrics, Sources
from reconciler.daemon.probes import HealthServer
from reconciler.ports import Intent, JournalEntry, StreamLag
from reconciler.told import CycleTold, StageTime
from tests import builders
from tests.builders import NOW, PROVIDER
from tests.fakes.clock import FakeClock
from tests.record_builders import action_result, cycle_record, guard_facts, inventory_facts, plan, roster_facts

LEAVER = LeaverVerdict(
    worker_id=WorkerId("E1001"), state=LeaverState.CLEAN, access_end_at=NOW - timedelta(minutes=2), remaining=0
)

WAITING = tuple(Waiting(sequence=number, cycle_id=CycleId(f"c{number}")) for number in (7, 8))


def told(**changes: Any) -> CycleTold:
    """Tell of a cycle with one verified revocation of a leaver whose end came two minutes before."""
    result = action_result(action=replace(action_result().action, worker_id=WorkerId("E1001")))
    record = cycle_record(results=(result,), leavers=(LEAVER,))
    intent = Intent(
        action=result.action,
        before=BeforeImage(restorable=True, document="{}"),
        cycle_id=record.cycle_id,
        epoch=1,
        plan_digest=plan().digest,
        policy_digest="sha256:" + "b" * 64,
        recorded_at=NOW + timedelta(seconds=3.5),
    )
    values: dict[str, Any] = {
        "record": record,
        "snapshot": builders.snapshot(replace(builders.inventory(), api_calls=9, throttles=2)),
        "gave_way": False,
        "acts": (JournalEntry(intent=intent, outcome=OutcomeState.DONE, outcome_at=NOW + timedelta(seconds=4)),),
        "unsettled": 0,
        "caps": {PROVIDER: 0.04},
        "lags": (StreamLag(stream="jsonl", records=3, since=NOW - timedelta(seconds=30)),),
        "stages": (StageTime(stage="collect", began_at=NOW, ended_at=NOW + timedelta(seconds=2)),),
    }
    return CycleTold(**(values | changes))


class Shown:
    """Metrics on a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        silence = Silence(stages={}, stage_seconds=900, cycle_seconds=7200)
        self.health = Health(self.clock, (PROVIDER,), silence, lambda _: None)
        self.metrics = Metrics(
            "1.2.3",
            self.clock,
            Sources(
                health=self.health.snapshot,
                wakeups=lambda: {"timer": 4},
                timer_troubles=lambda: {"missed": 1},
                webhook_calls=lambda: {"forged": 7},
                webhook_pauses=lambda: 3,
                notices=lambda: {"sent": 2},
            ),
        )

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample."""
        return self.metrics.registry.get_sample_value(PREFIX + name, labels)


def test_everything_in_the_table_is_shown_and_nothing_else() -> None:
    """The registry holds exactly the families of the table, each with its kind, labels and help."""
    shown = Shown()
    shown.metrics.cycle_ended(told())
    shown.metrics.cycle_broke("SigningError")
    found = {}
    for family in shown.metrics.registry.collect():
        ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
        row = TABLE[family.name.removeprefix(PREFIX) + ending]
        assert (family.type, family.documentation) == (row.kind, row.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels), sample.name
        found[family.name.removeprefix(PREFIX) + ending] = family.samples
    assert set(found) == set(TABLE)


def test_a_cycle_is_counted() -> None:
    """Outcome, acts, verifications, calls, throttles, caps and verdicts stand as the record has them."""
    shown = Shown()
    shown.metrics.cycle_ended(told())
    shown.metrics.cycle_ended(told(record=cycle_record(sequence=2, results=(), outcome=CycleOutcome.PARTIAL)))
    assert shown.value("cycles_total", breadth="whole", outcome="complete") == 1
    assert shown.value("cycles_total", breadth="whole", outcome="partial") == 1
    assert shown.value("actions_total", provider="corp-aws", effect="revoke", outcome="done") == 1
    assert shown.value("verifications_total", provider="corp-aws", state="gone") == 1
    assert shown.value("api_calls_total", provider="corp-aws") == 18
    assert shown.value("throttles_total", provider="corp-aws") == 4
    assert shown.value("cap_used_ratio", provider="corp-aws") == 0.04
    assert shown.value("leavers", state="clean") == 1
    assert shown.value("leavers", state="violation") == 0
    assert shown.value("stage_duration_seconds_sum", stage="collect") == 4
    assert shown.value("provider_complete_timestamp_seconds", provider="corp-aws") == (NOW.timestamp() + 8)


def test_an_incomplete_scope_keeps_its_provider_old() -> None:
    """The instant of a provider's last whole reading moves only when each of its scopes was read whole."""
    shown = Shown()
    scopes = (inventory_facts(), inventory_facts(complete=False))
    shown.metrics.cycle_ended(told(record=cycle_record(inventories=scopes)))
    assert shown.value("provider_complete_timestamp_seconds", provider="corp-aws") is None


@pytest.mark.parametrize(
    ("stage", "seconds"), [("decided", 123.0), ("intent", 123.5), ("outcome", 124.0), ("verified", 127.0)]
)
def test_the_time_to_revoke_begins_at_the_end_that_is_known(stage: str, seconds: float) -> None:
    """Each stage counts from the access end, for the roster that names it was there before."""
    shown = Shown()
    shown.metrics.cycle_ended(told())
    assert shown.value("time_to_revoke_seconds_sum", provider="corp-aws", stage=stage) == seconds
    assert shown.value("time_to_revoke_seconds_count", provider="corp-aws", stage=stage) == 1


def test_an_end_that_hr_tells_late_counts_from_the_telling() -> None:
    """An end of last month in a roster of five minutes ago counts from the roster, also in later cycles."""
    shown = Shown()
    late = replace(LEAVER, access_end_at=NOW - timedelta(days=30))
    roster = roster_facts(as_of=NOW - timedelta(minutes=5))
    held = cycle_record(results=(), leavers=(late,), roster=roster)
    shown.metrics.cycle_ended(told(record=held))
    newer = roster_facts(as_of=NOW)
    shown.metrics.cycle_ended(told(record=replace(told().record, leavers=(late,), roster=newer)))
    assert shown.value("time_to_revoke_seconds_sum", provider="corp-aws", stage="verified") == 307.0


def test_only_what_is_seen_gone_counts_as_revoked() -> None:
    """An act that was done and not verified adds nothing to the time to revoke."""
    shown = Shown()
    record = told().record
    unproven = replace(record.results[0], verification=VerificationState.UNKNOWN)
    shown.metrics.cycle_ended(told(record=replace(record, results=(unproven,))))
    assert shown.value("time_to_revoke_seconds_count", provider="corp-aws", stage="verified") is None
    assert shown.value("verifications_total", provider="corp-aws", state="unknown") == 1


def test_ages_grow_between_cycles() -> None:
    """A held plan, missing signatures and a late stream are as old as they are at the scrape."""
    shown = Shown()
    reason = HoldReason(code=HoldCode.CAP_COUNT, message="too many")
    held = cycle_record(outcome=CycleOutcome.HELD, guard=guard_facts(hold_reasons=(reason,)), results=())
    shown.metrics.cycle_ended(told(record=held))
    shown.metrics.cycle_broke("SigningError")
    shown.clock.sleep(100)
    shown.metrics.cycle_broke("SigningError")
    assert shown.value("held_plans") == 1
    assert shown.value("held_plan_age_seconds") == 92
    assert shown.value("unsigned_age_seconds") == 100
    assert shown.value("audit_lag_seconds", stream="jsonl") == 130
    shown.metrics.cycle_ended(told(record=replace(held, sequence=2), lags=()))
    assert shown.value("held_plan_age_seconds") == 92
    assert shown.value("unsigned_age_seconds") == 0
    assert shown.value("audit_lag_seconds", stream="jsonl") is None
    shown.health.signing(Backlog(waiting=WAITING, since=shown.clock.now() - timedelta(minutes=20)))
    assert (shown.value("unsigned_statements"), shown.value("unsigned_age_seconds")) == (2, 1200)
    shown.metrics.cycle_ended(told())
    assert shown.value("unsigned_age_seconds") == 1200
    shown.health.signing(Backlog())
    assert (shown.value("unsigned_statements"), shown.value("unsigned_age_seconds")) == (0, 0)
    assert (shown.value("held_plans"), shown.value("held_plan_age_seconds")) == (0, 0)


def test_a_pass_over_leavers_moves_only_what_it_knows() -> None:
    """Acts and times count; verdicts, caps, providers and the held plan stay as the whole pass left them."""
    shown = Shown()
    reason = HoldReason(code=HoldCode.CAP_COUNT, message="too many")
    held = cycle_record(outcome=CycleOutcome.HELD, guard=guard_facts(hold_reasons=(reason,)), results=())
    shown.metrics.cycle_ended(told(record=held))
    shown.clock.sleep(60)
    quick = replace(told().record, breadth=Breadth.LEAVERS, finished_at=NOW + timedelta(seconds=60), leavers=(LEAVER,))
    shown.metrics.cycle_ended(told(record=quick, caps={}))
    assert shown.value("cycles_total", breadth="leavers", outcome="complete") == 1
    assert shown.value("actions_total", provider="corp-aws", effect="revoke", outcome="done") == 1
    assert shown.value("held_plans") == 1
    assert shown.value("provider_complete_timestamp_seconds", provider="corp-aws") == NOW.timestamp() + 8
    assert shown.value("last_cycle_timestamp_seconds", breadth="whole") == NOW.timestamp() + 8
    assert shown.value("cap_used_ratio", provider="corp-aws") == 0.04


def test_waivers_are_shown_by_their_state() -> None:
    """In force, ending, malformed and held are shown, and stay while a cycle does not come to look at them."""
    shown = Shown()
    facts = WaiverFacts(in_force=4, ending=2, refused=1, held=3, digest="sha256:" + "d" * 64)
    shown.metrics.cycle_ended(told(record=cycle_record(waivers=facts)))
    shown.metrics.cycle_ended(told(record=cycle_record(waivers=WaiverFacts())))
    states = {"in_force": 4, "ending": 2, "malformed": 1, "held": 3}
    assert {state: shown.value("waivers", state=state) for state in states} == states


def test_a_cycle_that_gave_way_is_counted_as_such() -> None:
    """It did nothing and is decided again, so nothing but its number changes."""
    shown = Shown()
    shown.metrics.cycle_ended(told(record=cycle_record(outcome=CycleOutcome.PARTIAL), gave_way=True))
    assert shown.value("cycles_total", breadth="whole", outcome="gave_way") == 1
    assert shown.value("actions_total", provider="corp-aws", effect="revoke", outcome="done") is None


def test_a_lost_lease_shows() -> None:
    """Whoever scrapes right before the process ends sees why; another failure leaves the lease alone."""
    shown = Shown()
    shown.metrics.cycle_broke("JournalError")
    assert shown.value("lease_held") == 1
    shown.metrics.cycle_broke("LeaseLost")
    assert shown.value("lease_held") == 0
    assert shown.value("cycles_broken_total") == 2


def test_nobody_is_named() -> None:
    """No principal, worker, account or message of the cycle stands anywhere in what is shown."""
    shown = Shown()
    shown.metrics.cycle_ended(told())
    text = shown.metrics.page("")[1].decode()
    for word in ("alice", "E1001", "AKIA", "example", builders.SCOPE):
        assert word not in text


def test_it_is_served_beside_the_probes() -> None:
    """A server gets the text format, or OpenMetrics where it asks for it, and the probes answer as before."""
    shown = Shown()
    with HealthServer(0, shown.health.snapshot, {"/metrics": shown.metrics.page}) as server:
        types = []
        for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            connection.request("GET", "/metrics", headers={"Accept": accept})
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200
            assert f'{PREFIX}build_info{{version="1.2.3"}} 1.0' in body
            assert f'{PREFIX}wakeups_total{{reason="timer"}} 4.0' in body
            types.append((answer.getheader("Content-Type") or "").partition(";")[0])
            connection.close()
    assert types == ["text/plain", "application/openmetrics-text"]
