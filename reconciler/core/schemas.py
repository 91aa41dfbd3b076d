"""The shapes that cross the border to a policy engine, in one place: input, roster, config and decision.

`policies/schemas/*.json` are generated from these types and checked by `opa check`; the same types check every unit
before it is sent and every decision that comes back.
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StrictInt, StrictStr

from inventory.model import ArtefactKind, PrincipalKind
from inventory.roster.model import EmploymentStatus, WorkerKind
from reconciler.core.model import CorrelationState, Effect, Severity
from reconciler.core.thresholds import ConfigDocument

REQUEST_SCHEMA = "access.request/v1"
DECISION_SCHEMA = "access.decision/v1"

Instant = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PrincipalDocument(_Document):
    """A principal, as rules see it."""

    provider: str
    provider_type: str
    scope: str
    kind: PrincipalKind
    enabled: bool | None
    privileged: bool
    created_at: Instant | None
    last_used_at: Instant | None
    whole: bool
    mfa: bool | None
    """Whether a second factor is registered; null where the provider does not tell."""
    home_mail: bool | None
    """Whether an e-mail address of it is at a home domain of the config; null where either is not known."""
    was: list[str]
    """The workers whom it surely was in earlier cycles, where it is now of another kind or somebody else's."""


class CorrelationDocument(_Document):
    """How the worker of a principal was found, as rules see it."""

    state: CorrelationState
    rule: str | None
    confidence: int
    identity: bool


class AccessDocument(_Document):
    """An access item, as rules see it: the keys of all three types, null where a type has no such fact."""

    type: Literal["credential", "grant", "session"]
    kind: ArtefactKind
    enabled: bool | None
    privileged: bool | None
    direct: bool | None
    role: str | None
    resource: str | None
    created_at: Instant | None
    last_used_at: Instant | None
    expires_at: Instant | None
    shared: bool | None
    key_of: list[str]
    """Workers who are not this principal and hold the private half of this public key."""
    holders: int | None
    live: bool


class UnitDocument(_Document):
    """The unit of evaluation: one principal with all its access items."""

    principal: PrincipalDocument
    worker_id: str | None
    correlation: CorrelationDocument
    candidates: list[str]
    held_elsewhere: list[str]
    """Entitlements that the same worker holds by other principals, of those that the config names as conflicting."""
    access: dict[str, AccessDocument]


class RequestDocument(_Document):
    """The input of `access.driver.decide`."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Input of access.driver.decide")

    schema_: Literal["access.request/v1"] = Field(alias="schema")
    cycle_id: str
    request_id: str
    now_ns: int
    units: dict[str, UnitDocument]


class RuleInput(_Document):
    """What one rule sees as `input`: the driver hands it one unit at a time."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Input of a rule")

    unit: UnitDocument
    now_ns: int


class WorkerDocument(_Document):
    """A worker, as rules see it in `data.roster.workers`."""

    status: EmploymentStatus
    kind: WorkerKind
    access_end_at: Instant | None
    access_end_rule: str | None
    manager: str | None
    department: str | None
    department_since: Instant | None
    former_departments: list[str]
    possible_rehire: bool


class FindingDocument(BaseModel):
    """A finding as a rule emits it, with the rule's name from the driver."""

    model_config = ConfigDict(extra="forbid", title="Finding of a rule")

    rule: StrictStr
    access_id: StrictStr
    code: Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    severity: Severity
    effect: Effect
    reason: Annotated[StrictStr, Field(min_length=1, max_length=500)]


class DecisionDocument(BaseModel):
    """The answer of `access.driver.decide`. Nothing may be missing and nothing more may be there."""

    model_config = ConfigDict(extra="forbid", title="Decision of access.driver.decide")

    schema_: Literal["access.decision/v1"] = Field(alias="schema")
    cycle_id: StrictStr
    request_id: StrictStr
    now_ns: StrictInt
    roster: dict[str, StrictStr | StrictInt]
    waivers: dict[str, StrictStr | StrictInt]
    config: StrictStr
    rules: list[StrictStr]
    evaluated: dict[str, StrictInt]
    findings: dict[str, list[FindingDocument]]


class WaiverEntry(BaseModel):
    """One waiver of `waivers/*.yaml`; docs/policies.md says what each field is for."""

    model_config = ConfigDict(extra="forbid")

    id: str
    rule: str
    provider: str | None = None
    access_id: str | None = None
    principal_id: str | None = None
    worker_id: str | None = None
    reason: str
    owner: str
    approved_by: str
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class WaiverFile(BaseModel):
    """A file of waivers."""

    model_config = ConfigDict(extra="forbid", title="Waivers, policies/waivers/*.yaml")

    waivers: list[WaiverEntry]


class WorkersDocument(RootModel[dict[str, WorkerDocument]]):
    """`data.roster.workers`, by worker id."""


PUBLISHED: dict[str, type[BaseModel]] = {
    "config": ConfigDocument,
    "decision": DecisionDocument,
    "finding": FindingDocument,
    "input": RequestDocument,
    "rule_input": RuleInput,
    "waivers": WaiverFile,
    "workers": WorkersDocument,
}
"""The types behind `policies/schemas/<name>.schema.json`."""


def published_schemas() -> dict[str, str]:
    """Return the text of every file of `policies/schemas`, by file name."""
    return {
        f"{name}.schema.json": json.dumps(model.model_json_schema(by_alias=True), indent=2, sort_keys=True) + "\n"
        for name, model in sorted(PUBLISHED.items())
    }
