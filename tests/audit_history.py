"""A journal with one of everything that the audit trail tells, and canaries in every field that it must not tell."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from inventory.model import ArtefactKind
from reconciler.adapters.audit_log import AuditTrail, Stream
from reconciler.adapters.audit_outbox import AuditOutbox
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.core.model import (
    Action,
    ActionId,
    Approval,
    BeforeImage,
    CycleId,
    Effect,
    HoldCode,
    HoldReason,
    Mode,
    OutcomeState,
    Plan,
    VerificationState,
)
from reconciler.core.record import CycleOutcome
from reconciler.ports import Intent
from tests.builders import NOW, action, credential, finding, grant, principal
from tests.fakes.clock import FakeClock
from tests.record_builders import cycle_id, plan

CANARY = "s3cr3t-canary"
"""In no stream, wherever it was put."""


def second(number: float) -> Any:
    """Return an instant some seconds into the cycle."""
    return NOW + timedelta(seconds=number)


def telling_principal() -> Any:
    """Return a principal that has the canary in every field that names a person."""
    return principal(
        display_name=CANARY, login_names=(CANARY,), emails=(f"{CANARY}@example.com",), employee_ids=(CANARY,),
        address=(("user_name", CANARY),), owner_hints=(CANARY,), external_ids=(CANARY,),
    )  # fmt: skip


def acts(sequence: int = 1) -> tuple[Action, ...]:
    """Return one act on a key and one on a membership."""
    owner = telling_principal()
    key = credential(label=CANARY, fingerprint=CANARY, address=(("id", CANARY),))
    made = (
        action(owner, key),
        action(owner, grant()),
        action(owner, credential(kind=ArtefactKind.ACCOUNT), Effect.QUARANTINE),
    )
    return tuple(
        replace(one, action_id=ActionId(f"{sequence:04d}-{number}"), reason=CANARY) for number, one in enumerate(made)
    )


def made_plan(sequence: int = 1, **changes: Any) -> Plan:
    """Return the plan of those acts, with one finding in review and one withheld."""
    reviews = (finding(grant("bob"), reason=CANARY),)
    return plan(cycle_id=cycle_id(sequence), actions=acts(sequence), reviews=reviews, **changes)


def open_journal(folder: Path) -> SqlJournal:
    """Open the journal of a folder."""
    return SqlJournal(sqlite_url(folder / "journal.sqlite3"))


def live_cycle(journal: SqlJournal, sequence: int = 1) -> CycleId:
    """Live one enforced cycle: held, approved, carried out, read again, one act undone, ended."""
    epoch = journal.take_over(NOW)
    here = cycle_id(sequence)
    journal.begin_cycle(here, Mode.ENFORCE, second(0))
    made = made_plan(sequence)
    hold = HoldReason(code=HoldCode.CAP_COUNT, message=CANARY)
    journal.record_plan(made, (hold,), second(3600))
    approval = Approval(
        plan_digest=made.digest,
        approved_by=CANARY,
        approved_at=second(4),
        expires_at=second(3600),
        lifts=(HoldCode.CAP_COUNT,),
    )
    journal.record_approval(approval)
    journal.use_approval(made.digest, here, second(5))
    for number, act in enumerate(made.actions):
        _carry_out(journal, act, here, epoch, number)
    journal.record_undo(made.actions[2].action_id, CANARY, second(20))
    journal.finish_cycle(here, CycleOutcome.COMPLETE, "sha256:" + "1" * 64, second(30))
    return here


def intent(act: Action, here: CycleId, epoch: int, at: datetime, *, restorable: bool = False) -> Intent:
    """Return the intent of an act."""
    return Intent(
        action=act,
        before=BeforeImage(restorable=restorable, document=f'{{"password":"{CANARY}"}}'),
        cycle_id=here,
        epoch=epoch,
        plan_digest=made_plan().digest,
        policy_digest="sha256:" + "b" * 64,
        recorded_at=at,
    )


def _carry_out(journal: SqlJournal, act: Action, here: CycleId, epoch: int, number: int) -> None:
    outcome = (OutcomeState.DONE, OutcomeState.FAILED, OutcomeState.DONE)[number]
    journal.record_intent(intent(act, here, epoch, second(6 + number), restorable=number == 2))
    journal.record_outcome(act.action_id, outcome, CANARY, second(9 + number))
    journal.record_verification(act.action_id, VerificationState.GONE, second(12 + number))


def trail(journal: SqlJournal, *streams: Stream, clock: FakeClock | None = None) -> AuditTrail:
    """Build the audit trail of a journal."""
    return AuditTrail(outbox=AuditOutbox(journal.database), streams=streams, clock=clock or FakeClock(NOW))
