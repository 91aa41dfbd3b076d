"""`access-reconciler approve`: a human's release of one held plan."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.os_account import Account, acting_account
from reconciler.cli.display import print_line
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.core.canonical import plain
from reconciler.core.errors import ApprovalRefused
from reconciler.core.model import Approval, HoldCode, HoldReason, Plan, PlanDigest
from reconciler.ports import Journal
from reconciler.settings import load_settings
from reconciler.writer import open_journal

DigestArgument = Annotated[str, typer.Argument(metavar="DIGEST", help="Digest of the held plan, as `cycle` prints it.")]


def approve(
    digest: DigestArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    by: Annotated[str, typer.Option("--by", help="A name to show beside the account, which is noted anyway.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Release a held plan, by its digest: one use, expires, and refused when the world has moved.

    The next enforcing cycle plans anew. If it comes to exactly this digest, the approval lifts what holds it, once;
    any other plan stays under the limits. Only size and novelty can be lifted: a stale roster or an unknown identity
    cannot. With guard.approvals_needed: 2 it counts when a second account has approved too.

    Example: access-reconciler approve sha256:0f3a…
    """
    settings = load_settings(config)
    now = SystemClock().now()
    with open_journal(settings) as journal:
        held = journal.held_plan(PlanDigest(digest))
        if held is None:
            raise ApprovalRefused(f"no plan {digest} is held", advice="take the digest from the cycle that was held")
        _check(digest, held[1], held[2], now)
        _check_unused(held[0], journal)
        account = acting_account()
        if settings.guard.approvals_needed > 1:
            _check_person(account, settings.state_dir.stat().st_uid)
        approval = Approval(
            plan_digest=PlanDigest(digest),
            approved_by=by or account.login or str(account.uid),
            approved_at=now,
            expires_at=min(held[2], now + timedelta(hours=settings.guard.approval_ttl_hours)),
            lifts=tuple(sorted({reason.code for reason in held[1] if reason.code.releasable})),
            uid=account.uid,
            login=account.login,
        )
        journal.record_approval(approval)
        released = journal.approval_for(approval.plan_digest, now) is not None
    if output is Output.JSON:
        # What is printed is this account's word; what others said stands in the journal.
        facts = {name: plain(getattr(approval, name)) for name in Approval.__slots__ if name != "beside"}
        print_json(facts | {"released": released})
    else:
        print_line(f"approved {digest} until {plain(approval.expires_at)}")
        print_line(
            "the daemon carries it out with its next cycle (SIGHUP: at once); without a daemon: access-reconciler cycle"
            if released
            else "not released yet: another account has to approve it too (guard.approvals_needed)"
        )


def _check_person(account: Account, owner: int) -> None:
    """Refuse the account that the daemon runs as: whoever can be it, a broken daemon too, would count as somebody."""
    if account.uid == owner:
        raise ApprovalRefused(
            f"the account {account.login or account.uid} owns the state folder, and is nobody's in particular",
            advice="log in under an account of your own and use sudo: the login behind it is what counts",
        )


def _check(digest: str, reasons: tuple[HoldReason, ...], expires_at: datetime, now: datetime) -> None:
    if now >= expires_at:
        raise ApprovalRefused(f"the held plan {digest} has expired", advice="run a cycle again and approve that plan")
    # That an older approval waits for another plan bars nobody from approving this one.
    standing = [reason for reason in reasons if reason.code is not HoldCode.APPROVAL_MOVED]
    firm = [reason.message for reason in standing if not reason.code.releasable]
    if firm:
        raise ApprovalRefused(
            f"plan {digest} is held for a reason that no approval lifts: {firm[0]}", advice="mend that and run again"
        )


def _check_unused(plan: Plan, journal: Journal) -> None:
    """Refuse a plan that was released since it was held: it is approved anew only when a cycle holds it anew."""
    carried_out = any(
        entry.intent.plan_digest == plan.digest and entry.intent.recorded_at >= plan.created_at
        for entry in journal.entries()
    )
    if carried_out:
        raise ApprovalRefused(
            f"plan {plan.digest} was released and carried out already", advice="run a cycle and look at what it plans"
        )
