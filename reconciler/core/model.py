"""The values that travel through a cycle, frozen: whole percents and seconds, and instants in timezone-aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from inventory.model import AccessId, AccessItem, ArtefactKind, Principal, PrincipalId, ProviderName, ScopeId
from inventory.roster.model import WorkerId

CycleId = NewType("CycleId", str)
"""UUID of one pass of the loop."""
ActionId = NewType("ActionId", str)
"""SHA-256 (hex) over cycle, provider, principal, access item and effect."""
PlanDigest = NewType("PlanDigest", str)
"""`sha256:` and hex over what a plan would do and what it rests on; the same world gives the same digest."""


class Effect(StrEnum):
    """What a decision asks for, from nothing to everything. Compare by `rank`."""

    KEEP = "keep"
    REVIEW = "review"
    QUARANTINE = "quarantine"
    """Reversible; keeps a before-image."""
    REVOKE = "revoke"
    """Removes for good."""

    @property
    def rank(self) -> int:
        """Return the order keep < review < quarantine < revoke."""
        return _EFFECT_ORDER.index(self)


_EFFECT_ORDER = (Effect.KEEP, Effect.REVIEW, Effect.QUARANTINE, Effect.REVOKE)


class Need(StrEnum):
    """What a finding rests on."""

    ITEM = "item"
    """A positive fact: this key belongs to this leaver."""
    SCOPE = "scope"
    """An absence or a count: nobody owns this, unused for 90 days, last administrator."""


class Mode(StrEnum):
    """How far a provider may be acted upon. Nothing enforces by default. Compare by `rank`."""

    OBSERVE = "observe"
    QUARANTINE = "quarantine"
    ENFORCE = "enforce"

    @property
    def rank(self) -> int:
        """Return the order observe < quarantine < enforce."""
        return _MODE_ORDER.index(self)

    @property
    def highest_effect(self) -> Effect:
        """Return the strongest effect that this mode carries out."""
        return {Mode.OBSERVE: Effect.REVIEW, Mode.QUARANTINE: Effect.QUARANTINE, Mode.ENFORCE: Effect.REVOKE}[self]


_MODE_ORDER = (Mode.OBSERVE, Mode.QUARANTINE, Mode.ENFORCE)


class Severity(StrEnum):
    """How bad a finding is."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class CorrelationState(StrEnum):
    """Whether it is known which worker a principal belongs to."""

    MATCHED = "matched"
    ORPHAN = "orphan"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One piece of evidence that a principal belongs to a worker, with its confidence in percent."""

    worker_id: WorkerId
    rule: str
    confidence: int
    identity: bool
    """The principal *is* the worker; false for mere ownership."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Which worker a principal belongs to, by which rule, and how surely; all evidence, strongest first."""

    provider: ProviderName
    principal_id: PrincipalId
    state: CorrelationState
    worker_id: WorkerId | None = None
    rule: str = ""
    confidence: int = 0
    identity: bool = False
    candidates: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A policy rule as its METADATA declares it."""

    rule_id: str
    title: str
    description: str
    code: str
    severity: Severity
    needs: Need
    controls: tuple[str, ...]
    remediation: str
    effective_on: datetime | None = None
    codes: tuple[tuple[str, str], ...] = ()
    """Every code of its findings, as declared, and when it is given; empty where the METADATA does not say."""
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """The policies of one cycle: what they are called, what they hash to, their rules by id, and their sources."""

    digest: str
    """`sha256:` and hex over every non-test file: path and bytes."""
    rules: tuple[Rule, ...]
    modules: tuple[tuple[str, str], ...]
    """Rego sources as (path relative to the policy root, text), sorted by path, tests left out."""
    data: str
    """Canonical JSON of the data documents, rooted at `data`."""
    git_commit: str = ""
    key_id: str = ""
    previewed: bool = False
    doubts: tuple[str, ...] = ()
    """Of the signature that was verified; whether it need not observe first; what is wrong with a newer revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule's statement that an access item is wrong."""

    provider: ProviderName
    scope: ScopeId
    principal_id: PrincipalId
    access_id: AccessId
    kind: ArtefactKind
    worker_id: WorkerId | None
    rule: str
    code: str
    severity: Severity
    effect: Effect
    """What the rule asks for, before every guard."""
    needs: Need
    reason: str
    controls: tuple[str, ...] = ()
    applies_from: datetime | None = None
    """When the rule takes effect, while that is still to come: it will apply, and nothing is done about it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """Which engine decided."""

    name: str
    version: str
    revision: str
    """Digest of the policies the engine really holds; equals `PolicySet.digest` or the cycle fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the policy engine said of a snapshot."""

    engine: EngineInfo
    findings: tuple[Finding, ...]
    """Sorted."""
    evaluated: int
    """Access items that were evaluated."""
    unknown: tuple[tuple[ProviderName, PrincipalId], ...] = ()
    """Principals the engine could not decide on: neither clean nor to be touched."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step of a plan: one effect on one access item of one principal."""

    action_id: ActionId
    provider: ProviderName
    provider_type: str
    principal: Principal
    """As planned; what the revoker addresses and what is read again."""
    item: AccessItem
    effect: Effect
    """QUARANTINE or REVOKE."""
    worker_id: WorkerId | None
    """None where the rule rests on no worker, as for an orphan."""
    rule: str
    code: str
    needs: Need
    reason: str
    phase: int
    """Order inside one principal: contain first, delete last."""
    evidence: str
    """Digest of the stable facts of the item; a precondition read that gives another digest stops the act."""

    @property
    def scope(self) -> ScopeId:
        """Return the scope of the principal."""
        return self.principal.scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A finding that asked for more than the plan does, and what held it back."""

    finding: Finding
    code: str
    """Such as `break_glass`, `ambiguous`, `waived`, `last_member`, `shared_credential`, `not_whole`."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The ordered proposal of one cycle. Nothing executes a `Plan`: see `core.guard.ApprovedPlan`."""

    digest: PlanDigest
    cycle_id: CycleId
    created_at: datetime
    policy_digest: str
    roster_digest: str
    actions: tuple[Action, ...]
    reviews: tuple[Finding, ...]
    """Findings that only a human may settle, asked for as such by their rule."""
    withheld: tuple[Withheld, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A principal that an intent named within the sliding window."""

    provider: ProviderName
    principal_id: PrincipalId
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Dated, owned, approved permission to ignore what one rule finds. Fields left None match everything."""

    waiver_id: str
    rule: str
    provider: ProviderName | None = None
    principal_id: PrincipalId | None = None
    access_id: AccessId | None = None
    worker_id: WorkerId | None = None
    reason: str
    owner: str
    approved_by: str
    expires_at: datetime

    def covers(self, finding: Finding, now: datetime) -> bool:
        """Say whether the finding is waived at this instant."""
        return self._matches(finding.provider, finding.principal_id, finding.access_id, now) and (
            self.rule == finding.rule and self.worker_id in (None, finding.worker_id)
        )

    def covers_action(self, action: Action, now: datetime) -> bool:
        """Say whether the action rests on a finding that is waived at this instant."""
        item = action.item
        return self._matches(item.provider, item.principal_id, item.access_id, now) and (
            self.rule == action.rule and self.worker_id in (None, action.worker_id)
        )

    def _matches(self, provider: ProviderName, principal_id: PrincipalId, access_id: AccessId, now: datetime) -> bool:
        return (
            now < self.expires_at
            and self.provider in (None, provider)
            and self.principal_id in (None, principal_id)
            and self.access_id in (None, access_id)
        )


class OutcomeState(StrEnum):
    """How an act ended."""

    DONE = "done"
    ALREADY_ABSENT = "already_absent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """No reply, or none that can be trusted: it may have happened."""
    SKIPPED = "skipped"
    """Not called: a re-check just before found another world, or the run was stopped."""


class VerificationState(StrEnum):
    """What reading again showed."""

    GONE = "gone"
    STILL_THERE = "still_there"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeImage:
    """All that undo needs, durable before the act. Never holds a secret."""

    restorable: bool
    """False where the provider cannot give back what was removed (a deleted key's secret)."""
    document: str
    """Canonical JSON; its shape belongs to the revoker that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the provider answered to one write."""

    outcome: OutcomeState
    """DONE or ALREADY_ABSENT; everything else is raised."""
    detail: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """How one action ended and what reading again showed."""

    action: Action
    outcome: OutcomeState
    verification: VerificationState | None = None
    """None where nothing was called."""
    detail: str = ""
    decided_at: datetime
    acted_at: datetime | None = None
    verified_at: datetime | None = None
    effective_by: datetime | None = None
    """Latest instant at which the provider promises the removal to have reached everywhere."""


class HoldCode(StrEnum):
    """Why a whole plan is held. The first group is lifted by an approval of the plan's digest, the second never."""

    CAP_COUNT = "cap_count"
    CAP_PERCENT = "cap_percent"
    NEW_POLICY = "new_policy"
    NEW_VERSION = "new_version"
    NEW_PROVIDER = "new_provider"
    ROSTER_SHRUNKEN = "roster_shrunken"

    ROSTER_STALE = "roster_stale"
    SCOPE_INCOMPLETE = "scope_incomplete"
    IDENTITY_UNKNOWN = "identity_unknown"
    APPROVAL_MOVED = "approval_moved"

    @property
    def releasable(self) -> bool:
        """Say whether `approve` may lift it."""
        return self in {
            HoldCode.CAP_COUNT,
            HoldCode.CAP_PERCENT,
            HoldCode.NEW_POLICY,
            HoldCode.NEW_VERSION,
            HoldCode.NEW_PROVIDER,
            HoldCode.ROSTER_SHRUNKEN,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReason:
    """One reason for which nothing of a plan is done."""

    code: HoldCode
    message: str
    provider: ProviderName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A human's release of one held plan, by digest. One use."""

    plan_digest: PlanDigest
    approved_by: str
    approved_at: datetime
    expires_at: datetime
    lifts: tuple[HoldCode, ...] = ()
    """Why the plan was held when it was approved; nothing else is lifted."""
    uid: int | None = None
    """User id of the account that approved; None where nobody noted it. `approved_by` is only what was said."""
    login: str = ""
    beside: tuple["Approval", ...] = ()
    """Those of other accounts that count together with this one, where more than one is needed."""
