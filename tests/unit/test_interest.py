"""Whom a cycle reads live: leavers, and whoever nobody is surely known to own."""

from typing import Any

import pytest

from inventory.model import PrincipalKind
from reconciler.core.correlation import CorrelationSettings, index_roster
from reconciler.observation import interest_in
from tests import builders

ROSTER = builders.roster(
    builders.leaver("E1", display_name="Ann Lee"),
    builders.worker("E2", display_name="Bob Ray", usernames=("bray",)),
)


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ({"employee_ids": ("E1",)}, True),
        ({"employee_ids": ("E2",)}, False),
        ({"login_names": ("bray",)}, False),
        ({"display_name": "Ann Lee"}, True),
        ({"display_name": "Bob Ray"}, True),
        ({}, True),
        ({"kind": PrincipalKind.SERVICE, "owner_hints": ("E1",)}, True),
        ({"kind": PrincipalKind.SERVICE, "owner_hints": ("E2",)}, False),
        ({"employee_ids": ("E2",), "emails": ("e1@example.com",)}, True),
    ],
)
def test_leavers_and_the_unowned_are_read_live(says: dict[str, Any], wanted: bool) -> None:  # noqa: FBT001 - a table
    """Strong evidence for somebody who works here spares a live read; a leaver among the candidates never does."""
    interest = interest_in(index_roster(ROSTER, CorrelationSettings()), ROSTER, builders.NOW)
    assert interest(builders.principal(**{"login_names": (), **says})) is wanted
