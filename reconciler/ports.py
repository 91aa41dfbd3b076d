"""What the reconciler needs from outside, as protocols only: adapters and revokers implement, wiring joins."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from inventory.model import ArtefactKind
from inventory.provider import Clock, Permission
from inventory.roster.model import AcceptedRoster
from reconciler.core.canonical import Json
from reconciler.core.model import (
    Action,
    ActionId,
    Approval,
    BeforeImage,
    CycleId,
    Effect,
    EngineInfo,
    HoldReason,
    Mode,
    OutcomeState,
    Plan,
    PlanDigest,
    PolicySet,
    Receipt,
    Touch,
    VerificationState,
)
from reconciler.core.record import Breadth, CycleOutcome, CycleRecord, Reverted

__all__ = ["Clock", "Touch"]


class PolicyEngine(Protocol):
    """A Rego engine. Holds one set of policies and data at a time; every doubt is a `PolicyError`."""

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        """Put policies and data documents (`roster`, `waivers`) in place, read back, and say what is held now."""

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the raw decision of `access.driver.decide` for one request.

        Raises `PolicyError` when there is none: transport, status, undefined, not JSON.
        """

    def info(self) -> EngineInfo:
        """Ask the engine again which policies it holds."""

    def close(self) -> None:
        """Release connections and end a managed child."""


class Revoker(Protocol):
    """Takes access away at one provider instance. One action, one call, no listing, no deciding, no retrying.

    All three acts are idempotent; absent already is `OutcomeState.ALREADY_ABSENT`. Errors are those of
    `inventory.errors`; a lost reply is `Unavailable` and leaves the outcome unknown.
    """

    def identity(self) -> tuple[str, ...]:
        """Ask the provider as whom we write there: principal ids, or values of a principal's address such as its DN.

        Empty when that is no listed principal (an assumed role, a service token). Asked before anything is planned,
        because the principal that we work as is never acted upon. Raises `inventory.errors.ProviderError` when the
        provider does not answer.
        """

    def before_image(self, action: Action) -> BeforeImage:
        """Read what `undo` would need. Reads only."""

    def quarantine(self, action: Action) -> Receipt:
        """Suspend the item so that it can be given back."""

    def revoke(self, action: Action) -> Receipt:
        """Remove the item."""

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        """Give back what the before-image tells. Raises `Unsupported` when it is not restorable."""

    def close(self) -> None:
        """Release connections."""


Capability = tuple[ArtefactKind, Effect]
"""An effect that a revoker can carry out on an artefact kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What can be taken away at one type of provider; the planner never plans beyond it."""

    effects: frozenset[Capability]
    one_by_one: bool = False
    """Writes to different principals collide (two removals from one versioned group): never side by side."""
    account_contains: bool = False
    """Quarantine of the account stops every other item of the principal from being used."""
    revoke_permissions: tuple[Permission, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An act about to be made, as the journal keeps it."""

    action: Action
    before: BeforeImage
    cycle_id: CycleId
    epoch: int
    plan_digest: PlanDigest
    policy_digest: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """An intent with whatever is known of its end."""

    intent: Intent
    outcome: OutcomeState | None = None
    outcome_detail: str = ""
    outcome_at: datetime | None = None
    verification: VerificationState | None = None
    verified_at: datetime | None = None
    undo_begun_at: datetime | None = None
    """When an undo was last begun; without `undone_at` nobody knows whether it gave anything back."""
    undone_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleEntry:
    """One cycle as the journal keeps it; without a statement digest it was interrupted."""

    sequence: int
    cycle_id: CycleId
    mode: Mode
    started_at: datetime
    outcome: CycleOutcome | None = None
    finished_at: datetime | None = None
    statement_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """An instant of a clock that nobody sets: it counts the seconds of one start of one machine."""

    boot: str
    """Names that start."""
    seconds: float


LONGEST_OBSERVED = 255
"""Characters of an observed value that every database keeps."""


class Journal(Protocol):
    """The record: intents before the act, outcomes after it. Nothing is updated in place.

    Every write is durable when it returns, or raises `JournalError`; every write of an intent checks the epoch and
    raises `LeaseLost` when another process took over.
    """

    def take_over(self, now: datetime, uptime: Uptime | None = None) -> int:
        """Raise the epoch and return it: from now on older holders cannot write an intent."""

    def begin_cycle(self, cycle_id: CycleId, mode: Mode, now: datetime) -> int:
        """Open a cycle and return its sequence number, gapless from 1."""

    def finish_cycle(self, cycle_id: CycleId, outcome: CycleOutcome, statement_digest: str, now: datetime) -> None:
        """Close a cycle with the digest of its statement."""

    def cycles(self) -> Sequence[CycleEntry]:
        """Return all cycles, oldest first."""

    def record_plan(
        self, plan: Plan, held: Sequence[HoldReason], expires_at: datetime, breadth: Breadth = Breadth.WHOLE
    ) -> None:
        """Keep a plan with the reasons that hold it (none: approved), and how much its cycle looked at."""

    def held_plan(self, digest: PlanDigest) -> tuple[Plan, tuple[HoldReason, ...], datetime] | None:
        """Return the latest held plan of this digest, its reasons and its expiry."""

    def record_approval(self, approval: Approval) -> None:
        """Keep a human's release of a held plan."""

    def approval_for(self, digest: PlanDigest, now: datetime) -> Approval | None:
        """Return an unused, unexpired approval of this digest."""

    def pending_approvals(self, now: datetime) -> Sequence[Approval]:
        """Return every unused, unexpired approval."""

    def use_approval(self, digest: PlanDigest, cycle_id: CycleId, now: datetime) -> None:
        """Spend the approval; raises `ApprovalRefused` when it is already spent."""

    def record_intent(self, intent: Intent) -> None:
        """Make an intent durable, with its share of the window's counters, in one transaction."""

    def record_outcome(self, action_id: ActionId, outcome: OutcomeState, detail: str, now: datetime) -> None:
        """Keep how the act ended; a second outcome for one intent is refused with `JournalError`."""

    def record_verification(self, action_id: ActionId, state: VerificationState, now: datetime) -> None:
        """Keep what reading again showed; later rows supersede earlier ones."""

    def record_undo_intent(self, action_id: ActionId, now: datetime) -> None:
        """Keep that an act is about to be undone; an undo that was cut short may be begun again."""

    def record_undo(self, action_id: ActionId, detail: str, now: datetime) -> None:
        """Keep that an act was undone."""

    def reverted(self, after: datetime | None, until: datetime) -> Reverted:
        """Count undos begun and confirmed after an instant (None: ever) and until another, that one included."""

    def entry(self, action_id: ActionId) -> JournalEntry | None:
        """Return one intent with its end; `action_id` may be an unambiguous prefix of at least 8 characters."""

    def entries(self, cycle_id: CycleId | None = None) -> Sequence[JournalEntry]:
        """Return intents in the order they were made, of one cycle or of all."""

    def unsettled(self) -> Sequence[JournalEntry]:
        """Return intents without an outcome, or whose last verification is not GONE after DONE, UNKNOWN."""

    def touched_since(self, since: datetime, uptime: Uptime | None = None) -> Sequence[Touch]:
        """Return the principals named by intents since an instant, each provider, principal and effect once.

        With an uptime, also those of cycles begun since then: a clock that is set forward takes nobody out.
        """

    def remember_roster(self, accepted: AcceptedRoster, now: datetime) -> None:
        """Keep the last roster that passed the gate."""

    def last_roster(self) -> AcceptedRoster | None:
        """Return the last roster that passed the gate."""

    def observed(self, kind: str, value: str) -> bool:
        """Say whether a policy revision, daemon version or provider has been through a whole cycle before."""

    def remember_observed(self, kind: str, value: str, cycle_id: CycleId, now: datetime) -> None:
        """Keep that it has."""

    def all_observed(self, kind: str) -> frozenset[str]:
        """Return every value of a kind that was observed."""

    def remember_all_observed(self, kind: str, values: Iterable[str], cycle_id: CycleId, now: datetime) -> None:
        """Keep that all of these have, at once; a value is at most `LONGEST_OBSERVED` characters long."""

    def close(self) -> None:
        """Release the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLag:
    """What a stream of the audit trail does not have yet."""

    stream: str
    records: int
    since: datetime | None
    """Instant of the oldest record that waits; None when none does."""


class Lease(Protocol):
    """The right to be the one writer, held from construction to `close`.

    It gives liveness only: what makes a late writer harmless is the epoch that every intent is checked against.
    """

    @property
    def can_be_lost_alive(self) -> bool:
        """Say whether it may pass on while its former holder still lives, and has a call under way."""

    def check(self) -> None:
        """Ask whether it is still held; raises `LeaseLost`, from then on always. Safe from any thread."""

    def close(self) -> None:
        """Give it back; closing twice is harmless."""


class AuditLog(Protocol):
    """The audit trail for whoever watches from outside: a copy of what the journal says, never what it rests on.

    Neither writing call raises, and none changes what is decided or done: what could not be kept or handed over is
    said in one line each, and is made up for by the next cycle.
    """

    def record(self, record: CycleRecord) -> tuple[str, ...]:
        """Keep what only the record of a cycle knows, before it is attested; say what still waits from before."""

    def hand_over(self) -> tuple[str, ...]:
        """Bring every stream up to what the journal now says, from where it stood."""

    def lags(self) -> tuple[StreamLag, ...]:
        """Say of each stream what it does not have yet; raises `JournalError` when that cannot be found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a cycle, for whoever watches."""

    stage: str
    """collect, correlate, evaluate, plan, guard, execute, verify, attest."""
    message: str
    done: int = 0
    total: int = 0


class Notifier(Protocol):
    """Brings messages to one receiver."""

    def send(self, title: str, body: str) -> None:
        """Send one message within its own time limit; raises `NotifyError`."""


class Observer(Protocol):
    """Is told of progress; must not fail and cannot influence the cycle."""

    def progress(self, step: Progress) -> None:
        """Take note of a step."""
