"""What the last whole pass knew: who is looked at again, and what a picture says that was read in two goes."""

from dataclasses import replace

import pytest

from inventory.model import (
    ArtefactKind,
    Coverage,
    PrincipalReading,
    ProviderInventory,
    ReadState,
    ScopeId,
    Snapshot,
)
from inventory.roster.model import WorkerId
from reconciler.core.correlation import CorrelationSettings, correlate, index_roster
from reconciler.core.standing import PrincipalKey, Standing, standing_of, with_readings
from tests.builders import PROVIDER, credential, inventory, leaver, principal, roster, snapshot

LEA = principal("lea", employee_ids=("L1",))
KEY: PrincipalKey = (PROVIDER, LEA.principal_id)
KINDS = (ArtefactKind.PRINCIPAL, ArtefactKind.ACCESS_KEY, ArtefactKind.SSH_KEY)
PEOPLE = roster(leaver("L1"))


def whole(**states: ReadState) -> tuple[Coverage, ...]:
    """Cover every kind, but for what is named."""
    return tuple(Coverage(kind=kind, state=states.get(kind.value, ReadState.COMPLETE)) for kind in KINDS)


def seen() -> Snapshot:
    """See the leaver with a key, everything read to its end."""
    return snapshot(replace(inventory((LEA,), (credential("lea"),)), coverage=whole()))


def reading(**states: ReadState) -> PrincipalReading:
    """Read the leaver again, with nothing left."""
    return PrincipalReading(principal=LEA, items=(), coverage=whole(**states))


def standing(of: Snapshot) -> Standing:
    """Lay a snapshot out."""
    correlations = correlate(of.principals(), of.items(), index_roster(PEOPLE, CorrelationSettings()))
    return standing_of(of, correlations, (), 1)


def only(found: Snapshot) -> ProviderInventory:
    """Return the one inventory."""
    (one,) = found.inventories
    return one


def test_what_was_read_again_to_its_end_stays_covered() -> None:
    """A whole reading takes the place of the earlier one, and the scope is as complete as it was."""
    found = only(with_readings(seen(), {KEY: reading()}))
    assert found.complete
    assert found.items == ()


@pytest.mark.parametrize("state", [ReadState.PARTIAL, ReadState.DENIED, ReadState.UNSUPPORTED])
def test_a_kind_that_could_not_be_read_again_is_no_longer_covered(state: ReadState) -> None:
    """Items that a refused kind does not show are not gone: the scope that they were in is not complete any more."""
    found = only(with_readings(seen(), {KEY: reading(access_key=state)}))
    assert not found.complete
    assert found.state_of(ArtefactKind.ACCESS_KEY) is state
    assert found.state_of(ArtefactKind.SSH_KEY) is ReadState.COMPLETE


def test_a_principal_that_could_not_be_read_again_keeps_its_items_and_the_scope_open() -> None:
    """No answer leaves everything standing, marked as not read, and the scope is not complete."""
    found = only(with_readings(seen(), {KEY: None}))
    assert [item.access_id for item in found.items] == ["lea/access_key/1"]
    assert not found.principals[0].read.live
    assert not found.complete


def test_an_earlier_gap_is_not_painted_over() -> None:
    """What was not covered before stays as it was, whatever a later reading says."""
    before = snapshot(replace(only(seen()), coverage=whole(ssh_key=ReadState.DENIED)))
    found = only(with_readings(before, {KEY: reading(ssh_key=ReadState.PARTIAL)}))
    assert found.state_of(ArtefactKind.SSH_KEY) is ReadState.DENIED


def test_a_principal_listed_twice_is_left_to_whole_passes() -> None:
    """Of one id in two scopes nobody knows which an act would meet, so it is nobody's to be looked at alone."""
    first = only(seen())
    second = replace(first, scope=ScopeId("other"), principals=(replace(LEA, scope=ScopeId("other")),), items=())
    assert standing(seen()).of((leaver("L1"),)) == (KEY,)
    assert standing(snapshot(first, second)).of((leaver("L1"),)) == ()
    assert standing(seen()).by_worker.keys() == {WorkerId("L1")}
