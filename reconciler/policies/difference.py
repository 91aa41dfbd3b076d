"""What a change of the policies would do: two revisions decided on the same recorded world at the same instant."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice
from threading import Lock
from typing import Final

from inventory.model import AccessId, ArtefactKind, PrincipalId, ProviderName
from inventory.roster.model import WorkerId
from reconciler.circumstances import populations
from reconciler.core.canonical import Json, digest_of, plain
from reconciler.core.document import EvaluationWorld, Unit, Unreadable, units
from reconciler.core.entitlements import named_in
from reconciler.core.guard import Circumstances, hold_reasons
from reconciler.core.model import CycleId, Effect, Evaluation, Finding, HoldReason, Plan, PolicySet, Waiver
from reconciler.core.planning import make_plan
from reconciler.core.withholding import PlanningWorld
from reconciler.evaluation import evaluate
from reconciler.policies.recording import Recording
from reconciler.ports import PolicyEngine

KEEP: Final = Effect.KEEP.value
_CYCLE: Final = CycleId("policies-diff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One revision, decided."""

    name: str
    policies: PolicySet
    waivers: int
    evaluation: Evaluation
    plan: Plan
    holds: tuple[HoldReason, ...]


class Turn(StrEnum):
    """How a decision changes."""

    GAINED = "gained"
    LOST = "lost"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Line:
    """One decision of one rule about one access item that the change makes, takes back or alters."""

    worker_id: WorkerId | None
    provider: ProviderName
    principal_id: PrincipalId
    access_id: AccessId
    kind: ArtefactKind
    rule: str
    before: str
    """The effect asked for, `keep` where the rule finds nothing; `revoke from 2026-05-01` where it counts later."""
    after: str

    @property
    def turn(self) -> Turn:
        """Say whether the rule finds something new, nothing any more, or the same with another effect."""
        if self.before == KEEP:
            return Turn.GAINED
        return Turn.LOST if self.after == KEEP else Turn.CHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changes between two revisions."""

    recording: Recording
    base: Side
    head: Side
    lines: tuple[Line, ...]
    """By worker, principal and access item."""
    planned: tuple[tuple[str, str, str, str], ...]
    """(provider, access id, effect planned before, after) of each access item for which another act is planned."""

    @property
    def changes_effects(self) -> bool:
        """Say whether anybody's access is decided or dealt with otherwise."""
        return bool(self.lines or self.planned or self.base.evaluation.unknown != self.head.evaluation.unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A policy set with the waivers that go with it."""

    name: str
    policies: PolicySet
    waivers: tuple[Waiver, ...]


def world_of(recording: Recording, policies: PolicySet, waivers: tuple[Waiver, ...]) -> EvaluationWorld:
    """Return the recorded world as policies are asked about it."""
    return EvaluationWorld(
        cycle_id=_CYCLE,
        now=recording.now,
        snapshot=recording.snapshot,
        correlations=recording.correlations,
        roster=recording.roster,
        policies=policies,
        waivers=waivers,
        memory=recording.memory,
    )


class Shared:
    """What several threads read at their own pace, made once: each thing when the first of them comes to it."""

    def __init__(self, source: Iterator[Unit | Unreadable]) -> None:
        """Nothing is read of the source yet."""
        self._source = source
        self._made: list[Unit | Unreadable] = []
        self._lock = Lock()

    def __iter__(self) -> Iterator[Unit | Unreadable]:
        """Yield everything from the beginning."""
        for at in count():
            with self._lock:
                if at == len(self._made):
                    self._made.extend(islice(self._source, 1))
                if at == len(self._made):
                    return
            yield self._made[at]


def shared_units(recording: Recording, base: PolicySet, head: PolicySet) -> Shared | None:
    """Return what both revisions are asked about; None where each has to make its own.

    A unit tells what the thresholds name, such as conflicting entitlements and the house's own mail domains: two
    revisions that name the same are asked the same.
    """
    if named_in(base.data) != named_in(head.data):
        return None
    return Shared(units(world_of(recording, base, ())))


def decide(recording: Recording, revision: Revision, engine: PolicyEngine, made: Shared | None = None) -> Side:
    """Decide a recorded world by one revision. Raises `PolicyError` where the engine cannot."""
    policies, waivers = revision.policies, revision.waivers
    evaluation = evaluate(engine, world_of(recording, policies, waivers), made=made)
    plan = make_plan(
        PlanningWorld(
            cycle_id=_CYCLE,
            now=recording.now,
            planned_at=recording.now,
            snapshot=recording.snapshot,
            correlations=recording.correlations,
            findings=evaluation.findings,
            undecided=frozenset(evaluation.unknown),
            waivers=waivers,
            reach=recording.reach,
            protection=recording.protection,
            min_admins=recording.limits.min_admins,
            policy_digest=policies.digest,
            roster_digest=recording.roster.digest,
        )
    )
    around = Circumstances(
        now=recording.now,
        limits=recording.limits,
        populations=populations(recording.snapshot),
        touched=recording.touched,
    )
    return Side(
        name=revision.name,
        policies=policies,
        waivers=sum(recording.now < one.expires_at for one in waivers),
        evaluation=evaluation,
        plan=plan,
        holds=hold_reasons(plan, around),
    )


def compare(recording: Recording, base: Side, head: Side) -> Difference:
    """Return what changes from one revision to the other."""
    before, after = planned_effects(base.plan), planned_effects(head.plan)
    planned = [
        (provider, access_id, before.get((provider, access_id), KEEP), after.get((provider, access_id), KEEP))
        for provider, access_id in sorted(before.keys() | after.keys())
    ]
    return Difference(
        recording=recording,
        base=base,
        head=head,
        lines=tuple(sorted(_lines(base, head), key=_order)),
        planned=tuple(one for one in planned if one[2] != one[3]),
    )


def _order(line: Line) -> tuple[str, str, str, str, str]:
    return (line.worker_id or "~", line.provider, line.principal_id, line.access_id, line.rule)


def _lines(base: Side, head: Side) -> Iterator[Line]:
    before, after = _by_place(base.evaluation), _by_place(head.evaluation)
    for place in before.keys() | after.keys():
        old, new = before.get(place), after.get(place)
        known = new or old
        if known is not None and _asked(old) != _asked(new):
            yield Line(
                worker_id=known.worker_id,
                provider=known.provider,
                principal_id=known.principal_id,
                access_id=known.access_id,
                kind=known.kind,
                rule=known.rule,
                before=_asked(old),
                after=_asked(new),
            )


_Place = tuple[str, str, str, str]


def _by_place(evaluation: Evaluation) -> Mapping[_Place, Finding]:
    """Return the strongest finding of each rule on each access item."""
    found: dict[_Place, Finding] = {}
    for one in evaluation.findings:
        place = (one.provider, one.principal_id, one.access_id, one.rule)
        if place not in found or found[place].effect.rank < one.effect.rank:
            found[place] = one
    return found


def _asked(finding: Finding | None) -> str:
    if finding is None:
        return KEEP
    later = finding.applies_from
    return finding.effect.value if later is None else f"{finding.effect.value} from {later:%Y-%m-%d}"


def planned_effects(plan: Plan) -> dict[tuple[str, str], str]:
    """Return the effect that a plan carries out on each access item, by provider and access id."""
    return {(action.provider, action.item.access_id): action.effect.value for action in plan.actions}


def silent_rules(side: Side) -> tuple[str, ...]:
    """Return the rules that found nothing at all."""
    spoke = {finding.rule for finding in side.evaluation.findings}
    return tuple(rule.rule_id for rule in side.policies.rules if rule.rule_id not in spoke)


def touched_principals(side: Side) -> Counter[str]:
    """Return how many principals of each provider the plan touches."""
    return Counter(
        provider for provider, _ in {(one.provider, one.principal.principal_id) for one in side.plan.actions}
    )


def difference_document(difference: Difference) -> dict[str, Json]:
    """Return what `policies diff --output json` prints."""
    told = _told(difference)
    return {**told, "digest": _digest(difference, told)}


def difference_digest(difference: Difference) -> str:
    """Return the digest of what changes, of the two revisions and of the world that they were decided on.

    Whoever adopts a revision by it says: this very change is the one I have looked at.
    """
    return _digest(difference, _told(difference))


def _digest(difference: Difference, told: dict[str, Json]) -> str:
    sides = {"base": _unnamed(told["base"]), "head": _unnamed(told["head"])}
    world: Json = [
        [one.provider, one.scope, plain(one.finished_at), len(one.principals), len(one.items)]
        for one in difference.recording.snapshot.inventories
    ]
    return digest_of({**told, **sides, "world": world, "roster": difference.recording.roster.digest})


def _unnamed(side: Json) -> Json:
    """Leave out how a side was called: a branch and a commit may be the same revision."""
    return {key: value for key, value in side.items() if key != "name"} if isinstance(side, dict) else side


def _told(difference: Difference) -> dict[str, Json]:
    counts = Counter(line.turn for line in difference.lines)
    return {
        "changes_effects": difference.changes_effects,
        "as_of": plain(difference.recording.now),
        "pseudonymised": difference.recording.pseudonymised,
        "principals": sum(1 for _ in difference.recording.snapshot.principals()),
        "access_items": sum(1 for _ in difference.recording.snapshot.items()),
        "counts": {turn.value: counts[turn] for turn in Turn},
        "lines": [{**_plain(line), "turn": line.turn.value} for line in difference.lines],
        "planned": [
            {"provider": provider, "access_id": access_id, "before": before, "after": after}
            for provider, access_id, before, after in difference.planned
        ],
        "base": _side(difference.base),
        "head": _side(difference.head),
        "caps": _caps(difference),
    }


def _plain(line: Line) -> dict[str, Json]:
    found = plain(line)
    return found if isinstance(found, dict) else {}


def _side(side: Side) -> dict[str, Json]:
    effects = Counter(action.effect.value for action in side.plan.actions)
    return {
        "name": side.name,
        "digest": side.policies.digest,
        "rules": [rule.rule_id for rule in side.policies.rules],
        "never_matched": list(silent_rules(side)),
        "findings": len(side.evaluation.findings),
        "undecided": len(side.evaluation.unknown),
        "waivers": side.waivers,
        "actions": {effect: effects[effect] for effect in sorted(effects)},
        "withheld": len(side.plan.withheld),
        "holds": [{"code": one.code.value, "provider": one.provider, "message": one.message} for one in side.holds],
    }


def _caps(difference: Difference) -> list[Json]:
    limits = difference.recording.limits
    before, after = touched_principals(difference.base), touched_principals(difference.head)
    return [
        {
            "provider": one.provider,
            "principals": one.principals,
            "touched_before": before[one.provider],
            "touched_after": after[one.provider],
            "max_principals": limits.max_principals,
            "max_percent": limits.max_percent if one.principals >= limits.percent_population else None,
        }
        for one in populations(difference.recording.snapshot)
    ]
