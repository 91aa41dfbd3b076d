"""Acts in the words of the Open Cybersecurity Schema Framework: category 3, Identity & Access Management.

A log platform that knows OCSF then finds what was taken from whom without knowing us: account change (3001), user
access management (3005) and group management (3006), each with the ids of user and group, never a name.
"""

from collections.abc import Mapping
from typing import Final

from inventory.model import ArtefactKind, Grant
from reconciler.core.canonical import Json
from reconciler.core.model import Action, Effect, OutcomeState

OCSF_VERSION: Final = "1.1.0"
"""The version of the framework whose class and activity numbers are used."""
_ACCOUNT_CHANGE: Final = 3001
_USER_ACCESS: Final = 3005
_GROUP: Final = 3006
_OTHER: Final = 99
STATUS: Final = {
    OutcomeState.DONE: 1,
    OutcomeState.ALREADY_ABSENT: 1,
    OutcomeState.FAILED: 2,
    OutcomeState.UNKNOWN: 0,
    OutcomeState.SKIPPED: _OTHER,
}
"""OCSF `status_id`: 1 success, 2 failure, 0 unknown, 99 other."""

_TAKEN: Final[Mapping[tuple[ArtefactKind, Effect], tuple[int, int]]] = {
    (ArtefactKind.ACCOUNT, Effect.QUARANTINE): (_ACCOUNT_CHANGE, 5),
    (ArtefactKind.ACCOUNT, Effect.REVOKE): (_ACCOUNT_CHANGE, 6),
    (ArtefactKind.PRINCIPAL, Effect.REVOKE): (_ACCOUNT_CHANGE, 6),
    (ArtefactKind.ATTACHED_POLICY, Effect.REVOKE): (_ACCOUNT_CHANGE, 8),
    (ArtefactKind.INLINE_POLICY, Effect.REVOKE): (_ACCOUNT_CHANGE, 8),
    (ArtefactKind.MFA_DEVICE, Effect.REVOKE): (_ACCOUNT_CHANGE, 11),
    (ArtefactKind.ROLE_TRUST, Effect.REVOKE): (_USER_ACCESS, 2),
    (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE): (_GROUP, 4),
}
"""OCSF class and activity of taking: disable 5, delete 6, detach policy 8, MFA factor disable 11; revoke privileges 2;
remove user 4. What is not here is an account change of another kind (99)."""
_GIVEN_BACK: Final = {
    (_ACCOUNT_CHANGE, 5): 2,
    (_ACCOUNT_CHANGE, 6): 1,
    (_ACCOUNT_CHANGE, 8): 7,
    (_ACCOUNT_CHANGE, 11): 10,
    (_USER_ACCESS, 2): 1,
    (_GROUP, 4): 3,
}
"""The activity that an undo is, in the same class: enable 2, create 1, attach policy 7, MFA factor enable 10, …"""


def event(action: Action, status: int, *, undone: bool = False) -> dict[str, Json]:
    """Return the act as an OCSF event of category 3, Identity & Access Management, without time and metadata."""
    class_uid, activity = _TAKEN.get((action.item.kind, action.effect), (_ACCOUNT_CHANGE, _OTHER))
    if undone:
        activity = _GIVEN_BACK.get((class_uid, activity), _OTHER)
    told: dict[str, Json] = {
        "category_uid": 3,
        "class_uid": class_uid,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "severity_id": 1,
        "status_id": status,
        "user": {"uid": action.principal.principal_id},
    }
    return told | _named(action, class_uid, activity)


def _named(action: Action, class_uid: int, activity: int) -> dict[str, Json]:
    """Return what the class names beside the user: the group, the privileges or the policy."""
    if not isinstance(action.item, Grant):
        return {}
    if class_uid == _GROUP:
        return {"group": {"uid": action.item.role}}
    if class_uid == _USER_ACCESS:
        return {"privileges": [action.item.role]}
    return {"policy": {"uid": action.item.role}} if activity in (7, 8) else {}
