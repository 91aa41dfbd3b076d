"""`access-reconciler roster check`: what the gate says of a roster file, before anything rests on it."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from inventory.provider import Clock
from inventory.roster.csv_file import CsvRosterSettings, CsvRosterSource, accepted_of
from inventory.roster.model import AcceptedRoster, RosterProblem, RosterVerdict, Worker
from inventory.roster.zones import NotADate, parse_instant
from reconciler.adapters.clock import SystemClock
from reconciler.core.canonical import Json, rfc3339
from reconciler.core.errors import SettingsError
from reconciler.settings import read_document

ACCEPTED, REFUSED, HELD = 0, 1, 2
"""Exit codes: the roster may ground actions, cannot be used, or waits for a human."""

app = typer.Typer(name="roster", help="Look at the HR roster.", no_args_is_help=True)


class Output(StrEnum):
    """How the answer is printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterCheck:
    """All that `roster check` says of a feed at an instant."""

    verdict: RosterVerdict
    at: datetime
    digest: str | None
    """None when the file could not be read to its end."""

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command."""
        if self.verdict.roster is None:
            return REFUSED
        return ACCEPTED if self.verdict.accepted else HELD

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Return the workers; none of a refused feed."""
        return () if self.verdict.roster is None else self.verdict.roster.workers

    def leavers(self) -> list[Worker]:
        """Return those whose access has ended by the instant."""
        return [one for one in self.workers if one.access_end_at is not None and one.access_end_at <= self.at]

    def armed(self) -> list[tuple[str, str]]:
        """Return id and end of those whose access ends after the instant."""
        ahead = ((one.worker_id, one.access_end_at) for one in self.workers)
        return [(worker_id, rfc3339(end)) for worker_id, end in ahead if end is not None and end > self.at]

    def problems(self) -> list[tuple[str, RosterProblem]]:
        """Return every problem with what follows from it, those that stop the feed first."""
        rows = () if self.verdict.roster is None else self.verdict.roster.problems
        return [
            *(("refused", problem) for problem in self.verdict.refused),
            *(("held", problem) for problem in self.verdict.held),
            *(("noted" if problem.code == "email_unusable" else "set_aside", problem) for problem in rows),
        ]

    def document(self) -> dict[str, Json]:
        """Return the JSON document; its schema is `reconciler/schemas/roster-check.schema.json`."""
        roster = self.verdict.roster
        return {
            "accepted": self.verdict.accepted,
            "held": bool(self.verdict.held),
            "workers": len(self.workers),
            "leavers": [one.worker_id for one in self.leavers()],
            "armed": [{"worker_id": worker_id, "access_end_at": end} for worker_id, end in self.armed()],
            "problems": [
                {
                    "line": problem.line,
                    "column": problem.column,
                    "code": problem.code,
                    "message": problem.message,
                    "consequence": consequence,
                }
                for consequence, problem in self.problems()
            ],
            "digest": self.digest,
            "at": rfc3339(self.at),
            "as_of": None if roster is None else rfc3339(roster.as_of),
            "rows": 0 if roster is None else roster.rows,
        }


def check_roster(
    settings: CsvRosterSettings, clock: Clock, *, at: datetime | None = None, previous: Path | None = None
) -> RosterCheck:
    """Load a feed through the gate, against an earlier feed if one is given."""
    source = CsvRosterSource(settings, clock, at=at)
    instant = clock.now() if at is None else at
    baseline = None if previous is None else _baseline(settings, clock, at, previous)
    if isinstance(baseline, RosterVerdict):
        return RosterCheck(verdict=baseline, at=instant, digest=None)
    verdict = source.load(baseline)
    fingerprint = source.fingerprint() if verdict.roster is None else verdict.roster.digest
    return RosterCheck(verdict=verdict, at=instant, digest=fingerprint if fingerprint.startswith("sha256:") else None)


def _baseline(
    settings: CsvRosterSettings, clock: Clock, at: datetime | None, previous: Path
) -> AcceptedRoster | RosterVerdict:
    """Return what is remembered of the earlier feed; a refusal when it cannot be used.

    Its age does not matter, nor do the counts that were set for the new one.
    """
    changed = settings.model_copy(update={"path": previous, "expected_count": None})
    verdict = CsvRosterSource(changed, clock, at=at).load(None)
    if verdict.roster is not None:
        return accepted_of(verdict.roster)
    first = verdict.refused[0]
    problem = RosterProblem(
        line=first.line,
        column=first.column,
        code="previous_refused",
        message=f"the feed given by --previous is refused itself ({first.code}): {first.message}",
    )
    return RosterVerdict(roster=None, refused=(problem,))


def _settings(config: Path | None, file: Path) -> CsvRosterSettings:
    block: dict[str, Any] = {}
    if config is not None:
        found = read_document(config).get("roster")
        if not isinstance(found, dict):
            raise SettingsError(f"{config} has no roster: block", advice="see docs/roster.md for its keys")
        block = {key: value for key, value in found.items() if key != "type"}
    try:
        return CsvRosterSettings(**{**block, "path": file})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in ("roster", *first["loc"]))
        raise SettingsError(f"{config}: {where}: {first['msg']}", advice="see docs/roster.md for the keys") from error


def _instant(text: str) -> datetime:
    try:
        instant = parse_instant(text)
    except NotADate as problem:
        raise typer.BadParameter(problem.advice) from problem
    if instant is None:
        raise typer.BadParameter("it is blank: give an instant such as 2026-03-02T17:30:00Z")
    return instant


def _print_table(check: RosterCheck, console: Console) -> None:
    word = {ACCEPTED: "accepted", REFUSED: "refused", HELD: "held"}[check.exit_code]
    console.print(f"{word}: {len(check.workers)} workers at {rfc3339(check.at)}, digest {check.digest or 'unknown'}")
    people = Table("worker", "access ends", "state", title="Leavers and armed workers")
    for worker in check.leavers():
        people.add_row(worker.worker_id, rfc3339(worker.access_end_at or check.at), "leaver")
    for worker_id, end in check.armed():
        people.add_row(worker_id, end, "armed")
    if people.row_count:
        console.print(people)
    problems = Table("line", "column", "code", "consequence", "message", title="Problems")
    for consequence, problem in check.problems():
        problems.add_row(str(problem.line), str(problem.column), problem.code, consequence, problem.message)
    if problems.row_count:
        console.print(problems)


@app.callback()
def roster() -> None:
    """Look at the HR roster."""


@app.command(
    epilog="Example: access-reconciler roster check roster.csv --previous yesterday.csv --at 2026-03-31T15:00:00Z"
)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file to check.")],
    at: Annotated[
        str | None,
        typer.Option(metavar="INSTANT", help="Judge age and leavers at this RFC 3339 instant instead of now."),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier feed that passed, to measure shrinkage against.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configuration whose roster: block gives columns and limits.")
    ] = None,
    output: Annotated[Output, typer.Option(help="How to print the answer.")] = Output.TABLE,
) -> None:
    """Say whether a roster would be accepted, who has left by it, and which rows cannot be used.

    Exits 0 when it is accepted, 2 when it is held (stale, or too much changed at once), 1 when it is refused.
    """
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    instant = None if at is None else _instant(at)
    try:
        result = check_roster(_settings(config, file), SystemClock(), at=instant, previous=previous)
    except SettingsError as error:
        errors.print(f"{error}: {error.advice}")
        raise typer.Exit(REFUSED) from error
    if output is Output.JSON:
        typer.echo(json.dumps(result.document(), indent=2))
    else:
        _print_table(result, Console(highlight=False, markup=False))
    for consequence, problem in result.problems():
        if consequence in {"refused", "held"}:
            where = f" at line {problem.line}, column {problem.column}" if problem.line else ""
            errors.print(f"roster {consequence}{where}: {problem.code}: {problem.message}")
    raise typer.Exit(result.exit_code)
