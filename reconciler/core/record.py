"""The record of a cycle: all that it saw, decided, did and proved.

`cycle --output json` prints it and the attestation states it, each leaving out what it must.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from inventory.model import Coverage, ProviderName, ScopeId
from inventory.roster.model import WorkerId
from reconciler.core.canonical import Json
from reconciler.core.model import (
    ActionResult,
    Approval,
    CycleId,
    Effect,
    EngineInfo,
    Finding,
    HoldReason,
    Mode,
    Plan,
    PolicySet,
)


class CycleOutcome(StrEnum):
    """How a cycle ended."""

    COMPLETE = "complete"
    """Everything configured was read and everything planned was done and verified (or nothing was planned)."""
    PARTIAL = "partial"
    """Something could not be read, decided, done or verified."""
    HELD = "held"
    """The guard held the plan: zero acts."""
    FAILED = "failed"
    """The cycle could not decide: zero acts."""


class Breadth(StrEnum):
    """How much a cycle looked at."""

    WHOLE = "whole"
    """Every configured provider."""
    LEAVERS = "leavers"
    """Only the principals of some leavers, at once; partial by nature, and followed by a whole pass."""


class LeaverState(StrEnum):
    """What can be said of a leaver at the end of a cycle."""

    CLEAN = "clean"
    """Every configured scope and artefact kind was read, and nothing is left."""
    VIOLATION = "violation"
    """Access is known to be left (in review, held, failed or only observed)."""
    CANNOT_CONCLUDE = "cannot_conclude"
    """Nothing is known to be left, yet something could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaverVerdict:
    """The verdict on one leaver, with what stands in the way of `clean`."""

    worker_id: WorkerId
    state: LeaverState
    access_end_at: datetime
    remaining: int
    """Access items known to be left."""
    missing: tuple[str, ...] = ()
    """`provider/scope/kind: state` of what could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """A worker whose access will end, and what is known to go then."""

    worker_id: WorkerId
    access_end_at: datetime
    principals: int
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterFacts:
    """What a cycle knew of its roster."""

    source: str
    digest: str
    as_of: datetime | None
    fetched_at: datetime
    rows: int
    workers: int
    leavers: int
    accepted: bool
    max_age_seconds: int
    problems: tuple[str, ...] = ()
    """`line N, column M: code`, without personal data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFacts:
    """What a cycle knew of one scope."""

    provider: ProviderName
    provider_type: str
    scope: ScopeId
    complete: bool
    started_at: datetime
    finished_at: datetime
    digest: str
    principals: int
    credentials: int
    grants: int
    sessions: int
    api_calls: int
    coverage: tuple[Coverage, ...]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFacts:
    """The limits in force and what they said."""

    max_principals: int
    max_percent: int
    percent_population: int
    window_seconds: int
    min_admins: int
    plan_ttl_seconds: int
    approvals_needed: int = 1
    hold_reasons: tuple[HoldReason, ...] = ()
    approval: Approval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """How often access was given back by `undo` since the cycle before began."""

    begun: int = 0
    """Attempts; one without its confirmation may have given access back, or not."""
    confirmed: int = 0
    """Seen back by reading again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverFacts:
    """The waivers that a cycle went by, in numbers."""

    in_force: int = 0
    expiring_soon: int = 0
    """Of those in force, how many end within 30 days."""
    ending: int = 0
    """Of those in force, how many end within 7 days."""
    refused: int = 0
    """Malformed ones, which waive nothing."""
    held: int = 0
    """Waivers of files that became malformed, for which acts wait until a grace is over."""
    digest: str = ""
    """Of all that those in force say; empty where no waivers were looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WillApply:
    """A rule that is not in effect yet, and what it finds already."""

    rule: str
    effective_on: datetime
    findings: int
    principals: int
    by_effect: tuple[tuple[Effect, int], ...]
    """How many findings ask for what, strongest last."""


class ChangeState(StrEnum):
    """Whether the first cycle of a policy revision could show what it changes."""

    COMPARED = "compared"
    POSTPONED = "postponed"
    """Something urgent waited; the next whole pass compares."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What a new revision of the policies changes on what its first whole cycle saw."""

    state: ChangeState
    before: str
    """Digest of the revision that decided before; empty where no copy of it is kept."""
    after: str
    cycle_id: CycleId
    at: datetime
    reason: str = ""
    """Why it was not compared, or not kept; without personal data."""
    difference: Mapping[str, Json] | None = None
    """As `policies diff --output json` says it, with the beginnings of its lists; None where nothing was compared."""
    lines_left_out: int = 0
    """Decisions that change beyond those in `difference`."""
    planned_left_out: int = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Return what changes in numbers, all of it; empty where nothing was compared."""
        counts = None if self.difference is None else self.difference["counts"]
        known = counts.items() if isinstance(counts, dict) else ()
        return {name: count for name, count in known if isinstance(count, int)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRecord:
    """All that one cycle saw, decided, did and proved: what `cycle --output json` prints and the attestation states."""

    cycle_id: CycleId
    sequence: int
    """Gapless over the life of a journal, from 1."""
    mode: Mode
    outcome: CycleOutcome
    breadth: Breadth = Breadth.WHOLE
    started_at: datetime
    finished_at: datetime
    version: str
    config_digest: str
    roster: RosterFacts | None
    policy: PolicySet | None
    engine: EngineInfo | None
    inventories: tuple[InventoryFacts, ...]
    snapshot_digest: str
    findings: tuple[Finding, ...]
    evaluated: int
    undecided: int
    """Principals the engine could not decide on."""
    plan: Plan | None
    guard: GuardFacts
    results: tuple[ActionResult, ...]
    leavers: tuple[LeaverVerdict, ...]
    armed: tuple[Armed, ...] = ()
    """Who leaves next, soonest first; of a whole pass."""
    waivers: WaiverFacts
    reverted: Reverted = Reverted()
    policy_change: PolicyChange | None = None
    """Of the first whole cycle of a policy revision; shown to people, and never part of the attestation."""
    errors: tuple[str, ...] = ()
    """One line each: what failed, without personal data."""

    @property
    def snapshot_complete(self) -> bool:
        """Say whether every configured scope was read to its end."""
        return bool(self.inventories) and all(facts.complete for facts in self.inventories)

    @property
    def will_apply(self) -> tuple[WillApply, ...]:
        """Return what rules find that are not in effect yet, by rule; nothing of it is done or asked now."""
        coming: dict[tuple[str, datetime], list[Finding]] = {}
        for finding in self.findings:
            if finding.applies_from is not None:
                coming.setdefault((finding.rule, finding.applies_from), []).append(finding)
        return tuple(
            WillApply(
                rule=rule,
                effective_on=effective_on,
                findings=len(found),
                principals=len({(one.provider, one.principal_id) for one in found}),
                by_effect=tuple(sorted(Counter(one.effect for one in found).items(), key=lambda pair: pair[0].rank)),
            )
            for (rule, effective_on), found in sorted(coming.items())
        )
