"""Principals that say something else of themselves than they did."""

from typing import Any

import pytest

from inventory.model import PrincipalKind
from inventory.roster.model import WorkerId
from reconciler.core.drift import drifted
from reconciler.core.memory import Memory, as_text, from_text, seen
from reconciler.core.model import Correlation
from tests import builders
from tests.worlds import correlation

PLACE = (builders.PROVIDER, "ann")
E1, E2 = builders.worker("E1"), builders.worker("E2")


def remembered(**changes: Any) -> Memory:
    """Remember ann as E1, through the text that the journal keeps."""
    world = builders.snapshot(builders.inventory((builders.principal("ann", **changes),)))
    return Memory(persons=from_text(as_text(seen(world, (correlation("ann", "E1"),)).persons)))


def now(says: Correlation, kind: PrincipalKind = PrincipalKind.HUMAN, **others: Any) -> dict[Any, Any]:
    """Compare ann as she is now with what is remembered."""
    world = builders.snapshot(builders.inventory((builders.principal("ann", kind=kind),)))
    return dict(drifted(world, (says,), others.get("workers", (E1, E2)), others.get("memory", remembered())))


@pytest.mark.parametrize(
    "kind", [PrincipalKind.SERVICE, PrincipalKind.SHARED, PrincipalKind.BREAK_GLASS, PrincipalKind.UNKNOWN]
)
def test_a_person_who_turns_into_no_person_has_drifted(kind: PrincipalKind) -> None:
    """Whatever it is called now, it was a worker's own principal."""
    assert now(correlation("ann", "E1"), kind) == {PLACE: ("E1",)}


@pytest.mark.parametrize("says", [correlation("ann"), correlation("ann", "E2")])
def test_a_person_who_is_somebody_else_or_nobody_has_drifted(says: Correlation) -> None:
    """An id that was taken away or exchanged does not make the worker of before disappear."""
    assert now(says) == {PLACE: ("E1",)}


def test_who_is_as_before_has_not_drifted() -> None:
    """The same person, and a worker who was hired anew under another id, are as before."""
    assert now(correlation("ann", "E1")) == {}
    rehired = builders.worker("E7", former_ids=(WorkerId("E1"),))
    assert now(correlation("ann", "E7"), workers=(rehired,)) == {}


def test_what_an_operator_says_is_no_drift() -> None:
    """The explicit map settles whose a principal is, of whatever kind."""
    says = correlation("ann", "E2", rule="explicit_map", confidence=100)
    assert now(says, PrincipalKind.SERVICE) == {}


def test_only_persons_are_remembered() -> None:
    """A service account that becomes a person's was nobody before; the same id elsewhere is another principal."""
    assert now(correlation("ann", "E2"), memory=remembered(kind=PrincipalKind.SERVICE)) == {}
    assert now(correlation("ann", "E2"), memory=remembered(scope="999988887777")) == {}
