"""Whom a revoker signs in as is never acted upon, on real servers, without anybody having named it in the settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory.model import ArtefactKind, Principal, ProviderInventory, ProviderName
from inventory.providers.aws_iam import PROVIDER as AWS
from inventory.roster.model import WorkerId
from reconciler.core.model import Correlation, CorrelationState, CycleId, Effect, Mode, Plan
from reconciler.core.planning import make_plan
from reconciler.core.withholding import PlanningWorld, Reach, claim_own
from reconciler.demo import moto_server, slapd
from reconciler.revokers.aws_iam import REVOKER as AWS_REVOKER
from tests import builders, peers
from tests.fakes.aws_world import KEYS, AwsWorld, reset
from tests.fakes.clock import FakeClock
from tests.ldap_company import ALICE, BOB, PASSWORD, Company, company, principal_of

AWS_NAME = ProviderName("corp-aws")


@pytest.fixture
def aws_url(tmp_path: Path) -> Iterator[str]:
    """Run moto's server with an empty account."""
    peers.require("moto_server")
    with moto_server.start(tmp_path, managed_policies=False) as running:
        reset(running.url)
        yield running.url


def plan_against(inventory: ProviderInventory, victim: Principal, names: tuple[str, ...]) -> Plan:
    """Plan as though the victim were a leaver and everything they hold were to be revoked."""
    items = [item for item in inventory.items if item.principal_id == victim.principal_id]
    assert items
    effects = frozenset((item.kind, effect) for item in items for effect in (Effect.QUARANTINE, Effect.REVOKE))
    reach = Reach(provider_type=inventory.provider_type, effects=effects, account_contains=True, mode=Mode.ENFORCE)
    match = Correlation(
        provider=victim.provider,
        principal_id=victim.principal_id,
        state=CorrelationState.MATCHED,
        worker_id=WorkerId("E1001"),
        rule="employee_id",
        confidence=100,
        identity=True,
    )
    return make_plan(
        PlanningWorld(
            cycle_id=CycleId("c1"),
            now=builders.NOW,
            planned_at=builders.NOW,
            snapshot=claim_own(builders.snapshot(inventory), frozenset((inventory.provider, name) for name in names)),
            correlations=(match,),
            findings=tuple(builders.finding(item) for item in items),
            reach={inventory.provider: reach},
            policy_digest="sha256:p",
            roster_digest="sha256:r",
        )
    )


def assert_spared(inventory: ProviderInventory, victim: Principal, names: tuple[str, ...]) -> None:
    """Without the names something would be taken; with them every finding is withheld as our own."""
    assert plan_against(inventory, victim, ()).actions
    plan = plan_against(inventory, victim, names)
    assert plan.actions == ()
    assert {one.code for one in plan.withheld} == {"own_principal"}


def test_the_user_whose_key_the_aws_revoker_uses_is_spared(aws_url: str, tmp_path: Path) -> None:
    """STS tells the unique id of the revoker's user, and the reader, who was told nothing, lists that very user."""
    world = AwsWorld(aws_url)
    mara, other = world.full_user("mara", "E1"), world.user("omar", employee_id="E2")
    key = world.iam.create_access_key(UserName="mara")["AccessKey"]
    secret, root = tmp_path / "revoker", tmp_path / "reader"
    secret.write_text(key["SecretAccessKey"])
    root.write_text("testing")
    writer = AWS_REVOKER.settings(endpoint_url=aws_url, access_key_id=key["AccessKeyId"], secret_access_key_file=secret)
    revoker = AWS_REVOKER.build(AWS_NAME, writer, FakeClock())
    reader = AWS.settings(
        endpoint_url=aws_url,
        access_key_id=KEYS["aws_access_key_id"],
        secret_access_key_file=root,
        exclude=(ArtefactKind.SERVICE_CREDENTIAL,),  # moto has none
    )
    collector = AWS.build(AWS_NAME, reader, FakeClock())
    try:
        names = revoker.identity()
        (inventory,) = collector.collect(lambda _: True)
    finally:
        revoker.close()
        collector.close()
    people = {str(one.principal_id): one for one in inventory.principals}
    assert mara["UserId"] not in inventory.own_principals
    assert names == (mara["UserId"],)
    assert_spared(inventory, people[mara["UserId"]], names)
    assert plan_against(inventory, people[other["UserId"]], names).actions


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample directory."""
    with company() as running:
        yield running


@pytest.mark.peer("slapd")
def test_the_entry_that_the_ldap_revoker_binds_as_is_spared(corp: Company, tmp_path: Path) -> None:
    """The server's who-am-I names the entry, also where the revoker may not see it; the reader was told nothing."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    revoker = corp.revoker(bind_dn=ALICE.upper(), password_file=password)
    try:
        names = revoker.identity()
    finally:
        revoker.close()
    inventory = corp.inventory(own_dns=())
    alice, bob = principal_of(inventory, ALICE), principal_of(inventory, BOB)
    assert alice.principal_id not in inventory.own_principals
    assert_spared(inventory, alice, names)
    assert plan_against(inventory, bob, names).actions


@pytest.mark.peer("slapd")
def test_the_ldap_revoker_knows_its_immutable_id(corp: Company) -> None:
    """With the rights that the documentation gives it, the revoker's id is the one that the reader lists."""
    revoker = corp.revoker()
    try:
        names = revoker.identity()
    finally:
        revoker.close()
    listed = principal_of(corp.inventory(own_dns=()), slapd.REVOKER_DN)
    assert listed.principal_id in names
