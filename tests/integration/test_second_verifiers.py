"""What we sign, before verifiers that share no code: all accept it, and each refuses what it is there to refuse."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.canonical import dumps
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from tests import verifiers
from tests.keyless import InProcess, keyless_chain, keyless_settings
from tests.tampering import UNASKED, UNREAD, Offered, changed, restated, unread, wrongly_accepted
from tests.verifiers import Judge

JUDGES: dict[str, Judge] = {"ours": verifiers.ours, "sigstore": verifiers.sigstore_command, "node": verifiers.node}
SAMPLES = 9


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Offered:
    """Sign with our signer; every service is gone when the verifiers are asked."""
    folder = tmp_path_factory.mktemp("second")
    with PrivateSigstore(folder / "instance") as instance, PrivateSigstore(folder / "other") as other:
        signer = InProcess(keyless_settings(instance, folder / "own"), folder / "cache")
        store = keyless_chain(folder / "evidence", signer, cycles=1)
        (bundle,) = (store.root / "attestations").glob("*.sigstore.json")
        case = verifiers.stored(store.root, bundle, instance.trust_config(), WORKLOAD, instance.issuer.url)
        payload = dumps({**json.loads(case.statement), "predicateType": "https://corp.example/other/v1"})
        other_kind = replace(case, statement=payload, bundle=signer.sign(payload).bundle)
        other_trust = other.trust_config()
    return Offered(case=case, other_kind=other_kind, other_trust=other_trust)


@pytest.mark.parametrize("name", JUDGES)
def test_each_accepts_what_we_sign(offered: Offered, name: str, tmp_path: Path) -> None:
    """Our own verifier, the client of Sigstore and the one in JavaScript agree on what was signed."""
    (verdict,) = JUDGES[name]([offered.case], tmp_path)
    assert verdict.accepted, verdict.why
    assert verdict.statement == offered.case.statement


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_another_expectation(offered: Offered, name: str, tmp_path: Path) -> None:
    """Another identity, issuer, root, type or subject is refused, but for what this verifier is not there to check."""
    assert wrongly_accepted(JUDGES[name], offered, tmp_path) == UNASKED[name]


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_a_changed_bit(offered: Offered, name: str, tmp_path: Path) -> None:
    """In each place of a bundle that proves something, a changed bit is refused; elsewhere the same is still proven."""
    assert len(list(changed(offered.case, SAMPLES))) > 100
    assert unread(JUDGES[name], offered.case, SAMPLES, tmp_path) == UNREAD[name]


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_a_changed_statement(offered: Offered, name: str, tmp_path: Path) -> None:
    """Any of its bytes changed inside the envelope, the statement is not what was signed."""
    assert [verdict for verdict in JUDGES[name](restated(offered.case, 101), tmp_path) if verdict.accepted] == []
