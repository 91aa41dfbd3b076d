"""A cycle of ours signed by the real services of Sigstore, before four verifiers. `make e2e-sigstore` runs this."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.core.canonical import dumps
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from reconciler.signing_settings import SigstoreSettings
from tests import sigstore_services, verifiers
from tests.e2e.company import Company
from tests.keyless import InProcess, keyless_chain, keyless_settings
from tests.sigstore_services import RealSigstore
from tests.tampering import UNASKED, UNREAD, Offered, restated, unread, wrongly_accepted
from tests.verifiers import Case, Judge

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

JUDGES: dict[str, Judge] = {
    "ours": verifiers.ours,
    "sigstore": verifiers.sigstore_command,
    "node": verifiers.node,
    "cosign": verifiers.cosign,
}
SAMPLES = 5
UNREAD_TOO = {name: {"tlogEntries.integratedTime"} if name != "ours" else set() for name in JUDGES}
"""The real Rekor says that it claims no time (0), where ours says nothing."""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSigstore]:
    """Run the real services for the module."""
    with sigstore_services.running(tmp_path_factory.mktemp("services")) as real:
        yield real


@pytest.fixture(scope="module")
def keyless(company: Company, services: RealSigstore) -> Company:
    """Run a whole cycle on a sample company that signs by the real services."""
    signing = services.signing(company.directory / "sigstore")
    company.configure(signing={"mode": "sigstore", "sigstore": signing})
    answer = company.cycle("observe")
    assert answer.document["attestation"]["verified"] is True, f"{answer.err}{answer.out}"
    return company


@pytest.fixture(scope="module")
def offered(keyless: Company, services: RealSigstore, tmp_path_factory: pytest.TempPathFactory) -> Offered:
    """Return that cycle, the same as a statement of another kind, and another instance's trust."""
    folder = tmp_path_factory.mktemp("offered")
    (bundle,) = keyless.attestations.glob("*.sigstore.json")
    case = verifiers.stored(keyless.attestations.parent, bundle, services.trust, WORKLOAD, services.issuer.url)
    payload = dumps({**json.loads(case.statement), "predicateType": "https://corp.example/other/v1"})
    signed = signer(services, folder).sign(payload)
    with PrivateSigstore(folder / "other") as other:
        other_trust = other.trust_config()
    return Offered(
        case=case, other_kind=replace(case, statement=payload, bundle=signed.bundle), other_trust=other_trust
    )


def signer(services: RealSigstore, folder: Path) -> KeylessSigner:
    """Return the signer of an installation, which works in a child process."""
    return KeylessSigner(SigstoreSettings.model_validate(services.signing(folder / "own")), folder / "cache")


def test_an_auditor_verifies_the_cycle(keyless: Company, services: RealSigstore) -> None:
    """`attestations verify`, with what an auditor brings, accepts a cycle that the real services signed."""
    expected = ("--identity", WORKLOAD, "--issuer", services.issuer.url)
    trust = keyless.directory / "sigstore" / "trust.json"
    answer = keyless.run(
        "attestations", "verify", "--dir", keyless.attestations.parent, "--trust-root", trust, *expected
    )
    assert answer.code == 0, f"{answer.err}{answer.out}"


@pytest.mark.parametrize("name", JUDGES)
def test_each_accepts_what_they_signed(offered: Offered, name: str, tmp_path: Path) -> None:
    """Our own verifier, the client of Sigstore, the one in JavaScript and cosign accept it."""
    (verdict,) = JUDGES[name]([offered.case], tmp_path)
    assert verdict.accepted, verdict.why
    assert verdict.statement == offered.case.statement


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_what_was_not_expected(offered: Offered, name: str, tmp_path: Path) -> None:
    """Another identity, issuer, root, type or subject is refused, but for what this verifier is not there to check."""
    assert wrongly_accepted(JUDGES[name], offered, tmp_path) == UNASKED[name]


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_a_bit_that_was_changed(offered: Offered, name: str, tmp_path: Path) -> None:
    """In each place of a bundle that proves something, a changed bit is refused; elsewhere the same is still proven."""
    assert unread(JUDGES[name], offered.case, SAMPLES, tmp_path) <= UNREAD[name] | UNREAD_TOO[name]


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_a_statement_that_was_changed(offered: Offered, name: str, tmp_path: Path) -> None:
    """Any of its bytes changed inside the envelope, the statement is not what was signed."""
    assert [verdict for verdict in JUDGES[name](restated(offered.case, 997), tmp_path) if verdict.accepted] == []


def test_cosign_accepts_what_the_private_instance_signs(tmp_path: Path) -> None:
    """The instance of the demo and of the other tests is true to form: cosign, too, believes its bundles."""
    with PrivateSigstore(tmp_path / "instance") as instance:
        store = keyless_chain(
            tmp_path / "evidence", InProcess(keyless_settings(instance, tmp_path / "own"), tmp_path / "cache"), cycles=1
        )
        (bundle,) = (store.root / "attestations").glob("*.sigstore.json")
        case = verifiers.stored(store.root, bundle, instance.trust_config(), WORKLOAD, instance.issuer.url)
    (verdict,) = JUDGES["cosign"]([case], tmp_path / "cosign")
    assert verdict.accepted, verdict.why
    assert wrong_identity(case, tmp_path / "wrong") is False


def wrong_identity(case: Case, folder: Path) -> bool:
    """Say whether cosign accepts a case under another identity."""
    (verdict,) = JUDGES["cosign"]([replace(case, identity="https://corp.example/workloads/another")], folder)
    return verdict.accepted
