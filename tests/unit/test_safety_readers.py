"""Safety of what is read and configured: what an attacker can name is never believed for its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from inventory.documents.aws_iam import Conventions, user_facts
from inventory.documents.aws_iam_items import holder_of, principal_of
from inventory.errors import Misconfigured
from inventory.model import ProviderName, ScopeId
from inventory.providers import ldap
from reconciler.core.errors import SettingsError
from reconciler.revokers.aws_iam import QUARANTINE_DOCUMENT
from reconciler.settings import load_settings
from tests import builders
from tests.fakes.clock import FakeClock
from tests.fakes.scim_vendor import Vendor
from tests.scim_reading import collected, collecting_from, found, seed

CONVENTIONS = Conventions(
    kind_tag="kind",
    employee_id_tags=("employee-id",),
    email_tags=(),
    owner_tags=(),
    shared_tag="shared",
    kind_paths=(),
    admin_policies=frozenset(),
)


def enabled(document: object) -> bool | None:
    """Say whether a user with a policy of our name and this document counts as enabled."""
    detail = {
        "UserId": "AIDA1",
        "UserName": "mara",
        "Arn": "arn:aws:iam::123456789012:user/mara",
        "UserPolicyList": [{"PolicyName": "access-reconciler-quarantine", "PolicyDocument": document}],
    }
    facts = user_facts(detail)
    holder = holder_of(ProviderName("aws"), ScopeId("123456789012"), facts, CONVENTIONS)
    return principal_of(holder, facts, CONVENTIONS, privileged=False).enabled


DENY: dict[str, Any] = {"Effect": "Deny", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param(None, id="unknown"),
        pytest.param({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}, id="allows everything"),
        pytest.param({"Statement": {**DENY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}}, id="condition"),
        pytest.param({"Statement": {**DENY, "Action": "s3:*"}}, id="some actions"),
        pytest.param({"Statement": {**DENY, "Resource": "arn:aws:s3:::x"}}, id="some resources"),
        pytest.param({"Statement": {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"}}, id="all actions but"),
    ],
)
def test_a_policy_that_only_bears_our_name_quarantines_nobody(document: object) -> None:
    """Whoever may write a policy of their own cannot pass for quarantined by giving it our name."""
    assert enabled(document) is True


def test_our_own_quarantine_is_recognised() -> None:
    """The document that the revoker writes counts, as text and decoded, and among other statements."""
    ours = json.loads(QUARANTINE_DOCUMENT)
    assert enabled(QUARANTINE_DOCUMENT) is False
    assert enabled(ours) is False
    assert enabled({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, *ours["Statement"]]}) is False


@pytest.mark.parametrize("name", ["", "a/b", "../up", "corp aws", "a|b", "a\u202eb", "a: b", "-x", "x" * 65, "a\nb"])
def test_a_provider_name_is_a_plain_word(name: str, tmp_path: Path) -> None:
    """Names of instances become keys, error lines and thread names: separators and control characters are refused."""
    config = tmp_path / "access-reconciler.yaml"
    document = {"roster": {"path": "roster.csv"}, "providers": {name: {"type": "scim"}}}
    config.write_text(json.dumps(document))
    with pytest.raises(SettingsError):
        load_settings(config)
    config.write_text(json.dumps({**document, "providers": {"corp-aws_2.eu": {"type": "scim"}}}))
    assert list(load_settings(config).providers) == ["corp-aws_2.eu"]


def test_nobody_is_gone_because_a_name_points_elsewhere(tmp_path: Path) -> None:
    """A SCIM instance that was pointed at another tenant says so; a 404 of that tenant would look like removal."""
    with Vendor() as vendor:
        collecting = collecting_from(seed(vendor), tmp_path)
        alice = found(collected(collecting(scope="old-tenant")), "alice")
        del vendor.objects["Users"]["alice"]
        with pytest.raises(Misconfigured):
            collecting(scope="new-tenant").read_principal(alice)
        assert collecting(scope="old-tenant").read_principal(alice).principal is None


def test_nobody_is_gone_because_a_directory_was_exchanged() -> None:
    """An LDAP instance that reads another tree does not look there for an entry of the old one."""
    settings = ldap.Settings.model_validate(
        {
            "uri": "ldaps://ldap.example.com",
            "bind_dn": "cn=reader,dc=example,dc=com",
            "password_file": "/run/secrets/ldap",
            "base_dn": "dc=example,dc=com",
        }
    )
    collector = ldap.PROVIDER.build(ProviderName("corp-ldap"), settings, FakeClock())
    with pytest.raises(Misconfigured):
        collector.read_principal(builders.principal(scope=ScopeId("dc=old,dc=com")))
