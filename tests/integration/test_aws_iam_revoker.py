"""Taking access away at AWS IAM, and giving it back, on moto's server; writes are recorded on the server's side."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inventory.errors import Misconfigured, ObjectChanged, ObjectMissing, Unavailable, Unsupported
from inventory.model import AccessItem, ArtefactKind, Principal, PrincipalId, PrincipalReading, ProviderName, ScopeId
from inventory.providers.aws_iam import AwsIamCollector
from inventory.providers.aws_iam import Settings as ReaderSettings
from reconciler.core.model import Action, Effect, OutcomeState
from reconciler.revokers.aws_iam import DELETE_ORDER, REVOKER, AwsIamRevoker, Settings
from tests import builders
from tests.fakes.aws_world import KEYS, AwsWorld
from tests.fakes.clock import FakeClock
from tests.fakes.counting_proxy import DROP, DROP_AFTER, CountingProxy, error_reply, refuse

NAME = ProviderName("corp-aws")
WRITES_IN_ORDER = [
    "DeleteLoginProfile",
    "DeleteAccessKey",
    "DeleteSigningCertificate",
    "DeleteSSHPublicKey",
    "DeactivateMFADevice",
    "DeleteVirtualMFADevice",
    "DeleteUserPolicy",
    "DetachUserPolicy",
    "RemoveUserFromGroup",
    "DeleteUserPolicy",
    "DeleteUser",
]
QUARANTINES = (
    ArtefactKind.ACCESS_KEY,
    ArtefactKind.SSH_KEY,
    ArtefactKind.SIGNING_CERTIFICATE,
    ArtefactKind.ACCOUNT,
)


@pytest.fixture
def world(world: AwsWorld) -> AwsWorld:
    """Give the account with one person who holds one of everything."""
    world.full_user("mara", "E1")
    return world


def access(url: str, directory: Path) -> dict[str, Any]:
    """Give the settings of a connection."""
    secret = directory / "secret"
    secret.write_text("testing")
    return {"endpoint_url": url, "access_key_id": KEYS["aws_access_key_id"], "secret_access_key_file": secret}


@pytest.fixture
def revoker(proxy: CountingProxy, tmp_path: Path) -> Iterator[AwsIamRevoker]:
    """Build the revoker behind the proxy."""
    made = AwsIamRevoker(NAME, Settings(**access(proxy.url, tmp_path)), FakeClock())
    yield made
    made.close()


Look = Callable[[], PrincipalReading]


@pytest.fixture
def look(world: AwsWorld, tmp_path: Path) -> Iterator[Look]:
    """Read the person afresh, past the proxy."""
    settings = ReaderSettings(**access(world.url, tmp_path), max_attempts=1, exclude=(ArtefactKind.SERVICE_CREDENTIAL,))
    reader = AwsIamCollector(NAME, settings, FakeClock())
    (inventory,) = reader.collect(lambda _: False)
    (mara,) = inventory.principals
    yield lambda: reader.read_principal(mara)
    reader.close()


def owner(reading: PrincipalReading) -> Principal:
    """Return the principal of a reading."""
    assert reading.principal is not None
    return reading.principal


def of_kind(reading: PrincipalReading, kind: ArtefactKind) -> AccessItem:
    """Return the one item of a kind."""
    (item,) = (item for item in reading.items if item.kind is kind)
    return item


def planned(reading: PrincipalReading, kind: ArtefactKind, effect: Effect) -> Action:
    """Plan an act on the one item of a kind."""
    return builders.action(owner(reading), of_kind(reading, kind), effect)


def writes(proxy: CountingProxy) -> list[str]:
    """Return the writes that the server saw, in order."""
    return [action for action in proxy.actions if not action.startswith(("Get", "List"))]


def test_calls_side_by_side_keep_their_connections(
    revoker: AwsIamRevoker, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """Several leavers at once are many calls at once: none of them throws a connection away that the next one needs."""
    act = planned(look(), ArtefactKind.ACCESS_KEY, Effect.QUARANTINE)
    together = threading.Barrier(40)

    def ask() -> bool:
        together.wait(60)
        return revoker.before_image(act).restorable

    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(ask) for _ in range(40)]
        assert all(one.result() for one in asked)
    assert [one.message for one in caplog.records if one.name.startswith("urllib3")] == []


def test_everything_goes_in_the_order_that_aws_asks_for(
    world: AwsWorld, revoker: AwsIamRevoker, look: Look, proxy: CountingProxy
) -> None:
    """A full user, quarantined first, is taken apart by exactly AWS's sequence of calls, and is gone."""
    reading = look()
    revoker.quarantine(planned(reading, ArtefactKind.ACCOUNT, Effect.QUARANTINE))
    proxy.forget()
    reading = look()
    for kind in DELETE_ORDER:
        for item in (item for item in reading.items if item.kind is kind):
            action = builders.action(owner(reading), item, Effect.REVOKE)
            assert revoker.revoke(action).outcome is OutcomeState.DONE
    assert writes(proxy) == WRITES_IN_ORDER
    assert look().principal is None
    assert world.iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []


@pytest.mark.parametrize("kind", [kind for kind in DELETE_ORDER if kind is not ArtefactKind.SERVICE_CREDENTIAL])
def test_a_second_removal_finds_it_already_absent(
    revoker: AwsIamRevoker, look: Look, kind: ArtefactKind, world: AwsWorld
) -> None:
    """Removing what is gone is told apart from removing it; in between, the item is gone by a fresh read."""
    if kind is ArtefactKind.ACCOUNT:
        world.iam.detach_user_policy(
            UserName="mara", PolicyArn=dict(of_kind(look(), ArtefactKind.ATTACHED_POLICY).address)["policy_arn"]
        )
        world.iam.delete_user_policy(UserName="mara", PolicyName="own")
    action = planned(look(), kind, Effect.REVOKE)
    assert revoker.revoke(action).outcome is OutcomeState.DONE
    after = look()
    assert after.item(action.item.access_id) is None
    assert revoker.revoke(action).outcome is OutcomeState.ALREADY_ABSENT


@pytest.mark.parametrize("kind", QUARANTINES)
def test_quarantine_is_undone_from_its_before_image(revoker: AwsIamRevoker, look: Look, kind: ArtefactKind) -> None:
    """A suspended item reads as disabled and, after undo, as it was before; both may be repeated."""
    before = look()
    action = planned(before, kind, Effect.QUARANTINE)
    image = revoker.before_image(action)
    assert image.restorable
    assert revoker.quarantine(action).outcome is OutcomeState.DONE
    assert revoker.quarantine(action).outcome is OutcomeState.ALREADY_ABSENT
    assert getattr(of_kind(look(), kind), "enabled", None) is False
    assert revoker.undo(action, image).outcome is OutcomeState.DONE
    assert look().items == before.items
    if kind is ArtefactKind.ACCOUNT:
        assert revoker.undo(action, image).outcome is OutcomeState.ALREADY_ABSENT


def test_a_look_just_taken_serves_the_act(revoker: AwsIamRevoker, look: Look, proxy: CountingProxy) -> None:
    """A leaver's quarantine does not wait for a second reading of what the before-image has just shown."""
    action = planned(look(), ArtefactKind.ACCOUNT, Effect.QUARANTINE)
    before = proxy.actions.count("GetUserPolicy")
    revoker.before_image(action)
    assert revoker.quarantine(action).outcome is OutcomeState.DONE
    assert proxy.actions.count("GetUserPolicy") == before + 1
    assert writes(proxy) == ["PutUserPolicy"]


@pytest.mark.parametrize(
    "kind", [ArtefactKind.INLINE_POLICY, ArtefactKind.ATTACHED_POLICY, ArtefactKind.GROUP_MEMBERSHIP]
)
def test_removed_grants_come_back(world: AwsWorld, revoker: AwsIamRevoker, look: Look, kind: ArtefactKind) -> None:
    """A removed grant is given back from its before-image, an inline policy with its document."""
    before = look()
    document = world.iam.get_user_policy(UserName="mara", PolicyName="own")["PolicyDocument"]
    action = planned(before, kind, Effect.REVOKE)
    image = revoker.before_image(action)
    assert image.restorable
    revoker.revoke(action)
    assert look().item(action.item.access_id) is None
    assert revoker.undo(action, image).outcome is OutcomeState.DONE
    assert look().items == before.items
    assert world.iam.get_user_policy(UserName="mara", PolicyName="own")["PolicyDocument"] == document


@pytest.mark.parametrize(
    "kind", [ArtefactKind.ACCESS_KEY, ArtefactKind.PASSWORD, ArtefactKind.MFA_DEVICE, ArtefactKind.ACCOUNT]
)
def test_lost_secrets_are_not_promised_back(revoker: AwsIamRevoker, look: Look, kind: ArtefactKind) -> None:
    """What AWS cannot give back is said to be not restorable before the act, and undo refuses it."""
    action = planned(look(), kind, Effect.REVOKE)
    image = revoker.before_image(action)
    assert not image.restorable
    with pytest.raises(Unsupported):
        revoker.undo(action, image)


def test_an_inactive_key_is_not_switched_on_by_undo(world: AwsWorld, revoker: AwsIamRevoker, look: Look) -> None:
    """Undoing the quarantine of a key that was inactive before leaves it inactive."""
    key = dict(of_kind(look(), ArtefactKind.ACCESS_KEY).address)["access_key_id"]
    world.iam.update_access_key(UserName="mara", AccessKeyId=key, Status="Inactive")
    action = planned(look(), ArtefactKind.ACCESS_KEY, Effect.QUARANTINE)
    image = revoker.before_image(action)
    revoker.quarantine(action)
    assert revoker.undo(action, image).outcome is OutcomeState.ALREADY_ABSENT
    assert getattr(of_kind(look(), ArtefactKind.ACCESS_KEY), "enabled", None) is False


@pytest.mark.parametrize("effect", [Effect.QUARANTINE, Effect.REVOKE])
def test_a_reused_name_stops_the_act(revoker: AwsIamRevoker, look: Look, proxy: CountingProxy, effect: Effect) -> None:
    """When the user name belongs to another principal by now, nothing is written."""
    action = planned(look(), ArtefactKind.ACCESS_KEY, effect)
    stranger = replace(action, principal=replace(action.principal, principal_id=PrincipalId("AIDASOMEBODYELSE")))
    act = revoker.quarantine if effect is Effect.QUARANTINE else revoker.revoke
    with pytest.raises(ObjectChanged):
        act(stranger)
    assert writes(proxy) == []


def test_another_account_is_refused(revoker: AwsIamRevoker, look: Look, proxy: CountingProxy) -> None:
    """An action on an account that our credentials are not of is refused before any write."""
    action = planned(look(), ArtefactKind.ACCESS_KEY, Effect.REVOKE)
    elsewhere = replace(action, principal=replace(action.principal, scope=ScopeId("210987654321")))
    with pytest.raises(Misconfigured):
        revoker.revoke(elsewhere)
    assert writes(proxy) == []


def test_a_lost_reply_is_sent_once_and_left_unknown(revoker: AwsIamRevoker, look: Look, proxy: CountingProxy) -> None:
    """A write whose reply is lost raises, was sent exactly once, and may have happened: only reading tells."""
    action = planned(look(), ArtefactKind.ACCESS_KEY, Effect.REVOKE)
    proxy.fault = refuse("DeleteAccessKey", DROP_AFTER)
    with pytest.raises(Unavailable):
        revoker.revoke(action)
    assert proxy.counts()["DeleteAccessKey"] == 1
    assert look().item(action.item.access_id) is None


def test_an_undeletable_user_stays_quarantined(
    revoker: AwsIamRevoker, look: Look, proxy: CountingProxy, world: AwsWorld
) -> None:
    """When AWS does not delete the user, the quarantine policy that made way is back."""
    revoker.quarantine(planned(look(), ArtefactKind.ACCOUNT, Effect.QUARANTINE))
    proxy.fault = refuse("DeleteUser", error_reply("DeleteConflict", 409))
    with pytest.raises(ObjectChanged):
        revoker.revoke(planned(look(), ArtefactKind.ACCOUNT, Effect.REVOKE))
    assert getattr(of_kind(look(), ArtefactKind.ACCOUNT), "enabled", None) is False
    policy = world.iam.get_user_policy(UserName="mara", PolicyName="access-reconciler-quarantine")["PolicyDocument"]
    assert policy["Statement"][0]["Effect"] == "Deny"


def test_a_device_of_somebody_else_is_not_deleted(world: AwsWorld, revoker: AwsIamRevoker, look: Look) -> None:
    """A virtual MFA device that has been given to another user since is left alone."""
    action = planned(look(), ArtefactKind.MFA_DEVICE, Effect.REVOKE)
    serial = dict(action.item.address)["serial_number"]
    world.iam.deactivate_mfa_device(UserName="mara", SerialNumber=serial)
    world.user("joan")
    world.iam.enable_mfa_device(
        UserName="joan", SerialNumber=serial, AuthenticationCode1="123456", AuthenticationCode2="234567"
    )
    assert revoker.revoke(action).outcome is OutcomeState.ALREADY_ABSENT
    assert [one["SerialNumber"] for one in world.iam.list_virtual_mfa_devices()["VirtualMFADevices"]] == [serial]


def test_undo_of_a_vanished_user_is_refused(world: AwsWorld, revoker: AwsIamRevoker, look: Look) -> None:
    """Nothing is given back to a user who no longer exists."""
    action = planned(look(), ArtefactKind.ACCESS_KEY, Effect.QUARANTINE)
    image = revoker.before_image(action)
    for policy in world.iam.list_attached_user_policies(UserName="mara")["AttachedPolicies"]:
        world.iam.detach_user_policy(UserName="mara", PolicyArn=policy["PolicyArn"])
    world.iam.delete_user_policy(UserName="mara", PolicyName="own")
    world.iam.delete_user(UserName="mara")
    with pytest.raises(ObjectMissing):
        revoker.undo(action, image)


def test_a_failed_look_before_the_act_stops_it(revoker: AwsIamRevoker, look: Look, proxy: CountingProxy) -> None:
    """When it cannot be read whose name it is, nothing is written."""
    action = planned(look(), ArtefactKind.PASSWORD, Effect.REVOKE)
    proxy.fault = refuse("GetUser", DROP)
    with pytest.raises(Unavailable):
        revoker.revoke(action)
    assert writes(proxy) == []


def test_acts_at_the_same_moment_ask_once_whose_name_it_is(
    revoker: AwsIamRevoker, look: Look, proxy: CountingProxy
) -> None:
    """All the credentials of one user are taken with one look at the name; what is made later looks again."""
    reading = look()
    proxy.forget()
    for kind in (ArtefactKind.PASSWORD, ArtefactKind.ACCESS_KEY, ArtefactKind.SSH_KEY):
        revoker.revoke(planned(reading, kind, Effect.REVOKE))
    assert proxy.counts()["GetUser"] == 1
    assert len(writes(proxy)) == 3


def test_role_trust_is_never_changed(revoker: AwsIamRevoker, look: Look, proxy: CountingProxy) -> None:
    """A trust policy holds others too: no effect on it is offered, and asking for one is refused."""
    assert ArtefactKind.ROLE_TRUST not in {kind for kind, _ in REVOKER.capabilities.effects}
    for effect, act in ((Effect.QUARANTINE, revoker.quarantine), (Effect.REVOKE, revoker.revoke)):
        with pytest.raises(Unsupported):
            act(planned(look(), ArtefactKind.ROLE_TRUST, effect))
    assert writes(proxy) == []
