"""Every fault of a provider, at every step of a cycle: nobody but the leaver is touched, and nothing is claimed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from itertools import product

import pytest

from reconciler.core.model import OutcomeState, VerificationState
from reconciler.core.record import CycleOutcome, CycleRecord, LeaverState
from reconciler.demo.process import RunningServer
from tests.fakes import fault_proxy
from tests.fakes.fault_proxy import Fault, late, ldap_result, rewritten, status
from tests.fakes.faulty_company import Case, House, opa_server, opened
from tests.fakes.provider_sites import AwsSite, LdapSite, ScimSite

pytestmark = pytest.mark.timeout(300)

ANY: Mapping[str, Fault] = {
    "late": late(0.06),
    "slow_trickle": fault_proxy.slow_trickle,
    "black_hole": fault_proxy.black_hole,
    "reset_before": fault_proxy.reset_before,
    "reset_after": fault_proxy.reset_after,
    "truncated": fault_proxy.truncated,
}
HTTP: Mapping[str, Fault] = {
    "429": status(429),
    "429_retry_after": status(429, Retry_After="1"),
    "500": status(500),
    "503": status(503),
    "html": fault_proxy.html,
    "redirect": status(302, Location="http://127.0.0.1:9/elsewhere"),
}
LDAP: Mapping[str, Fault] = {
    "busy": ldap_result(51),
    "unavailable": ldap_result(52),
    "referral": ldap_result(10),
    "garbage": fault_proxy.garbage,
}
PAGES: Mapping[str, Mapping[str, Fault]] = {
    "scim": {"page_cut": rewritten(fault_proxy.page_cut), "page_twice": rewritten(fault_proxy.page_twice)},
    "ldap": {"page_cut": fault_proxy.entries_missing, "page_twice": fault_proxy.entries_twice},
}
BENIGN = {"late", "slow_trickle", "page_twice"}
"""Faults under which a cycle may still be complete."""
APPLIED = {"reset_after", "truncated"}
"""Faults in which the server has carried the request out."""
PHASES = ("list", "principal", "act", "verify")
QUICK = {
    ("aws_iam", "act", "reset_after"),
    ("scim", "act", "html"), ("scim", "list", "page_cut"), ("scim", "verify", "500"),
    ("ldap", "act", "reset_after"), ("ldap", "list", "page_cut"), ("ldap", "principal", "garbage"),
}  # fmt: skip
"""What `make test` runs; `make proof` runs the whole product."""


def faults_of(site: str) -> Mapping[str, Fault]:
    """Return what can go wrong at any step at a provider."""
    return {**ANY, **(LDAP if site == "ldap" else HTTP)}


def combinations() -> Iterator[tuple[str, str, str]]:
    """Yield provider, phase and fault of every case."""
    for site in ("aws_iam", "scim", "ldap"):
        yield from product([site], PHASES, faults_of(site))
        yield from product([site], ["list"], PAGES.get(site, {}))


ALL = tuple(combinations())
CASES = [
    pytest.param(*one, id="-".join(one), marks=() if one in QUICK else (pytest.mark.proof,))
    for one in ALL
]  # fmt: skip
SITES: Mapping[str, type[AwsSite | ScimSite | LdapSite]] = {"aws_iam": AwsSite, "scim": ScimSite, "ldap": LdapSite}


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run one OPA for all cases."""
    with opa_server(tmp_path_factory.mktemp("opa")) as running:
        yield running


@pytest.fixture(scope="module")
def house_of(
    opa: RunningServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str, str], House]]:
    """Open companies of a provider, one for each phase, with a leaver for every case: everybody is asked for often."""
    cases = [item for item in request.session.items if isinstance(item, pytest.Function)]
    params = [item.callspec.params for item in cases if "house_of" in item.fixturenames]
    chosen = Counter((str(one["site"]), str(one["phase"])) for one in params)
    with ExitStack() as stack:

        @cache
        def house(site: str, phase: str) -> House:
            directory, engine = tmp_path_factory.mktemp(f"{site}-{phase}"), {"kind": "url", "url": opa.url}
            return stack.enter_context(opened(SITES[site](), directory, chosen[site, phase], engine))

        yield house


@pytest.mark.parametrize(("site", "phase", "fault"), CASES)
def test_a_fault_takes_nothing_from_others_claims_nothing_and_is_made_good_for(
    house_of: Callable[[str, str], House], site: str, phase: str, fault: str
) -> None:
    """Under a fault no bystander changes and no item is called gone that is there; the next cycle ends the work."""
    case = house_of(site, phase).case()
    cause = {**faults_of(site), **PAGES.get(site, {})}[fault]
    record = case.faulty(phase, cause).record
    assert case.others_changed() == set()
    assert_nothing_is_claimed(case, record)
    if fault not in BENIGN:
        assert record.outcome in {CycleOutcome.PARTIAL, CycleOutcome.FAILED}, "what is incomplete has to be said"
    if phase == "act" and fault in APPLIED:
        assert_lost_replies_were_settled_by_reading(record)
    assert_made_good_for(case)


def assert_nothing_is_claimed(case: Case, record: CycleRecord) -> None:
    """What the record calls gone or clean, the server does not hold."""
    held = case.held()
    gone = {one.action.item.kind.value for one in record.results if one.verification is VerificationState.GONE}
    assert gone & held == set()
    clean = any(one.state is LeaverState.CLEAN for one in record.leavers)
    if clean or record.outcome is CycleOutcome.COMPLETE:
        assert held == set()


def assert_lost_replies_were_settled_by_reading(record: CycleRecord) -> None:
    """A lost reply is neither success nor failure; what became of the act was read."""
    called = [one for one in record.results if one.acted_at is not None]
    assert called
    assert {one.outcome for one in called} == {OutcomeState.UNKNOWN}
    assert {one.verification for one in called} == {VerificationState.GONE}


def assert_made_good_for(case: Case) -> None:
    """Without the fault the work is ended, each effect made once, and still nobody else touched."""
    record = case.cycle().record
    assert record.outcome is CycleOutcome.COMPLETE, record.errors
    assert [one.state for one in record.leavers] == [LeaverState.CLEAN]
    assert case.held() == set()
    assert case.others_changed() == set()
    writes = case.writes_delivered()
    assert set(writes.values()) == {1}, writes
