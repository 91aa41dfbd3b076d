"""A recorded snapshot of the small company, for tests of what is compared on one."""

from dataclasses import replace

from inventory.model import AccessId, ArtefactKind, Session
from inventory.roster.model import WorkerId
from reconciler.core.guard import Limits
from reconciler.core.memory import Memory, person_name
from reconciler.core.model import Effect, Mode, Waiver
from reconciler.core.withholding import Protection, Reach
from reconciler.policies.recording import Recording
from tests.builders import NOW, PROVIDER, SCOPE, credential, principal
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
