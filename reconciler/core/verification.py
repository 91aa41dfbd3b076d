"""What a fresh read says of an action: whether the act may still be made, and whether its object is gone.

Not seen is not gone: an item counts as gone only when its artefact kind was read to its end, live, for the very
principal that was planned. Whatever cannot be told is `unknown`, and nothing is ever done on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from inventory.model import AccessItem, ArtefactKind, Credential, Grant, Principal, PrincipalReading, ReadState
from reconciler.core.evidence import item_evidence
from reconciler.core.model import Action, Effect, VerificationState


class GroundState(StrEnum):
    """What the read just before an act found."""

    AS_PLANNED = "as_planned"
    ABSENT = "absent"
    """The item, or the whole principal, is positively gone."""
    MOVED = "moved"
    """The world is not the planned one, or could not be read: the item goes back to the next cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Whether an act may be made now, and on what."""

    state: GroundState
    reason: str = ""
    action: Action
    """The planned action, with principal and item as just read where they are as planned: their revisions are the
    ones that a compare-and-set needs."""


def ground(action: Action, reading: PrincipalReading) -> Ground:
    """Compare a fresh read with the plan, item by item: compare-and-revoke, also where a provider cannot."""
    found = reading.principal
    if found is None:
        return Ground(state=GroundState.ABSENT, reason="the principal does not exist", action=action)
    reason = _principal_moved(action, found) or _unreadable(action, reading)
    if reason:
        return Ground(state=GroundState.MOVED, reason=reason, action=action)
    item = reading.item(action.item.access_id)
    if item is None:
        return Ground(state=GroundState.ABSENT, reason="the access item does not exist", action=action)
    reason = _item_moved(action, item)
    if reason:
        return Ground(state=GroundState.MOVED, reason=reason, action=action)
    return Ground(state=GroundState.AS_PLANNED, action=replace(action, principal=found, item=item))


def _principal_moved(action: Action, found: Principal) -> str:
    planned = action.principal
    if found.principal_id != planned.principal_id:
        return "another principal answers at this address"
    if found.kind is not planned.kind:
        return f"the principal is of kind {found.kind} now, not {planned.kind}"
    if _identity(found) != _identity(planned):
        return "what ties the principal to a worker has changed"
    if not found.read.live:
        return "the principal was not read live"
    return ""


def _identity(principal: Principal) -> tuple[frozenset[str], ...]:
    """Return the facts that correlation rests on, whatever their order."""
    return tuple(
        frozenset(part)
        for part in (principal.external_ids, principal.employee_ids, principal.login_names, principal.emails)
    )


def _unreadable(action: Action, reading: PrincipalReading) -> str:
    """Say why the read does not carry the act. Removing a principal needs all of it to have been read."""
    kind = action.item.kind
    state = reading.state_of(kind)
    if state is not ReadState.COMPLETE:
        return f"{kind} could not be read ({state})"
    if kind is ArtefactKind.ACCOUNT and action.effect is Effect.REVOKE:
        partial = sorted(entry.kind for entry in reading.coverage if entry.state is ReadState.PARTIAL)
        return f"the principal was not read whole ({', '.join(partial)})" if partial else ""
    return ""


def _item_moved(action: Action, item: AccessItem) -> str:
    if not item.live:
        return "the access item was not read live"
    if isinstance(item, Grant) and item.holders == 1:
        return "the principal is the last holder"
    if isinstance(item, Grant) and item.kind is ArtefactKind.GROUP_MEMBERSHIP and item.holders is None:
        return "the members of the group could not be counted, so this may be the last"
    if item_evidence(item) != action.evidence:
        return "the access item has changed since it was planned"
    return ""


def judge(action: Action, reading: PrincipalReading) -> VerificationState:
    """Say whether what the action takes away is gone, as far as this read can tell.

    A revoked item is gone when it is not there; a quarantined credential also when it is there and disabled. Another
    principal at the same address proves nothing of the planned one, which may live on under another name.
    """
    found = reading.principal
    if found is None:
        return VerificationState.GONE
    if found.principal_id != action.principal.principal_id or not found.read.live:
        return VerificationState.UNKNOWN
    if action.item.kind is ArtefactKind.ACCOUNT and action.effect is Effect.REVOKE:
        return VerificationState.STILL_THERE
    return _judge_item(action, reading)


def _judge_item(action: Action, reading: PrincipalReading) -> VerificationState:
    item = reading.item(action.item.access_id)
    complete = reading.state_of(action.item.kind) is ReadState.COMPLETE
    if item is None:
        return VerificationState.GONE if complete else VerificationState.UNKNOWN
    if not item.live:
        return VerificationState.UNKNOWN
    if action.effect is Effect.QUARANTINE and isinstance(item, Credential):
        return _judge_quarantined(item, complete=complete)
    return VerificationState.STILL_THERE


def _judge_quarantined(item: Credential, *, complete: bool) -> VerificationState:
    if item.enabled is True:
        return VerificationState.STILL_THERE
    if item.enabled is False and complete:
        return VerificationState.GONE
    return VerificationState.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How long after an act the provider may still let the removed access be used."""

    seconds: int
    source: str


_AWS = "AWS IAM: changes 'might take a few minutes' to be visible everywhere; taken as five"
_LDAP = "OpenLDAP: at once for new binds, seen on a real server; open connections are not cut"

BOUNDS: Final[Mapping[tuple[str, ArtefactKind | None], Bound]] = {
    ("aws_iam", None): Bound(seconds=300, source=_AWS),
    ("aws_iam", ArtefactKind.ROLE_TRUST): Bound(
        seconds=12 * 3600, source="AWS STS: an assumed role's session lives on for at most 12 hours"
    ),
    ("aws_iam", ArtefactKind.SESSION): Bound(
        seconds=36 * 3600, source="AWS STS: GetSessionToken credentials of an IAM user live at most 36 hours"
    ),
    ("ldap", None): Bound(seconds=0, source=_LDAP),
}
"""Effective-by bounds by provider type and artefact kind; kind None holds for every kind without one of its own.

SCIM has no entry on purpose: RFC 7644 promises nothing of when a service provider lets a change take effect.
"""


def bound_for(provider_type: str, kind: ArtefactKind) -> Bound | None:
    """Return the bound of an artefact kind at a type of provider, or None where the provider promises nothing."""
    return BOUNDS.get((provider_type, kind)) or BOUNDS.get((provider_type, None))


def effective_by(action: Action, acted_at: datetime) -> datetime | None:
    """Return the latest instant at which the removal has reached everywhere, or None where nothing is promised."""
    bound = bound_for(action.provider_type, action.item.kind)
    return None if bound is None else acted_at + timedelta(seconds=bound.seconds)
