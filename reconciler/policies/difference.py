"""What a change of the policies would do: two revisions decided on the same recorded world at the same instant."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from inventory.model import AccessId, ArtefactKind, PrincipalId, ProviderName
from inventory.roster.model import WorkerId
from reconciler.circumstances import populations
from reconciler.core.model import Action, Effect, Evaluation, Finding, HoldCode, Plan
from reconciler.policies.deciding import Side
from reconciler.policies.recording import Recording
from reconciler.policies.waiver_changes import WaiverChange

KEEP: Final = Effect.KEEP.value


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
class Planned:
    """One access item that the plan deals with otherwise, and why."""

    worker_id: WorkerId | None
    provider: ProviderName
    principal_id: PrincipalId
    access_id: AccessId
    kind: ArtefactKind
    before: str
    """The effect planned; `keep` where none is."""
    after: str
    rule: str
    """Of the act after the change; where none is planned any more, of the one before."""
    withheld_before: tuple[str, ...]
    """Codes of what held a finding on it back before the change."""
    withheld_after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changes between two revisions."""

    recording: Recording
    base: Side
    head: Side
    lines: tuple[Line, ...]
    """By worker, principal and access item."""
    planned: tuple[Planned, ...]
    """The access items for which another act is planned, by provider and access item."""
    waivers: tuple[WaiverChange, ...] = ()
    """The waivers that the change makes, takes out or alters, by id."""

    @property
    def changes_effects(self) -> bool:
        """Say whether anybody's access is decided or dealt with otherwise, or may be by a waiver not to be shown."""
        undecided = self.base.evaluation.unknown != self.head.evaluation.unknown
        return bool(self.lines or self.planned or undecided or self.not_shown)

    @property
    def not_shown(self) -> tuple[WaiverChange, ...]:
        """Return the waivers of which the recording cannot show whom they touch: its ids are pseudonyms."""
        return tuple(one for one in self.waivers if not one.shown)


def compare(recording: Recording, base: Side, head: Side, waivers: tuple[WaiverChange, ...] = ()) -> Difference:
    """Return what changes from one revision to the other; `waivers` are those that change with it."""
    return Difference(
        waivers=waivers,
        recording=recording,
        base=base,
        head=head,
        lines=tuple(sorted(_lines(base, head), key=_order)),
        planned=tuple(_planned(base.plan, head.plan)),
    )


def _planned(base: Plan, head: Plan) -> Iterator[Planned]:
    before, after = _acts(base), _acts(head)
    held_before, held_after = withheld_codes(base), withheld_codes(head)
    for place in sorted(before.keys() | after.keys()):
        old, new = before.get(place), after.get(place)
        act = new or old
        if act is None or (old and old.effect) == (new and new.effect):
            continue
        yield Planned(
            worker_id=act.worker_id,
            provider=act.provider,
            principal_id=act.principal.principal_id,
            access_id=act.item.access_id,
            kind=act.item.kind,
            before=old.effect.value if old else KEEP,
            after=new.effect.value if new else KEEP,
            rule=act.rule,
            withheld_before=held_before.get(place, ()),
            withheld_after=held_after.get(place, ()),
        )


def _acts(plan: Plan) -> dict[tuple[str, str], Action]:
    return {(action.provider, action.item.access_id): action for action in plan.actions}


def withheld_codes(plan: Plan) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return by provider and access id the codes of what holds its findings back."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in plan.withheld:
        found.setdefault((one.finding.provider, one.finding.access_id), set()).add(one.code)
    return {place: tuple(sorted(codes)) for place, codes in found.items()}


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
    return {place: action.effect.value for place, action in _acts(plan).items()}


def silent_rules(side: Side) -> tuple[str, ...]:
    """Return the rules that found nothing at all."""
    spoke = {finding.rule for finding in side.evaluation.findings}
    return tuple(rule.rule_id for rule in side.policies.rules if rule.rule_id not in spoke)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """How the plan after a change stands to the cap of one provider."""

    provider: ProviderName
    principals: int
    touched_before: int
    """Principals that the plan before the change touches."""
    touched_after: int
    touched_already: int
    """Principals touched within the window of the guard, which counts them and the plan's together."""
    max_principals: int
    max_percent: int | None
    """None where the provider has too few principals for a percentage."""
    fits: bool
    """Whether the guard lets the plan after the change pass, as far as the caps go."""


_CAPS: Final = (HoldCode.CAP_COUNT, HoldCode.CAP_PERCENT)


def caps(difference: Difference) -> tuple[Cap, ...]:
    """Return how the change stands to the caps of each provider."""
    recording = difference.recording
    limits = recording.limits
    before, after = touched_principals(difference.base), touched_principals(difference.head)
    already = Counter(provider for provider, _ in {(one.provider, one.principal_id) for one in recording.touched})
    over = {one.provider for one in difference.head.holds if one.code in _CAPS}
    return tuple(
        Cap(
            provider=one.provider,
            principals=one.principals,
            touched_before=before[one.provider],
            touched_after=after[one.provider],
            touched_already=already[one.provider],
            max_principals=limits.max_principals,
            max_percent=limits.max_percent if one.principals >= limits.percent_population else None,
            fits=one.provider not in over,
        )
        for one in populations(recording.snapshot)
    )


def touched_principals(side: Side) -> Counter[str]:
    """Return how many principals of each provider the plan touches."""
    return Counter(
        provider for provider, _ in {(one.provider, one.principal.principal_id) for one in side.plan.actions}
    )
