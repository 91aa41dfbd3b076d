"""`access-reconciler attestations erase`: destroys what is personal of past cycles; everything still verifies.

Works beside the daemon. What it needs of it is imported when it is used: an auditor's installation has none.
"""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.adapters.attestation_document import StatementDocument, read_statement
from reconciler.adapters.attestations import attestation_root, attestations_in
from reconciler.adapters.erasure import ERASURES, Erasable, audited_erasures, chosen_cycles, erasable
from reconciler.adapters.erasure import erase as destroy
from reconciler.cli.exits import DEFAULT_CONFIG, HELD, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.core.canonical import Json
from reconciler.core.errors import EvidenceError, LeaseLost, WrongUsage

if TYPE_CHECKING:
    from reconciler.settings import Settings

CycleOption = Annotated[
    list[str] | None, typer.Option("--cycle", help="Sequence number or cycle id; may be given several times.")
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", help="All cycles that ended before a day or an instant (RFC 3339, UTC).")
]
LeavesOption = Annotated[
    bool, typer.Option("--leaves", help="The texts of the leaves too, which keys and disclosures only open.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Destroy. Without it, it is only said what would be.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Which cycles, and how much of them."""

    cycles: tuple[str, ...]
    before: datetime | None
    leaves: bool


def erase(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    cycle: CycleOption = None,
    before: BeforeOption = None,
    leaves: LeavesOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Destroy the pseudonym keys and disclosures of past cycles, and with --leaves their leaves, for good.

    Statements, hashes and proofs stay and still verify; what was destroyed is recorded. Backups are yours to erase, and
    so are recorded snapshots and what they were compared to (`snapshots`, `policy-changes` of the state folder). The
    newest cycle is spared while a daemon runs: after a crash its leaves may still be needed. Exit codes: 0 destroyed,
    or nothing is there; 1 error; 2 it was only said what would be destroyed.

    Example: access-reconciler attestations erase --before 2025-01-01 --leaves --yes
    """
    if bool(cycle) == (before is not None):
        raise WrongUsage("it is not said what to erase", advice="give --cycle or --before, and not both")
    choice = _Choice(cycles=tuple(cycle or ()), before=None if before is None else _instant(before), leaves=leaves)
    from reconciler.settings import load_settings  # noqa: PLC0415 - see above

    found = _erased(load_settings(config), choice, yes=yes)
    if output is Output.JSON:
        print_json(_document(found, destroyed=yes))
    else:
        _print(found, destroyed=yes)
    raise typer.Exit(OK if yes or not found else HELD)


def _instant(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"--before {text} is neither a day nor an instant"
        raise WrongUsage(msg, advice="write 2026-01-31, or 2026-01-31T12:00:00Z") from error
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def _erased(settings: "Settings", choice: _Choice, *, yes: bool) -> tuple[Erasable, ...]:
    """Return what is there to be destroyed of the chosen cycles, and destroy it when asked to."""
    from reconciler.adapters.clock import SystemClock  # noqa: PLC0415 - see above
    from reconciler.adapters.os_account import acting_account  # noqa: PLC0415 - see above
    from reconciler.wiring import open_store  # noqa: PLC0415 - see above

    clock = SystemClock()
    root = attestation_root(open_store(settings).root)
    with ExitStack() as stack:
        alone = _alone(settings, stack)
        documents = _documents(root)
        chosen = tuple(chosen_cycles(documents, choice.cycles, choice.before))
        if not alone and documents and documents[-1] in chosen:
            chosen = _without_newest(chosen, choice)
        found = tuple(erasable(root, one, leaves=choice.leaves) for one in chosen)
        found = tuple(one for one in found if one.parts)
        if yes and found:
            destroy(root, found, acting_account(), clock.now())
        if yes:
            _audit(settings, root)
    return found


def _audit(settings: "Settings", root: Path) -> None:
    """Add to the audit trail what is on record as erased, also by an erasure that a crash stopped before it did."""
    from reconciler.adapters.audit_outbox import AuditOutbox  # noqa: PLC0415 - see above
    from reconciler.writer import journal_exists, open_journal  # noqa: PLC0415 - see above

    if journal_exists(settings):
        with open_journal(settings) as journal:
            AuditOutbox(journal.database).keep_erasures(audited_erasures(root))


def _alone(settings: "Settings", stack: ExitStack) -> bool:
    """Say whether no daemon and no cycle runs, and keep it so; then the log is whole, as a crash may have left it."""
    from reconciler.adapters.clock import SystemClock  # noqa: PLC0415 - see above
    from reconciler.signers import open_log  # noqa: PLC0415 - see above
    from reconciler.wiring import instance_id, open_store  # noqa: PLC0415 - see above
    from reconciler.writer import hold_lease, journal_exists, open_journal  # noqa: PLC0415 - see above

    try:
        stack.enter_context(closing(hold_lease(settings, "attestations erase", SystemClock())))
    except LeaseLost:
        return False
    if journal_exists(settings):
        with open_journal(settings) as journal:
            store = open_store(settings)
            open_log(settings, store.root, instance_id(settings)).resume(store.head(tuple(journal.cycles())))
    return True


def _documents(root: Path) -> tuple[StatementDocument, ...]:
    """Read every statement, oldest first; one that waits for its signature counts."""
    try:
        return tuple(read_statement(one.statement.read_bytes()) for one in attestations_in(root)[0])
    except OSError as error:
        msg = f"a statement cannot be read: {error.strerror}"
        raise EvidenceError(msg, advice="run `attestations verify`") from error


def _without_newest(chosen: tuple[StatementDocument, ...], choice: _Choice) -> tuple[StatementDocument, ...]:
    newest = chosen[-1].predicate
    if choice.cycles:
        msg = f"cycle {newest.sequence} is the newest, and a daemon runs"
        raise EvidenceError(msg, advice="wait for the next cycle, or stop the daemon")
    return chosen[:-1]


def _document(found: tuple[Erasable, ...], *, destroyed: bool) -> dict[str, Json]:
    return {
        "destroyed": destroyed,
        "cycles": [
            {
                "sequence": one.sequence,
                "cycle_id": one.cycle_id,
                "parts": [name for name, _ in one.parts],
            }
            for one in found
        ],
    }


_NOT_HERE = (
    "not touched: `snapshots` and `policy-changes` of the state folder, which hold names and ids of their days; the "
    "oldest go by themselves, and files of them may be removed by hand at any time"
)


def _print(found: tuple[Erasable, ...], *, destroyed: bool) -> None:
    if not found:
        typer.echo("nothing is there to be destroyed")
        return
    for one in found:
        typer.echo(f"cycle {one.sequence} ({one.cycle_id}): {', '.join(name for name, _ in one.parts)}")
    if destroyed:
        typer.echo(f"destroyed, and recorded in {ERASURES}; destroy the copies in backups too")
        typer.echo(_NOT_HERE)
    else:
        typer.echo("this would be destroyed for good: say --yes")
