"""`access-reconciler plans`: the held plans that wait for a decision, read from the journal beside the daemon."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.journal_plans import KeptPlan, held_plans
from reconciler.cli.display import print_entry, print_heading, print_line, print_table
from reconciler.cli.documents import step_document, withheld_document
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policy_change_view import change_document, show_change
from reconciler.cli.record_view import item_label, principal_name
from reconciler.core.canonical import Json, plain
from reconciler.core.errors import ReconcilerError
from reconciler.core.model import Approval, HoldCode
from reconciler.core.record import PolicyChange
from reconciler.policies.first_look import policy_changes
from reconciler.settings import load_settings
from reconciler.writer import open_journal

app = typer.Typer(name="plans", help="Look at held plans, beside the running daemon.", no_args_is_help=True)

_ALGORITHM = "sha256:"


class NoSuchPlan(ReconcilerError):
    """No held plan has this digest, or more than one begins like it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A held plan with what was said of it so far."""

    kept: KeptPlan
    approvals: tuple[Approval, ...]
    needed: int
    now: datetime

    @property
    def state(self) -> str:
        """Return `waiting`, `moved`, `carried_out` or `expired`."""
        if self.kept.carried_out:
            return "carried_out"
        if self.kept.expires_at <= self.now:
            return "expired"
        return "waiting" if self.kept.standing else "moved"

    @property
    def releasable(self) -> bool:
        """Say whether an approval would lift all that holds it."""
        standing = [one.code for one in self.kept.reasons if one.code is not HoldCode.APPROVAL_MOVED]
        return bool(standing) and all(code.releasable for code in standing)


DigestArgument = Annotated[
    str, typer.Argument(metavar="[DIGEST]", help="Digest of a held plan, or its beginning; the latest without.")
]


@app.command("list")
def list_plans(config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE) -> None:
    """List the held plans that have not expired, the latest first: why each is held, and who approved it so far.

    Takes no lease and asks no provider: the daemon goes on. A plan `moved` when a whole cycle has come to another one.

    Example: access-reconciler plans list
    """
    cases = [case for case in _cases(config, unexpired=True) if case.state != "carried_out"]
    if output is Output.JSON:
        print_json([_document(case) for case in cases])
    elif not cases:
        print_line("no plan waits for a decision")
    else:
        columns = ("plan", "state", "cycle", "actions", "held because", "approved", "until")
        print_table("Held plans", columns, map(_row, cases))


@app.command("show")
def show(
    digest: DigestArgument = "", config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE
) -> None:
    """Show one held plan: what would be taken from whom, by which rule, why it is held, and who approved it.

    Takes no lease and asks no provider; expired plans and those carried out are shown too.

    Example: access-reconciler plans show
    """
    case = _one(_cases(config, beginning=digest, unexpired=not digest), digest)
    if output is Output.JSON:
        items: list[Json] = [step_document(one) for one in case.kept.plan.actions]
        withheld: list[Json] = [withheld_document(one) for one in case.kept.plan.withheld]
        change = change_document(_change(case, config))
        print_json({**_document(case), "items": items, "withheld": withheld, "policy_change": change})
    else:
        _show(case)
        change_seen = _change(case, config)
        if change_seen is not None:
            show_change(change_seen)


def _change(case: Case, config: Path) -> PolicyChange | None:
    """Return what the policies of a plan changed, where that is a reason why it is held."""
    if all(one.code is not HoldCode.NEW_POLICY for one in case.kept.reasons):
        return None
    return policy_changes(load_settings(config)).of(case.kept.plan.policy_digest)


def _cases(config: Path, *, beginning: str = "", unexpired: bool) -> list[Case]:
    settings, now = load_settings(config), SystemClock().now()
    if beginning and not beginning.startswith(_ALGORITHM):
        beginning = f"{_ALGORITHM}{beginning}"
    with open_journal(settings) as journal:
        kept = held_plans(journal.database, unexpired_at=now if unexpired else None, beginning=beginning)
        approvals = journal.pending_approvals(now)
    return [
        Case(
            kept=one,
            approvals=tuple(given for given in approvals if given.plan_digest == one.plan.digest),
            needed=settings.guard.approvals_needed,
            now=now,
        )
        for one in kept
    ]


def _one(cases: Sequence[Case], digest: str) -> Case:
    exact = [case for case in cases if case.kept.plan.digest == digest]
    if not cases:
        raise NoSuchPlan(f"no held plan {digest}".rstrip(), advice="see `access-reconciler plans list`")
    if digest and not exact and len(cases) > 1:
        raise NoSuchPlan(f"{len(cases)} held plans begin with {digest}", advice="give more of the digest")
    return (*exact, *cases)[0]


def _document(case: Case) -> dict[str, Json]:
    kept = case.kept
    return {
        "plan_digest": kept.plan.digest,
        "state": case.state,
        "releasable": case.releasable,
        "cycle_id": kept.plan.cycle_id,
        "sequence": kept.sequence,
        "created_at": plain(kept.plan.created_at),
        "expires_at": plain(kept.expires_at),
        "policy_digest": kept.plan.policy_digest,
        "hold_reasons": [
            {"code": one.code.value, "provider": one.provider, "message": one.message} for one in kept.reasons
        ],
        "actions": len(kept.plan.actions),
        "approvals": [
            {
                "approved_by": one.approved_by,
                "uid": one.uid,
                "login": one.login,
                "approved_at": plain(one.approved_at),
                "expires_at": plain(one.expires_at),
            }
            for one in case.approvals
        ],
        "approvals_needed": case.needed,
    }


def _row(case: Case) -> tuple[object, ...]:
    kept = case.kept
    return (
        kept.plan.digest[: len(_ALGORITHM) + 12],
        case.state,
        kept.sequence,
        len(kept.plan.actions),
        "; ".join(one.message for one in kept.reasons),
        f"{len(case.approvals)} of {case.needed}",
        plain(kept.expires_at),
    )


def _show(case: Case) -> None:
    plan = case.kept.plan
    print_line(f"plan {plan.digest}: {case.state}, held by cycle {case.kept.sequence} at {plain(plan.created_at)}")
    print_heading(f"Plan ({len(plan.actions)})")
    for action in plan.actions:
        worker = f"  worker {action.worker_id}" if action.worker_id else ""
        subject = f"{action.provider}  {principal_name(action.principal)}{worker}"
        print_entry(subject, f"{action.rule}: {action.reason}", [(action.effect.value, item_label(action.item))])
    for reason in case.kept.reasons:
        print_line(f"held: {reason.message}")
    for one in case.approvals:
        account = "no account noted" if one.uid is None else f"account {one.login or one.uid}"
        print_line(f"approved by {one.approved_by} ({account}) at {plain(one.approved_at)}")
    if case.state in ("waiting", "moved") and case.releasable:
        print_line(f"to release exactly this plan: access-reconciler approve {plan.digest}")
        print_line(f"until {plain(case.kept.expires_at)}, by {case.needed} account{'s' if case.needed > 1 else ''}")
