"""The parsers of AWS IAM documents, and what becomes of them."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from inventory.documents.aws_iam import (
    Conventions,
    GroupFacts,
    ReportKey,
    RoleTrust,
    UserFacts,
    grants_everything,
    group_facts,
    report_rows,
    role_trust,
    ssh_fingerprint,
    trusted_principals,
    user_facts,
)
from inventory.documents.aws_iam_items import (
    holder_of,
    kind_of,
    principal_of,
    report_items,
    service_credential,
    standing_items,
    trust_items,
)
from inventory.model import ArtefactKind, Credential, Grant, PrincipalKind, ProviderName, ScopeId

ARN = "arn:aws:iam::123456789012:user/people/mara"
CONVENTIONS = Conventions(
    kind_tag="kind",
    employee_id_tags=("employee-id", "EmployeeId"),
    email_tags=("email",),
    owner_tags=("owner",),
    shared_tag="shared",
    kind_paths=(("/service/", PrincipalKind.SERVICE), ("/break-glass/", PrincipalKind.BREAK_GLASS)),
    admin_policies=frozenset({"AdministratorAccess"}),
)
DENIED = {"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
ADMIN = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def detail(**changes: Any) -> dict[str, Any]:
    """Build a UserDetail."""
    values: dict[str, Any] = {"UserId": "AIDA1", "UserName": "mara", "Path": "/people/", "Arn": ARN, "Tags": []}
    return values | changes


def facts(*tags: tuple[str, str], **changes: Any) -> UserFacts:
    """Build the facts of a user with tags."""
    return user_facts(detail(Tags=[{"Key": key, "Value": value} for key, value in tags], **changes))


def holder(*tags: tuple[str, str]) -> Any:
    """Build a holder."""
    return holder_of(ProviderName("corp"), ScopeId("123456789012"), facts(*tags), CONVENTIONS)


def trust(principal: object, effect: str = "Allow") -> dict[str, Any]:
    """Build a trust policy with one statement that is not in a list."""
    return {"Statement": {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"}}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (trust({"AWS": ARN}), {ARN}),
        (trust({"AWS": [ARN, "AIDA1"]}), {ARN, "AIDA1"}),
        (trust({"AWS": "*"}), set()),
        (trust("*"), set()),
        (trust({"AWS": "arn:aws:iam::123456789012:root"}), set()),
        (trust({"AWS": "123456789012"}), set()),
        (trust({"AWS": "arn:aws:iam::123456789012:user/*"}), set()),
        (trust({"Service": "ec2.amazonaws.com"}), set()),
        (trust({"AWS": ARN}, effect="Deny"), set()),
        ({"Statement": [trust({"AWS": ARN})["Statement"], {"Effect": "Allow", "NotPrincipal": {"AWS": "x"}}]}, {ARN}),
        (quote(json.dumps(trust({"AWS": ARN}))), {ARN}),
        ("not a document", set()),
        (None, set()),
    ],
)
def test_trust_names_users_and_nobody_else(document: object, named: set[str]) -> None:
    """A trust policy in any of AWS's spellings gives the principals it allows by name, wildcards and roots left out."""
    assert trusted_principals(document) == named


@pytest.mark.parametrize(
    ("statement", "everything"),
    [
        ({"Effect": "Allow", "Action": "*", "Resource": "*"}, True),
        ({"Effect": "Allow", "Action": ["s3:Get*", "*:*"], "Resource": ["*"]}, True),
        ({"Effect": "Allow", "Action": "iam:*", "Resource": "*"}, False),
        ({"Effect": "Deny", "Action": "*", "Resource": "*"}, False),
        ({"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::logs"}, False),
        ({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"x": "true"}}}, False),
    ],
)
def test_only_every_action_on_every_resource_is_everything(statement: dict[str, Any], everything: bool) -> None:  # noqa: FBT001 - a table
    """An inline policy makes an administrator only when it allows all actions on all resources unconditionally."""
    assert grants_everything({"Statement": statement}) is everything


@pytest.mark.parametrize(
    ("tags", "path", "kind"),
    [
        ([("kind", "service")], "/", PrincipalKind.SERVICE),
        ([("kind", " Break_Glass ")], "/people/", PrincipalKind.BREAK_GLASS),
        ([("kind", "robot"), ("employee-id", "E1")], "/", PrincipalKind.UNKNOWN),
        ([("employee-id", "E1")], "/service/ci/", PrincipalKind.SERVICE),
        ([], "/break-glass/", PrincipalKind.BREAK_GLASS),
        ([("EmployeeId", "E1")], "/people/", PrincipalKind.HUMAN),
        ([("email", "mara@example.com")], "/", PrincipalKind.HUMAN),
        ([("employee-id", "")], "/", PrincipalKind.UNKNOWN),
        ([], "/", PrincipalKind.UNKNOWN),
    ],
)
def test_kind_comes_from_tag_then_path_then_worker(tags: list[tuple[str, str]], path: str, kind: PrincipalKind) -> None:
    """The kind tag wins over the path and the path over worker tags; a kind tag that says nonsense gives unknown."""
    assert kind_of(facts(*tags, Path=path), CONVENTIONS) is kind


def test_principal_carries_every_way_to_know_it() -> None:
    """Employee ids, e-mails from tag and name, and login name are all there; a person has no owner hints."""
    who = facts(
        ("employee-id", " E7 "),
        ("EmployeeId", "E8"),
        ("email", "Mara@Example.com"),
        ("owner", "E9"),
        UserName="m@x.org",
    )
    principal = principal_of(
        holder_of(ProviderName("corp"), ScopeId("1"), who, CONVENTIONS), who, CONVENTIONS, privileged=False
    )
    assert principal.employee_ids == ("E7", "E8")
    assert principal.emails == ("mara@example.com", "m@x.org")
    assert principal.login_names == ("m@x.org",)
    assert principal.owner_hints == ()
    assert principal.principal_id == "AIDA1"


def test_owner_is_a_hint_for_machines_only() -> None:
    """An owner tag on a service user is a hint of ownership."""
    who = facts(("kind", "service"), ("owner", "E9"))
    principal = principal_of(holder(), who, CONVENTIONS, privileged=False)
    assert principal.owner_hints == ("E9",)


def test_quarantine_policy_is_a_standing_not_an_item() -> None:
    """The quarantine policy switches the account item off and is listed nowhere."""
    who = facts(
        UserPolicyList=[
            {"PolicyName": "access-reconciler-quarantine", "PolicyDocument": DENIED},
            {"PolicyName": "own", "PolicyDocument": ADMIN},
        ]
    )
    found = list(standing_items(holder(), who, {}, CONVENTIONS.admin_policies))
    assert [(item.kind, item.access_id) for item in found] == [
        (ArtefactKind.ACCOUNT, "AIDA1/account"),
        (ArtefactKind.INLINE_POLICY, "AIDA1/inline_policy/own"),
    ]
    account, inline = found
    assert isinstance(account, Credential)
    assert account.enabled is False
    assert isinstance(inline, Grant)
    assert inline.privileged


def test_group_gives_privilege_and_knows_its_holders() -> None:
    """A membership of a group that carries an administrator policy is privileged and tells how many hold it."""
    group = group_facts(
        {"GroupName": "admins", "AttachedManagedPolicies": [{"PolicyName": "AdministratorAccess"}]},
        CONVENTIONS.admin_policies,
        holders=1,
    )
    assert group == GroupFacts(name="admins", privileged=True, holders=1)
    who = facts(GroupList=["admins", "unseen"])
    known, unseen = list(standing_items(holder(), who, {"admins": group}, CONVENTIONS.admin_policies))[1:]
    assert isinstance(known, Grant)
    assert isinstance(unseen, Grant)
    assert (known.privileged, known.holders) == (True, 1)
    assert (unseen.privileged, unseen.holders) == (False, None)


def test_role_trust_finds_the_user_by_arn_and_by_id() -> None:
    """A role that names the ARN and one that names the unique id are grants; a namesake's is not."""
    roles = [
        role_trust({"RoleName": name, "Arn": f"arn:{name}", "AssumeRolePolicyDocument": trust({"AWS": named})})
        for name, named in (("by-arn", ARN), ("by-id", "AIDA1"), ("other", ARN + "x"))
    ]
    found = list(trust_items(holder(), facts(), roles))
    assert [(item.role, item.resource) for item in found] == [("by-arn", "arn:by-arn"), ("by-id", "arn:by-id")]


def test_unnamed_role_trusts_nobody() -> None:
    """A role without a document trusts nobody by name."""
    assert role_trust({"RoleName": "r", "Arn": "a"}) == RoleTrust(name="r", arn="a", trusted=frozenset())


@pytest.mark.parametrize(
    ("tag", "shared"),
    [("true", {"K1", "K2"}), ("K1", {"K1"}), ("K1 K2", {"K1", "K2"}), ("false", set()), ("", set())],
)
def test_shared_tag_marks_keys_and_with_them_the_account(tag: str, shared: set[str]) -> None:
    """Keys that the tag names are shared, and so is the account, whose quarantine would stop them."""
    who = holder(("shared", tag))
    keys = {key for key in ("K1", "K2") if who.credential(ArtefactKind.ACCESS_KEY, key).shared}
    assert keys == shared
    assert not who.credential(ArtefactKind.PASSWORD).shared
    account = next(standing_items(who, facts(("shared", tag)), {}, ()))
    assert isinstance(account, Credential)
    assert account.shared is bool(shared)


REPORT = """user,arn,user_creation_time,password_enabled,password_last_used,mfa_active,access_key_1_active,\
access_key_1_last_rotated,access_key_1_last_used_date,access_key_2_active,access_key_2_last_rotated,\
access_key_2_last_used_date,cert_1_active,cert_2_active
<root_account>,arn:aws:iam::123456789012:root,2020-01-01T00:00:00+00:00,not_supported,no_information,true,false,N/A,N/A,false,N/A,N/A,false,false
mara,arn:aws:iam::123456789012:user/people/mara,2020-01-01T00:00:00+00:00,true,2026-01-05T10:00:00+00:00,true,true,\
2025-01-01T00:00:00+00:00,2026-02-01T00:00:00+00:00,false,N/A,N/A,false,true
"""


def test_report_gives_facts_that_are_never_live() -> None:
    """A credential report's row becomes items with stable ids that say they are not live; the root row is left out."""
    rows = report_rows(REPORT.encode())
    assert list(rows) == [ARN]
    row = rows[ARN]
    used = datetime(2026, 2, 1, tzinfo=UTC)
    assert row.keys == (ReportKey(slot=1, active=True, rotated_at=datetime(2025, 1, 1, tzinfo=UTC), last_used_at=used),)
    assert row.last_used_at == used
    found = list(report_items(holder(), row))
    assert [item.access_id for item in found] == [
        "AIDA1/password",
        "AIDA1/access_key/1",
        "AIDA1/signing_certificate/2",
        "AIDA1/mfa_device/1",
    ]
    assert not any(item.live for item in found)


def test_report_of_html_has_no_rows_of_users() -> None:
    """A body that is no report is refused rather than read as nobody having anything."""
    with pytest.raises(ValueError, match="not a credential report"):
        report_rows(b"<html>log in</html>")


def test_ssh_fingerprint_is_that_of_ssh_keygen() -> None:
    """The fingerprint is the one that ssh-keygen prints, and empty for what is no key."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzW2ou3Zb7G2Bpa7G2DoYPq8nbt6nT3rd4Xt0rWUPBu someone"
    assert ssh_fingerprint(key).startswith("SHA256:")
    assert len(ssh_fingerprint(key)) == len("SHA256:") + 43
    assert ssh_fingerprint("ssh-ed25519 not-base64!") == ""
    assert ssh_fingerprint("") == ""


def test_service_credential_keeps_its_expiry() -> None:
    """A Bedrock key's expiry and status are kept."""
    expires = datetime(2026, 9, 1, tzinfo=UTC)
    item = service_credential(
        holder(),
        {
            "ServiceSpecificCredentialId": "ACCA1",
            "ServiceName": "bedrock.amazonaws.com",
            "Status": "Inactive",
            "ExpirationDate": expires,
        },
    )
    assert (item.enabled, item.expires_at, item.access_id) == (False, expires, "AIDA1/service_credential/ACCA1")
