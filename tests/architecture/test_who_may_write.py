"""Who may write to a provider: revokers alone; the demo may add, and reading code may not."""

import pytest

from tests.architecture import tree

READING_CALLS = {
    "generate_credential_report": "AWS makes the report only when asked; nobody's access changes",
    "assume_role": "STS hands out the reader's own session",
    "create_default_context": "TLS settings of the reader's own connection",
    "set_option": "python-ldap's settings of its own connection, such as time-outs",
    "set_parser_defaults": "botocore's setting of how the replies of its own session are read",
}
"""Calls of reading code that look like writing or are asked for explicitly, each with the reason why it is none."""

PROVIDER_SDKS = {"boto3", "botocore", "ldap", "httpx"}
SDK_DOORS = ("inventory/", "reconciler/revokers/", "reconciler/demo/")
HTTP_DOORS = (*SDK_DOORS, "reconciler/adapters/")
"""Adapters speak HTTP to a policy engine or a signer, never to a provider."""


def test_inventory_only_reads() -> None:
    """No call under `inventory/` has the name of one that writes to a provider."""
    found = {name: tree.writing_calls(tree.text(name), frozenset(READING_CALLS)) for name in tree.sources("inventory")}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "iam.delete_access_key(UserName='a')",
        "iam.put_user_policy(UserName='a')",
        "iam.update_login_profile(UserName='a')",
        "iam.deactivate_mfa_device(UserName='a')",
        "iam.add_user_to_group(UserName='a')",
        "connection.modify_s(dn, changes)",
        "connection.modify_ext(dn, changes)",
        "connection.delete_s(dn)",
        "connection.passwd_s(dn, None, 'x')",
        "client.patch(url)",
        "client.delete(url)",
        "client.request('PATCH', url)",
        "iam._make_api_call('DeleteUser', {})",
    ],
)
def test_a_writing_call_is_found(planted: str) -> None:
    """Each way of writing that our SDKs offer is seen when planted."""
    assert len(tree.writing_calls(planted)) == 1


def test_reading_calls_pass() -> None:
    """The names of reading calls are not mistaken for writing ones."""
    source = (
        "iam.list_users()\nldap.search_ext(b)\nhttp.get(url)\nhttp.request('GET', url)\nitems.update(x)\nseen.add(y)\n"
    )
    assert tree.writing_calls(source) == []
    assert tree.writing_calls("iam.generate_credential_report()\nsts.assume_role()\n", frozenset(READING_CALLS)) == []


def test_the_demo_only_adds() -> None:
    """The demo populates its servers and never takes anything away from them: that is the reconciler's doing."""
    found = {name: tree.taking_calls(tree.text(name)) for name in tree.sources("reconciler/demo")}
    assert {name: calls for name, calls in found.items() if calls} == {}
    assert tree.taking_calls(
        "iam.delete_user(UserName='a')\nldap.delete_s(dn)\nhttp.delete(url)\niam.create_user()"
    ) == [
        "1 delete_user",
        "2 delete_s",
        "3 delete",
    ]


def test_provider_clients_stay_behind_their_doors() -> None:
    """Only providers, revokers and the demo open a provider's SDK; no other code could write even by mistake."""
    strays = []
    for name in tree.sources(*tree.PACKAGES):
        opened = {module.split(".")[0] for module in tree.imported_modules(tree.text(name))} & PROVIDER_SDKS
        doors = HTTP_DOORS if opened == {"httpx"} else SDK_DOORS
        if opened and not name.startswith(doors):
            strays.append(f"{name}: {', '.join(sorted(opened))}")
    assert strays == []


def test_only_the_wiring_opens_revokers() -> None:
    """What takes access away is opened by the composition root alone, and there by name."""
    strays = [
        name
        for name in tree.sources(*tree.PACKAGES)
        if not name.startswith("reconciler/revokers/")
        and name != "reconciler/wiring.py"
        and any(module.startswith("reconciler.revokers") for module in tree.imported_modules(tree.text(name)))
    ]
    assert strays == []
