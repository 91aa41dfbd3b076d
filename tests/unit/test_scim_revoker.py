"""The SCIM revoker: exactly the item, exactly once, against the version just read, and a way back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inventory.errors import Denied, Misconfigured, ObjectChanged, ObjectMissing, Unavailable, Unsupported
from inventory.http import ReadingClient
from inventory.model import AccessItem, ArtefactKind, Credential, Grant, Principal, ProviderName
from inventory.providers.scim import ScimCollector
from inventory.providers.scim import Settings as ReaderSettings
from reconciler.core.model import Action, Effect, OutcomeState
from reconciler.revokers.rest import ReplyLost, RestClient
from reconciler.revokers.scim import REVOKER, ScimRevoker, Settings
from tests.builders import action
from tests.fakes.clock import FakeClock
from tests.fakes.scim_vendor import TOKEN, Vendor

ACCOUNT, MEMBERSHIP = "alice/account", "alice/group_membership/eng"


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """Give a running vendor with two users in one group."""
    with Vendor() as running:
        running.user("alice")
        running.user("bob")
        running.group("eng", "alice", "bob")
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Give the vendor's token."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture
def revoker(vendor: Vendor, token_file: Path) -> ScimRevoker:
    """Give a revoker of that vendor."""
    settings = Settings(url=vendor.url, token_file=token_file)
    return ScimRevoker(ProviderName("corp-scim"), settings, FakeClock())


@pytest.fixture
def collector(vendor: Vendor, token_file: Path) -> ScimCollector:
    """Give a collector of that vendor."""
    settings = ReaderSettings(url=vendor.url, token_file=token_file)
    return ScimCollector(ProviderName("corp-scim"), settings, FakeClock(), ReadingClient(settings, FakeClock()))


@pytest.fixture
def planned(collector: ScimCollector) -> Callable[..., Action]:
    """Give a maker of actions on what was collected."""
    (inventory,) = collector.collect(lambda _: False)

    def make(access_id: str, effect: Effect = Effect.REVOKE, **changes: Any) -> Action:
        item: AccessItem = next(one for one in inventory.items if one.access_id == access_id)
        owner: Principal = next(one for one in inventory.principals if one.principal_id == item.principal_id)
        return action(owner, replace(item, **changes), effect)

    return make


def writes(vendor: Vendor) -> list[tuple[str, str]]:
    """Return the writes that the vendor has seen."""
    return [request for request in vendor.requests if request[0] != "GET"]


def active(vendor: Vendor, name: str) -> object:
    """Return what the vendor holds as `active` of a user."""
    return vendor.objects["Users"][name]["active"]


def test_quarantine_suspends_and_undo_gives_back(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """Only `active` changes, in one write each way, against the version just read."""
    step = planned(ACCOUNT, Effect.QUARANTINE)
    before = revoker.before_image(step)
    assert revoker.quarantine(step).outcome is OutcomeState.DONE
    assert active(vendor, "alice") is False
    assert vendor.headers[-1]["if-match"] == 'W/"1"'
    assert active(vendor, "bob") is True
    assert revoker.quarantine(step).outcome is OutcomeState.ALREADY_ABSENT
    assert revoker.undo(step, before).outcome is OutcomeState.DONE
    assert active(vendor, "alice") is True
    assert revoker.undo(step, before).outcome is OutcomeState.ALREADY_ABSENT
    assert len(writes(vendor)) == 2


@pytest.mark.parametrize("former", [True, False, None])
def test_undo_restores_exactly_what_was(
    vendor: Vendor,
    revoker: ScimRevoker,
    planned: Callable[..., Action],
    former: bool | None,  # noqa: FBT001 - the case
) -> None:
    """An attribute that was not there is taken away again, and one that was false stays so."""
    step = planned(ACCOUNT, Effect.QUARANTINE)
    alice = vendor.objects["Users"]["alice"]
    alice.pop("active")
    if former is not None:
        alice["active"] = former
    before = revoker.before_image(step)
    revoker.quarantine(step)
    revoker.undo(step, before)
    assert alice.get("active") is former
    assert ("active" in alice) == (former is not None)


def test_a_before_image_is_small_and_says_whether_there_is_a_way_back(
    revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """It holds what undo needs and nothing about the person; a deletion has no way back."""
    quarantine = revoker.before_image(planned(ACCOUNT, Effect.QUARANTINE))
    assert (json.loads(quarantine.document), quarantine.restorable) == ({"kind": "account", "active": True}, True)
    deletion = revoker.before_image(planned(ACCOUNT))
    assert not deletion.restorable
    with pytest.raises(Unsupported, match="cannot be given back"):
        revoker.undo(planned(ACCOUNT), deletion)


def test_a_membership_is_removed_by_its_path_and_given_back(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """Nobody else's place in the group is written, neither when it goes nor when it comes back."""
    step = planned(MEMBERSHIP)
    before = revoker.before_image(step)
    assert revoker.revoke(step).outcome is OutcomeState.DONE
    assert [one["value"] for one in vendor.objects["Groups"]["eng"]["members"]] == ["bob"]
    assert revoker.revoke(step).outcome is OutcomeState.ALREADY_ABSENT
    assert len(writes(vendor)) == 1
    assert revoker.undo(step, before).outcome is OutcomeState.DONE
    assert [one["value"] for one in vendor.objects["Groups"]["eng"]["members"]] == ["bob", "alice"]
    assert revoker.undo(step, before).outcome is OutcomeState.ALREADY_ABSENT


def test_a_hostile_id_hits_nobody_else(vendor: Vendor, revoker: ScimRevoker, collector: ScimCollector) -> None:
    """An id made to widen the filter removes the member of that very id."""
    evil = 'x" or value sw "'
    vendor.user(evil)
    vendor.group("ops", evil, "alice", "bob")
    (inventory,) = collector.collect(lambda _: False)
    owner = next(one for one in inventory.principals if one.principal_id == evil)
    item = next(one for one in inventory.items if isinstance(one, Grant) and one.principal_id == evil)
    assert revoker.revoke(action(owner, item)).outcome is OutcomeState.DONE
    assert [one["value"] for one in vendor.objects["Groups"]["ops"]["members"]] == ["alice", "bob"]


def test_an_account_is_deleted_once(vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]) -> None:
    """A repeat finds nothing and says so, and so do the acts on what is gone."""
    step = planned(ACCOUNT)
    assert revoker.revoke(step).outcome is OutcomeState.DONE
    assert set(vendor.objects["Users"]) == {"bob"}
    assert revoker.revoke(step).outcome is OutcomeState.ALREADY_ABSENT
    suspended = planned(ACCOUNT, Effect.QUARANTINE)
    assert revoker.quarantine(suspended).outcome is OutcomeState.ALREADY_ABSENT
    assert not revoker.before_image(suspended).restorable
    assert len(writes(vendor)) == 1


def test_a_deleted_group_is_absent(vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]) -> None:
    """Without the group there is no membership left, and nothing to give back."""
    step = planned(MEMBERSHIP)
    vendor.objects["Groups"].clear()
    before = revoker.before_image(step)
    assert revoker.revoke(step).outcome is OutcomeState.ALREADY_ABSENT
    assert not before.restorable


@pytest.mark.parametrize(
    ("access_id", "effect"), [(ACCOUNT, Effect.QUARANTINE), (ACCOUNT, Effect.REVOKE), (MEMBERSHIP, Effect.REVOKE)]
)
def test_a_change_between_read_and_write_stops_the_act(
    vendor: Vendor,
    revoker: ScimRevoker,
    planned: Callable[..., Action],
    access_id: str,
    effect: Effect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider compares versions, so somebody else's change is never overwritten."""
    step = planned(access_id, effect)
    get = RestClient.get

    def get_then_somebody_changes(client: RestClient, path: str) -> Any:
        answer = get(client, path)
        for kind in ("Users", "Groups"):
            for entry in vendor.objects[kind].values():
                vendor._touch(entry)
        return answer

    monkeypatch.setattr(RestClient, "get", get_then_somebody_changes)
    with pytest.raises(ObjectChanged):
        (revoker.quarantine if effect is Effect.QUARANTINE else revoker.revoke)(step)
    assert active(vendor, "alice") is True
    assert len(vendor.objects["Groups"]["eng"]["members"]) == 2


@pytest.mark.parametrize(
    ("access_id", "effect", "versioned"),
    [
        (ACCOUNT, Effect.QUARANTINE, True),
        (MEMBERSHIP, Effect.REVOKE, True),
        (ACCOUNT, Effect.QUARANTINE, False),
        (MEMBERSHIP, Effect.REVOKE, False),
    ],
)
def test_a_look_just_taken_serves_the_act_where_versions_are_compared(
    vendor: Vendor,
    revoker: ScimRevoker,
    planned: Callable[..., Action],
    access_id: str,
    effect: Effect,
    *,
    versioned: bool,
) -> None:
    """No second reading before the write, unless the service has no versions to tie the write to what was seen."""
    step = planned(access_id, effect)
    vendor.behaviour.unversioned = not versioned
    revoker.before_image(step)
    looked = len(vendor.requests)
    assert (revoker.quarantine if effect is Effect.QUARANTINE else revoker.revoke)(step).outcome is OutcomeState.DONE
    methods = [method for method, _ in vendor.requests[looked:]]
    assert methods == (["PATCH"] if versioned else ["GET", "PATCH"])


def test_a_change_since_the_look_stops_the_act(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """A write tied to the version that the before-image showed overwrites nothing that came in between."""
    step = planned(MEMBERSHIP)
    revoker.before_image(step)
    vendor._touch(vendor.objects["Groups"]["eng"])
    with pytest.raises(ObjectChanged):
        revoker.revoke(step)
    assert len(vendor.objects["Groups"]["eng"]["members"]) == 2


def test_a_member_that_became_the_last_one_stays(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """An empty group is a decision for people, also when it only becomes one after planning."""
    step = planned(MEMBERSHIP)
    vendor.objects["Groups"]["eng"]["members"] = [{"value": "alice"}]
    with pytest.raises(ObjectChanged, match="last member"):
        revoker.revoke(step)
    assert writes(vendor) == []


def test_only_direct_memberships_can_be_removed(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """What is held through another group is refused before anything is asked."""
    step = planned(MEMBERSHIP, direct=False)
    vendor.requests.clear()
    with pytest.raises(Unsupported, match="through another group"):
        revoker.revoke(step)
    assert vendor.requests == []


def test_what_scim_cannot_do_is_refused(revoker: ScimRevoker, planned: Callable[..., Action]) -> None:
    """A membership cannot be suspended, and a foreign kind cannot be removed."""
    with pytest.raises(Unsupported, match="suspend"):
        revoker.quarantine(planned(MEMBERSHIP, Effect.QUARANTINE))
    with pytest.raises(Unsupported, match="remove"):
        revoker.revoke(planned(MEMBERSHIP, kind=ArtefactKind.ATTACHED_POLICY))


def test_an_item_without_an_address_is_refused(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """An id is never parsed out of an access id: without its parts nothing is asked."""
    step = planned(MEMBERSHIP, address=(("user_id", "alice"),))
    vendor.requests.clear()
    with pytest.raises(Misconfigured, match="no group_id"):
        revoker.revoke(step)
    assert vendor.requests == []


def test_an_ignored_suspension_is_seen_by_reading_again(
    vendor: Vendor, revoker: ScimRevoker, collector: ScimCollector, planned: Callable[..., Action]
) -> None:
    """The vendor says 204 and does nothing: the receipt says done, the reading says still there."""
    vendor.behaviour.ignore_active = True
    step = planned(ACCOUNT, Effect.QUARANTINE)
    assert revoker.quarantine(step).outcome is OutcomeState.DONE
    item = collector.read_principal(step.principal).item(step.item.access_id)
    assert isinstance(item, Credential)
    assert item.enabled is True


def test_a_lost_reply_is_unknown_and_reading_again_tells(
    vendor: Vendor, revoker: ScimRevoker, collector: ScimCollector, planned: Callable[..., Action]
) -> None:
    """The write happened once though nobody heard of it; a repeat finds it done."""
    vendor.behaviour.lose_replies = 1
    step = planned(ACCOUNT, Effect.QUARANTINE)
    with pytest.raises(ReplyLost):
        revoker.quarantine(step)
    assert len(writes(vendor)) == 1
    item = collector.read_principal(step.principal).item(step.item.access_id)
    assert isinstance(item, Credential)
    assert item.enabled is False
    assert revoker.quarantine(step).outcome is OutcomeState.ALREADY_ABSENT


def test_an_answer_about_somebody_else_stops_the_act(
    vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]
) -> None:
    """Nothing is written when the object read is not the object asked for, or is none."""
    steps = (planned(ACCOUNT), planned(MEMBERSHIP))
    for identifier in ("other", ""):
        vendor.objects["Users"]["alice"]["id"] = identifier
        vendor.objects["Groups"]["eng"]["id"] = identifier
        for step in steps:
            with pytest.raises(Unavailable):
                revoker.revoke(step)
    assert writes(vendor) == []


def test_refusals_are_raised(vendor: Vendor, revoker: ScimRevoker, planned: Callable[..., Action]) -> None:
    """A missing right is not an absence, and an undo of what is gone for good fails."""
    step = planned(MEMBERSHIP)
    before = revoker.before_image(step)
    vendor.behaviour.forbid_groups = True
    with pytest.raises(Denied):
        revoker.revoke(step)
    vendor.behaviour.forbid_groups = False
    vendor.objects["Groups"].clear()
    with pytest.raises(ObjectMissing):
        revoker.undo(step, before)


def test_every_capability_is_declared_with_its_permissions() -> None:
    """The planner knows what can be taken away, and the operator what that needs."""
    assert REVOKER.name == "scim"
    assert REVOKER.capabilities.account_contains
    assert {name for name, _ in REVOKER.capabilities.effects} == {ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP}
    assert {permission.name for permission in REVOKER.capabilities.revoke_permissions} >= {
        "PATCH /Users",
        "PATCH /Groups",
        "DELETE /Users",
    }
