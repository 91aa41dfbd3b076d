"""A recorded snapshot of the small company, for tests of what is compared on one, and a comparison."""

from dataclasses import replace
from typing import Any

from inventory.model import AccessId, ArtefactKind, Session
from inventory.roster.model import WorkerId
from reconciler.core.guard import Limits
from reconciler.core.memory import Memory, person_name
from reconciler.core.model import CycleId, Effect, EngineInfo, Evaluation, Finding, Mode, Waiver
from reconciler.core.record import ChangeState, PolicyChange
from reconciler.core.withholding import Protection, Reach
from reconciler.policies.deciding import weighed
from reconciler.policies.difference import compare
from reconciler.policies.difference_document import difference_document
from reconciler.policies.recording import Recording
from tests.builders import NOW, PROVIDER, SCOPE, action, credential, finding, principal
from tests.fakes.world import plan_of
from tests.record_builders import policy_set
from tests.worlds import company

EVERYTHING = frozenset((kind, effect) for kind in ArtefactKind for effect in (Effect.QUARANTINE, Effect.REVOKE))


def recording() -> Recording:
    """Record the small company, with a session, a waiver, a protected person and one who was somebody else before."""
    world = company()
    (inventory,) = world.snapshot.inventories
    session = Session(
        provider=PROVIDER,
        scope=SCOPE,
        principal_id=principal("bob").principal_id,
        access_id=AccessId("bob/s"),
        address=(),
    )
    items = (*inventory.items, session, replace(credential("bob", access_id="bob/ssh"), fingerprint="SHA256:abc"))
    snapshot = replace(world.snapshot, inventories=(replace(inventory, items=items, identity_known=True),))
    return Recording(
        now=NOW,
        pseudonymised=False,
        snapshot=snapshot,
        roster=world.roster,
        correlations=world.correlations,
        memory=Memory(
            keys=frozenset({("SHA256:abc", WorkerId("E1001"))}),
            persons=frozenset({(person_name(principal("ghost")), WorkerId("E1001")), ("gone", WorkerId("E1002"))}),
        ),
        waivers=(
            Waiver(
                waiver_id="W1",
                rule="orphan",
                provider=PROVIDER,
                principal_id=principal("ghost").principal_id,
                reason="Ghost Smith keeps it.",
                owner="payments",
                approved_by="ciso",
                expires_at=NOW.replace(year=2027),
            ),
        ),
        reach={PROVIDER: Reach(provider_type="aws_iam", effects=EVERYTHING, account_contains=False, mode=Mode.ENFORCE)},
        protection=Protection(principals=frozenset({(PROVIDER, "ALICE")})),
        limits=Limits(),
        touched=(),
    )


def change(**values: Any) -> PolicyChange:
    """Build what a revision changes by which one key of Bob is newly found and lost."""
    before, after = policy_set(), policy_set(digest="sha256:" + "c" * 64)
    key = credential("bob")
    lost = finding(key, "E1002", rule="old_key", reason="older than a year")
    taken = replace(action(principal("bob"), key), worker_id=WorkerId("E1002"), rule="old_key")
    sides = (
        weighed(recording(), before, _evaluation(), plan_of()),
        weighed(recording(), after, _evaluation(lost), plan_of(taken)),
    )
    known: dict[str, Any] = {
        "state": ChangeState.COMPARED,
        "before": before.digest,
        "after": after.digest,
        "cycle_id": CycleId("c1"),
        "at": NOW,
        "difference": difference_document(compare(recording(), *sides)),
    }
    return PolicyChange(**(known | values))


def _evaluation(*findings: Finding) -> Evaluation:
    engine = EngineInfo(name="opa", version="1", revision="sha256:" + "0" * 64)
    return Evaluation(engine=engine, findings=findings, evaluated=1, unknown=(), problems=())
