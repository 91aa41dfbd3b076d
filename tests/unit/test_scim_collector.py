"""The SCIM collector against a vendor that misbehaves: nothing incomplete passes as whole, nothing gone by guess."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inventory.documents.scim import ENTERPRISE_SCHEMA
from inventory.errors import Denied, Misconfigured, Throttled, Unavailable
from inventory.http import ReadingClient
from inventory.model import (
    ArtefactKind,
    Credential,
    Extent,
    Grant,
    Principal,
    PrincipalId,
    PrincipalKind,
    ProviderInventory,
    ProviderName,
    ReadState,
)
from inventory.providers.scim import ScimCollector, Settings
from inventory.registry import load_provider, provider_types
from reconciler.core.evidence import item_evidence
from tests.builders import principal
from tests.fakes.clock import FakeClock
from tests.fakes.scim_vendor import TOKEN, Behaviour, Vendor

Collecting = Callable[..., ScimCollector]
WANTED = (ArtefactKind.PRINCIPAL, ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """Give a running vendor with four users in two groups."""
    with Vendor() as running:
        for name in ("alice", "bob", "carol", "dave"):
            running.user(name)
        running.group("eng", "alice", "bob", "carol")
        running.group("ops", "alice", "dave")
        yield running


@pytest.fixture
def collecting(vendor: Vendor, tmp_path: Path) -> Collecting:
    """Give a maker of collectors of that vendor."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)

    def make(**changes: Any) -> ScimCollector:
        values: dict[str, Any] = {"url": vendor.url, "token_file": token_file, "page_size": 2, "service_token": True}
        settings = Settings(**(values | changes))
        clock = FakeClock()
        return ScimCollector(ProviderName("corp-scim"), settings, clock, ReadingClient(settings, clock))

    return make


def nobody(_: Principal) -> bool:
    """Find nobody of interest."""
    return False


def collected(collector: ScimCollector, interest: Callable[[Principal], bool] = nobody) -> ProviderInventory:
    """Collect the only scope."""
    (inventory,) = collector.collect(interest)
    return inventory


def found(inventory: ProviderInventory, name: str) -> Principal:
    """Return a listed principal."""
    return next(one for one in inventory.principals if one.principal_id == name)


def states(inventory: ProviderInventory) -> tuple[ReadState, ...]:
    """Return the states of the kinds in use, in their order."""
    return tuple(inventory.state_of(kind) for kind in WANTED)


def test_the_whole_picture_takes_two_listings(vendor: Vendor, collecting: Collecting) -> None:
    """Users, accounts and memberships come from the listings alone, and the calls are counted."""
    inventory = collected(collecting())
    assert inventory.complete
    assert {entry.kind: entry.count for entry in inventory.coverage} == {
        ArtefactKind.PRINCIPAL: 4,
        ArtefactKind.ACCOUNT: 4,
        ArtefactKind.GROUP_MEMBERSHIP: 5,
    }
    assert all(entry.extent is Extent.ALL for entry in inventory.coverage)
    assert inventory.api_calls == len(vendor.requests)
    assert not any(target.startswith("/scim/v2/Users/") for _, target in vendor.requests)
    assert {method for method, _ in vendor.requests} == {"GET"}
    assert inventory.scope == "127.0.0.1"
    assert inventory.errors == ()


def test_a_membership_knows_its_group_and_its_holders(collecting: Collecting) -> None:
    """A grant carries what a plan needs: group, number of members, version."""
    items = collected(collecting(admin_groups=("ops",), scope="acme")).items
    grant = next(item for item in items if item.access_id == "dave/group_membership/ops")
    assert isinstance(grant, Grant)
    assert (grant.role, grant.resource, grant.holders, grant.direct, grant.privileged) == ("ops", "acme", 2, True, True)
    assert grant.revision == 'W/"6"'
    account = next(item for item in items if item.access_id == "dave/account")
    assert isinstance(account, Credential)
    assert (account.kind, account.enabled) == (ArtefactKind.ACCOUNT, True)


def test_administrators_are_known_by_group_or_role(vendor: Vendor, collecting: Collecting) -> None:
    """Either makes a principal privileged, whatever the provider calls it."""
    vendor.user("erin", roles=[{"value": "owner"}])
    inventory = collected(collecting(admin_groups=("ops",), admin_roles=("owner",)))
    assert {one.principal_id for one in inventory.principals if one.privileged} == {"alice", "dave", "erin"}


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"externalId": "E1"}, PrincipalKind.HUMAN),
        ({ENTERPRISE_SCHEMA: {"employeeNumber": "E1"}}, PrincipalKind.HUMAN),
        ({}, PrincipalKind.UNKNOWN),
        ({"userType": "Robot"}, PrincipalKind.UNKNOWN),
        ({"userType": "Robot", "externalId": "E1"}, PrincipalKind.HUMAN),
        ({"userType": "EMPLOYEE"}, PrincipalKind.HUMAN),
        ({"userType": "Service", "externalId": "E1"}, PrincipalKind.SERVICE),
        ({"userType": "shared"}, PrincipalKind.SHARED),
        ({"userType": "Guest"}, PrincipalKind.EXTERNAL),
        ({"userType": "Break-Glass"}, PrincipalKind.BREAK_GLASS),
        ({"userName": "Emergency", "userType": "Employee"}, PrincipalKind.BREAK_GLASS),
    ],
)
def test_the_kind_of_an_account_is_never_guessed(
    vendor: Vendor, collecting: Collecting, attributes: dict[str, Any], kind: PrincipalKind
) -> None:
    """The type decides, then a link to HR; an account with neither is unknown, and unknown is never acted upon."""
    vendor.user("zoe", **({"externalId": None} | attributes))
    assert found(collected(collecting(break_glass_user_names=("emergency",))), "zoe").kind is kind


def test_links_to_hr_are_taken_over(vendor: Vendor, collecting: Collecting) -> None:
    """External id, employee number and owner are facts for correlation, each in its own place."""
    vendor.user("svc", userType="Service", nickName="E7", **{ENTERPRISE_SCHEMA: {"employeeNumber": "E8"}})
    owner = found(collected(collecting(owner_attribute="nickName")), "svc")
    assert (owner.external_ids, owner.employee_ids, owner.owner_hints) == (("E-svc",), ("E8",), ("E7",))


def test_a_nested_group_is_held_indirectly(vendor: Vendor, collecting: Collecting) -> None:
    """The outer group is a grant of its own, not direct, so nobody tries to remove it from the user."""
    vendor.group("all", {"value": "ops", "type": "Group"})
    collector = collecting(admin_groups=("all",))
    inventory = collected(collector)
    grant = next(item for item in inventory.items if item.access_id == "dave/group_membership/all/via/ops")
    assert isinstance(grant, Grant)
    assert (grant.direct, grant.via, grant.holders, grant.privileged) == (False, "ops", None, True)
    assert_same_picture(collector, inventory)


def assert_same_picture(collector: ScimCollector, inventory: ProviderInventory) -> None:
    """Compare every principal's own reading with the listing's."""
    for owner in inventory.principals:
        reading = collector.read_principal(owner)
        assert reading.principal == owner
        listed = [item for item in inventory.items if item.principal_id == owner.principal_id]
        assert [item_evidence(item) for item in reading.items] == [item_evidence(item) for item in listed]
        assert all(reading.state_of(kind) is inventory.state_of(kind) for kind in WANTED)


@pytest.mark.parametrize("filtering", ["right", "ignored", "empty", "refused"])
def test_one_principal_reads_the_same_as_all_whatever_the_filter_does(
    vendor: Vendor, collecting: Collecting, filtering: str
) -> None:
    """A filter that is ignored, refused or answered with nothing never hides a membership."""
    vendor.behaviour.filtering = filtering
    collector = collecting()
    assert_same_picture(collector, collected(collector))


def test_a_proven_filter_saves_reading_all_groups(vendor: Vendor, collecting: Collecting) -> None:
    """Once shown to work, the filter makes the reading of one principal two calls."""
    for number in range(20):
        vendor.group(f"g{number}", "bob")
    collector = collecting(page_size=5)
    owner = found(collected(collector), "carol")
    vendor.requests.clear()
    assert len(collector.read_principal(owner).items) == 2
    assert len(vendor.requests) == 2


def test_a_principal_can_be_read_without_collecting_first(vendor: Vendor, collecting: Collecting) -> None:
    """After a restart nothing is proven about filters, so all groups are read."""
    vendor.behaviour.filtering = "empty"
    owner = found(collected(collecting()), "alice")
    reading = collecting().read_principal(owner)
    assert [item.access_id for item in reading.items] == [
        "alice/account",
        "alice/group_membership/eng",
        "alice/group_membership/ops",
    ]


def test_a_deleted_user_is_positively_absent(vendor: Vendor, collecting: Collecting) -> None:
    """404 of a service that still lists users means gone."""
    collector = collecting()
    owner = found(collected(collector), "alice")
    del vendor.objects["Users"]["alice"]
    reading = collector.read_principal(owner)
    assert reading.principal is None
    assert reading.items == ()
    assert all(reading.state_of(kind) is ReadState.COMPLETE for kind in WANTED)


@pytest.mark.parametrize("fault", ["vanished", "html"])
def test_a_service_that_is_not_there_makes_nobody_absent(vendor: Vendor, collecting: Collecting, fault: str) -> None:
    """A moved tenant or a sign-in page is a failure to look."""
    collector = collecting()
    owner = found(collected(collector), "alice")
    setattr(vendor.behaviour, fault, True)
    with pytest.raises(Unavailable):
        collector.read_principal(owner)


def test_another_user_in_the_answer_is_no_answer(vendor: Vendor, collecting: Collecting) -> None:
    """A reply about somebody else is never taken for the one asked about."""
    collector = collecting()
    owner = found(collected(collector), "alice")
    vendor.objects["Users"]["alice"]["id"] = "bob"
    with pytest.raises(Unavailable, match="another one"):
        collector.read_principal(owner)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(missing_page=3),
        Behaviour(ignore_start_index=True),
        Behaviour(ignore_start_index=True, total_of_page=True),
        Behaviour(total_of_page=True),
        Behaviour(total_lie=1),
        Behaviour(total_lie=-1),
    ],
)
def test_users_that_may_be_missing_make_the_inventory_partial(
    vendor: Vendor, collecting: Collecting, behaviour: Behaviour
) -> None:
    """Whichever way the listing lies, it is not complete, says why, and still brings who was read."""
    vendor.behaviour = behaviour
    inventory = collected(collecting(max_attempts=1))
    assert states(inventory)[:2] == (ReadState.PARTIAL, ReadState.PARTIAL)
    assert not inventory.complete
    assert inventory.errors[0].startswith("Users: ")
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.COMPLETE
    assert found(inventory, "alice").read.whole


def test_a_missing_page_of_groups_leaves_only_the_leaver_whole(vendor: Vendor, collecting: Collecting) -> None:
    """Those of interest are read one by one; the memberships of everybody else stay in doubt."""
    vendor.group("later", "bob")
    vendor.behaviour = Behaviour(broken="Groups", missing_page=3)
    collector = collecting(max_attempts=1)
    vendor.behaviour.page_cap = 2
    inventory = collected(collector, lambda one: one.principal_id == "carol")
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.PARTIAL
    assert found(inventory, "carol").read.whole
    assert found(inventory, "bob").read.partial == (ArtefactKind.GROUP_MEMBERSHIP,)
    assert [item.access_id for item in inventory.items if item.principal_id == "carol"] == [
        "carol/account",
        "carol/group_membership/eng",
    ]


def test_a_missing_page_without_a_filter_is_not_asked_for_again(vendor: Vendor, collecting: Collecting) -> None:
    """Where only the broken listing could tell, nobody is whole and no call is wasted."""
    vendor.group("later", "bob")
    vendor.behaviour = Behaviour(broken="Groups", missing_page=3, filtering="refused")
    inventory = collected(collecting(max_attempts=1), lambda _: True)
    assert not any(one.read.whole for one in inventory.principals)
    assert not any(target.startswith("/scim/v2/Users/") for _, target in vendor.requests)


def test_a_leaver_who_cannot_be_read_live_is_not_whole(vendor: Vendor, collecting: Collecting) -> None:
    """The failure is told, and the listing's picture is kept but not trusted."""
    vendor.behaviour = Behaviour(total_lie=1, forbidden_user="alice")
    inventory = collected(collecting(), lambda _: True)
    assert not found(inventory, "alice").read.whole
    assert found(inventory, "bob").read.whole
    assert any("Users/alice" in line for line in inventory.errors)


def test_refused_groups_are_a_gap_and_not_a_doubt(vendor: Vendor, collecting: Collecting) -> None:
    """403 on groups is named; what is known of accounts may still be acted upon."""
    vendor.behaviour.forbid_groups = True
    inventory = collected(collecting())
    assert states(inventory) == (ReadState.COMPLETE, ReadState.COMPLETE, ReadState.DENIED)
    assert found(inventory, "alice").read.whole
    assert found(inventory, "alice").read.gaps == (ArtefactKind.GROUP_MEMBERSHIP,)
    assert not inventory.complete


def test_withheld_members_are_unsupported_and_not_nobody(vendor: Vendor, collecting: Collecting) -> None:
    """A vendor that never shows members does not make everybody a member of nothing."""
    vendor.behaviour.hide_members = True
    inventory = collected(collecting())
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.UNSUPPORTED
    assert not inventory.complete


def test_the_last_membership_of_all_may_go(vendor: Vendor, collecting: Collecting) -> None:
    """A service that has shown members before is believed when no group has any left."""
    collector = collecting()
    owner = found(collected(collector), "alice")
    for entry in vendor.objects["Groups"].values():
        entry.pop("members")
    collector._filter_proven = False
    assert collector.read_principal(owner).state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.COMPLETE


def test_excluded_kinds_are_not_read(vendor: Vendor, collecting: Collecting) -> None:
    """What the operator leaves out costs no call and is named as a gap."""
    collector = collecting(exclude=(ArtefactKind.GROUP_MEMBERSHIP, ArtefactKind.ACCOUNT))
    inventory = collected(collector)
    assert states(inventory) == (ReadState.COMPLETE, ReadState.EXCLUDED, ReadState.EXCLUDED)
    assert inventory.items == ()
    assert found(inventory, "bob").read.gaps == (ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP)
    assert not any("/Groups" in target for _, target in vendor.requests)
    assert_same_picture(collector, inventory)


def test_throttling_is_waited_out(vendor: Vendor, collecting: Collecting) -> None:
    """A few 429 cost time, not completeness."""
    vendor.behaviour = Behaviour(throttles=2, retry_after="3")
    assert collected(collecting()).complete


def test_endless_throttling_is_partial(vendor: Vendor, collecting: Collecting) -> None:
    """A provider that only throttles leaves nothing known, and says so."""
    vendor.behaviour = Behaviour(throttles=10_000)
    inventory = collected(collecting(max_attempts=2, service_token=False))
    assert states(inventory) == (ReadState.PARTIAL, ReadState.PARTIAL, ReadState.PARTIAL)
    assert not inventory.identity_known
    with pytest.raises(Throttled):
        collecting(max_attempts=1).read_principal(principal("alice"))


def test_a_bad_token_is_denied_everywhere(vendor: Vendor, collecting: Collecting, tmp_path: Path) -> None:
    """A refused identity reads nothing and never shows the token."""
    token_file = tmp_path / "wrong"
    token_file.write_text("wrong-canary")
    collector = collecting(token_file=token_file)
    inventory = collected(collector)
    assert set(states(inventory)) == {ReadState.DENIED}
    assert "wrong-canary" not in str(inventory)
    with pytest.raises(Denied):
        collector.read_principal(principal("alice"))


def test_a_wrong_path_is_misconfigured(vendor: Vendor, collecting: Collecting) -> None:
    """Where no SCIM service is, nothing is inventoried at all."""
    with pytest.raises(Misconfigured, match="no SCIM service"):
        collected(collecting(url=f"{vendor.url}/other"))


def test_our_own_account_is_known_by_me(vendor: Vendor, collecting: Collecting) -> None:
    """A service that answers /Me tells who we are."""
    vendor.behaviour.me = "dave"
    inventory = collected(collecting(service_token=False))
    assert (inventory.own_principals, inventory.identity_known) == ((PrincipalId("dave"),), True)


def test_an_unreadable_me_is_told_and_proves_nothing(vendor: Vendor, collecting: Collecting) -> None:
    """An answer without an id leaves our identity unknown, with a line that says why."""
    vendor.user("odd")
    vendor.objects["Users"]["odd"]["id"] = ""
    vendor.behaviour.me = "odd"
    inventory = collected(collecting(service_token=False))
    assert not inventory.identity_known
    assert "Me: an entry has no usable id" in inventory.errors


def test_a_redirected_me_is_not_followed_and_stops_nothing(vendor: Vendor, collecting: Collecting) -> None:
    """RFC 7644 lets /Me redirect to the user: then the settings have to tell, and the inventory goes on."""
    vendor.behaviour.redirect_me = True
    inventory = collected(collecting(service_token=False))
    assert inventory.complete
    assert not inventory.identity_known
    assert "Me: GET Me was refused with HTTP 308: redirects are never followed" in inventory.errors


def test_an_answer_that_is_no_user_is_unavailable(vendor: Vendor, collecting: Collecting) -> None:
    """A user without an id is neither there nor gone."""
    vendor.objects["Users"]["alice"]["id"] = None
    with pytest.raises(Unavailable, match="something else"):
        collecting().read_principal(principal("alice"))


def test_without_a_token_nothing_is_inventoried(collecting: Collecting, tmp_path: Path) -> None:
    """A missing token file hits the whole instance and is raised."""
    with pytest.raises(Misconfigured, match="token file"):
        collected(collecting(token_file=tmp_path / "missing"))


def test_without_me_our_identity_is_unknown_by_default(collecting: Collecting) -> None:
    """Silence about who we are is never taken for `none of these`."""
    inventory = collected(collecting(service_token=False))
    assert (inventory.own_principals, inventory.identity_known) == ((), False)
    assert inventory.complete


def test_named_own_accounts_must_exist(vendor: Vendor, collecting: Collecting) -> None:
    """A name that is found protects that account; one that is not leaves our identity unknown."""
    names = ("BOB@example.com",)
    assert collected(collecting(service_token=False, own_user_names=names)).own_principals == (PrincipalId("bob"),)
    assert collected(collecting(service_token=False, own_user_names=names)).identity_known
    missing = collected(collecting(own_user_names=(*names, "nobody@example.com")))
    assert (missing.own_principals, missing.identity_known) == ((PrincipalId("bob"),), False)
    assert "nobody" not in str(missing.errors)


def test_settings_refuse_unknown_keys(tmp_path: Path) -> None:
    """A mistyped safety setting does not pass unnoticed."""
    with pytest.raises(ValidationError, match="sevice_token"):
        Settings.model_validate({"url": "https://x.example", "token_file": tmp_path, "sevice_token": True})


def test_every_setting_is_described() -> None:
    """An operator can read what each key means."""
    assert all(field.description for field in Settings.model_fields.values())


def test_the_registry_offers_scim() -> None:
    """A configuration may name the type, and gets this provider."""
    assert "scim" in provider_types()
    assert load_provider("scim").settings is Settings
