"""The real services of Sigstore taken away in a cycle: what is done stays the same, and all is signed in its order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.adapters.attestations import Report, verify
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.sigstore_identity import TrustedIdentity
from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.core.record import CycleOutcome
from reconciler.core.spooling import StatementState
from reconciler.demo.sigstore.issuer import WORKLOAD
from reconciler.signing_settings import SigstoreSettings
from tests import sigstore_services
from tests.builders import PROVIDER
from tests.fakes.house import House
from tests.sigstore_services import RealService, RealSigstore

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

DEADLINE_SECONDS = 20
LONG = 3600
"""Longer than any pause after a failure."""
SAYS = {"fulcio": "Fulcio", "ctlog": "Fulcio", "rekor": "Rekor", "timestamp-authority": "time-stamping authority"}
"""Who is named: the CT log is Fulcio's concern, which does not get its promise."""
FAULTS: dict[str, Callable[[RealService], None]] = {"ended": RealService.end, "frozen": RealService.freeze}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A house whose first cycle the real services signed."""

    house: House
    store: FileEvidenceStore
    services: RealSigstore
    trust: Path

    def effects(self) -> list[str]:
        """Return what was taken away."""
        return [one for _, one in self.house.providers[PROVIDER].effects]

    def report(self) -> Report:
        """Verify as an auditor would."""
        return verify(self.store.root, TrustedIdentity.from_file(self.trust, WORKLOAD, self.services.issuer.url))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSigstore]:
    """Run the real services for the module; each test leaves them running."""
    with sigstore_services.running(tmp_path_factory.mktemp("services")) as real:
        yield real


@pytest.fixture
def outage(services: RealSigstore, tmp_path: Path) -> Iterator[Outage]:
    """Attest an observing cycle; afterwards bring back whatever a test took away."""
    settings = SigstoreSettings.model_validate(
        services.signing(tmp_path / "own") | {"deadline_seconds": DEADLINE_SECONDS}
    )
    house = House(tmp_path)
    house.attester = replace(house.attester, signer=KeylessSigner(settings, tmp_path / "cache"))
    house.observe_first()
    store = FileEvidenceStore(tmp_path / "evidence")
    assert store.waiting() == ()
    yield Outage(house=house, store=store, services=services, trust=tmp_path / "own" / "trust.json")
    for service in services.services.values():
        service.bring_back()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SAYS)
def test_a_real_service_that_is_gone_changes_nothing(outage: Outage, name: str, fault: str) -> None:
    """The leaver's key goes, the statement waits and says for whom; once it is back, all is signed in its order."""
    service = outage.services.services[name]
    FAULTS[fault](service)
    record = outage.house.run()
    assert record.outcome is CycleOutcome.COMPLETE
    assert outage.effects() == ["lea/access_key/1"]
    assert f"not signed: {SAYS[name]}" in record.errors[-1]
    assert [one.sequence for one in outage.store.waiting()] == [2]
    assert outage.store.signing.load().state_of(2) is StatementState.SPOOLED
    assert {(one.cycle_id, one.code) for one in outage.report().problems} == {(record.cycle_id, "bundle_missing")}
    service.bring_back()
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    report = outage.report()
    assert (report.verified, report.cycles, report.problems) == (True, 3, ())


def test_two_real_services_gone_at_once(outage: Outage) -> None:
    """The log never answers and the time stamper is not there; they come back one after the other."""
    rekor, stamper = outage.services.services["rekor"], outage.services.services["timestamp-authority"]
    rekor.freeze()
    stamper.end()
    assert "not signed: time-stamping authority" in outage.house.run().errors[-1]
    stamper.start()
    outage.house.clock.sleep(LONG)
    assert "not signed: Rekor" in outage.house.run().errors[-1]
    assert [one.sequence for one in outage.store.waiting()] == [2, 3]
    assert outage.effects() == ["lea/access_key/1"]
    rekor.thaw()
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    report = outage.report()
    assert (report.verified, report.cycles) == (True, 4)


def test_a_log_that_is_started_anew_in_between_keeps_its_entries(outage: Outage) -> None:
    """What the log had signed before it was ended still proves; entries after it go on where it was."""
    outage.house.run()
    for name in ("ctlog", "rekor"):
        outage.services.services[name].end()
        outage.services.services[name].start()
    assert not outage.house.run().errors
    assert outage.report().verified
