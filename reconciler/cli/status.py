"""`access-reconciler status`: what the last cycles came to and what waits, read from the journal beside the daemon."""

from typing import Annotated, Any, Final

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.journal_plans import held_plans
from reconciler.cli.display import print_line, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.cli.health import LOOPBACK, NoDaemon, Question, ask
from reconciler.cli.plain_text import complain, print_json
from reconciler.cli.policy_change_view import change_line, change_summary
from reconciler.cli.record_view import item_label, principal_name
from reconciler.core.canonical import Json, plain
from reconciler.core.errors import PolicyError
from reconciler.core.record import PolicyChange
from reconciler.policies.first_look import policy_changes
from reconciler.policies.standing import policy_store
from reconciler.ports import CycleEntry, JournalEntry
from reconciler.settings import Settings, load_settings
from reconciler.spool import look
from reconciler.wiring import open_store
from reconciler.writer import open_journal

LastOption = Annotated[int, typer.Option("--last", "-n", min=1, help="How many of the latest cycles are told.")]
_SHORT_ID = 12
"""Characters of an action id in a table: more than the 8 that `undo` asks for."""
_OF_THE_DAEMON: Final = ("live", "ready", "standby", "draining", "last_outcome", "failures", "last_error")
"""What is repeated of the daemon's own words: a cycle that could not even begin leaves no trace in the journal."""


def status(config: ConfigOption = DEFAULT_CONFIG, last: LastOption = 10, output: OutputOption = Output.TABLE) -> None:
    """Say what the last cycles came to, which plans are held, and which acts are not shown to have worked.

    Takes no lease and asks no provider: it reads the journal and what is unsigned, also while the daemon runs, and asks
    the daemon on this machine how it is.

    Example: access-reconciler status --last 5
    """
    clock, settings = SystemClock(), load_settings(config)
    now = clock.now()
    daemon = _daemon(settings.daemon.health_port)
    backlog = look(open_store(settings), settings.signing.pace, clock)
    with open_journal(settings) as journal:
        cycles = list(reversed(journal.cycles()[-last:]))
        held = [one for one in held_plans(journal.database, unexpired_at=now) if not one.carried_out]
        unsettled = journal.unsettled()
    change = _policy_change(settings)
    if output is Output.JSON:
        print_json(
            {
                "cycles": [_cycle(one) for one in cycles],
                "held_plans": [one.plan.digest for one in held],
                "unsettled": [_act(one) for one in unsettled],
                "unsigned": {"statements": len(backlog.waiting), "since": plain(backlog.since)},
                "daemon": daemon,
                "policy_change": change_summary(change),
            }
        )
        return
    print_line(_how(daemon, settings.daemon.health_port))
    if change is not None:
        print_line(change_line(change))
    columns = ("cycle", "mode", "outcome", "started", "finished")
    print_table("Last cycles", columns, ([_cell(cell) for cell in list(_cycle(one).values())[:5]] for one in cycles))
    for one in held:
        print_line(f"held: {one.plan.digest}; see access-reconciler plans show")
    if backlog.waiting:
        print_line(f"unsigned: {len(backlog.waiting)} statements; see access-reconciler attestations pending")
    if unsettled:
        print_table("Not shown to have worked", _COLUMNS, map(_row, unsettled))


def _policy_change(settings: Settings) -> PolicyChange | None:
    """Return what the policies in force changed in their first cycle; a damaged file keeps nobody from the rest."""
    try:
        standing = policy_store(settings).standing().in_force
        return None if standing is None else policy_changes(settings).of(standing.digest)
    except PolicyError as error:
        complain(f"{error}; {error.advice}")
        return None


def _daemon(port: int) -> dict[str, Any] | None:
    """Return what the daemon says of itself; None where none answers, or none is to answer."""
    if not port:
        return None
    try:
        _, facts = ask(Question.READY, port)
    except NoDaemon:
        return None
    return {name: facts[name] for name in _OF_THE_DAEMON if name in facts}


def _how(daemon: dict[str, Any] | None, port: int) -> str:
    """Say in one line how the daemon is, and what its last cycle met."""
    if daemon is None:
        return f"daemon: none answers on {LOOPBACK}:{port}" if port else "daemon: not asked, daemon.health_port is 0"
    words = [word for word in ("standby", "draining") if daemon.get(word)]
    words += [] if daemon.get("live") else ["hung"]
    words += [f"last cycle {daemon['last_outcome']}" if daemon.get("last_outcome") else "no cycle has ended yet"]
    words += [f"{daemon['failures']} failed in a row"] if daemon.get("failures") else []
    met = f"; it met: {daemon['last_error']}" if daemon.get("last_error") else ""
    return f"daemon: {', '.join(words)}{met}"


_COLUMNS = ("action", "provider", "principal", "item", "effect", "outcome", "read again")


def _cycle(entry: CycleEntry) -> dict[str, Json]:
    return {
        "sequence": entry.sequence,
        "mode": entry.mode.value,
        "outcome": entry.outcome.value if entry.outcome else None,
        "started_at": plain(entry.started_at),
        "finished_at": plain(entry.finished_at),
        "cycle_id": entry.cycle_id,
        "statement_digest": entry.statement_digest or None,
    }


def _act(entry: JournalEntry) -> dict[str, Json]:
    action = entry.intent.action
    return {
        "action_id": action.action_id,
        "provider": action.provider,
        "principal_id": action.principal.principal_id,
        "access_id": action.item.access_id,
        "effect": action.effect.value,
        "recorded_at": plain(entry.intent.recorded_at),
        "outcome": entry.outcome.value if entry.outcome else None,
        "verification": entry.verification.value if entry.verification else None,
    }


def _row(entry: JournalEntry) -> tuple[object, ...]:
    action = entry.intent.action
    return (
        action.action_id[:_SHORT_ID],
        action.provider,
        principal_name(action.principal),
        item_label(action.item),
        action.effect.value,
        _cell(entry.outcome),
        _cell(entry.verification),
    )


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
