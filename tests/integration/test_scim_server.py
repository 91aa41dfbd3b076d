"""The SCIM provider on scim2-server, a real SCIM 2.0 service."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from inventory.errors import Denied, ObjectChanged, Unavailable
from inventory.model import Grant, Principal, PrincipalReading, ProviderInventory, ProviderName
from inventory.provider import Collector
from inventory.providers.scim import PROVIDER, Settings
from reconciler.adapters.clock import SystemClock
from reconciler.core.evidence import item_evidence
from reconciler.core.model import Effect, OutcomeState
from reconciler.demo import scim_server
from reconciler.demo.process import RunningServer, ServerFailed
from reconciler.ports import Revoker
from reconciler.revokers.rest import RestClient
from reconciler.revokers.scim import REVOKER
from reconciler.revokers.scim import Settings as RevokerSettings
from tests import peers
from tests.builders import action

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
NAME = ProviderName("corp-scim")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Give a running empty server."""
    peers.require("scim2-server")
    with scim_server.start(tmp_path) as running:
        yield running


@pytest.fixture
def admin(server: RunningServer) -> Iterator[httpx.Client]:
    """Give an administrator's own client, independent of ours."""
    token = Path(server.details["token_file"]).read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    with httpx.Client(base_url=server.url + "/", headers=headers, trust_env=False) as client:
        yield client


def create(admin: httpx.Client, kind: str, schema: str, **values: object) -> str:
    """Create an object and return its id."""
    answer = admin.post(kind, json={"schemas": [schema], **values})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def collector_of(server: RunningServer, **changes: object) -> Collector:
    """Build the collector as a configuration would."""
    values = {"url": server.url, "token_file": server.details["token_file"], "service_token": True}
    return PROVIDER.build(NAME, Settings.model_validate(values | changes), SystemClock())


def revoker_of(server: RunningServer) -> Revoker:
    """Build the revoker as a configuration would."""
    values = {"url": server.url, "token_file": server.details["token_file"]}
    return REVOKER.build(NAME, REVOKER.settings.model_validate(values), SystemClock())


def collected(collector: Collector) -> ProviderInventory:
    """Collect the only scope."""
    (inventory,) = collector.collect(lambda _: True)
    return inventory


def test_the_token_is_private_and_not_on_the_command_line(server: RunningServer) -> None:
    """Another account of the machine can neither read the file nor see the token in the list of processes."""
    token_file = Path(server.details["token_file"])
    token = token_file.read_text().strip()
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert len(token) >= 32
    assert token not in str(server.process.args)
    assert str(token_file) in str(server.process.args)
    assert httpx.get(f"{server.url}/Users", trust_env=False).status_code == 401


def test_a_missing_server_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the demo's extra the error names it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerFailed, match="access-reconciler\\[demo\\]"):
        scim_server.start(tmp_path)


def test_each_start_has_a_token_of_its_own(server: RunningServer, tmp_path: Path) -> None:
    """A token of an earlier run opens nothing."""
    earlier = Path(server.details["token_file"]).read_text()
    server.stop()
    with scim_server.start(tmp_path) as again:
        assert Path(again.details["token_file"]).read_text() != earlier


def test_many_users_are_paged_to_the_end(server: RunningServer, admin: httpx.Client) -> None:
    """130 users in pages of 50 take three calls, and the picture is complete."""
    ids = [
        create(admin, "Users", USER_SCHEMA, userName=f"u{number}@example.com", externalId=f"E{number}", active=True)
        for number in range(130)
    ]
    create(admin, "Groups", GROUP_SCHEMA, displayName="everybody", members=[{"value": one} for one in ids])
    collector = collector_of(server, page_size=50)
    inventory = collected(collector)
    assert inventory.complete
    assert {one.principal_id for one in inventory.principals} == set(ids)
    assert len(inventory.items) == 260
    # three pages of users, one of groups and the proof of its end, the filter's proof and its end, and /Me
    assert inventory.api_calls == 8
    assert {item.holders for item in inventory.items if isinstance(item, Grant)} == {130}


def test_a_nested_group_is_indirect(server: RunningServer, admin: httpx.Client) -> None:
    """What the outer group gives is seen as held through the inner one."""
    user = create(admin, "Users", USER_SCHEMA, userName="ann@example.com", externalId="E1", active=True)
    inner = create(admin, "Groups", GROUP_SCHEMA, displayName="inner", members=[{"value": user, "type": "User"}])
    outer = create(admin, "Groups", GROUP_SCHEMA, displayName="outer", members=[{"value": inner, "type": "Group"}])
    grants = [item for item in collected(collector_of(server)).items if isinstance(item, Grant)]
    assert [(one.role, one.direct, one.via) for one in grants] == [("inner", True, ""), ("outer", False, "inner")]
    assert grants[1].address == (("user_id", user), ("group_id", outer), ("via_group_id", inner))


def test_the_server_refuses_a_stale_write(server: RunningServer, admin: httpx.Client) -> None:
    """The version that we send is compared by the real server, and nothing is changed when it is another one."""
    user = create(admin, "Users", USER_SCHEMA, userName="ann@example.com", externalId="E1", active=True)
    settings = RevokerSettings(url=server.url, token_file=Path(server.details["token_file"]))
    client = RestClient(settings, SystemClock())
    document = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": False}],
    }
    with pytest.raises(ObjectChanged):
        client.write("PATCH", f"Users/{user}", document=document, if_match='W/"bogus"')
    assert admin.get(f"Users/{user}").json()["active"] is True


def test_two_leavers_of_one_group_can_both_go(server: RunningServer, admin: httpx.Client) -> None:
    """The first removal changes the group's version; the second is written against the new one, not the planned one."""
    ids = [
        create(admin, "Users", USER_SCHEMA, userName=f"{name}@example.com", externalId=name, active=True)
        for name in ("ann", "ben", "cat")
    ]
    group = create(admin, "Groups", GROUP_SCHEMA, displayName="g", members=[{"value": one} for one in ids])
    inventory = collected(collector_of(server))
    revoker = revoker_of(server)
    for user in ids[:2]:
        owner: Principal = next(one for one in inventory.principals if one.principal_id == user)
        item = next(one for one in inventory.items if one.principal_id == user and isinstance(one, Grant))
        assert revoker.revoke(action(owner, item, Effect.REVOKE)).outcome is OutcomeState.DONE
    assert [one["value"] for one in admin.get(f"Groups/{group}").json()["members"]] == ids[2:]


def test_undo_gives_back_the_very_same_picture(server: RunningServer, admin: httpx.Client) -> None:
    """An account that never said whether it is active is suspended and given back as it was, and so is a membership."""
    ids = [
        create(admin, "Users", USER_SCHEMA, userName=f"{name}@example.com", externalId=name) for name in ("ann", "ben")
    ]
    create(admin, "Groups", GROUP_SCHEMA, displayName="g", members=[{"value": one} for one in ids])
    collector, revoker = collector_of(server), revoker_of(server)
    owner = next(one for one in collected(collector).principals if one.principal_id == ids[0])
    before = collector.read_principal(owner)
    for item, act, effect in (
        (before.items[0], revoker.quarantine, Effect.QUARANTINE),
        (before.items[1], revoker.revoke, Effect.REVOKE),
    ):
        step = action(owner, item, effect)
        image = revoker.before_image(step)
        assert act(step).outcome is OutcomeState.DONE
        assert evidence(collector.read_principal(owner)) != evidence(before)
        assert revoker.undo(step, image).outcome is OutcomeState.DONE
        assert evidence(collector.read_principal(owner)) == evidence(before)
    assert "active" not in admin.get(f"Users/{ids[0]}").json()


def evidence(reading: PrincipalReading) -> list[str]:
    """Return the evidence of every item."""
    return [item_evidence(item) for item in reading.items]


def test_a_stopped_server_is_unavailable_and_a_wrong_token_denied(
    server: RunningServer, admin: httpx.Client, tmp_path: Path
) -> None:
    """Neither looks like an absent user."""
    create(admin, "Users", USER_SCHEMA, userName="ann@example.com", externalId="E1", active=True)
    (owner,) = collected(collector_of(server)).principals
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    with pytest.raises(Denied):
        collector_of(server, token_file=wrong).read_principal(owner)
    server.stop()
    with pytest.raises(Unavailable, match="no answer"):
        collector_of(server, max_attempts=1).read_principal(owner)
