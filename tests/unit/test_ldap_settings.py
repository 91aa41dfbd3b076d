"""Settings, error translation and declarations of the LDAP provider."""

import re
from pathlib import Path
from typing import Any

import ldap
import pytest
from pydantic import ValidationError

from inventory.errors import (
    Denied,
    Disposition,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Unavailable,
)
from inventory.ldap_client import translate
from inventory.model import ArtefactKind
from inventory.providers.ldap import PROVIDER
from inventory.registry import load_provider, provider_types
from reconciler.core.model import Effect
from reconciler.demo import slapd
from reconciler.revokers.ldap import REVOKER
from tests.peers import ROOT

DEPLOY = ROOT / "deploy" / "ldap"
VALID: dict[str, Any] = {
    "uri": "ldaps://ldap.example.com",
    "bind_dn": "cn=reader,dc=example,dc=com",
    "password_file": "/run/secrets/ldap",
    "base_dn": "dc=example,dc=com",
}


def test_every_setting_is_described() -> None:
    """Reader and revoker settings explain each key, and refuse an unknown one."""
    for model in (PROVIDER.settings, REVOKER.settings):
        assert all(field.description for field in model.model_fields.values())
        with pytest.raises(ValidationError, match="Extra inputs"):
            model.model_validate(VALID | {"base": "x"})


@pytest.mark.parametrize(
    "changes",
    [
        {"uri": "ldap://ldap.example.com"},
        {"uri": "ldap://127.0.0.1.example.com"},
        {"uri": "ldap://localhost.example.com"},
        {"uri": "http://ldap.example.com"},
        {"uri": "ldaps://"},
        {"start_tls": True},
        {"bind_dn": ""},
        {"page_size": 0},
        {"base_dn": "example.com"},
        {"account_bases": ("ou=people,dc=example,dc=org",)},
        {"break_glass": ("root",)},
        {"exclude": ("account",)},
        {"exclude": ("password",)},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, Any]) -> None:
    """A password in the clear, a base outside the tree, a name that is no DN: refused before any connection."""
    with pytest.raises(ValidationError):
        PROVIDER.settings.model_validate(VALID | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"uri": "ldap://ldap.example.com", "start_tls": True},
        {"uri": "ldap://ldap.example.com", "allow_plaintext": True},
        {"uri": "ldap://127.0.0.1:1389"},
        {"uri": "ldap://[::1]:1389"},
        {"uri": "ldap://localhost"},
        {"account_bases": ("OU=People, DC=Example,dc=com",)},
    ],
)
def test_settings_that_keep_the_password_private_are_taken(changes: dict[str, Any]) -> None:
    """Encryption, loopback or the operator's express word allow a bind."""
    assert PROVIDER.settings.model_validate(VALID | changes).model_fields_set >= VALID.keys()


@pytest.mark.parametrize(
    ("error", "expected", "disposition"),
    [
        (ldap.INVALID_CREDENTIALS, Denied, Disposition.OPERATOR),
        (ldap.INSUFFICIENT_ACCESS, Denied, Disposition.OPERATOR),
        (ldap.SERVER_DOWN, Unavailable, Disposition.RETRY),
        (ldap.TIMEOUT, Unavailable, Disposition.RETRY),
        (ldap.SIZELIMIT_EXCEEDED, Misconfigured, Disposition.OPERATOR),
        (ldap.NO_SUCH_OBJECT, ObjectMissing, Disposition.OPERATOR),
        (ldap.ASSERTION_FAILED, ObjectChanged, Disposition.OPERATOR),
        (ldap.LOOP_DETECT, ProviderError, Disposition.OPERATOR),
    ],
)
def test_each_result_says_who_has_to_act(
    error: type[ldap.LDAPError], expected: type[ProviderError], disposition: Disposition
) -> None:
    """A result becomes the error that carries its disposition; the server's free text stays out of the message."""
    translated = translate(error({"desc": "Some result", "info": "alice is 42"}), "read cn=x")

    assert type(translated) is expected
    assert translated.disposition is disposition
    assert str(translated) == "read cn=x: Some result"
    assert "42" not in translated.advice


def test_the_registry_knows_the_provider() -> None:
    """`type: ldap` opens this provider."""
    assert "ldap" in provider_types()
    assert load_provider("ldap") is PROVIDER


def test_the_account_does_not_contain_what_hosts_read() -> None:
    """A locked account's SSH keys still open hosts, so its quarantine must never stand for theirs."""
    assert not REVOKER.capabilities.account_contains
    assert (ArtefactKind.ACCOUNT, Effect.QUARANTINE) in REVOKER.capabilities.effects
    assert (ArtefactKind.SSH_KEY, Effect.REVOKE) in REVOKER.capabilities.effects


def _rules(name: str) -> str:
    text = (DEPLOY / name).read_text()
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() and not line.startswith("#"))


def _granted(text: str, right: str) -> set[str]:
    """Return the attributes to which rules give a right."""
    found = re.findall(r'^access to \S+ attrs=(\S+)\n {2}by dn\.exact="[^"]+" (\S+)$', text, re.MULTILINE)
    return {attribute for attributes, given in found if given == right for attribute in attributes.split(",")}


def _declared(permissions: tuple[Any, ...], right: str) -> set[str]:
    return {one.name.removeprefix(f"{right} ") for one in permissions if one.name.startswith(f"{right} ")}


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("reader.conf", slapd.reader_access()),
        ("revoker.conf", slapd.revoker_access()),
        ("revoker-delete.conf", slapd.revoker_delete_access()),
    ],
)
def test_the_published_rules_are_those_that_the_tests_run_with(name: str, rules: str) -> None:
    """An operator copies the very rules under which every test here passes on a real server."""
    assert _rules(name) == rules


def test_the_published_rules_give_what_is_declared_and_no_more() -> None:
    """The rights in `deploy/ldap/` and the permissions that the code declares are the same, attribute by attribute."""
    read, write = PROVIDER.read_permissions, REVOKER.capabilities.revoke_permissions

    assert _granted(_rules("reader.conf"), "read") == _declared(read, "read")
    assert _granted(_rules("reader.conf"), "write") == set()
    assert _granted(_rules("revoker.conf"), "read") == _declared(write, "read")
    assert _granted(_rules("revoker.conf"), "write") == _declared(write, "write")
    assert _granted(_rules("revoker-delete.conf"), "=zrscxd") == _declared(write, "delete")


def test_the_page_names_every_setting() -> None:
    """The documentation page has a line for each key of both blocks."""
    page = Path(ROOT / "docs" / "providers" / "ldap.md").read_text()

    for model in (PROVIDER.settings, REVOKER.settings):
        missing = [name for name in model.model_fields if f"`{name}`" not in page]
        assert not missing
