"""The promises of correlation, over every way in which identifiers can contradict one another."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.model import PrincipalId
from inventory.roster.model import WorkerId
from reconciler.core.correlation import CorrelationSettings, correlate_one, index_roster
from reconciler.core.model import CorrelationState
from tests import builders

PEOPLE = tuple(
    builders.worker(f"E{number}", emails=(f"e{number}@example.com",), usernames=(f"user{number}",))
    for number in range(3)
)
SAYS: dict[str, Any] = {
    "external_ids": lambda number: f"E{number}",
    "employee_ids": lambda number: f"E{number}",
    "emails": lambda number: f"e{number}@example.com",
    "login_names": lambda number: f"user{number}",
}
pointing = st.fixed_dictionaries({field: st.lists(st.integers(0, 2), max_size=2, unique=True) for field in SAYS})
"""To whom each identifier points."""


@settings(max_examples=150, deadline=None)
@given(pointing, st.permutations(PEOPLE), st.none() | st.integers(0, 2))
def test_identifiers_that_contradict_one_another_name_nobody(
    points: dict[str, list[int]], people: list[Any], explicit: int | None
) -> None:
    """One worker in all identifiers is matched, two are ambiguous, whatever stands where in whatever order.

    The operator's word alone decides otherwise.
    """
    mapped = () if explicit is None else ((builders.PROVIDER, PrincipalId("alice"), WorkerId(f"E{explicit}")),)
    says: dict[str, Any] = {field: tuple(map(SAYS[field], numbers)) for field, numbers in points.items()}
    found = correlate_one(
        builders.principal(**says), index_roster(builders.roster(*people), CorrelationSettings(explicit=mapped))
    )
    turned: dict[str, Any] = {field: tuple(reversed(values)) for field, values in says.items()}
    index = index_roster(builders.roster(*reversed(people)), CorrelationSettings(explicit=mapped))
    assert correlate_one(builders.principal(**turned), index) == found
    named = {number for numbers in points.values() for number in numbers}
    if explicit is not None:
        assert (found.state, found.worker_id) == (CorrelationState.MATCHED, f"E{explicit}")
    elif len(named) == 1:
        assert (found.state, found.worker_id) == (CorrelationState.MATCHED, f"E{min(named)}")
    else:
        assert found.state is (CorrelationState.AMBIGUOUS if named else CorrelationState.ORPHAN)
        assert found.worker_id is None
