"""`access-reconciler explain`: why something would be taken away, or why it is not."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from inventory.model import AccessId, AccessItem, Principal, PrincipalId, ProviderName
from reconciler.cli.display import StderrProgress, print_line, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.record_view import item_label, principal_name
from reconciler.core.canonical import Json, plain
from reconciler.core.model import Correlation, CycleId, Mode
from reconciler.observation import Notes, Picture, look
from reconciler.ports import JournalEntry
from reconciler.settings import load_settings
from reconciler.wiring import assemble

SubjectArgument = Annotated[
    str, typer.Argument(metavar="WORKER|ACCESS", help="Worker id, principal id, login name, or access id.")
]


Owners = Mapping[tuple[ProviderName, PrincipalId], Correlation]


def explain(
    subject: SubjectArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what is known of a worker, a principal or an access item: whose it is, what was found and done.

    Reads roster and providers anew and changes nothing; no cycle is recorded. Exit codes: 0 something is known; 1
    nothing is.

    Example: access-reconciler explain E1003
    """
    settings = load_settings(config)
    with assemble(settings, Mode.OBSERVE, StderrProgress(quiet=True), purpose=None) as assembly:
        now = assembly.house.clock.now()
        notes = Notes(cycle_id=CycleId("explain"), sequence=0, started_at=now, latest=now, decide_at=now)
        picture = look(notes, assembly.house, assembly.rules)
        document = _document(subject, picture, assembly.house.journal.entries())
    known = any(document[part] for part in ("workers", "principals", "items", "history"))
    if output is Output.JSON:
        print_json(dict(document))
    else:
        _show(subject, document)
    raise typer.Exit(OK if known else ERROR)


def _document(subject: str, picture: Picture, entries: Sequence[JournalEntry]) -> dict[str, list[Json]]:
    world = picture.world
    owners = {(one.provider, one.principal_id): one for one in world.correlations}
    principals = [one for one in world.snapshot.principals() if _is_about(subject, one, owners)]
    keys = {(one.provider, one.principal_id) for one in principals}
    items = [
        one for one in world.snapshot.items() if one.access_id == subject or (one.provider, one.principal_id) in keys
    ]
    wanted = {(one.provider, one.access_id) for one in items}
    return {
        "workers": [plain(one) for one in world.roster.workers if subject in (one.worker_id, *one.former_ids)],
        "principals": [_principal(one, owners[one.provider, one.principal_id]) for one in principals],
        "items": [_item(one, picture) for one in items],
        "history": [_history(one) for one in entries if _concerns(one, subject, wanted)],
    }


def _is_about(subject: str, principal: Principal, owners: Owners) -> bool:
    correlation = owners[principal.provider, principal.principal_id]
    workers = {correlation.worker_id, *(match.worker_id for match in correlation.candidates)}
    return subject in workers or subject == principal.principal_id or subject in principal.login_names


def _principal(principal: Principal, correlation: Correlation) -> dict[str, Json]:
    return {
        "provider": principal.provider,
        "principal_id": principal.principal_id,
        "name": principal_name(principal),
        "kind": principal.kind.value,
        "read_whole": principal.read.whole,
        "correlation": {
            "state": correlation.state.value,
            "worker_id": correlation.worker_id,
            "rule": correlation.rule,
            "confidence": correlation.confidence,
            "candidates": plain(correlation.candidates),
        },
    }


def _item(item: AccessItem, picture: Picture) -> dict[str, Json]:
    def same(provider: str, access_id: str) -> bool:
        return (provider, access_id) == (item.provider, item.access_id)

    findings = [one for one in picture.evaluation.findings if same(one.provider, one.access_id)]
    planned = [one for one in picture.plan.actions if same(one.provider, one.item.access_id)]
    withheld = [one for one in picture.plan.withheld if same(one.finding.provider, one.finding.access_id)]
    return {
        "provider": item.provider,
        "principal_id": item.principal_id,
        "access_id": item.access_id,
        "kind": item.kind.value,
        "label": item_label(item),
        "policy_digest": picture.world.policies.digest,
        "findings": [f"{one.rule}: {one.reason} ({one.effect.value})" for one in findings],
        "planned": planned[0].effect.value if planned else None,
        "withheld": [one.message for one in withheld],
    }


def _concerns(entry: JournalEntry, subject: str, wanted: set[tuple[ProviderName, AccessId]]) -> bool:
    action = entry.intent.action
    return subject in (action.worker_id, action.action_id, action.principal.principal_id) or (
        (action.provider, action.item.access_id) in wanted
    )


def _history(entry: JournalEntry) -> dict[str, Json]:
    action = entry.intent.action
    return {
        "action_id": action.action_id,
        "at": plain(entry.intent.recorded_at),
        "provider": action.provider,
        "access_id": action.item.access_id,
        "label": item_label(action.item),
        "effect": action.effect.value,
        "outcome": entry.outcome.value if entry.outcome else None,
        "verification": entry.verification.value if entry.verification else None,
        "undo_begun_at": plain(entry.undo_begun_at),
        "undone_at": plain(entry.undone_at),
        "restorable": entry.intent.before.restorable,
    }


def _show(subject: str, document: dict[str, list[Json]]) -> None:
    if not any(document.values()):
        print_line(f"nothing is known of {subject}: it is no worker, principal, login name or access id")
        return
    for part, columns in _COLUMNS.items():
        rows = [row for row in document[part] if isinstance(row, dict)]
        if rows:
            print_table(part, columns, [[_cell(column, row.get(column)) for column in columns] for row in rows])


_SHORT_ID = 12
"""Characters of an action id in a table: more than the 8 that `undo` asks for."""
_COLUMNS = {
    "workers": ("worker_id", "status", "kind", "access_end_at", "access_end_rule", "former_ids"),
    "principals": ("provider", "name", "principal_id", "kind", "read_whole", "correlation"),
    "items": ("provider", "label", "findings", "planned", "withheld", "access_id"),
    "history": (
        *("action_id", "at", "provider", "label", "effect", "outcome", "verification"),
        *("undo_begun_at", "undone_at"),
    ),
}


def _cell(column: str, value: Json) -> str:
    if column == "action_id":
        return str(value)[:_SHORT_ID]
    if isinstance(value, dict):
        return (
            f"{value.get('worker_id') or value.get('state')} by {value.get('rule') or '-'} {value.get('confidence')} %"
        )
    if isinstance(value, list):
        return "\n".join(str(one) for one in value)
    return "-" if value is None else str(value)
