"""The SCIM collector in doubt: nothing incomplete passes as whole, and nobody is ours or gone by guess."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory.errors import Denied, Misconfigured, Throttled, Unavailable
from inventory.model import (
    ArtefactKind,
    PrincipalId,
    ReadState,
)
from tests.builders import principal
from tests.fakes.scim_vendor import Behaviour, Vendor
from tests.scim_reading import Collecting, assert_same_picture, collected, collecting_from, found, seed, states


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """Give a running vendor with four users in two groups."""
    with Vendor() as running:
        yield seed(running)


@pytest.fixture
def collecting(vendor: Vendor, tmp_path: Path) -> Collecting:
    """Give a maker of collectors of that vendor."""
    return collecting_from(vendor, tmp_path)


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
        collecting(max_attempts=1).read_principal(principal("alice", scope="127.0.0.1"))


def test_a_bad_token_is_denied_everywhere(vendor: Vendor, collecting: Collecting, tmp_path: Path) -> None:
    """A refused identity reads nothing and never shows the token."""
    token_file = tmp_path / "wrong"
    token_file.write_text("wrong-canary")
    collector = collecting(token_file=token_file)
    inventory = collected(collector)
    assert set(states(inventory)) == {ReadState.DENIED}
    assert "wrong-canary" not in str(inventory)
    with pytest.raises(Denied):
        collector.read_principal(principal("alice", scope="127.0.0.1"))


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
        collecting().read_principal(principal("alice", scope="127.0.0.1"))


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
