"""The SCIM collector: the whole picture in two listings, and the same picture of each principal by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inventory.documents.scim import ENTERPRISE_SCHEMA
from inventory.errors import Unavailable
from inventory.model import (
    ArtefactKind,
    Credential,
    Extent,
    Grant,
    PrincipalKind,
    ReadState,
)
from inventory.providers.scim import Settings
from inventory.registry import load_provider, provider_types
from tests.fakes.scim_vendor import Vendor
from tests.scim_reading import WANTED, Collecting, assert_same_picture, collected, collecting_from, found, seed


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """Give a running vendor with four users in two groups."""
    with Vendor() as running:
        yield seed(running)


@pytest.fixture
def collecting(vendor: Vendor, tmp_path: Path) -> Collecting:
    """Give a maker of collectors of that vendor."""
    return collecting_from(vendor, tmp_path)


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
