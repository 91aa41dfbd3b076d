"""Builders of the values that tests need: each gives a valid value, and takes whatever the test is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Coverage,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalRead,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
    Snapshot,
)
from inventory.roster.model import EmploymentStatus, Roster, Worker, WorkerId, WorkerKind
from reconciler.core.evidence import item_evidence
from reconciler.core.model import Action, ActionId, Effect, Finding, Need, Severity

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PROVIDER = ProviderName("corp-aws")
SCOPE = ScopeId("123456789012")
WHOLE = PrincipalRead(live=True)


def principal(name: str = "alice", **changes: Any) -> Principal:
    """Build a human principal that was read live and whole."""
    values: dict[str, Any] = {
        "provider": PROVIDER,
        "scope": SCOPE,
        "principal_id": PrincipalId(name),
        "kind": PrincipalKind.HUMAN,
        "address": (("user_name", name),),
        "login_names": (name,),
        "enabled": True,
        "read": WHOLE,
    }
    return Principal(**(values | changes))


def credential(owner: str = "alice", kind: ArtefactKind = ArtefactKind.ACCESS_KEY, **changes: Any) -> Credential:
    """Build an enabled credential of a principal."""
    access_id = changes.pop("access_id", f"{owner}/{kind.value}/1")
    values: dict[str, Any] = {
        "provider": PROVIDER,
        "scope": SCOPE,
        "principal_id": PrincipalId(owner),
        "access_id": AccessId(access_id),
        "kind": kind,
        "address": (("user_name", owner), ("id", access_id)),
        "label": access_id,
        "enabled": True,
        "created_at": NOW - timedelta(days=30),
    }
    return Credential(**(values | changes))


def grant(owner: str = "alice", role: str = "developers", **changes: Any) -> Grant:
    """Build a direct group membership with other members."""
    values: dict[str, Any] = {
        "provider": PROVIDER,
        "scope": SCOPE,
        "principal_id": PrincipalId(owner),
        "access_id": AccessId(f"{owner}/group_membership/{role}"),
        "kind": ArtefactKind.GROUP_MEMBERSHIP,
        "address": (("user_name", owner), ("group_name", role)),
        "role": role,
        "resource": SCOPE,
        "holders": 5,
    }
    return Grant(**(values | changes))


def inventory(
    principals: tuple[Principal, ...] = (), items: tuple[AccessItem, ...] = (), **changes: Any
) -> ProviderInventory:
    """Build a complete inventory of one scope with a known identity that is no listed principal."""
    kinds = {ArtefactKind.PRINCIPAL, ArtefactKind.ACCOUNT, *(item.kind for item in items)}
    values: dict[str, Any] = {
        "provider": PROVIDER,
        "provider_type": "aws_iam",
        "scope": SCOPE,
        "started_at": NOW,
        "finished_at": NOW + timedelta(seconds=2),
        "principals": principals,
        "items": items,
        "coverage": tuple(Coverage(kind=kind, state=ReadState.COMPLETE) for kind in sorted(kinds)),
        "own_principals": (PrincipalId("access-reconciler"),),
        "identity_known": True,
        "api_calls": 3,
    }
    return ProviderInventory(**(values | changes))


def snapshot(*inventories: ProviderInventory) -> Snapshot:
    """Build a snapshot taken at NOW."""
    return Snapshot(taken_at=NOW, inventories=inventories)


def worker(worker_id: str = "E1001", **changes: Any) -> Worker:
    """Build an active employee."""
    values: dict[str, Any] = {
        "worker_id": WorkerId(worker_id),
        "status": EmploymentStatus.ACTIVE,
        "kind": WorkerKind.EMPLOYEE,
        "emails": (f"{worker_id.lower()}@example.com",),
    }
    return Worker(**(values | changes))


def leaver(worker_id: str = "E1001", *, ended_ago: timedelta = timedelta(days=14), **changes: Any) -> Worker:
    """Build a worker whose access has ended."""
    ended: dict[str, Any] = {
        "status": EmploymentStatus.TERMINATED,
        "access_end_at": NOW - ended_ago,
        "access_end_rule": "last_day_inclusive:UTC",
    }
    return worker(worker_id, **(ended | changes))


def roster(*workers: Worker, **changes: Any) -> Roster:
    """Build an accepted roster, an hour old."""
    values: dict[str, Any] = {
        "source": "csv:roster.csv",
        "as_of": NOW - timedelta(hours=1),
        "fetched_at": NOW,
        "digest": "sha256:" + "a" * 64,
        "rows": len(workers),
        "workers": tuple(sorted(workers, key=lambda one: one.worker_id)),
    }
    return Roster(**(values | changes))


def finding(item: AccessItem, worker_id: str | None = "E1001", **changes: Any) -> Finding:
    """Build a leaver finding that asks to revoke an item."""
    values: dict[str, Any] = {
        "provider": item.provider,
        "scope": item.scope,
        "principal_id": item.principal_id,
        "access_id": item.access_id,
        "kind": item.kind,
        "worker_id": None if worker_id is None else WorkerId(worker_id),
        "rule": "leaver",
        "code": "leaver",
        "severity": Severity.CRITICAL,
        "effect": Effect.REVOKE,
        "needs": Need.ITEM,
        "reason": "worker left on 2026-02-16",
    }
    return Finding(**(values | changes))


def action(owner: Principal, item: AccessItem, effect: Effect = Effect.REVOKE, **changes: Any) -> Action:
    """Build a planned action on an item of a principal."""
    values: dict[str, Any] = {
        "action_id": ActionId(f"{owner.principal_id}-{item.access_id}-{effect.value}"),
        "provider": item.provider,
        "provider_type": "aws_iam",
        "principal": owner,
        "item": item,
        "effect": effect,
        "worker_id": WorkerId("E1001"),
        "rule": "leaver",
        "code": "leaver",
        "needs": Need.ITEM,
        "reason": "worker left on 2026-02-16",
        "phase": 2,
        "evidence": item_evidence(item),
    }
    return Action(**(values | changes))
