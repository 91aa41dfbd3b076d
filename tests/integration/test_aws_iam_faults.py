"""Reading AWS IAM while calls fail, are refused, or go unanswered: what was not read is never called clean."""

import pytest

from inventory.errors import Denied, Throttled, Unavailable
from inventory.model import (
    ArtefactKind,
    Extent,
    Grant,
    ProviderName,
    ReadState,
)
from reconciler.demo import moto_server
from reconciler.demo.process import free_port
from tests.fakes.aws_world import SSC, AwsWorld, Build, everybody, nobody, states
from tests.fakes.counting_proxy import DROP, HTML, THROTTLED, CountingProxy, Fault, error_reply, paged_bulk, refuse

ACCOUNT = moto_server.ACCOUNT_ID
OTHER = "210987654321"
NAME = ProviderName("corp-aws")


def test_service_credentials_that_cannot_be_listed_leave_the_rest_whole(world: AwsWorld, collector: Build) -> None:
    """A server that answers HTML for service-specific credentials makes that kind incomplete, and nothing else."""
    world.full_user("mara", "E1")
    reader = collector(exclude=())
    (inventory,) = reader.collect(everybody)
    assert inventory.state_of(SSC) is ReadState.PARTIAL
    assert not inventory.complete
    assert {kind for kind, state in states(inventory).items() if state is not ReadState.COMPLETE} == {SSC}
    (mara,) = inventory.principals
    assert mara.read.partial == (SSC,)
    assert not mara.read.whole
    assert reader.read_principal(mara).state_of(SSC) is ReadState.PARTIAL
    (without,) = reader.collect(nobody)
    assert without.state_of(SSC) is ReadState.PARTIAL


def test_failed_second_page_still_reads_known_people_live(
    world: AwsWorld, collector: Build, proxy: CountingProxy
) -> None:
    """When the second bulk page fails, no kind is complete, and people known from the first are read live and whole."""
    for index in range(6):
        world.user(f"u{index}", employee_id=f"E{index}")
    world.group("team", "u0", "u5")
    proxy.rewrite = paged_bulk(size=3)
    proxy.fault = refuse("GetAccountAuthorizationDetails", error_reply("ServiceUnavailable", 503), after=1)
    (inventory,) = collector().collect(lambda one: one.employee_ids == ("E0",))
    assert {one.login_names[0] for one in inventory.principals} == {"u0", "u1", "u2"}
    assert set(states(inventory).values()) == {ReadState.PARTIAL, ReadState.EXCLUDED}
    known = next(one for one in inventory.principals if one.login_names == ("u0",))
    assert known.read.whole
    membership = next(item for item in inventory.items if item.kind is ArtefactKind.GROUP_MEMBERSHIP)
    assert isinstance(membership, Grant)
    assert membership.holders == 2
    assert any("ServiceUnavailable" in error for error in inventory.errors)


def test_refused_kind_is_denied_and_the_rest_goes_on(world: AwsWorld, collector: Build, proxy: CountingProxy) -> None:
    """A refused artefact kind is a gap with a name: the principal stays actionable, the inventory is not complete."""
    world.full_user("mara", "E1")
    proxy.fault = refuse("ListAccessKeys")
    reader = collector()
    (inventory,) = reader.collect(everybody)
    assert inventory.state_of(ArtefactKind.ACCESS_KEY) is ReadState.DENIED
    assert not inventory.complete
    (mara,) = inventory.principals
    assert mara.read.whole
    assert set(mara.read.gaps) == {SSC, ArtefactKind.ACCESS_KEY}
    reading = reader.read_principal(mara)
    assert reading.state_of(ArtefactKind.ACCESS_KEY) is ReadState.DENIED
    assert reading.state_of(ArtefactKind.PASSWORD) is ReadState.COMPLETE


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("GetLoginProfile", ArtefactKind.PASSWORD),
        ("ListMFADevices", ArtefactKind.MFA_DEVICE),
        ("GetSSHPublicKey", ArtefactKind.SSH_KEY),
        ("ListSigningCertificates", ArtefactKind.SIGNING_CERTIFICATE),
        ("GetGroup", ArtefactKind.GROUP_MEMBERSHIP),
        ("ListAttachedUserPolicies", ArtefactKind.ATTACHED_POLICY),
        ("ListRoles", ArtefactKind.ROLE_TRUST),
    ],
)
def test_kind_that_drops_out_of_a_reading_is_partial(
    world: AwsWorld, collector: Build, proxy: CountingProxy, action: str, kind: ArtefactKind
) -> None:
    """A call that gets no reply makes exactly its kind partial in a reading, and its items are not made up."""
    world.full_user("mara", "E1")
    reader = collector()
    (inventory,) = reader.collect(nobody)
    proxy.fault = refuse(action, DROP)
    reading = reader.read_principal(inventory.principals[0])
    assert {entry.kind for entry in reading.coverage if entry.state is ReadState.PARTIAL} == {kind}
    assert kind not in {item.kind for item in reading.items}
    assert reading.principal is not None
    assert not reading.principal.read.whole


def test_unread_inline_policies_leave_the_standing_unknown(
    world: AwsWorld, collector: Build, proxy: CountingProxy
) -> None:
    """Whether an account is quarantined is known by its inline policies: unread, the account is not called enabled."""
    world.full_user("mara", "E1")
    reader = collector()
    (inventory,) = reader.collect(nobody)
    proxy.fault = refuse("ListUserPolicies", DROP)
    reading = reader.read_principal(inventory.principals[0])
    assert reading.state_of(ArtefactKind.ACCOUNT) is ReadState.PARTIAL
    assert ArtefactKind.ACCOUNT not in {item.kind for item in reading.items}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refuse("GetUser"), Denied),
        (refuse("GetUser", THROTTLED), Throttled),
        (refuse("GetUser", HTML), Unavailable),
        (refuse("GetUser", DROP), Unavailable),
        (refuse("ListUsers", DROP), Unavailable),
    ],
)
def test_a_failed_look_is_never_an_absence(
    world: AwsWorld, collector: Build, proxy: CountingProxy, fault: Fault, error: type[Exception]
) -> None:
    """When existence cannot be read, an error says so; nobody is reported as gone."""
    world.user("mara", employee_id="E1")
    reader = collector()
    (inventory,) = reader.collect(nobody)
    world.iam.delete_user(UserName="mara")
    proxy.fault = fault
    with pytest.raises(error):
        reader.read_principal(inventory.principals[0])


def test_report_that_cannot_be_read_costs_only_what_it_tells(
    world: AwsWorld, collector: Build, proxy: CountingProxy
) -> None:
    """Without a credential report the kinds it enriches cover people of interest only, and stay complete for them."""
    world.full_user("mara", "E1")
    proxy.fault = refuse("GetCredentialReport")
    (inventory,) = collector().collect(everybody)
    assert inventory.complete
    keys = next(entry for entry in inventory.coverage if entry.kind is ArtefactKind.ACCESS_KEY)
    assert (keys.extent, keys.count) == (Extent.OF_INTEREST, 1)
    assert any(error.startswith("no credential report") for error in inventory.errors)
    assert proxy.counts()["GetAccessKeyLastUsed"] == 1


def test_unknown_identity_is_said(world: AwsWorld, collector: Build, proxy: CountingProxy) -> None:
    """When STS does not answer, the account is still read and the identity is called unknown."""
    world.user("mara", employee_id="E1")
    proxy.fault = refuse("GetCallerIdentity", DROP)
    (inventory,) = collector().collect(nobody)
    assert not inventory.identity_known
    assert inventory.scope == ACCOUNT
    assert len(inventory.principals) == 1


def test_refused_account_has_nothing_complete(world: AwsWorld, collector: Build, proxy: CountingProxy) -> None:
    """When the bulk read is refused at once, every kind is denied and no further call is made."""
    world.user("mara", employee_id="E1")
    proxy.fault = refuse("GetAccountAuthorizationDetails")
    (inventory,) = collector().collect(everybody)
    assert inventory.principals == ()
    assert set(states(inventory).values()) == {ReadState.DENIED, ReadState.EXCLUDED}
    assert not inventory.complete
    assert set(proxy.counts()) == {"GetCallerIdentity", "GetAccountAuthorizationDetails"}


def test_an_instance_that_cannot_be_reached_at_all_raises(collector: Build) -> None:
    """When neither STS nor IAM answers, no account can even be named: the whole instance fails."""
    with pytest.raises(Unavailable):
        collector(endpoint_url=f"http://127.0.0.1:{free_port()}").collect(everybody)
