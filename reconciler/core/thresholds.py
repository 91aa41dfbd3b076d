"""The thresholds of the rules, `access/config/data.json`: what each section holds and what may be in it.

Limits and effects are data, so that a reviewer sees a changed number as a changed number. A provider instance may be
given other ones under `providers`. Descriptions here are what the pages of the rules show.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError, create_model
from pydantic.fields import FieldInfo

from inventory.model import ArtefactKind, PrincipalKind
from inventory.roster.model import EmploymentStatus, WorkerKind
from reconciler.core.model import Effect

CONFIG_SCHEMA = "access.config/v1"

AnEffect = Annotated[Effect, Field(strict=False)]
Days = Annotated[StrictInt, Field(ge=1, le=36_500)]
GraceDays = Annotated[StrictInt, Field(ge=0, le=36_500)]
Kinds = Annotated[list[Annotated[ArtefactKind, Field(strict=False)]], Field(min_length=1)]
Principals = Annotated[list[Annotated[PrincipalKind, Field(strict=False)]], Field(min_length=1)]
WorkerKinds = list[Annotated[WorkerKind, Field(strict=False)]]
Names = list[Annotated[StrictStr, Field(min_length=1)]]
Statuses = list[Annotated[EmploymentStatus, Field(strict=False)]]


class Section(BaseModel):
    """A section of the thresholds: nothing missing, nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Ended(Section):
    """What is asked when somebody's access has ended: at once, and again after a grace period."""

    account_effect: AnEffect = Field(description="for the account itself, at once: `quarantine` disables it")
    item_effect: AnEffect = Field(description="for everything else, at once")
    grace_days: GraceDays = Field(description="days after the end from which the two effects below count instead")
    account_effect_after_grace: AnEffect = Field(description="for the account, after that: `revoke` deletes it")
    item_effect_after_grace: AnEffect = Field(description="for everything else, after that")


class LeaverConfig(_Ended):
    """`data.access.config.leaver`."""


class OrphanConfig(Section):
    """`data.access.config.orphan`."""

    effect: AnEffect = Field(description="for people without a worker")


class ContractorEndedConfig(_Ended):
    """`data.access.config.contractor_ended`."""


class LeaverDueConfig(Section):
    """`data.access.config.leaver_due`."""

    days_ahead: Days = Field(description="how many days before the end the finding begins")


class UnownedServiceAccountConfig(Section):
    """`data.access.config.unowned_service_account`."""

    effect: AnEffect = Field(
        description="what is asked; the planner acts on no account of a machine, whatever stands here"
    )


class ExternalCollaboratorConfig(Section):
    """`data.access.config.external_collaborator`."""

    effect: AnEffect = Field(description="what is asked for everything but `external_collaborator` itself")
    home_domains: Names = Field(
        description="mail domains of the house; a person with addresses elsewhere only is external"
    )
    worker_kinds: WorkerKinds = Field(description="kinds of workers of the roster who are external")


class MoverConfig(Section):
    """`data.access.config.mover`."""

    effect: AnEffect = Field(description="what is asked for the access kept")
    grace_days: GraceDays = Field(description="days after the move in which the former team's access may be kept")
    teams: dict[str, Names] = Field(
        description="the entitlements of each department, as `role` or `provider:role`; empty: no finding"
    )


class PrivilegedWithoutMfaConfig(Section):
    """`data.access.config.privileged_without_mfa`."""

    effect: AnEffect = Field(description="what is asked for the principal's account")


class SeparationOfDutiesConfig(Section):
    """`data.access.config.separation_of_duties`."""

    effect: AnEffect = Field(description="what is asked for the entitlement that the conflict is listed under")
    conflicts: dict[str, dict[str, str]] = Field(
        description="by entitlement (`role` or `provider:role`), those not to be held beside it and the conflict's name"
    )


class DormantConfig(Section):
    """`data.access.config.dormant`."""

    effect: AnEffect = Field(description="what is asked at first, for the principal's account")
    max_idle_days: Days = Field(description="exactly this many days without any use is not over the limit")
    effect_after_grace: AnEffect = Field(description="what is asked once the days of grace have passed as well")
    grace_days: GraceDays = Field(description="further days without any use until then")
    kinds: Principals = Field(description="kinds of principals that are looked at")
    statuses_left_out: Statuses = Field(description="employment statuses of workers who are away for a reason")


class BreakGlassUsedConfig(Section):
    """`data.access.config.break_glass_used`."""

    window_days: Days = Field(description="a use is found for this many days")


class StaleCredentialConfig(Section):
    """`data.access.config.stale_credential`."""

    effect: AnEffect = Field(description="what is asked for the credential")
    max_idle_days: Days = Field(description="exactly this many days is not over the limit")
    kinds: Kinds = Field(description="artefact kinds that are looked at")


SECTIONS: dict[str, type[Section]] = {
    "break_glass_used": BreakGlassUsedConfig,
    "contractor_ended": ContractorEndedConfig,
    "dormant": DormantConfig,
    "external_collaborator": ExternalCollaboratorConfig,
    "leaver": LeaverConfig,
    "leaver_due": LeaverDueConfig,
    "mover": MoverConfig,
    "orphan": OrphanConfig,
    "privileged_without_mfa": PrivilegedWithoutMfaConfig,
    "separation_of_duties": SeparationOfDutiesConfig,
    "stale_credential": StaleCredentialConfig,
    "unowned_service_account": UnownedServiceAccountConfig,
}
"""The section of each rule that has one, by rule id."""


PROVIDERS = "providers"
"""The section that gives provider instances other thresholds: by instance, rule and key."""


def _without_default(schema: dict[str, Any]) -> None:
    """Publish a key that may be missing without the default that only stands for that: null is no value."""
    schema.pop("default", None)


def _may_be_missing(description: str | None = None) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _annotated(field: FieldInfo) -> Any:  # noqa: ANN401 - an annotation is any expression
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


HOUSE_WIDE = frozenset({"home_domains", "teams", "conflicts"})
"""Keys that are the same for every provider instance: what they name says of which one it is."""


def _partial(section: type[Section]) -> type[Section]:
    """Return a section of which anything may be missing, without what is the same everywhere."""
    fields: dict[str, Any] = {
        key: (_annotated(field), _may_be_missing(field.description))
        for key, field in section.model_fields.items()
        if key not in HOUSE_WIDE
    }
    made: type[Section] = create_model(f"Other{section.__name__}", __base__=Section, **fields)
    return made


class _Open(BaseModel):
    """Rules of your own add sections of their own."""

    model_config = ConfigDict(extra="allow")


_PARTS: dict[str, Any] = {name: (_partial(section), _may_be_missing()) for name, section in SECTIONS.items()}
_WHOLES: dict[str, Any] = {name: (section, _may_be_missing()) for name, section in SECTIONS.items()}
_OTHERS: type[_Open] = create_model(
    "ProviderThresholds", __base__=_Open, __doc__="Thresholds that differ for one provider instance.", **_PARTS
)


class _Config(_Open):
    """`data.access.config`: the thresholds of the rules. Rules of your own add sections of their own.

    A section may be missing together with its rule.
    """

    model_config = ConfigDict(extra="allow", title="Thresholds of the rules, data.access.config")

    schema_: Literal["access.config/v1"] = Field(alias="schema")
    providers: dict[str, _OTHERS] = Field(
        default={}, description="other thresholds for single provider instances, by instance, rule and key"
    )


ConfigDocument: type[_Config] = create_model(
    "ConfigDocument", __base__=_Config, __doc__=str(_Config.__doc__), **_WHOLES
)


def config_problem(config: Mapping[str, Any], rules: Iterable[str]) -> str:
    """Return what is wrong with the thresholds for these rules, by the place in them; empty when nothing is.

    A missing threshold would make its rule silent, and so would a misspelt one.
    """
    try:
        ConfigDocument.model_validate(config)
    except ValidationError as error:
        return _explained(error)
    for rule in rules:
        if rule in SECTIONS and rule not in config:
            return f"{rule}: section {rule!r}, which rule {rule} looks at, is missing"
    for provider, others in config.get(PROVIDERS, {}).items():
        for section, values in others.items():
            known = config.get(section)
            if not isinstance(known, dict) or not isinstance(values, dict):
                return f"{PROVIDERS}.{provider}.{section}: there is no section {section!r} to differ from"
            for key in sorted(values.keys() - known.keys()):
                return f"{PROVIDERS}.{provider}.{section}.{key}: section {section!r} has no {key!r} to differ from"
    return ""


def _explained(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return f"{'.'.join(place)}: {first['msg']}"
    section = next((SECTIONS[part] for part in place if part in SECTIONS), Section)
    near = difflib.get_close_matches(place[-1], section.model_fields, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(section.model_fields)}"
    return f"{'.'.join(place)}: there is no such threshold{hint}"
