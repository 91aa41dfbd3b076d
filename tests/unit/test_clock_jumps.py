"""Time that is set back or forward, between cycles and inside them: no second act, nothing revived, nothing asleep."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.attestations import verify
from reconciler.adapters.sigstore_bundle import VerifyingKey
from reconciler.core.guard import Limits
from reconciler.core.model import Approval, HoldCode, Mode
from reconciler.core.record import CycleOutcome
from reconciler.daemon.service import BEAT_SECONDS
from reconciler.daemon.wakeups import Reason
from reconciler.execution import execute
from tests import builders
from tests.builders import PROVIDER
from tests.fakes.engine import FakeEngine, found, leaver_only
from tests.fakes.house import House
from tests.fakes.loop import LONGEST
from tests.fakes.loop import House as Loop
from tests.fakes.stage import DONE, GONE, SKIPPED, Stage, ends
from tests.fakes.world import approve

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JUMPS = [-HOUR, -2 * DAY, HOUR, 400 * DAY]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house that has observed once."""
    made = House(tmp_path)
    made.observe_first()
    return made


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_jump_between_cycles_repeats_no_act(house: House, jump: timedelta, tmp_path: Path) -> None:
    """What was taken stays taken once; the statements stay one chain, and one that is dated back says so."""
    house.clock.sleep(60)
    assert house.run().outcome is CycleOutcome.COMPLETE
    house.clock.jump(jump)
    after = [house.run() for _ in range(3)]
    assert len(house.providers[PROVIDER].effects) == 1
    assert all(record.plan is None or record.plan.actions == () for record in after)
    said = [any("The clock was set back" in one for one in record.errors) for record in after]
    assert said == [jump < timedelta(0)] * 3
    report = verify(tmp_path / "evidence", VerifyingKey.from_file(tmp_path / "keys" / "attestation.pub"))
    assert (report.verified, report.gaps, report.problems) == (True, (), ())


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_jump_while_acting_repeats_no_act(house: House, jump: timedelta) -> None:
    """Set to another time between the act and its verification, a cycle still ends, with one effect."""
    provider = house.providers[PROVIDER]
    provider.on_effect = lambda *_: house.clock.jump(jump)
    house.run()
    provider.on_effect = lambda *_: None
    house.run()
    assert len(provider.effects) == 1


def leave(house: House, worker_id: str) -> None:
    """Let HR say that somebody else has left as well."""

    def gone_too(key: str, unit: dict[str, Any]) -> list[dict[str, Any]]:
        left = unit["worker_id"] == worker_id
        return [found(access_id) for access_id in unit["access"]] if left else leaver_only(key, unit)

    house.feed.roster = builders.roster(*(builders.leaver(one) for one in ("L1", worker_id)))
    house.engine = FakeEngine(gone_too)


@pytest.mark.parametrize("jump", [HOUR, 2 * DAY, 400 * DAY], ids=str)
def test_a_clock_set_forward_frees_no_cap(house: House, jump: timedelta) -> None:
    """Whom the last 24 hours touched stays counted whatever the clock is set to, until as much time has gone by."""
    one = Limits(max_principals=1)
    assert house.run(limits=one).outcome is CycleOutcome.COMPLETE
    house.clock.jump(jump)
    leave(house, "E2")
    record = house.run(limits=one)
    assert record.outcome is CycleOutcome.HELD
    assert HoldCode.CAP_COUNT in {reason.code for reason in record.guard.hold_reasons}
    house.clock.sleep(DAY.total_seconds() + 1)
    assert house.run(limits=one).outcome is CycleOutcome.COMPLETE
    assert len(house.providers[PROVIDER].effects) == 2


def approved(house: House, *, hours: int) -> str:
    """Hold a plan, let a human release it for so long, and return its digest."""
    held = house.run(limits=Limits(max_principals=0))
    assert held.outcome is CycleOutcome.HELD
    assert held.plan is not None
    now = house.clock.now()
    house.journal.record_approval(
        Approval(
            plan_digest=held.plan.digest,
            approved_by="ciso",
            approved_at=now,
            expires_at=now + timedelta(hours=hours),
            lifts=(HoldCode.CAP_COUNT,),
        )
    )
    return held.plan.digest


def test_an_approval_that_is_in_time_releases(house: House) -> None:
    """The stage works: within its time, and with a clock that was kept right by half a second, the approval counts."""
    approved(house, hours=24)
    house.clock.jump(timedelta(seconds=-0.5))
    record = house.run(limits=Limits(max_principals=0))
    assert not any("The clock was set back" in one for one in record.errors)
    assert len(house.providers[PROVIDER].effects) == 1


@pytest.mark.parametrize("back", [-25 * HOUR, -2 * DAY], ids=str)
def test_an_expired_approval_is_not_revived(house: House, back: timedelta) -> None:
    """Once a cycle has run after the end of an approval, no clock that is set back brings it to life, ever after."""
    approved(house, hours=24)
    house.clock.jump(26 * HOUR)
    assert house.run(mode=Mode.OBSERVE).outcome is not CycleOutcome.FAILED
    house.clock.jump(back)
    for _ in range(3):
        assert house.run(limits=Limits(max_principals=0)).outcome is CycleOutcome.HELD
        house.clock.sleep(60)
    assert house.providers[PROVIDER].effects == []


def test_a_clock_that_once_ran_far_ahead_bars_no_approval(house: House) -> None:
    """After a cycle dated years ahead, and the clock put right, a human can still release a plan."""
    house.clock.jump(2000 * DAY)
    house.run(mode=Mode.OBSERVE)
    house.clock.jump(-2000 * DAY)
    approved(house, hours=24)
    house.run(limits=Limits(max_principals=0))
    assert len(house.providers[PROVIDER].effects) == 1


@pytest.mark.parametrize("back", [-HOUR, -2 * DAY], ids=str)
def test_a_plan_does_not_live_longer_by_a_clock_set_back(back: timedelta) -> None:
    """A plan's minutes are counted by the monotonic clock too: set back while acting, it expires all the same."""
    stage = Stage()
    plan = approve(stage.plan())
    lifetime = (plan.expires_at - plan.plan.created_at).total_seconds()

    def dawdle(*_: object) -> None:
        stage.clock.jump(back)
        stage.clock.sleep(lifetime)

    stage.aws.on_effect = dawdle
    assert ends(execute(plan, stage.crew())) == [(DONE, GONE), (SKIPPED, None)]


@pytest.mark.parametrize("back", [-HOUR, -2 * DAY], ids=str)
def test_a_clock_set_back_before_the_act_gives_no_more_than_the_lifetime(back: timedelta) -> None:
    """Between the plan and its execution too: what remains is never more than a whole lifetime."""
    stage = Stage()
    plan = approve(stage.plan())
    lifetime = (plan.expires_at - plan.plan.created_at).total_seconds()
    stage.clock.jump(back)
    stage.aws.on_effect = lambda *_: stage.clock.sleep(lifetime)
    assert ends(execute(plan, stage.crew())) == [(DONE, GONE), (SKIPPED, None)]


def test_a_loop_whose_timer_went_silent_looks_all_the_same() -> None:
    """The timer goes by the wall clock, which may be set back by days: after two intervals the loop looks by itself."""
    cycles = Loop().run(7 * LONGEST)
    assert len(cycles) == 4
    assert all(later - earlier <= 2 * LONGEST + BEAT_SECONDS for earlier, later in pairwise(cycles))


def test_a_loop_whose_timer_ticks_needs_no_help() -> None:
    """A look for any reason counts: the loop adds none of its own while the timer works."""
    ticks = [(number * LONGEST, Reason.TIMER) for number in range(1, 7)]
    assert len(Loop().run(7 * LONGEST - 1, *ticks)) == 7
