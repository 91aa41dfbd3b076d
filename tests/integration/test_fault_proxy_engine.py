"""Every fault between us and a real OPA: nothing is decided, so nothing is done."""

from collections.abc import Callable, Iterator

import pytest

from reconciler.core.record import CycleOutcome
from tests.fakes import fault_proxy
from tests.fakes.fault_proxy import Fault, FaultProxy, rewritten, status
from tests.fakes.fault_wires import Call
from tests.fakes.faulty_company import House, opa_server, opened
from tests.fakes.provider_sites import LdapSite

pytestmark = pytest.mark.timeout(300)

FAULTS: dict[str, Fault] = {
    "black_hole": fault_proxy.black_hole,
    "reset_before": fault_proxy.reset_before,
    "reset_after": fault_proxy.reset_after,
    "truncated": fault_proxy.truncated,
    "429": status(429),
    "500": status(500),
    "html": fault_proxy.html,
    "redirect": status(302, Location="http://127.0.0.1:9/elsewhere"),
    "empty": rewritten(lambda _: b"{}"),
}
QUICK = {"black_hole", "truncated", "html"}


def everything(_: Call) -> bool:
    """Choose every request."""
    return True


def decisions(call: Call) -> bool:
    """Choose the questions, so that policies and data are loaded soundly."""
    return call.verb == "POST" and call.target.startswith("/v1/data")


CASES = [
    pytest.param(name, which, id=f"{name}-{which.__name__}", marks=() if quick else (pytest.mark.proof,))
    for which in (everything, decisions)
    for name in FAULTS
    for quick in [which is decisions and name in QUICK]
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """Run OPA behind a proxy."""
    with opa_server(tmp_path_factory.mktemp("opa")) as running, FaultProxy.http(running.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def house(engine: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Open a company at slapd, with a leaver for every case."""
    settings = {"kind": "url", "url": engine.at("http://127.0.0.1:1"), "decide_timeout_seconds": 1.0}
    settings |= {"control_timeout_seconds": 1.0}
    with opened(LdapSite(), tmp_path_factory.mktemp("company"), len(CASES), settings) as made:
        yield made


@pytest.mark.parametrize(("name", "which"), CASES)
def test_a_fault_of_the_engine_is_a_policy_error_and_no_act(
    engine: FaultProxy, house: House, name: str, which: Callable[[Call], bool]
) -> None:
    """Whatever befalls OPA's answers, the cycle fails by name and writes nothing; the next one ends the work."""
    engine.choose = None
    case = house.case()
    engine.choose = lambda call: FAULTS[name] if which(call) else None
    record = case.cycle().record
    engine.choose = None
    assert record.outcome is CycleOutcome.FAILED
    assert "PolicyError" in " ".join(record.errors)
    assert record.results == ()
    assert not case.writes_delivered()
    assert case.house.site.dump() == case.before
    assert case.cycle().record.outcome is CycleOutcome.COMPLETE
    assert case.held() == set()
