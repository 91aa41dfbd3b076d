"""What a fresh read proves: gone, still there, or nothing; and whether an act may still be made."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalRead,
    PrincipalReading,
    ReadState,
)
from reconciler.core.model import Effect, VerificationState
from reconciler.core.verification import BOUNDS, GroundState, bound_for, effective_by, ground, judge
from tests.builders import NOW, action, credential, grant, principal

GONE, THERE, UNKNOWN = VerificationState.GONE, VerificationState.STILL_THERE, VerificationState.UNKNOWN
KEY = credential()
ACCOUNT = credential(kind=ArtefactKind.ACCOUNT)
MEMBER = grant()
POLICY = grant(kind=ArtefactKind.ATTACHED_POLICY, holders=None)
CACHED = PrincipalRead(live=False)


def reading(*items: AccessItem, who: Principal | None = None, **states: ReadState) -> PrincipalReading:
    """Build a complete read of a principal, with other states by artefact kind."""
    coverage = tuple(Coverage(kind=kind, state=states.get(kind, ReadState.COMPLETE)) for kind in ArtefactKind)
    return PrincipalReading(principal=who or principal(), items=items, coverage=coverage)


NOBODY = PrincipalReading(principal=None, items=(), coverage=())


@pytest.mark.parametrize(
    ("item", "effect", "seen", "expected"),
    [
        (KEY, Effect.REVOKE, NOBODY, GONE),
        (KEY, Effect.REVOKE, reading(), GONE),
        (KEY, Effect.REVOKE, reading(access_key=ReadState.PARTIAL), UNKNOWN),
        (KEY, Effect.REVOKE, reading(access_key=ReadState.DENIED), UNKNOWN),
        (KEY, Effect.REVOKE, reading(access_key=ReadState.UNSUPPORTED), UNKNOWN),
        (KEY, Effect.REVOKE, reading(access_key=ReadState.EXCLUDED), UNKNOWN),
        (KEY, Effect.REVOKE, reading(password=ReadState.PARTIAL), GONE),
        (KEY, Effect.REVOKE, replace(reading(), coverage=()), UNKNOWN),
        (KEY, Effect.REVOKE, reading(KEY), THERE),
        (KEY, Effect.REVOKE, reading(replace(KEY, enabled=False)), THERE),
        (KEY, Effect.REVOKE, reading(KEY, access_key=ReadState.PARTIAL), THERE),
        (KEY, Effect.REVOKE, reading(replace(KEY, live=False)), UNKNOWN),
        (KEY, Effect.REVOKE, reading(who=principal(principal_id=PrincipalId("other"))), UNKNOWN),
        (KEY, Effect.REVOKE, reading(who=principal(read=CACHED)), UNKNOWN),
        (KEY, Effect.QUARANTINE, reading(KEY), THERE),
        (KEY, Effect.QUARANTINE, reading(replace(KEY, enabled=False)), GONE),
        (KEY, Effect.QUARANTINE, reading(replace(KEY, enabled=None)), UNKNOWN),
        (KEY, Effect.QUARANTINE, reading(replace(KEY, enabled=False), access_key=ReadState.PARTIAL), UNKNOWN),
        (KEY, Effect.QUARANTINE, reading(replace(KEY, enabled=True), access_key=ReadState.PARTIAL), THERE),
        (KEY, Effect.QUARANTINE, reading(), GONE),
        (MEMBER, Effect.QUARANTINE, reading(MEMBER), THERE),
        (MEMBER, Effect.REVOKE, reading(), GONE),
        (ACCOUNT, Effect.REVOKE, reading(), THERE),
        (ACCOUNT, Effect.REVOKE, reading(replace(ACCOUNT, enabled=False)), THERE),
        (ACCOUNT, Effect.QUARANTINE, reading(replace(ACCOUNT, enabled=False)), GONE),
        (ACCOUNT, Effect.REVOKE, NOBODY, GONE),
    ],
)
def test_judge(item: AccessItem, effect: Effect, seen: PrincipalReading, expected: VerificationState) -> None:
    """Gone needs a live read to the end of the kind, of the planned principal; there needs the item; else unknown."""
    assert judge(action(principal(), item, effect), seen) is expected


@pytest.mark.parametrize(
    ("changes", "seen", "expected", "reason"),
    [
        ({}, reading(KEY), GroundState.AS_PLANNED, ""),
        ({}, NOBODY, GroundState.ABSENT, "principal does not exist"),
        ({}, reading(), GroundState.ABSENT, "item does not exist"),
        ({}, reading(KEY, who=principal(principal_id=PrincipalId("x"))), GroundState.MOVED, "another principal"),
        ({}, reading(KEY, who=principal(kind=PrincipalKind.BREAK_GLASS)), GroundState.MOVED, "of kind break_glass"),
        ({}, reading(KEY, who=principal(employee_ids=("E2",))), GroundState.MOVED, "to a worker"),
        ({}, reading(KEY, who=principal(external_ids=("E2",))), GroundState.MOVED, "to a worker"),
        ({}, reading(KEY, who=principal(emails=("new@example.com",))), GroundState.MOVED, "to a worker"),
        ({}, reading(KEY, who=principal(login_names=("alice2",))), GroundState.MOVED, "to a worker"),
        ({}, reading(KEY, who=principal(read=CACHED)), GroundState.MOVED, "not read live"),
        ({}, reading(KEY, who=principal(revision="2", display_name="A.")), GroundState.AS_PLANNED, ""),
        ({}, reading(replace(KEY, enabled=False)), GroundState.MOVED, "has changed"),
        ({}, reading(replace(KEY, shared=True)), GroundState.MOVED, "has changed"),
        ({}, reading(replace(KEY, live=False)), GroundState.MOVED, "not read live"),
        ({}, reading(replace(KEY, last_used_at=NOW)), GroundState.AS_PLANNED, ""),
        ({}, reading(KEY, access_key=ReadState.PARTIAL), GroundState.MOVED, "could not be read (partial)"),
        ({}, reading(access_key=ReadState.DENIED), GroundState.MOVED, "could not be read (denied)"),
        ({}, reading(KEY, password=ReadState.PARTIAL), GroundState.AS_PLANNED, ""),
        ({"item": MEMBER}, reading(MEMBER), GroundState.AS_PLANNED, ""),
        ({"item": MEMBER}, reading(replace(MEMBER, holders=2)), GroundState.AS_PLANNED, ""),
        ({"item": MEMBER}, reading(replace(MEMBER, holders=1)), GroundState.MOVED, "last holder"),
        ({"item": MEMBER}, reading(replace(MEMBER, holders=None)), GroundState.MOVED, "could not be counted"),
        ({"item": POLICY}, reading(replace(POLICY, holders=None)), GroundState.AS_PLANNED, ""),
        ({"item": MEMBER}, reading(replace(MEMBER, direct=False, via="g")), GroundState.MOVED, "has changed"),
        ({"item": ACCOUNT}, reading(ACCOUNT), GroundState.AS_PLANNED, ""),
        (
            {"item": ACCOUNT},
            reading(ACCOUNT, password=ReadState.PARTIAL),
            GroundState.MOVED,
            "not read whole (password)",
        ),
        ({"item": ACCOUNT}, reading(ACCOUNT, session=ReadState.UNSUPPORTED), GroundState.AS_PLANNED, ""),
        (
            {"item": ACCOUNT, "effect": Effect.QUARANTINE},
            reading(ACCOUNT, password=ReadState.PARTIAL),
            GroundState.AS_PLANNED,
            "",
        ),
    ],
)
def test_ground(changes: dict[str, Any], seen: PrincipalReading, expected: GroundState, reason: str) -> None:
    """An act rests on the planned principal, tied to the worker as planned, and on the item as planned, read live."""
    planned = action(principal(), changes.pop("item", KEY), **changes)
    found = ground(planned, seen)
    assert found.state is expected
    assert reason in found.reason
    assert bool(found.reason) is bool(reason)


def test_ground_hands_on_the_revisions_just_read() -> None:
    """The action to act with carries the principal and item of the read, so that a compare-and-set can hold."""
    fresh = replace(MEMBER, revision="W/2")
    found = ground(
        action(principal(revision="1"), replace(MEMBER, revision="W/1")), reading(fresh, who=principal(revision="2"))
    )
    assert found.action.item == fresh
    assert found.action.principal.revision == "2"


def test_bounds_name_their_source() -> None:
    """Every effective-by bound says where it comes from and is no negative time."""
    assert all(bound.source and bound.seconds >= 0 for bound in BOUNDS.values())


@pytest.mark.parametrize(
    ("provider_type", "kind", "seconds"),
    [
        ("aws_iam", ArtefactKind.ACCESS_KEY, 300),
        ("aws_iam", ArtefactKind.ROLE_TRUST, 43_200),
        ("aws_iam", ArtefactKind.SESSION, 129_600),
        ("ldap", ArtefactKind.GROUP_MEMBERSHIP, 0),
        ("scim", ArtefactKind.ACCOUNT, None),
        ("other", ArtefactKind.ACCOUNT, None),
    ],
)
def test_effective_by(provider_type: str, kind: ArtefactKind, seconds: int | None) -> None:
    """The bound of the kind holds, else the provider's own, else there is no promise."""
    taken = action(principal(), credential(kind=kind), provider_type=provider_type)
    bound = bound_for(provider_type, kind)
    assert (None if bound is None else bound.seconds) == seconds
    assert effective_by(taken, NOW) == (None if seconds is None else NOW + timedelta(seconds=seconds))
