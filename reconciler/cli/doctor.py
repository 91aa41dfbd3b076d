"""`access-reconciler doctor`: is everything here that a cycle needs, and does it answer?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import packages_distributions
from typing import Annotated

import typer

from inventory.errors import ProviderError
from inventory.provider import Clock
from inventory.roster.csv_file import CsvRosterSource
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.waiver_files import load_waivers
from reconciler.cli.display import StderrProgress, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.probing import NoAnswer, Probe, Probes
from reconciler.core.canonical import Json
from reconciler.core.errors import ReconcilerError
from reconciler.core.model import Mode
from reconciler.engines import build_engine
from reconciler.ports import Progress
from reconciler.settings import Settings, load_settings
from reconciler.signers import check_signing
from reconciler.wiring import (
    DISTRIBUTION,
    build_sources,
    cycle_mode,
    revoker_type,
)
from reconciler.writer import open_journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    good: bool
    message: str
    advice: str = ""


TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds that the engine and each provider have to answer.")
]


def doctor(
    config: ConfigOption = DEFAULT_CONFIG, timeout: TimeoutOption = 10.0, output: OutputOption = Output.TABLE
) -> None:
    """Check installation, configuration, roster, policies, engine, signing key, journal and every provider.

    Reads only. The engine and all providers are asked at once. Exit codes: 0 all well; 1 something is wrong, with
    advice.

    Example: access-reconciler doctor --config access-reconciler.yaml
    """
    settings = load_settings(config)
    progress = StderrProgress()
    checks = [Check(name="configuration", good=True, message=str(config))]
    for check in _checks(settings, SystemClock(), timeout):
        progress.progress(Progress(stage="doctor", message=f"{check.name}: {_word(check)}"))
        checks.append(check)
    if output is Output.JSON:
        print_json({"good": all(one.good for one in checks), "checks": [_document(one) for one in checks]})
    else:
        rows = [(one.name, _word(one), one.message, one.advice) for one in checks]
        print_table("Doctor", ("what", "state", "found", "what to do"), rows)
    raise typer.Exit(OK if all(one.good for one in checks) else ERROR)


def _word(check: Check) -> str:
    return "ok" if check.good else "WRONG"


def _document(check: Check) -> dict[str, Json]:
    return {"name": check.name, "good": check.good, "message": check.message, "advice": check.advice}


def _checks(settings: Settings, clock: Clock, seconds: float) -> Iterator[Check]:
    """Yield what was found, in a fixed order; whoever else has to answer is asked from the beginning on."""
    asked: dict[str, Probe] = {
        f"provider {name}": partial(_provider, settings, name, clock) for name in sorted(settings.providers)
    }
    probes = Probes({"engine": partial(_engine, settings), **asked}, clock, seconds)
    yield _check("packages", _packages)
    yield _check("roster", lambda: _roster(settings, clock))
    yield _check("policies", lambda: _policies(settings, clock))
    yield _check("engine", lambda: _answer(probes, "engine", seconds))
    yield _check("journal", lambda: _journal(settings))
    yield _check("signing key", lambda: check_signing(settings))
    if not settings.providers:
        yield Check(name="providers", good=False, message="none is configured", advice="name one under `providers:`")
    for name in asked:
        yield _check(name, partial(_answer, probes, name, seconds))


def _answer(probes: Probes, name: str, seconds: float) -> str:
    try:
        return probes.answer(name)
    except NoAnswer:
        advice = "check its address and the network between, or give it longer with --timeout"
        raise Unwell(f"no answer within {seconds:g} s", advice=advice) from None


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, good=True, message=look())
    except (ReconcilerError, ProviderError) as error:
        return Check(name=name, good=False, message=str(error), advice=error.advice)


class Unwell(ReconcilerError):
    """Something that a cycle needs is not as it should be."""


def _packages() -> str:
    owners = packages_distributions()
    for package in ("inventory", "reconciler"):
        others = sorted({*owners.get(package, ())} - {DISTRIBUTION})
        if others:
            raise Unwell(
                f"the package {package!r} is shipped by {', '.join(others)} too",
                advice="install access-reconciler into an environment of its own",
            )
    return "inventory and reconciler are ours alone"


def _roster(settings: Settings, clock: Clock) -> str:
    verdict = CsvRosterSource(settings.roster, clock).load(None)
    stops = (*verdict.refused, *verdict.held)
    if verdict.roster is None or stops:
        first = stops[0]
        raise Unwell(f"line {first.line}, column {first.column}: {first.message}", advice="see docs/roster.md")
    return f"{len(verdict.roster.workers)} workers, {len(verdict.roster.problems)} rows set aside"


def _policies(settings: Settings, clock: Clock) -> str:
    policies = load_policies(settings.policies)
    waivers = load_waivers(settings.policies, clock.now(), settings.waiver_max_days)
    return f"{len(policies.rules)} rules, {len(waivers)} waivers, {policies.digest}"


def _engine(settings: Settings) -> str:
    engine = build_engine(settings, cycle_mode(settings, Mode.ENFORCE))
    try:
        loaded = engine.load(load_policies(settings.policies), {})
    finally:
        engine.close()
    return f"{loaded.name} {loaded.version}"


def _journal(settings: Settings) -> str:
    with open_journal(settings) as journal:
        return f"{len(journal.cycles())} cycles, {len(journal.unsettled())} acts to settle"


def _provider(settings: Settings, name: str, clock: Clock) -> str:
    instance = settings.providers[name]
    only = settings.model_copy(update={"providers": {name: instance}})
    source = next(iter(build_sources(only, clock).values()))
    try:
        inventories = source.collector.collect(lambda _: False)
    finally:
        source.collector.close()
    for one in inventories:
        if one.errors:
            raise Unwell(f"{one.scope}: {one.errors[0]}", advice="see the provider's page under docs/providers/")
        if not one.identity_known and revoker_type(instance.type) is not None:
            raise Unwell(f"{one.scope}: it is not known who we are there", advice="see the provider's page")
    counted = sum(len(one.principals) for one in inventories)
    return f"{len(inventories)} scopes, {counted} principals, mode {instance.mode.value}"
