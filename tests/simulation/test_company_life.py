"""Histories of a simulated company: whatever happens, in whatever order, every invariant holds after each step."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.ports import PolicyEngine
from tests.simulation.machine import CompanyLife


class RealPolicies(CompanyLife):
    """Histories whose decisions are made by Rego."""

    @staticmethod
    def engine() -> PolicyEngine:
        return EmbeddedRego()


def profile(examples: int, steps: int) -> settings:
    """Return how much is tried; a failure is shrunk, and the same histories are tried each time."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def test_every_invariant_holds_in_some_histories() -> None:
    """A few short histories, for every run of the tests."""
    run_state_machine_as_test(CompanyLife, settings=profile(10, 15))


def test_every_invariant_holds_under_the_real_policies() -> None:
    """A few histories are decided by the policies of this repository in the real in-process engine."""
    run_state_machine_as_test(RealPolicies, settings=profile(1, 6))


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_invariant_holds_in_many_histories() -> None:
    """Hundreds of longer histories."""
    run_state_machine_as_test(CompanyLife, settings=profile(500, 15))


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_invariant_holds_in_more_histories_under_the_real_policies() -> None:
    """More histories in the real engine."""
    run_state_machine_as_test(RealPolicies, settings=profile(10, 12))
