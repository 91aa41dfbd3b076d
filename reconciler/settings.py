"""Every setting, with its default and what it is for. One YAML file; `ACCESS_RECONCILER_*` overrides single values.

Unknown keys are refused with the nearest known one; paths are relative to the file that names them; secrets stand in
files of their own, and a setting holds the path.
"""

import difflib
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from inventory.regular_files import read_regular
from inventory.roster.csv_settings import CsvRosterSettings
from reconciler.adoption_settings import AdoptionSettings
from reconciler.core.canonical import digest_of
from reconciler.core.correlation import CorrelationSettings
from reconciler.core.errors import SettingsError
from reconciler.core.guard import Limits
from reconciler.core.model import Mode
from reconciler.core.plain_yaml import check_plain
from reconciler.environment import ENV_PREFIX
from reconciler.journal_settings import JournalSettings
from reconciler.settings_streams import NotifySettings, TraceSettings
from reconciler.signing_settings import SigningSettings
from reconciler.snapshot_settings import SnapshotSettings
from reconciler.waiver_settings import WaiverSettings

_MOST_BYTES = 1024 * 1024
_INSTANCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Block(BaseModel):
    """A part of the settings: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineSettings(Block):
    """Which policy engine decides. There is no fallback from one to another."""

    kind: Literal["managed", "url", "embedded"] = Field(
        default="managed",
        description="`managed`: our own `opa` child on loopback. `url`: a running OPA. `embedded`: in-process, no OPA.",
    )
    url: str = Field(default="", description="Address of the OPA server, for `url`.")
    token_file: Path | None = Field(default=None, description="File with the bearer token for `url`.")
    executable: Path | None = Field(default=None, description="The `opa` binary for `managed`; searched when not set.")
    allow_enforce: bool = Field(
        default=False, description="Let the `embedded` engine ground actions. It is not OPA: observe only by default."
    )
    decide_timeout_seconds: float = Field(default=30.0, gt=0, description="Longest wait for one decision.")
    control_timeout_seconds: float = Field(default=120.0, gt=0, description="Longest wait for loading policies.")


class ProviderSettings(Block):
    """One provider instance."""

    type: str = Field(description="Provider type, as `access-reconciler providers list` names them.")
    mode: Mode = Field(default=Mode.OBSERVE, description="How far this instance may go.")
    reader: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the collector: see the provider's page."
    )
    revoker: dict[str, Any] = Field(default_factory=dict, description="Settings of the revoker: its own credentials.")


class GuardSettings(Block):
    """How much one cycle may take."""

    max_principals: int = Field(default=25, ge=0, description="Most principals of a provider touched per window.")
    max_percent: int = Field(default=10, ge=0, le=100, description="The same in percent of the provider's principals.")
    percent_population: int = Field(default=100, ge=1, description="Principals from which the percentage counts.")
    window_hours: int = Field(default=24, ge=1, description="The sliding window in which touched principals add up.")
    min_admins: int = Field(default=2, ge=1, description="Administrators that must remain in every scope.")
    plan_ttl_minutes: int = Field(default=15, ge=1, description="No action of a plan begins when it is older.")
    approval_ttl_hours: int = Field(default=24, ge=1, description="How long a held plan can be approved and released.")
    approvals_needed: int = Field(
        default=1, ge=1, le=2, description="Accounts that have to approve a held plan before it is released."
    )

    def limits(self) -> Limits:
        """Return the limits as the guard takes them."""
        return Limits(
            max_principals=self.max_principals,
            max_percent=self.max_percent,
            percent_population=self.percent_population,
            window_seconds=self.window_hours * 3600,
            min_admins=self.min_admins,
            plan_ttl_seconds=self.plan_ttl_minutes * 60,
            approvals_needed=self.approvals_needed,
        )


class ProtectedPrincipal(Block):
    """A principal that is never acted upon."""

    provider: str = Field(description="Name of the provider instance.")
    principal: str = Field(description="Its principal id or login name.")


class ProtectedSettings(Block):
    """Who is out of reach."""

    principals: tuple[ProtectedPrincipal, ...] = Field(default=(), description="Principals never to be acted upon.")
    workers: tuple[str, ...] = Field(default=(), description="Worker ids never to be acted upon (legal hold).")


class ExplicitMatch(Block):
    """A reviewed fact: this principal is this worker."""

    provider: str = Field(description="Name of the provider instance.")
    principal_id: str = Field(description="Principal id at that provider.")
    worker_id: str = Field(description="Worker id of the roster.")


class CorrelationBlock(Block):
    """What is known about who is who beyond the rules."""

    explicit: tuple[ExplicitMatch, ...] = Field(
        default=(),
        description="Reviewed matches; confidence 100 %, and what the principal says of itself counts no more.",
    )
    username_patterns: tuple[str, ...] = Field(
        default=CorrelationSettings().username_patterns,
        description="Regular expressions with a group `uid`: how second accounts are named.",
    )


class VerificationSettings(Block):
    """How long reading again may take to show the end state."""

    window_seconds: float = Field(
        default=60.0, gt=0, description="After this long an item is `unknown` or still there."
    )


class GoogleAuditSettings(Block):
    """The audit trail in Google Cloud Logging, with the application default credentials of the process."""

    project: str = Field(pattern=r"^[a-z0-9.:-]{4,128}$", description="Id of the Google Cloud project.")
    log_name: str = Field(
        default="access-reconciler-audit", pattern=r"^[A-Za-z0-9/_.-]{1,128}$", description="Id of the log in it."
    )
    endpoint: str = Field(default="", description="Another address of the API (`host:port`); the public one if empty.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="Longest for one hand-over, retries included.")
    backfill_days: int = Field(
        default=14, ge=0, le=29, description="How far back a log begins that is new to us. Older entries are refused."
    )


class AuditSettings(Block):
    """Where the audit trail goes. The journal is the record; these are copies."""

    jsonl: Path | None = Field(default=None, description="JSON lines; default `<state_dir>/audit.jsonl`.")
    google: GoogleAuditSettings | None = Field(default=None, description="Google Cloud Logging; off when not set.")


class WebhookSettings(Block):
    """Signed HTTP calls that wake the daemon."""

    port: int = Field(ge=1, le=65535, description="Port to listen on.")
    secret_files: tuple[Path, ...] = Field(
        min_length=1, max_length=8, description="One secret a file (`whsec_` and base64); each of them is valid."
    )
    bind: str = Field(
        default="127.0.0.1", description="Address to listen on. It speaks plain HTTP: leave TLS to a proxy before it."
    )
    path: str = Field(default="/webhook", pattern=r"^/[A-Za-z0-9/_.~-]{0,255}$", description="The one path it answers.")
    max_bytes: int = Field(default=65_536, ge=1024, le=1_048_576, description="A call with a longer body is refused.")
    gap_seconds: float = Field(
        default=5.0, ge=0, le=3600, description="Wakes are at least this far apart; calls in between make one wake."
    )

    @field_validator("bind")
    @classmethod
    def _an_address(cls, value: str) -> str:
        """Refuse names: what one leads to can change."""
        return str(ipaddress.ip_address(value))


class DaemonSettings(Block):
    """How `access-reconciler run` keeps watch."""

    interval_seconds: int = Field(default=300, ge=2, description="A cycle runs at least this often.")
    jitter_seconds: int = Field(default=15, ge=0, description="Each tick comes up to this much earlier or later.")
    poll_seconds: float = Field(
        default=60.0, gt=0, description="Roster and policies are compared this often, beside file events."
    )
    first_retry_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Pause after a cycle that failed or stayed partial; doubles up to `interval_seconds`.",
    )
    stage_seconds: float = Field(
        default=900.0, gt=0, description="A stage that is silent for longer, but for the inventory, counts as hung."
    )
    cycle_seconds: float = Field(default=7200.0, gt=0, description="A cycle that takes longer counts as hung.")
    drain_seconds: float = Field(
        default=120.0, gt=0, description="How long the running cycle may take to finish after SIGTERM."
    )
    standby: bool = Field(
        default=False, description="While another process holds the lease, wait and take over; otherwise end at once."
    )
    health_port: int = Field(
        default=8580,
        ge=0,
        le=65535,
        description="Loopback port of `/livez`, `/startupz`, `/readyz` and `/metrics`; 0 for none.",
    )
    webhook: WebhookSettings | None = Field(default=None, description="Signed calls that wake; off when not set.")


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    state_dir: Path = Field(default=Path("state"), description="Evidence and keys, and the journal in SQLite.")
    journal: JournalSettings = Field(default=JournalSettings(), description="Where the record is kept.")
    roster: CsvRosterSettings = Field(description="Where HR's list of workers comes from, and its gate.")
    policies: Path = Field(default=Path("policies"), description="Root of the policy tree.")
    adoption: AdoptionSettings = Field(
        default=AdoptionSettings(), description="What a new revision of the policies has to pass before it decides."
    )
    waiver_max_days: int = Field(default=90, ge=1, le=366, description="Longest time, from now, a waiver may run.")
    waivers: WaiverSettings = Field(default=WaiverSettings(), description="Files of waivers that cannot be read.")
    engine: EngineSettings = Field(default=EngineSettings(), description="The policy engine.")
    providers: dict[str, ProviderSettings] = Field(default_factory=dict, description="Instances by name.")
    guard: GuardSettings = Field(default=GuardSettings(), description="How much one cycle may take.")
    protected: ProtectedSettings = Field(default=ProtectedSettings(), description="Who is out of reach.")
    correlation: CorrelationBlock = Field(default=CorrelationBlock(), description="Who is who, beyond the rules.")
    verification: VerificationSettings = Field(default=VerificationSettings(), description="Reading again.")
    signing: SigningSettings = Field(default=SigningSettings(), description="How attestations are signed.")
    audit: AuditSettings = Field(default=AuditSettings(), description="Where the audit trail goes.")
    collect_deadline_seconds: float = Field(default=3600.0, gt=0, description="Longest an inventory may take.")
    daemon: DaemonSettings = Field(default=DaemonSettings(), description="How the daemon keeps watch.")
    notify: NotifySettings = Field(default=NotifySettings(), description="Who is told of what needs a human.")
    trace: TraceSettings = Field(default=TraceSettings(), description="OpenTelemetry spans; off by default.")
    snapshots: SnapshotSettings = Field(default=SnapshotSettings(), description="Days to try policies on.")

    @field_validator("providers")
    @classmethod
    def _plain_names(cls, value: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        """Refuse instance names that do not serve as keys, in error lines and in attestations."""
        for name in value:
            if not _INSTANCE_NAME.fullmatch(name):
                msg = f"{name!r} is no name of an instance: letters, digits, '.', '_' and '-', at most 64 of them"
                raise ValueError(msg)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - secrets are named by path
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file."""
        return (env_settings, init_settings)

    def digest(self) -> str:
        """Return the digest of the settings as they are in force; they hold paths of secrets, never secrets."""
        return digest_of(self.model_dump(mode="json"))


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file; raises `SettingsError` naming the file and the key."""
    document = read_document(path)
    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_explain(error)}", advice="see docs/settings.md") from error
    return _anchored(settings, path.resolve().parent)


def read_document(path: Path) -> dict[str, Any]:
    """Return what a configuration file says, unchecked but for its being a mapping; raises `SettingsError`."""
    try:
        raw = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror}",
            advice="write one with `access-reconciler init`, or name it with --config",
        ) from error
    try:
        check_plain(raw)
        document = yaml.load(raw, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a number of thousands of digits, or a date that there is not.
        raise SettingsError(f"{path}: not YAML: {_one_line(error)}", advice="mend the line it names") from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise SettingsError(f"{path}: must hold a mapping of settings", advice="see docs/settings.md")
    return document


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        near = difflib.get_close_matches(key, tuple(_known_keys(Settings)), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{place}: there is no such setting{hint}"
    return f"{place}: {first['msg']}"


def _known_keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _known_keys(kind)


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Make the paths of the settings absolute, relative to the folder of the file that names them."""
    engine, roster = settings.engine, settings.roster
    return settings.model_copy(
        update={
            "state_dir": folder / settings.state_dir,
            "policies": folder / settings.policies,
            "journal": settings.journal.model_copy(
                update={"password_file": _under(folder, settings.journal.password_file)}
            ),
            "adoption": settings.adoption.anchored(folder),
            "roster": roster.model_copy(update={"path": folder / roster.path}),
            "engine": engine.model_copy(update={"token_file": _under(folder, engine.token_file)}),
            "audit": settings.audit.model_copy(update={"jsonl": _under(folder, settings.audit.jsonl)}),
            "notify": settings.notify.anchored(folder),
            "trace": settings.trace.anchored(folder),
            "signing": settings.signing.anchored(folder),
            "providers": {name: _anchored_provider(one, folder) for name, one in settings.providers.items()},
            "daemon": _anchored_daemon(settings.daemon, folder),
        }
    )


def _under(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _anchored_daemon(daemon: DaemonSettings, folder: Path) -> DaemonSettings:
    if daemon.webhook is None:
        return daemon
    files = tuple(folder / path for path in daemon.webhook.secret_files)
    return daemon.model_copy(update={"webhook": daemon.webhook.model_copy(update={"secret_files": files})})


def _anchored_provider(provider: ProviderSettings, folder: Path) -> ProviderSettings:
    """Anchor every `*_file` of the provider's own blocks."""

    def anchored(block: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: str(folder / value) if key.endswith("_file") and isinstance(value, str) else value
            for key, value in block.items()
        }

    return provider.model_copy(update={"reader": anchored(provider.reader), "revoker": anchored(provider.revoker)})


def settings_schema() -> str:
    """Return the JSON Schema of the configuration, for editors."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def secret_files(settings: Settings) -> tuple[Path, ...]:
    """Return the files that the settings name and that are read once, when a client is built."""
    blocks = [block for one in settings.providers.values() for block in (one.reader, one.revoker)]
    named = [Path(value) for block in blocks for key, value in block.items() if key.endswith("_file")]
    beside = (settings.engine.token_file, settings.signing.key_file, settings.signing.public_key_file)
    return tuple(sorted({*named, *(path for path in beside if path is not None)}))
