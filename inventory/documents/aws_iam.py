"""Pure parsers of what AWS IAM sends: users, groups, trust policies, the credential report.

Documents of policies come decoded from the client library, or as URL-encoded text where it could not decode them:
both are read here.

>>> grants_everything({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
True
"""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from inventory.model import PrincipalKind

QUARANTINE_POLICY: Final = "access-reconciler-quarantine"
"""Inline policy by which a revoker denies everything to a principal; a standing of the account, never an item."""

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """What tags, paths and policy names mean in this organisation."""

    kind_tag: str
    employee_id_tags: tuple[str, ...]
    email_tags: tuple[str, ...]
    owner_tags: tuple[str, ...]
    shared_tag: str
    kind_paths: tuple[tuple[str, PrincipalKind], ...]
    admin_policies: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFacts:
    """One IAM user as the bulk read, or the live reads put together, describe it."""

    user_id: str
    user_name: str
    path: str
    arn: str
    created_at: datetime | None
    password_last_used_at: datetime | None
    tags: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    attached: tuple[tuple[str, str], ...]
    """Managed policies as (name, ARN)."""
    inline: tuple[tuple[str, bool], ...]
    """Inline policies as (name, grants everything); the quarantine policy is not among them."""
    quarantined: bool
    """The quarantine policy is there and denies everything; its name alone, which anybody may use, says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group, as far as it matters to its members."""

    name: str
    privileged: bool
    holders: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTrust:
    """A role and the principals that its trust policy allows by name."""

    name: str
    arn: str
    trusted: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportKey:
    """An access key as the credential report tells of it: by slot, without its id."""

    slot: int
    active: bool
    rotated_at: datetime | None
    """When it was made or last switched on or off."""
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A user's line of the credential report: up to four hours old, without ids."""

    password_enabled: bool
    password_last_used_at: datetime | None
    keys: tuple[ReportKey, ...]
    certificates: tuple[int, ...]
    """Slots with an active signing certificate."""
    mfa_active: bool

    @property
    def last_used_at(self) -> datetime | None:
        """Return when any of the user's credentials was last used."""
        used = (self.password_last_used_at, *(key.last_used_at for key in self.keys))
        return max((one for one in used if one is not None), default=None)


def document_of(value: object) -> Raw:
    """Return a policy document as a mapping; text that is not a document gives an empty one."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        try:
            decoded = json.loads(unquote(value))
        except (ValueError, RecursionError):
            return {}
        return decoded if isinstance(decoded, Mapping) else {}
    return {}


def _statements(document: object) -> Iterator[Raw]:
    for statement in _listed(document_of(document).get("Statement")):
        if isinstance(statement, Mapping):
            yield statement


def _listed(value: object) -> Iterable[object]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def grants_everything(document: object) -> bool:
    """Say whether a policy document allows every action on every resource without a condition."""
    return any(
        statement.get("Effect") == "Allow"
        and "*" in _listed(statement.get("Resource"))
        and any(action in {"*", "*:*"} for action in _listed(statement.get("Action")))
        and not statement.get("Condition")
        for statement in _statements(document)
    )


def denies_everything(document: object) -> bool:
    """Say whether a policy document denies every action on every resource without a condition.

    An explicit deny beats every allow, so nothing else in the document matters.
    """
    return any(
        statement.get("Effect") == "Deny"
        and "*" in _listed(statement.get("Resource"))
        and "*" in _listed(statement.get("Action"))
        and not statement.get("Condition")
        for statement in _statements(document)
    )


def trusted_principals(document: object) -> frozenset[str]:
    """Return the AWS principals that a trust policy allows by name: ARNs and unique ids.

    A wildcard or an account's root names nobody in particular and is left out.
    """
    named = {
        str(name)
        for statement in _statements(document)
        if statement.get("Effect") == "Allow" and isinstance(statement.get("Principal"), Mapping)
        for name in _listed(statement["Principal"].get("AWS"))
    }
    return frozenset(name for name in named if "*" not in name and not name.endswith(":root") and not name.isdigit())


def user_facts(detail: Raw) -> UserFacts:
    """Read a UserDetail of GetAccountAuthorizationDetails, or the same shape put together from live reads."""
    inline = [
        (str(policy["PolicyName"]), grants_everything(policy.get("PolicyDocument")))
        for policy in detail.get("UserPolicyList", ())
    ]
    return UserFacts(
        user_id=str(detail["UserId"]),
        user_name=str(detail["UserName"]),
        path=str(detail.get("Path", "/")),
        arn=str(detail["Arn"]),
        created_at=detail.get("CreateDate"),
        password_last_used_at=detail.get("PasswordLastUsed"),
        tags=tuple(sorted((str(tag["Key"]), str(tag["Value"])) for tag in detail.get("Tags", ()))),
        groups=tuple(sorted(map(str, detail.get("GroupList", ())))),
        attached=tuple(
            sorted(
                (str(policy["PolicyName"]), str(policy["PolicyArn"]))
                for policy in detail.get("AttachedManagedPolicies", ())
            )
        ),
        inline=tuple(sorted(policy for policy in inline if policy[0] != QUARANTINE_POLICY)),
        quarantined=any(
            policy["PolicyName"] == QUARANTINE_POLICY and denies_everything(policy.get("PolicyDocument"))
            for policy in detail.get("UserPolicyList", ())
        ),
    )


def group_facts(detail: Raw, admin_policies: Collection[str], holders: int | None = None) -> GroupFacts:
    """Read a GroupDetail of GetAccountAuthorizationDetails, or the same shape put together from live reads."""
    attached = any(policy["PolicyName"] in admin_policies for policy in detail.get("AttachedManagedPolicies", ()))
    inline = any(grants_everything(policy.get("PolicyDocument")) for policy in detail.get("GroupPolicyList", ()))
    return GroupFacts(name=str(detail["GroupName"]), privileged=attached or inline, holders=holders)


def role_trust(detail: Raw) -> RoleTrust:
    """Read a role of ListRoles or of GetAccountAuthorizationDetails."""
    trusted = trusted_principals(detail.get("AssumeRolePolicyDocument"))
    return RoleTrust(name=str(detail["RoleName"]), arn=str(detail["Arn"]), trusted=trusted)


_SLOTS: Final = (1, 2)
"""A user has at most two access keys and two signing certificates."""


def report_rows(content: bytes) -> dict[str, ReportRow]:
    """Read a credential report into rows by user ARN; the root account's row is left out.

    Raises ValueError for something that is not a credential report.
    """
    rows = csv.DictReader(io.StringIO(content.decode("utf-8")))
    if not {"user", "arn", "password_enabled"} <= set(rows.fieldnames or ()):
        msg = "not a credential report: its columns are missing"
        raise ValueError(msg)
    return {row["arn"]: _report_row(row) for row in rows if not row["arn"].endswith(":root")}


def _report_row(row: Mapping[str, str]) -> ReportRow:
    return ReportRow(
        password_enabled=_true(row.get("password_enabled")),
        password_last_used_at=_instant(row.get("password_last_used")),
        keys=tuple(key for key in (_report_key(row, slot) for slot in _SLOTS) if key.active or key.rotated_at),
        certificates=tuple(slot for slot in _SLOTS if _true(row.get(f"cert_{slot}_active"))),
        mfa_active=_true(row.get("mfa_active")),
    )


def _report_key(row: Mapping[str, str], slot: int) -> ReportKey:
    return ReportKey(
        slot=slot,
        active=_true(row.get(f"access_key_{slot}_active")),
        rotated_at=_instant(row.get(f"access_key_{slot}_last_rotated")),
        last_used_at=_instant(row.get(f"access_key_{slot}_last_used_date")),
    )


def _true(text: str | None) -> bool:
    return text is not None and text.strip().lower() == "true"


def _instant(text: str | None) -> datetime | None:
    """Read an instant; the report writes `N/A`, `no_information` and `not_supported` for none."""
    try:
        instant = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def ssh_fingerprint(body: str) -> str:
    """Return the `SHA256:…` fingerprint of an OpenSSH public key; empty when the text is not one."""
    parts = body.split()
    if len(parts) < 2:  # noqa: PLR2004 - type and key
        return ""
    try:
        key = base64.b64decode(parts[1], validate=True)
    except ValueError:
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")
