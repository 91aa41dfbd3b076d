"""The story of one cycle: collect, correlate, evaluate, plan, guard, execute, verify, attest.

Each verb is a module of its own and each arrow a frozen value; this file alone joins them. Whatever happens, the cycle
ends with a record and an attestation: an empty, held or failed cycle is evidence too.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from inventory.errors import ProviderError
from inventory.model import ArtefactKind, ReadState
from inventory.roster.csv_file import accepted_of
from reconciler.attestation import Attested
from reconciler.circumstances import Ground, moved_approvals, novelties, recheck, roster_holds, scope_key
from reconciler.core.canonical import rfc3339
from reconciler.core.drift import to_remember
from reconciler.core.errors import JournalError, LeaseLost, ReconcilerError, Superseded
from reconciler.core.evidence import snapshot_digest
from reconciler.core.facts import guard_facts, inventory_facts, roster_facts, settled
from reconciler.core.guard import ApprovedPlan, Circumstances, HeldPlan, guard
from reconciler.core.memory import as_text
from reconciler.core.model import CycleId, Mode, Touch
from reconciler.core.record import Armed, Breadth, CycleOutcome, CycleRecord, LeaverVerdict, Reverted, WaiverFacts
from reconciler.core.standing import armed
from reconciler.core.verdicts import VerdictWorld, judge_leavers
from reconciler.core.waivers import waiver_facts
from reconciler.execution import Crew, execute
from reconciler.observation import OWN, CycleHouse, CycleRules, Notes, Occasion, Picture, look, own_texts, say
from reconciler.ports import Uptime
from reconciler.recovery import interrupted_cycles, recover, results_of
from reconciler.surveys import Survey, everything

_CLOCK_TOLERANCE: Final = timedelta(seconds=1)
"""What a clock is moved by when it is only kept right."""
_BELIEVED_AHEAD: Final = timedelta(days=7)
"""A cycle dated further ahead shows a clock that once ran ahead; believing it would bar approvals until then."""


def run_cycle(house: CycleHouse, rules: CycleRules, survey: Survey = everything) -> Attested:
    """Run one cycle and attest it; a failure inside is recorded, attested and returned as a failed cycle.

    `survey` says what it looks at. A cycle that gave way to an urgent one is attested as partial, without an act.
    Raises `JournalError`, `LeaseLost`, `EvidenceError` or `SigningError` when the record itself cannot be kept; the
    next cycle then closes this one.
    """
    now = house.clock.now()
    epoch = house.journal.take_over(now, _uptime(house))
    _close_interrupted(house, rules)
    latest = _latest(house, now)
    cycle_id = CycleId(house.new_cycle_id())
    sequence = house.journal.begin_cycle(cycle_id, rules.mode, now)
    notes = Notes(cycle_id=cycle_id, sequence=sequence, started_at=now, latest=latest, decide_at=house.decide_at or now)
    if latest - now > _CLOCK_TOLERANCE:
        notes.errors.append(f"The clock was set back: an earlier cycle is dated {rfc3339(latest)}")
    if house.decide_at is not None:
        notes.errors.append("Rehearsal: decided as of another instant than its start")
    gave_way = False
    try:
        _story(notes, house, rules, survey, epoch)
    except (JournalError, LeaseLost):
        raise
    except Superseded as error:
        gave_way, notes = True, _given_way(notes, error)
    except (ReconcilerError, ProviderError) as error:
        notes.failed = True
        notes.errors.append(f"{type(error).__name__}: {error}" + (f"; {error.advice}" if error.advice else ""))
        notes.results = notes.results or results_of(house.journal, cycle_id)
    attested = house.attester.sign(_attest(_record(notes, house, rules), notes, house), house.clock)
    return replace(attested, snapshot=notes.snapshot, standing=notes.standing, gave_way=gave_way)


def _latest(house: CycleHouse, now: datetime) -> datetime:
    """Return the latest instant at which a cycle is believed to have begun or ended, now included."""
    believed = now + _BELIEVED_AHEAD
    instants = (one for entry in house.journal.cycles() for one in (entry.started_at, entry.finished_at))
    return max((one for one in instants if one is not None and now < one <= believed), default=now)


def _given_way(notes: Notes, error: Superseded) -> Notes:
    """Keep of a cycle that gave way only that it did: what it saw is looked at again by the one that follows."""
    return Notes(
        cycle_id=notes.cycle_id,
        sequence=notes.sequence,
        started_at=notes.started_at,
        latest=notes.latest,
        decide_at=notes.decide_at,
        roster=notes.roster,
        leavers=notes.leavers,
        about=frozenset(),
        policies=notes.policies,
        errors=[f"Superseded: {error}"],
    )


def _story(notes: Notes, house: CycleHouse, rules: CycleRules, survey: Survey, epoch: int) -> None:
    picture = look(notes, house, rules, survey)
    decision = _guard(notes, house, rules, picture)
    if notes.approval is not None:
        house.journal.use_approval(picture.plan.digest, notes.cycle_id, house.clock.now())
    if isinstance(decision, ApprovedPlan) and rules.mode is not Mode.OBSERVE and picture.plan.actions:
        notes.results = execute(decision, _crew(house, rules, picture, epoch))
        say(house, "verify", f"{sum(map(settled, notes.results))} of {len(notes.results)} read again and gone")
    if house.decide_at is None:  # a rehearsal for another instant is no observation, and accepts no roster
        _remember(notes, house, rules, picture)
        _keep_snapshot(notes, house, rules, picture)
        _show_change(notes, house, rules, picture)


def _keep_snapshot(notes: Notes, house: CycleHouse, rules: CycleRules, picture: Picture) -> None:
    """Record what was seen, where one is due and nobody waits. Without room for it the cycle is as good as with it."""
    if notes.breadth is not Breadth.WHOLE or house.urgent():
        return
    try:
        house.keep_snapshot(picture, rules)
    except OSError as error:
        notes.errors.append(f"no snapshot was recorded to try policies on: {error.strerror or type(error).__name__}")


def _show_change(notes: Notes, house: CycleHouse, rules: CycleRules, picture: Picture) -> None:
    """Show once what a new policy revision changes, unless somebody has seen it: all that is done is done by now."""
    if notes.breadth is not Breadth.WHOLE or picture.world.policies.previewed:
        return
    notes.policy_change = change = house.first_look(picture, rules, Occasion(new=notes.new_policy, urgent=house.urgent))
    if change is not None and change.reason:
        notes.errors.append(f"Policies not compared: {change.reason}")


def _guard(notes: Notes, house: CycleHouse, rules: CycleRules, picture: Picture) -> ApprovedPlan | HeldPlan:
    world, plan = picture.world, picture.plan
    observing = rules.mode is Mode.OBSERVE
    notes.new_policy = not house.journal.observed("policy", plan.policy_digest)
    approval = None if observing else house.journal.approval_for(plan.digest, max(world.now, notes.latest))
    decision = guard(
        plan,
        Circumstances(
            now=world.now,
            limits=rules.limits,
            populations=picture.sight.populations,
            touched=_touched(house, world.now, rules.limits.window_seconds),
            roster_holds=roster_holds(notes.roster),
            novelties=()
            if observing
            else novelties(house.journal, rules.version, plan, previewed=world.policies.previewed),
            approval=approval,
        ),
    )
    # Without actions there is nothing to hold back; yet nothing may be called complete on the word of such a roster.
    doubts = () if plan.actions else roster_holds(notes.roster)
    if isinstance(decision, HeldPlan):
        notes.held = True
        notes.holds = (*decision.reasons, *moved_approvals(house.journal, plan, max(world.now, notes.latest)))
    elif doubts and (approval is None or not all(reason.code.releasable for reason in doubts)):
        notes.held = True
        notes.holds = doubts
    elif doubts or decision.lifted:
        notes.approval = approval
    expires_at = world.now + timedelta(seconds=rules.approval_ttl_seconds)
    house.journal.record_plan(plan, notes.holds, expires_at, notes.breadth)
    say(house, "guard", f"{len(plan.actions)} actions, " + ("held" if notes.held else "within the limits"))
    return decision


def _touched(house: CycleHouse, now: datetime, seconds: int) -> tuple[Touch, ...]:
    """Return who was touched within the last seconds by either clock: one set forward empties no window."""
    return tuple(house.journal.touched_since(now - timedelta(seconds=seconds), _uptime(house, seconds)))


def _uptime(house: CycleHouse, seconds_ago: int = 0) -> Uptime | None:
    return Uptime(boot=house.boot, seconds=house.clock.monotonic_seconds() - seconds_ago) if house.boot else None


def _crew(house: CycleHouse, rules: CycleRules, picture: Picture, epoch: int) -> Crew:
    """Gather what the executor works with."""
    say(house, "execute", f"{len(picture.plan.actions)} actions")
    ground = Ground(
        clock=house.clock,
        roster=house.roster,
        last_roster=house.journal.last_roster(),
        load_policies=house.load_policies,
        load_waivers=house.load_waivers,
        refused=picture.refused_waivers,
        policy_digest=picture.world.policies.digest,
        roster_digest=picture.world.roster.digest,
    )
    return Crew(
        journal=house.journal,
        clock=house.clock,
        epoch=epoch,
        collectors={name: source.collector for name, source in house.sources.items()},
        revokers=house.revokers,
        still_planned=recheck(ground),
        observer=house.observer,
        seen=picture.sight.seen,
        one_by_one=rules.one_by_one,
        verification=rules.patience,
        max_parallel_principals=rules.parallel_principals,
        max_parallel_actions=rules.parallel_actions,
    )


def _remember(notes: Notes, house: CycleHouse, rules: CycleRules, picture: Picture) -> None:
    """Keep what has now been seen through a whole cycle."""
    now, world = house.clock.now(), picture.world
    if notes.breadth is Breadth.WHOLE:
        _remember_observed(notes, house, rules, picture)
    if (notes.roster is not None and notes.roster.accepted) or notes.approval is not None:
        house.journal.remember_roster(accepted_of(world.roster), now)


def _remember_observed(notes: Notes, house: CycleHouse, rules: CycleRules, picture: Picture) -> None:
    now, world = house.clock.now(), picture.world
    house.journal.remember_observed("policy", world.policies.digest, notes.cycle_id, now)
    house.journal.remember_observed("version", rules.version, notes.cycle_id, now)
    for inventory in world.snapshot.inventories:
        if inventory.state_of(ArtefactKind.PRINCIPAL) is ReadState.COMPLETE:
            key = scope_key(inventory.provider, inventory.scope)
            house.journal.remember_observed("provider", key, notes.cycle_id, now)
    house.journal.remember_all_observed(OWN, own_texts(house), notes.cycle_id, now)
    memory = to_remember(world.snapshot, world.correlations, world.roster.workers, world.memory)
    house.journal.remember_all_observed("key", as_text(memory.keys), notes.cycle_id, now)
    house.journal.remember_all_observed("person", as_text(memory.persons), notes.cycle_id, now)


def _record(notes: Notes, house: CycleHouse, rules: CycleRules) -> CycleRecord:
    snapshot = notes.snapshot
    inventories = tuple(inventory_facts(one) for one in snapshot.inventories) if snapshot else ()
    return CycleRecord(
        cycle_id=notes.cycle_id,
        sequence=notes.sequence,
        mode=rules.mode,
        outcome=_outcome(notes),
        breadth=notes.breadth,
        started_at=notes.started_at,
        finished_at=house.clock.now(),
        version=rules.version,
        config_digest=rules.config_digest,
        roster=roster_facts(notes.roster, notes.leavers, rules.roster_max_age_seconds) if notes.roster else None,
        policy=notes.policies,
        engine=notes.evaluation.engine if notes.evaluation else None,
        inventories=inventories,
        snapshot_digest=snapshot_digest((one.provider, one.scope, one.digest) for one in inventories)
        if snapshot
        else "",
        findings=notes.evaluation.findings if notes.evaluation else (),
        evaluated=notes.evaluation.evaluated if notes.evaluation else 0,
        undecided=len(notes.evaluation.unknown) if notes.evaluation else 0,
        plan=notes.plan,
        guard=guard_facts(rules.limits, notes.holds, notes.approval),
        results=notes.results,
        leavers=_verdicts(notes),
        armed=_armed(notes),
        waivers=waiver_facts(notes.waivers, notes.decide_at) if notes.waivers else WaiverFacts(),
        reverted=_reverted(notes, house),
        policy_change=notes.policy_change,
        errors=tuple(notes.errors),
    )


def _reverted(notes: Notes, house: CycleHouse) -> Reverted:
    """Count what was given back between the beginning of the cycle before and that of this one."""
    cycles = reversed(house.journal.cycles())
    before = next((one.started_at for one in cycles if one.sequence == notes.sequence - 1), None)
    return house.journal.reverted(before, notes.started_at)


def _verdicts(notes: Notes) -> tuple[LeaverVerdict, ...]:
    if notes.snapshot is None or notes.roster is None or notes.roster.roster is None or notes.evaluation is None:
        return ()
    workers = notes.roster.roster.workers
    return judge_leavers(
        VerdictWorld(
            now=notes.decide_at,
            workers=tuple(one for one in workers if notes.about is None or one.worker_id in notes.about),
            snapshot=notes.snapshot,
            correlations=notes.correlations,
            undecided=frozenset(notes.evaluation.unknown),
            memory=notes.memory,
            results=notes.results,
        )
    )


def _armed(notes: Notes) -> tuple[Armed, ...]:
    roster = None if notes.roster is None else notes.roster.roster
    if notes.standing is None or roster is None:
        return ()
    return armed(roster.workers, notes.standing, notes.decide_at)


def _outcome(notes: Notes) -> CycleOutcome:
    if notes.failed:
        return CycleOutcome.FAILED
    if notes.held:
        return CycleOutcome.HELD
    trusted = notes.roster is not None and (notes.roster.accepted or notes.approval is not None)
    whole = trusted and notes.snapshot is not None and notes.snapshot.complete
    decided = notes.evaluation is not None and not notes.evaluation.unknown
    if whole and decided and all(settled(result) for result in notes.results):
        return CycleOutcome.COMPLETE
    return CycleOutcome.PARTIAL


def _attest(record: CycleRecord, notes: Notes, house: CycleHouse) -> Attested:
    """Make the record durable and the journal know it, then hand the trail over. Its signature comes after all that."""
    say(house, "attest", f"storing the statement of cycle {record.sequence}")
    record = _with_errors(record, house.audit.record(record))
    attested = house.attester.attest(record, house.journal.cycles(), notes.grounds.grounds())
    house.journal.finish_cycle(record.cycle_id, record.outcome, attested.statement_digest, house.clock.now())
    return replace(attested, record=_with_errors(attested.record, house.audit.hand_over()))


def _with_errors(record: CycleRecord, errors: tuple[str, ...]) -> CycleRecord:
    """Add what befell the audit trail; it changes no outcome."""
    return replace(record, errors=(*record.errors, *errors)) if errors else record


def _close_interrupted(house: CycleHouse, rules: CycleRules) -> None:
    """Settle what a killed process left behind by reading again, and attest the cycles that it did not end."""
    collectors = {name: source.collector for name, source in house.sources.items()}
    house.attester.resume(house.journal.cycles(), house.clock)
    unsettled = house.journal.unsettled()
    if unsettled:
        say(house, "recover", f"settling {len(unsettled)} acts of before by reading again")
        recover(house.journal, collectors, house.clock, rules.patience)
    for entry in interrupted_cycles(house.journal):
        stored = house.attester.attested_already(entry)
        if stored is not None:
            ended = CycleOutcome(stored.outcome)
            house.journal.finish_cycle(entry.cycle_id, ended, stored.digest, house.clock.now())
            continue
        say(house, "recover", f"closing cycle {entry.sequence}, which was interrupted")
        notes = Notes(
            cycle_id=entry.cycle_id,
            sequence=entry.sequence,
            started_at=entry.started_at,
            latest=entry.started_at,
            decide_at=entry.started_at,
        )
        notes.failed = True
        notes.errors.append("interrupted: the process ended before the cycle did; its acts were settled by reading")
        notes.results = results_of(house.journal, entry.cycle_id)
        then = replace(rules, mode=entry.mode, version="", config_digest="")  # nobody noted them at its start
        _attest(_record(notes, house, then), notes, house)
