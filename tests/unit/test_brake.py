"""When a provider is left alone, and when everything stops: the brake that all threads of an execution share."""

import pytest

from reconciler.core.errors import JournalError
from reconciler.principal_walk import FAILURES_IN_A_ROW, Brake
from tests.builders import PROVIDER
from tests.fakes.stage import LDAP


def test_a_new_brake_holds_nobody() -> None:
    """Nothing is stopped before anything failed."""
    brake = Brake()
    assert (brake.why(PROVIDER), brake.halted(), brake.error) == ("", False, None)


@pytest.mark.parametrize("step", ["act", "verify"])
def test_the_third_failure_in_a_row_stops_one_provider(step: str) -> None:
    """Two failures stop nobody, the third stops this provider for good, and no other one."""
    brake = Brake()
    said = []
    for _ in range(4):
        brake.failed(PROVIDER, step)
        said.append(brake.why(PROVIDER))
    assert said == ["", "", f"3 failures in a row ({step})", f"3 failures in a row ({step})"]
    assert FAILURES_IN_A_ROW == 3
    brake.went_well(PROVIDER, step)
    assert brake.why(PROVIDER) == f"3 failures in a row ({step})"
    assert (brake.why(LDAP), brake.halted()) == ("", False)


def test_a_success_begins_the_row_anew() -> None:
    """After a success three more failures are needed, not two and not four."""
    brake = Brake()
    said = []
    for well in (False, False, True, False, False, False):
        (brake.went_well if well else brake.failed)(PROVIDER, "act")
        said.append(brake.why(PROVIDER))
    assert said == [""] * 5 + ["3 failures in a row (act)"]


def test_rows_of_other_steps_and_providers_are_their_own() -> None:
    """Failures add up within one step at one provider, and a success elsewhere does not excuse them."""
    brake = Brake()
    for provider, step in ((PROVIDER, "act"), (PROVIDER, "act"), (PROVIDER, "verify"), (LDAP, "act")):
        brake.failed(provider, step)
    assert (brake.why(PROVIDER), brake.why(LDAP)) == ("", "")
    brake.went_well(PROVIDER, "verify")
    brake.went_well(LDAP, "act")
    brake.failed(PROVIDER, "act")
    assert (brake.why(PROVIDER), brake.why(LDAP)) == ("3 failures in a row (act)", "")


def test_the_first_reason_stays() -> None:
    """Whatever happens later, the report names what stopped the provider first."""
    refused = Brake()
    refused.stop(PROVIDER, "refused")
    refused.stop(PROVIDER, "refused again")
    for _ in range(3):
        refused.failed(PROVIDER, "act")
    assert (refused.why(PROVIDER), refused.why(LDAP)) == ("refused", "")
    failed = Brake()
    for _ in range(3):
        failed.failed(PROVIDER, "verify")
    failed.stop(PROVIDER, "refused")
    assert failed.why(PROVIDER) == "3 failures in a row (verify)"


def test_the_first_error_stops_everything_and_later_ones_are_noted_on_it() -> None:
    """The error to raise is the first; others are told on it once each, and itself never."""
    brake = Brake()
    brake.stop(PROVIDER, "refused")
    first = JournalError("disk full")
    brake.halt(first)
    brake.halt(first)
    assert not hasattr(first, "__notes__")
    brake.halt(KeyError("defect"))
    assert brake.error is first
    assert first.__notes__ == ["afterwards: KeyError: 'defect'"]
    assert brake.halted()
    assert (brake.why(PROVIDER), brake.why(LDAP)) == ("everything was stopped", "everything was stopped")
