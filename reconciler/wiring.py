"""The composition root: joins settings, collectors, revokers and adapters into what the stages work with.

In observe mode no write client is built: what takes access away does not exist in the process.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from inventory.collection import Source, Unbuilt
from inventory.errors import ProviderError
from inventory.model import PrincipalId, ProviderName
from inventory.provider import Clock, Collector
from inventory.registry import load_provider
from inventory.roster.csv_file import CsvRosterSource
from inventory.roster.model import WorkerId
from reconciler.adapters.attestations import Report, verify
from reconciler.adapters.audit_file import JsonLinesStream
from reconciler.adapters.audit_log import AuditTrail, CloudLog, CloudLoggingStream, Stream
from reconciler.adapters.audit_outbox import AuditOutbox
from reconciler.adapters.clock import SystemClock, boot_id
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.journal import SqlJournal
from reconciler.attestation import Attester
from reconciler.core.correlation import CorrelationSettings
from reconciler.core.errors import SettingsError
from reconciler.core.model import Mode
from reconciler.core.withholding import Protection, Reach
from reconciler.engines import engine_or_reason
from reconciler.observation import CycleHouse, CycleRules
from reconciler.policies.export import keeper
from reconciler.policies.first_look import first_look
from reconciler.policies.shelf import FOLDER as SHELF
from reconciler.policies.shelf import Shelf
from reconciler.policies.standing import policies_in_force
from reconciler.ports import Lease, Observer, Progress, Revoker
from reconciler.rereading import Patience
from reconciler.revokers.declaration import RevokerType
from reconciler.settings import ProviderSettings, Settings
from reconciler.signers import build_signer, configured_trust, open_log
from reconciler.writer import OpenJournal, one_writer, open_journal

DISTRIBUTION = "access-reconciler"
_TAKEOVER_MARGIN_SECONDS = 5.0


def program_version() -> str:
    """Return the version of the installed distribution; a bare checkout says so."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+checkout"


def revoker_type(provider_type: str) -> RevokerType[Any] | None:
    """Return what can be taken away at a provider type; None for one that is only read."""
    if provider_type == "aws_iam":
        from reconciler.revokers.aws_iam import REVOKER as aws_iam  # noqa: N811, PLC0415 - opened on demand

        return aws_iam
    if provider_type == "ldap":
        from reconciler.revokers.ldap import REVOKER as ldap  # noqa: N811, PLC0415 - needs an optional library

        return ldap
    if provider_type == "scim":
        from reconciler.revokers.scim import REVOKER as scim  # noqa: N811, PLC0415 - opened on demand

        return scim
    return None


def state_path(settings: Settings, name: str) -> Path:
    """Return the path of a part of the state."""
    return settings.state_dir / name


def open_store(settings: Settings) -> FileEvidenceStore:
    """Open the evidence store of the state folder, making it on first use."""
    return FileEvidenceStore(state_path(settings, "evidence"))


def build_sources(settings: Settings, clock: Clock) -> Mapping[ProviderName, Source]:
    """Build the collector of every configured provider instance.

    One that cannot be built (a missing secret file) is read as unreadable, so that it stops nobody else. Raises
    `SettingsError` for settings that are wrong in themselves, and `Misconfigured` for an unknown provider type.
    """
    sources = {}
    for name, instance in settings.providers.items():
        provider = load_provider(instance.type)
        reader = _checked(provider.settings, instance.reader, f"providers.{name}.reader")
        instance_name = ProviderName(name)
        collector: Collector
        try:
            collector = provider.build(instance_name, reader, clock)
        except ProviderError as error:
            collector = Unbuilt(error)
        sources[instance_name] = Source(provider=instance_name, provider_type=instance.type, collector=collector)
    return sources


@contextmanager
def open_sources(settings: Settings, clock: Clock) -> Iterator[Mapping[ProviderName, Source]]:
    """Build the collectors as `build_sources` does, and close them at the end."""
    with ExitStack() as stack:
        sources = build_sources(settings, clock)
        for source in sources.values():
            stack.callback(source.collector.close)
        yield sources


def build_revoker(settings: Settings, name: ProviderName, clock: Clock) -> Revoker:
    """Build the write client of one provider instance; raises `SettingsError` where there is none."""
    instance = settings.providers.get(name)
    if instance is None:
        raise SettingsError(f"there is no provider instance {name!r}", advice="see `access-reconciler providers list`")
    declared = revoker_type(instance.type)
    if declared is None:
        raise SettingsError(
            f"{name}: a provider of type {instance.type!r} can only be read", advice="set mode: observe"
        )
    block = _checked(declared.settings, instance.revoker, f"providers.{name}.revoker")
    return declared.build(name, block, clock)


def takeover_wait(settings: Settings) -> float:
    """Return for how long a former holder of the lease may still be acting, in seconds: longer than any one act."""
    longest = [0.0]
    for name, instance in settings.providers.items():
        declared = revoker_type(instance.type)
        if declared is not None and instance.mode is not Mode.OBSERVE:
            block = _checked(declared.settings, instance.revoker, f"providers.{name}.revoker")
            longest.append(declared.longest_act_seconds(block))
    return max(longest) + _TAKEOVER_MARGIN_SECONDS


def _checked(model: type[BaseModel], block: Mapping[str, Any], place: str) -> BaseModel:
    try:
        return model.model_validate(dict(block))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(model.model_fields))
        raise SettingsError(f"{place}.{key}: {first['msg']}", advice=f"known settings there: {known}") from error


def effective_mode(instance: ProviderSettings, ceiling: Mode) -> Mode:
    """Return how far an instance may go in a cycle: `--mode` can only lower what the settings allow."""
    return min((instance.mode, ceiling), key=lambda mode: mode.rank)


def cycle_mode(settings: Settings, ceiling: Mode) -> Mode:
    """Return the mode of a cycle: the furthest that any instance may go in it."""
    modes = [effective_mode(instance, ceiling) for instance in settings.providers.values()]
    return max(modes, key=lambda mode: mode.rank, default=Mode.OBSERVE)


def build_reach(settings: Settings, ceiling: Mode) -> Mapping[ProviderName, Reach]:
    """Return what may be carried out where. A cycle that only observes plans what acting would do."""
    preview = cycle_mode(settings, ceiling) is Mode.OBSERVE
    reach = {}
    for name, instance in settings.providers.items():
        declared = revoker_type(instance.type)
        mode = effective_mode(instance, ceiling)
        if preview:
            mode = Mode.ENFORCE if instance.mode is Mode.OBSERVE else instance.mode
        reach[ProviderName(name)] = Reach(
            provider_type=instance.type,
            effects=declared.capabilities.effects if declared else frozenset(),
            account_contains=declared.capabilities.account_contains if declared else False,
            mode=mode,
        )
    return reach


def build_rules(settings: Settings, ceiling: Mode) -> CycleRules:
    """Return the plain rules of a cycle."""
    return CycleRules(
        mode=cycle_mode(settings, ceiling),
        limits=settings.guard.limits(),
        protection=Protection(
            principals=frozenset((ProviderName(one.provider), one.principal) for one in settings.protected.principals),
            workers=frozenset(settings.protected.workers),
        ),
        correlation=correlation_settings(settings),
        reach=build_reach(settings, ceiling),
        one_by_one=_one_by_one(settings),
        version=program_version(),
        config_digest=settings.digest(),
        roster_max_age_seconds=settings.roster.max_age_hours * 3600,
        approval_ttl_seconds=settings.guard.approval_ttl_hours * 3600,
        patience=Patience(window_seconds=settings.verification.window_seconds),
        collect_deadline_seconds=settings.collect_deadline_seconds,
    )


def _one_by_one(settings: Settings) -> frozenset[ProviderName]:
    declared = {name: revoker_type(instance.type) for name, instance in settings.providers.items()}
    return frozenset(ProviderName(name) for name, one in declared.items() if one and one.capabilities.one_by_one)


def correlation_settings(settings: Settings) -> CorrelationSettings:
    """Return what the operator knows about who is who."""
    return CorrelationSettings(
        explicit=tuple(
            (ProviderName(one.provider), PrincipalId(one.principal_id), WorkerId(one.worker_id))
            for one in settings.correlation.explicit
        ),
        username_patterns=settings.correlation.username_patterns,
    )


def build_attester(settings: Settings) -> Attester:
    """Build what attests cycles: evidence store and signer in the configured mode."""
    store, installation = open_store(settings), instance_id(settings)
    return Attester(
        store=store,
        log=open_log(settings, store.root, installation),
        signer=build_signer(settings),
        instance_id=installation,
        random_bytes=os.urandom,
        required=settings.signing.required,
        pace=settings.signing.pace,
    )


def instance_id(settings: Settings) -> str:
    """Return the random id of this installation, made on first use."""
    path = state_path(settings, "instance-id")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="ascii") as sink:
            sink.write(str(uuid.uuid4()))  # noqa: TID251 - the wiring is where ids come from
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii").strip()


def build_audit(settings: Settings, journal: SqlJournal, clock: Clock) -> AuditTrail:
    """Build the audit trail on the journal, with every configured stream; nothing is connected yet."""
    path = settings.audit.jsonl or state_path(settings, "audit.jsonl")
    streams: list[Stream] = [JsonLinesStream(path)]
    if settings.audit.google is not None:
        streams.append(CloudLoggingStream(CloudLog(**settings.audit.google.model_dump())))
    return AuditTrail(outbox=AuditOutbox(journal.database), streams=tuple(streams), clock=clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Everything that a cycle needs, joined."""

    house: CycleHouse
    rules: CycleRules


def _journal(settings: Settings, purpose: str | None, lease: Lease | None, clock: Clock) -> OpenJournal:
    if purpose is None:
        return open_journal(settings, lease)
    return one_writer(settings, purpose, clock, takeover_wait(settings))


def _rules(settings: Settings, ceiling: Mode, at: datetime | None) -> CycleRules:
    rules = build_rules(settings, ceiling)
    if at is not None and rules.mode is not Mode.OBSERVE:
        raise SettingsError("--at needs a cycle that only observes", advice="add --mode observe, or use `plan`")
    return rules


@contextmanager
def assemble(
    settings: Settings,
    ceiling: Mode,
    observer: Observer,
    *,
    purpose: str | None,
    lease: Lease | None = None,
    at: datetime | None = None,
) -> Iterator[Assembly]:
    """Take the lease, join everything for one cycle, and release it all at the end.

    `purpose` is what another process is told that finds the lease taken; None for who looks only, or hands in `lease`.
    `at` lets a cycle that only observes decide as of another instant. Raises `LeaseLost`, and `SettingsError`.
    """
    rules = _rules(settings, ceiling, at)
    time = SystemClock()
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(settings, purpose, lease, time))
        sources = stack.enter_context(open_sources(settings, time))
        hands = build_revokers(settings, ceiling, time, stack, observer)
        engine = engine_or_reason(settings, rules.mode)
        stack.callback(engine.close)
        audit = stack.enter_context(closing(build_audit(settings, journal, time)))
        policies = policies_in_force(settings, rules.mode, time, keep=purpose is not None)
        yield Assembly(
            house=CycleHouse(
                clock=time,
                boot=boot_id(),
                new_cycle_id=lambda: str(uuid.uuid4()),  # noqa: TID251 - the wiring is where ids come from
                journal=journal,
                attester=build_attester(settings),
                engine=engine,
                roster=CsvRosterSource(settings.roster, time, at=at),
                decide_at=at,
                load_policies=policies.policies,
                load_waivers=policies.waivers,
                keep_snapshot=keeper(Shelf(state_path(settings, SHELF), settings.snapshots), journal),
                first_look=first_look(settings, journal, time, observer),
                sources=sources,
                revokers=hands.revokers,
                own_names=hands.own_names,
                observer=observer,
                audit=audit,
            ),
            rules=rules,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """The write clients of a cycle, and as whom they write."""

    revokers: Mapping[ProviderName, Revoker]
    own_names: frozenset[tuple[ProviderName, str]]
    """Provider, and a principal id or a value of the principal's address."""


def build_revokers(settings: Settings, ceiling: Mode, clock: Clock, stack: ExitStack, observer: Observer) -> Hands:
    """Build the revokers of all instances that may act, and ask each as whom it writes.

    One that cannot be built, or does not say who it is, is left out: nothing is done with hands that might belong to
    the very principal they act upon. The executor skips its provider's actions and the cycle ends as partial.
    """
    revokers = {}
    own_names: set[tuple[ProviderName, str]] = set()
    for name, instance in settings.providers.items():
        if effective_mode(instance, ceiling) is Mode.OBSERVE:
            continue
        try:
            revoker = build_revoker(settings, ProviderName(name), clock)
            stack.callback(revoker.close)
            own_names |= {(ProviderName(name), one) for one in revoker.identity()}
        except ProviderError as error:
            observer.progress(Progress(stage="execute", message=f"{name} cannot be acted upon: {error}"))
            continue
        revokers[ProviderName(name)] = revoker
    return Hands(revokers=revokers, own_names=frozenset(own_names))


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoTools:
    """What undoing one act needs."""

    settings: Settings
    journal: SqlJournal
    clock: Clock
    stack: ExitStack

    def collector(self, name: ProviderName) -> Collector:
        """Build the collector of one instance; closed with the tools."""
        only = self.settings.model_copy(update={"providers": {name: self.settings.providers[name]}})
        collector = build_sources(only, self.clock)[name].collector
        self.stack.callback(collector.close)
        return collector

    def revoker(self, name: ProviderName) -> Revoker:
        """Build the write client of one instance; closed with the tools."""
        revoker = build_revoker(self.settings, name, self.clock)
        self.stack.callback(revoker.close)
        return revoker


@contextmanager
def undo_tools(settings: Settings, clock: Clock) -> Iterator[UndoTools]:
    """Take the lease and open the journal for undoing; raises `LeaseLost` when another process is the writer."""
    with ExitStack() as stack:
        journal = stack.enter_context(one_writer(settings, "undo", clock, takeover_wait(settings)))
        yield UndoTools(settings=settings, journal=journal, clock=clock, stack=stack)


def verify_own(settings: Settings) -> Report:
    """Verify the attestations of this installation against its own signer and journal."""
    with open_journal(settings) as journal:
        cycles = journal.cycles()
    return verify(state_path(settings, "evidence"), configured_trust(settings), journal=cycles)
