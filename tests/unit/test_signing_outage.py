"""An outage of signing, on a whole cycle: what is enforced stays the same, and every statement is signed in the end."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.attestations import Report, verify
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.core.errors import SigningError
from reconciler.core.record import CycleOutcome
from reconciler.core.spooling import StatementState
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.service import Fault
from tests.builders import PROVIDER
from tests.fakes.house import House
from tests.keyless import InProcess, keyless_settings, trusting


class Outage:
    """A house that signs keyless, and the instance that it signs with."""

    def __init__(self, folder: Path, instance: PrivateSigstore) -> None:
        self.folder = folder
        self.instance = instance
        self.settings = keyless_settings(instance, folder / "own")
        self.house = House(folder)
        signer = InProcess(self.settings, folder / "cache")
        self.house.attester = replace(self.house.attester, signer=signer)
        self.store = FileEvidenceStore(folder / "evidence")

    def effects(self) -> list[str]:
        """Return what was taken away."""
        return [one for _, one in self.house.providers[PROVIDER].effects]

    def bundles(self) -> list[str]:
        """Return the sequence numbers of the signed cycles."""
        return sorted(path.name[:6] for path in (self.store.root / "attestations").glob("*.sigstore.json"))

    def report(self) -> Report:
        """Verify as an auditor would."""
        return verify(self.store.root, trusting(self.instance, self.folder / "root.json"))


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    """Return a house whose first cycle, which observes, was attested."""
    with PrivateSigstore(tmp_path / "instance") as instance:
        made = Outage(tmp_path, instance)
        made.house.observe_first()
        yield made


LONG = 3600
"""Longer than any pause after a failure."""


@pytest.mark.parametrize("fault", [Fault.DOWN, Fault.ERROR, Fault.HTML])
@pytest.mark.parametrize("name", ["fulcio", "rekor", "tsa", "issuer"])
def test_an_outage_changes_nothing_that_is_enforced(outage: Outage, name: str, fault: Fault) -> None:
    """The leaver's key goes in the outage as without it; the statement waits, and is signed in its place later."""
    outage.instance.services[name].fail(fault)
    record = outage.house.run()
    assert record.outcome is CycleOutcome.COMPLETE
    assert outage.effects() == ["lea/access_key/1"]
    assert record.errors[-1].startswith("SigningError: the statement waits for its signature: not signed: ")
    assert [one.sequence for one in outage.store.waiting()] == [2]
    assert outage.bundles() == ["000001"]
    assert {(one.cycle_id, one.code) for one in outage.report().problems} == {(record.cycle_id, "bundle_missing")}
    outage.instance.mend()
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    assert outage.store.waiting() == ()
    report = outage.report()
    assert (report.verified, report.cycles, report.problems) == (True, 3, ())


def test_cycles_do_not_wait_for_a_service_again_and_again(outage: Outage) -> None:
    """After a failure nothing is asked until the pause is over; pauses grow, the reason is told meanwhile."""
    fulcio = outage.instance.fulcio.service
    fulcio.fail(Fault.ERROR)
    assert "not signed: Fulcio" in outage.house.run().errors[-1]
    outage.instance.mend()
    asked = [service.answered for service in outage.instance.services.values()]
    outage.house.clock.sleep(1)
    told = outage.house.run().errors[-1]
    assert "2 statements wait; the next attempt is due at " in told
    assert "not signed: Fulcio" in told
    assert [service.answered for service in outage.instance.services.values()] == asked
    outage.house.clock.sleep(10)
    assert not outage.house.run().errors
    assert outage.report().verified


def test_statements_are_signed_in_their_order(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an older statement waits no younger one is signed; a long queue is worked off cycle by cycle."""
    monkeypatch.setattr("reconciler.spool.MOST_AT_ONCE", 3)
    outage.instance.rekor.service.fail(Fault.DOWN)
    for _ in range(5):
        outage.house.run()
    before = outage.instance.rekor.size
    outage.instance.mend()
    outage.house.clock.sleep(LONG)
    assert ": 3 statements wait yet" in outage.house.run().errors[-1]
    assert outage.bundles() == [f"{sequence:06d}" for sequence in range(1, 5)]
    assert outage.instance.rekor.size == before + 3
    outage.house.run()
    assert not outage.house.run().errors
    assert outage.bundles() == [f"{sequence:06d}" for sequence in range(1, 10)]
    assert outage.report().verified


def test_a_restart_in_an_outage_loses_nothing(outage: Outage) -> None:
    """Another process finds what waits, keeps to the pause of the one before, and goes on with the chain."""
    outage.instance.fulcio.service.fail(Fault.DOWN)
    outage.house.run()
    signer = InProcess(outage.settings, outage.folder / "cache")
    store = FileEvidenceStore(outage.folder / "evidence")
    outage.house.attester = replace(outage.house.attester, store=store, signer=signer)
    outage.instance.mend()
    assert "the next attempt is due at" in outage.house.run().errors[-1]
    outage.house.clock.sleep(LONG)
    outage.house.run()
    assert outage.report().verified


def test_who_wants_it_acts_on_nothing_unattested(outage: Outage) -> None:
    """With `required`, no cycle begins while a statement waits; when it is signed, the next one acts."""
    outage.house.attester = replace(outage.house.attester, required=True)
    outage.instance.tsa.service.fail(Fault.ERROR)
    outage.house.run()
    done = list(outage.house.providers[PROVIDER].effects)
    cycles = len(outage.house.journal.cycles())
    for _ in range(2):  # in the pause, and by an attempt of its own
        with pytest.raises(SigningError, match="time-stamping authority"):
            outage.house.run()
        assert outage.house.providers[PROVIDER].effects == done
        assert len(outage.house.journal.cycles()) == cycles
        outage.house.clock.sleep(LONG)
    outage.instance.mend()
    assert not outage.house.run().errors


def test_a_signature_that_does_not_verify_is_told_apart(outage: Outage) -> None:
    """With clocks apart a signature is made and logged, and nobody would accept it: the statement counts as signed."""
    outage.instance.fulcio.skew_seconds = 90
    record = outage.house.run()
    assert "verification (of the fresh signature)" in record.errors[-1]
    assert (record.outcome, outage.effects()) == (CycleOutcome.COMPLETE, ["lea/access_key/1"])
    assert outage.store.signing.load().state_of(record.sequence) is StatementState.SIGNED
    outage.instance.fulcio.skew_seconds = 0
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    assert outage.report().verified


def test_a_dead_time_stamper_leaves_nothing_in_the_log(outage: Outage) -> None:
    """The stamper is asked first, so that no entries without a bundle pile up, however often signing is tried."""
    before = outage.instance.rekor.size
    outage.instance.tsa.service.fail(Fault.DOWN)
    for _ in range(3):
        outage.house.run()
        outage.house.clock.sleep(LONG)
    assert outage.instance.rekor.size == before
    assert outage.effects() == ["lea/access_key/1"]
    assert [one.sequence for one in outage.store.waiting()] == [2, 3, 4]
    outage.instance.mend()
    outage.house.run()
    assert outage.report().verified


def test_another_signer_never_continues_a_chain(tmp_path: Path) -> None:
    """A new key in the old one's place, or a service's in a file's, is refused before a cycle does anything."""
    house = House(tmp_path)
    house.observe_first()
    house.attester = replace(house.attester, signer=KeySigner.open(tmp_path / "other" / "key.pem"))
    with pytest.raises(SigningError, match="the attestations here are signed by another one than sha256:") as refused:
        house.run()
    assert "new state_dir" in refused.value.advice
    assert house.providers[PROVIDER].effects == []


def test_slow_services_are_waited_for(outage: Outage) -> None:
    """Answers that come late and within the deadline are answers: nothing waits."""
    for service in outage.instance.services.values():
        service.slow_seconds = 0.1
        service.fail(Fault.SLOW)
    assert not outage.house.run().errors
    assert outage.effects() == ["lea/access_key/1"]


def test_a_token_that_ended_keeps_statements_waiting(outage: Outage) -> None:
    """Nobody renews the token: what is done stays the same, and the first fresh token signs everything."""
    token = outage.settings.token.file
    assert token is not None
    outage.instance.write_token(token, exp=int(time.time()) - 60)
    record = outage.house.run()
    assert record.outcome is CycleOutcome.COMPLETE
    assert "the identity token ended" in record.errors[-1]
    assert outage.effects() == ["lea/access_key/1"]
    outage.house.clock.sleep(LONG)
    assert "the identity token ended" in outage.house.run().errors[-1]
    outage.instance.write_token(token)
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    assert outage.report().verified


def test_an_issuer_whose_clock_is_ahead_keeps_statements_waiting(outage: Outage) -> None:
    """A token that is not valid yet is refused before anybody sees it, and time itself mends that."""
    token = outage.settings.token.file
    assert token is not None
    outage.instance.issuer.skew_seconds = 90
    outage.instance.write_token(token)
    before = outage.instance.fulcio.service.answered
    assert "is not valid for another" in outage.house.run().errors[-1]
    assert outage.instance.fulcio.service.answered == before
    assert outage.effects() == ["lea/access_key/1"]
    outage.instance.issuer.skew_seconds = 0
    outage.instance.write_token(token)
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    assert outage.report().verified


def test_a_log_key_that_is_rotated_and_one_that_is_removed(outage: Outage) -> None:
    """Statements wait until the new key is in the trusted root; an old one taken out of it proves nothing any more."""
    trust = outage.settings.trust_config_file
    assert trust is not None
    outage.instance.rekor.rotate()
    rotated = outage.house.run()
    assert "verification (of the fresh signature)" in rotated.errors[-1]
    assert outage.effects() == ["lea/access_key/1"]
    outage.instance.write_trust(trust)
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    assert outage.report().verified
    first = outage.house.journal.cycles()[0].cycle_id
    del outage.instance.rekor.keys[0]
    outage.instance.write_trust(trust)
    assert not outage.house.run().errors
    problems = outage.report().problems
    assert {one.cycle_id for one in problems} == {first}
    assert {one.code for one in problems} == {"signature"}


@pytest.mark.proof
@pytest.mark.parametrize("name", ["fulcio", "rekor", "tsa"])
def test_a_black_hole_costs_one_deadline_and_not_one_a_cycle(outage: Outage, name: str) -> None:
    """A service takes calls and never answers: the first cycle waits for the deadline, the next ones for nothing."""
    settings = outage.settings.model_copy(update={"deadline_seconds": 15.0})
    signer = KeylessSigner(settings, outage.folder / "cache")
    outage.house.attester = replace(outage.house.attester, signer=signer)
    outage.instance.services[name].fail(Fault.BLACK_HOLE)
    told = outage.house.run().errors[-1]
    assert "did not answer" in told
    assert outage.effects() == ["lea/access_key/1"]
    began = time.monotonic()
    for _ in range(3):
        assert "did not answer" in outage.house.run().errors[-1]
    assert time.monotonic() - began < 15
    outage.instance.mend()
    outage.house.clock.sleep(LONG)
    assert not outage.house.run().errors
    assert outage.report().verified
