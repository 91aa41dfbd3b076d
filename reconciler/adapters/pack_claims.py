"""What a verified statement claims, in the width that an auditor's tables need; read from bytes like everything there.

`attestation_document` reads what verification rests on. This reads the rest: coverage, holds, approvals, leavers.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from reconciler.core.errors import EvidenceError

_Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel)


class Digest(_Model):
    """A digest set with the one algorithm that is used here."""

    sha256: str


class KindCoverage(_Model):
    """Whether one kind of artefact was read."""

    kind: str
    state: str
    extent: str


class ScopeClaim(_Model):
    """What was read of one scope."""

    id: str
    complete: bool
    coverage: list[KindCoverage]


class InventoryClaim(_Model):
    """The scopes that were read."""

    providers: list[ScopeClaim]


class RosterClaim(_Model):
    """How old the roster was."""

    as_of: str | None
    fresh: bool
    max_age_seconds: _Count


class PolicyClaim(_Model):
    """Which policies decided."""

    bundle_digest: Digest
    git_commit: str
    rules: list[str]


class Hold(_Model):
    """Why a plan was held."""

    code: str
    provider: str | None


class Approver(_Model):
    """Who released a plan, under a pseudonym, and when."""

    approver: str
    approved_at: str


class ApprovalClaim(Approver):
    """The release of a held plan."""

    plan_digest: Digest
    beside: list[Approver]


class PlanClaim(_Model):
    """The plan, what held it, and who released it."""

    digest: Digest | None
    held: bool
    hold_reasons: list[Hold]
    approval: ApprovalClaim | None


class DecisionClaim(_Model):
    """How many access items each decision was made for."""

    total: _Count
    keep: _Count
    review: _Count
    quarantine: _Count
    revoke: _Count
    waived: _Count
    undecided: _Count
    undecided_principals: _Count
    leaf_count: _Count


class ActionClaim(_Model):
    """How the actions ended."""

    intended: _Count
    attempted: _Count
    succeeded: _Count
    already_gone: _Count
    failed: _Count
    unknown: _Count
    skipped: _Count
    not_attempted: _Count
    verified_gone: _Count


class LeaverClaim(_Model):
    """How many leavers have which verdict."""

    total: _Count
    clean: _Count
    violation: _Count
    cannot_conclude: _Count
    missing: list[str]


class WaiverClaim(_Model):
    """How many waivers were in force."""

    in_force: _Count


class SpeedClaim(_Model):
    """The longest time from decision to verified removal."""

    max_time_to_revoke_seconds: int | None


class Claim(_Model):
    """What a cycle claims."""

    cycle_id: str
    sequence: Annotated[int, Field(ge=1)]
    mode: str
    breadth: str
    outcome: str
    started_at: str
    finished_at: str
    policy: PolicyClaim | None
    roster: RosterClaim | None
    inventory: InventoryClaim
    decisions: DecisionClaim
    plan: PlanClaim
    actions: ActionClaim
    leavers: LeaverClaim
    waivers: WaiverClaim
    slo: SpeedClaim
    controls: list[str]

    @property
    def whole(self) -> bool:
        """Say whether every configured provider was asked for."""
        return self.breadth == "whole"


class _Statement(_Model):
    predicate: Claim


def read_claim(payload: bytes) -> Claim:
    """Read what a statement claims. Raises `EvidenceError` naming the field that is not usable."""
    try:
        return _Statement.model_validate_json(payload).predicate
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        msg = f"the statement's field {place or '(document)'} is not usable: {first['msg']}"
        raise EvidenceError(msg, advice="the statement was made by another version of this program") from error
