"""The rights that the code needs, the Terraform roles grant, and the page documents are the same."""

import re
from pathlib import Path

import pytest

from inventory.aws import iam
from inventory.model import ArtefactKind
from inventory.provider import Permission
from inventory.providers.aws_iam import PROVIDER
from reconciler.core.model import Effect
from reconciler.revokers import aws_iam as revoker
from reconciler.revokers.aws_iam import DELETE_ORDER, REVOKER

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "deploy" / "terraform" / "aws"
PAGE = ROOT / "docs" / "providers" / "aws_iam.md"


def code_of(*paths: str) -> set[str]:
    """Return the IAM and STS operations that source files name in their calls."""
    text = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in paths)
    return set(
        re.findall(
            r'"((?:Get|List|Generate|Put|Delete|Update|Detach|Attach|Add|Remove|Deactivate|Assume)[A-Z]\w+)"', text
        )
    )


STATUS_READS = {
    "ListAccessKeys",
    "ListSSHPublicKeys",
    "GetSSHPublicKey",
    "ListSigningCertificates",
    "ListServiceSpecificCredentials",
}
"""What the revoker calls through the reading module: those of the kinds that it can suspend."""

CASES = [
    ("reader", PROVIDER.read_permissions, ("inventory/aws/iam.py", "inventory/aws/connection.py")),
    (
        "revoker",
        REVOKER.capabilities.revoke_permissions,
        ("reconciler/revokers/aws_iam.py", "reconciler/revokers/aws_iam_calls.py"),
    ),
]


@pytest.mark.parametrize(("role", "permissions", "sources"), CASES)
def test_roles_grant_exactly_what_is_declared(
    role: str, permissions: tuple[Permission, ...], sources: tuple[str, ...]
) -> None:
    """The Terraform role grants each declared right and no other, by name and without wildcards."""
    text = (TERRAFORM / role / "main.tf").read_text(encoding="utf-8")
    granted = re.findall(r'"((?:iam|sts):[^"]+)"', text)
    assert set(granted) - {"sts:ExternalId"} == {permission.name for permission in permissions}
    assert not [right for right in granted if "*" in right]


@pytest.mark.parametrize(("role", "permissions", "sources"), CASES)
def test_declared_rights_are_those_of_the_code(
    role: str, permissions: tuple[Permission, ...], sources: tuple[str, ...]
) -> None:
    """Every operation that the code calls is declared, and nothing is declared that it does not call."""
    declared = {permission.name.split(":")[1] for permission in permissions}
    called = code_of(*sources) - {"GetCallerIdentity", "DeleteConflict"}
    statuses = STATUS_READS if role == "revoker" else set()
    assert called | {"AssumeRole"} | statuses == declared


@pytest.mark.parametrize(("role", "permissions", "sources"), CASES)
def test_page_names_every_right(role: str, permissions: tuple[Permission, ...], sources: tuple[str, ...]) -> None:
    """The provider's page names every right that the role needs."""
    page = PAGE.read_text(encoding="utf-8")
    assert not [permission.name for permission in permissions if f"`{permission.name}`" not in page]


def test_page_explains_every_setting() -> None:
    """The provider's page has every setting of reader and revoker, with the words of its description."""
    page = PAGE.read_text(encoding="utf-8")
    fields = PROVIDER.settings.model_fields | REVOKER.settings.model_fields
    assert not [
        name for name, field in fields.items() if f"| `{name}` |" not in page or str(field.description) not in page
    ]


def test_reader_holds_no_right_to_write() -> None:
    """The reader's rights begin with Get, List, Generate or Assume."""
    names = [permission.name.split(":")[1] for permission in PROVIDER.read_permissions]
    assert all(name.startswith(("Get", "List", "Generate", "AssumeRole")) for name in names)


def test_delete_order_covers_everything_that_can_be_revoked() -> None:
    """The order names each revocable kind once, credentials first and the account last."""
    revocable = {kind for kind, effect in REVOKER.capabilities.effects if effect is Effect.REVOKE}
    assert set(DELETE_ORDER) == revocable
    assert len(set(DELETE_ORDER)) == len(DELETE_ORDER)
    assert DELETE_ORDER[-1] is ArtefactKind.ACCOUNT
    assert set(iam.LIVE_READS) == set(DELETE_ORDER[: len(iam.LIVE_READS)])


def test_quarantine_document_denies_everything() -> None:
    """The quarantine policy is one explicit deny of all actions on all resources."""
    assert revoker.QUARANTINE_DOCUMENT == (
        '{"Statement":[{"Action":"*","Effect":"Deny","Resource":"*","Sid":"AccessReconcilerQuarantine"}],'
        '"Version":"2012-10-17"}'
    )
