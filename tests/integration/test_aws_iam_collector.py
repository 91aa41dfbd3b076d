"""Reading AWS IAM from moto's server, calls counted on the server's side."""

import json
from dataclasses import replace
from typing import Any

import pytest

from inventory.errors import Misconfigured
from inventory.model import (
    ArtefactKind,
    Credential,
    Grant,
    PrincipalKind,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
)
from reconciler.core.evidence import item_evidence
from reconciler.demo import moto_server
from reconciler.demo.process import ServerFailed
from tests.fakes.aws_world import SSC, AwsWorld, Build, document, everybody, nobody, states, trust
from tests.fakes.counting_proxy import CountingProxy, paged_bulk, refuse

ACCOUNT = moto_server.ACCOUNT_ID
OTHER = "210987654321"
NAME = ProviderName("corp-aws")


def kinds_of(inventory: ProviderInventory, principal_id: str) -> set[ArtefactKind]:
    """Return the kinds of items that a principal holds."""
    return {item.kind for item in inventory.items if item.principal_id == principal_id}


def test_whole_account_is_read_live_for_whom_it_concerns(world: AwsWorld, collector: Build) -> None:
    """Everything a person of interest holds is read live; the others come from the bulk facts, marked as such."""
    mara = world.full_user("mara", "E1")
    joan = world.full_user("joan", "E2")
    world.user("deploy", "/service/", owner="E1")
    (inventory,) = collector().collect(lambda principal: principal.employee_ids == ("E1",))
    assert inventory.complete
    assert inventory.errors == ()
    by_name = {principal.login_names[0]: principal for principal in inventory.principals}
    assert by_name["mara"].read.whole
    assert by_name["mara"].read.gaps == (SSC,)
    assert not by_name["joan"].read.live
    assert by_name["deploy"].kind is PrincipalKind.SERVICE
    everything = set(ArtefactKind) - {ArtefactKind.PRINCIPAL, ArtefactKind.SESSION, SSC}
    assert kinds_of(inventory, mara["UserId"]) == everything
    assert all(item.live for item in inventory.items if item.principal_id == mara["UserId"])
    assert kinds_of(inventory, joan["UserId"]) == everything - {ArtefactKind.SSH_KEY}
    reported = {item.kind for item in inventory.items if item.principal_id == joan["UserId"] and not item.live}
    assert reported == {ArtefactKind.PASSWORD, ArtefactKind.ACCESS_KEY, ArtefactKind.SIGNING_CERTIFICATE}
    assert len({item.access_id for item in inventory.items}) == len(inventory.items)


def test_bulk_calls_do_not_grow_with_the_number_of_users(
    world: AwsWorld, collector: Build, proxy: CountingProxy
) -> None:
    """Without anybody of interest the picture costs the same few calls, as the server and the inventory both count."""
    for index in range(12):
        world.user(f"u{index}", employee_id=f"E{index}")
    (inventory,) = collector().collect(nobody)
    assert proxy.counts() == {
        "GetCallerIdentity": 1,
        "GetAccountAuthorizationDetails": 1,
        "GenerateCredentialReport": 1,
        "GetCredentialReport": 1,
        "ListVirtualMFADevices": 1,
    }
    assert inventory.api_calls == 5


def test_evidence_is_the_same_in_bulk_and_in_a_reading(world: AwsWorld, collector: Build) -> None:
    """A precondition read of an unchanged world gives every item the evidence that the plan was made on."""
    world.full_user("mara", "E1")
    world.group("admins", "mara", admin=True)
    world.iam.put_user_policy(UserName="mara", PolicyName="all", PolicyDocument=document("*"))
    reader = collector()
    (inventory,) = reader.collect(everybody)
    (mara,) = inventory.principals
    reading = reader.read_principal(mara)
    assert reading.principal is not None
    assert reading.principal.read.whole
    assert reading.principal.privileged
    assert mara.privileged
    planned = {item.access_id: item_evidence(item) for item in inventory.items}
    assert {item.access_id: item_evidence(item) for item in reading.items} == planned


def test_memberships_know_the_last_member(world: AwsWorld, collector: Build) -> None:
    """A membership tells how many hold it, in bulk and read alone."""
    for name in ("mara", "joan"):
        world.user(name, employee_id=name)
    world.group("alone", "mara")
    world.group("both", "mara", "joan")
    reader = collector()
    (inventory,) = reader.collect(nobody)
    mara = next(one for one in inventory.principals if one.login_names == ("mara",))
    for items in (inventory.items, reader.read_principal(mara).items):
        held = {
            item.role: item.holders
            for item in items
            if isinstance(item, Grant) and item.principal_id == mara.principal_id
        }
        assert held == {"alone": 1, "both": 2}


def test_gone_renamed_and_replaced_users_are_told_apart(world: AwsWorld, collector: Build) -> None:
    """A deleted user is gone, also when the name is used again; a renamed one is still there under the new name."""
    for name in ("gone", "reused", "renamed"):
        world.user(name, employee_id=name)
    reader = collector()
    (inventory,) = reader.collect(nobody)
    by_name = {one.login_names[0]: one for one in inventory.principals}
    world.iam.delete_user(UserName="gone")
    world.iam.delete_user(UserName="reused")
    world.user("reused")
    world.iam.update_user(UserName="renamed", NewUserName="new-name")
    assert reader.read_principal(by_name["gone"]).principal is None
    assert reader.read_principal(by_name["reused"]).principal is None
    renamed = reader.read_principal(by_name["renamed"]).principal
    assert renamed is not None
    assert renamed.login_names == ("new-name",)
    assert renamed.principal_id == by_name["renamed"].principal_id


def test_quarantined_user_is_disabled(world: AwsWorld, collector: Build) -> None:
    """The quarantine policy shows as a disabled account and as no policy, in bulk and read alone."""
    world.user("mara", employee_id="E1")
    denied = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}})
    world.iam.put_user_policy(UserName="mara", PolicyName="access-reconciler-quarantine", PolicyDocument=denied)
    reader = collector()
    (inventory,) = reader.collect(nobody)
    (principal,) = inventory.principals
    assert principal.enabled is False
    for items in (inventory.items, reader.read_principal(principal).items):
        (account,) = items
        assert isinstance(account, Credential)
        assert account.enabled is False


def test_pages_are_followed_to_the_end(world: AwsWorld, collector: Build, proxy: CountingProxy) -> None:
    """Every page of the bulk read is taken in."""
    for index in range(7):
        world.user(f"u{index}", employee_id=f"E{index}")
    proxy.rewrite = paged_bulk(size=3)
    (inventory,) = collector().collect(nobody)
    assert len(inventory.principals) == 7
    assert proxy.counts()["GetAccountAuthorizationDetails"] == 3
    assert inventory.complete


def test_own_user_is_known_by_its_unique_id(world: AwsWorld, collector: Build, tmp_path: Any) -> None:
    """The user whose key we use, and the configured other users of ours, are our own principals."""
    reader = world.user("reader")
    revoker = world.user("revoker")
    world.user("mara")
    key = world.iam.create_access_key(UserName="reader")["AccessKey"]
    secret = tmp_path / "key"
    secret.write_text(key["SecretAccessKey"])
    made = collector(access_key_id=key["AccessKeyId"], secret_access_key_file=secret, own_user_names=("revoker",))
    (inventory,) = made.collect(nobody)
    assert set(inventory.own_principals) == {reader["UserId"], revoker["UserId"]}
    assert inventory.identity_known


def test_many_accounts_are_entered_by_role(world: AwsWorld, collector: Build, proxy: CountingProxy) -> None:
    """Accounts of a role pattern are read each under its own id; one that refuses us is said to be denied."""
    world.user("mara", employee_id="E1")
    shut = "333333333333"

    def fault(form: dict[str, str], earlier: int) -> Any:
        return refuse("AssumeRole")(form, earlier) if shut in form.get("RoleArn", "") else None

    proxy.fault = fault
    reader = collector(account_ids=(ACCOUNT, OTHER, shut), role_name="access-reconciler-reader", external_id="x-1")
    here, other, closed = reader.collect(nobody)
    assert [one.scope for one in (here, other, closed)] == [ACCOUNT, OTHER, shut]
    assert [len(one.principals) for one in (here, other, closed)] == [1, 0, 0]
    assert set(states(closed).values()) == {ReadState.DENIED, ReadState.EXCLUDED}
    assumed = [form for form in proxy.requests if form["Action"] == "AssumeRole"]
    assert {form["RoleArn"] for form in assumed} == {
        f"arn:aws:iam::{account}:role/access-reconciler-reader" for account in (ACCOUNT, OTHER, shut)
    }
    assert {form["ExternalId"] for form in assumed} == {"x-1"}
    assert reader.read_principal(here.principals[0]).principal is not None
    assert proxy.counts()["AssumeRole"] == 3


def test_users_are_not_looked_for_in_another_account(world: AwsWorld, collector: Build) -> None:
    """A principal of an account that our credentials are not of is refused, instead of being reported as gone."""
    world.user("mara", employee_id="E1")
    (inventory,) = collector().collect(nobody)
    reader = collector(accounts=({"account_id": OTHER},))
    (elsewhere,) = reader.collect(nobody)
    assert set(states(elsewhere).values()) == {ReadState.PARTIAL, ReadState.EXCLUDED}
    with pytest.raises(Misconfigured, match="not of"):
        collector(accounts=({"account_id": OTHER},)).read_principal(
            replace(inventory.principals[0], scope=ScopeId(OTHER))
        )


def test_role_trust_is_found_for_the_named_user_only(world: AwsWorld, collector: Build) -> None:
    """A role that names one user is that user's grant and nobody else's."""
    mara = world.user("mara")
    world.user("joan")
    world.iam.create_role(RoleName="by-id", AssumeRolePolicyDocument=trust(mara["UserId"]))
    world.iam.create_role(RoleName="all", AssumeRolePolicyDocument=trust("*"))
    (inventory,) = collector().collect(nobody)
    trusted = [item for item in inventory.items if item.kind is ArtefactKind.ROLE_TRUST]
    assert [(item.principal_id, item.role) for item in trusted if isinstance(item, Grant)] == [
        (mara["UserId"], "by-id")
    ]


def test_excluded_kinds_are_neither_asked_for_nor_listed(
    world: AwsWorld, collector: Build, proxy: CountingProxy
) -> None:
    """An excluded kind costs no call, gives no item, and is a gap of every principal; the rest is complete."""
    world.full_user("mara", "E1")
    left_out = (SSC, ArtefactKind.MFA_DEVICE, ArtefactKind.SSH_KEY, ArtefactKind.GROUP_MEMBERSHIP)
    reader = collector(exclude=left_out)
    for interest in (nobody, everybody):
        (inventory,) = reader.collect(interest)
        assert inventory.complete
        assert not {item.kind for item in inventory.items} & set(left_out)
        assert {kind for kind, state in states(inventory).items() if state is ReadState.EXCLUDED} == set(left_out)
        assert set(inventory.principals[0].read.gaps) == set(left_out)
    reading = reader.read_principal(inventory.principals[0])
    assert not {item.kind for item in reading.items} & set(left_out)
    unasked = {"ListVirtualMFADevices", "ListMFADevices", "ListSSHPublicKeys", "ListGroupsForUser"}
    assert not unasked & set(proxy.counts())


def test_missing_server_program_is_said(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without moto the demo's AWS says what to install."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServerFailed, match="extra 'demo'"):
        moto_server.start(tmp_path)
