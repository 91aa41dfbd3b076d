"""What we sign, before verifiers that share no code: all accept it, and each refuses what it is there to refuse."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.core.canonical import dumps
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from tests import verifiers
from tests.keyless import InProcess, keyless_chain, keyless_settings
from tests.tampering import changed
from tests.verifiers import Case, Judge

JUDGES: dict[str, Judge] = {"ours": verifiers.ours, "sigstore": verifiers.sigstore_command, "node": verifiers.node}
SAMPLES = 9
ANOTHER = "https://corp.example/workloads/another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A cycle of ours, and the same cycle as a statement of another kind, both truly signed."""

    case: Case
    other_kind: Case
    other_trust: dict[str, object]
    """The trust configuration of another instance, whose services have the same names."""


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


WRONG: dict[str, Callable[[Offered], Case]] = {
    "identity": lambda offered: replace(offered.case, identity=ANOTHER),
    "identity, by its beginning": lambda offered: replace(offered.case, identity=WORKLOAD[:-1]),
    "issuer": lambda offered: replace(offered.case, issuer=offered.case.issuer + "/"),
    "trust root": lambda offered: replace(offered.case, trust=offered.other_trust),
    "predicate type": lambda offered: offered.other_kind,
    "subject": lambda offered: replace(offered.case, evidence=offered.case.evidence + b"\n"),
}
UNASKED = {"ours": set[str](), "sigstore": {"predicate type"}, "node": {"predicate type", "subject"}}
"""What a verifier is not there to check: docs/attestations.md says so to auditors."""

UNREAD = {
    "ours": set[str](),
    "sigstore": {"tlogEntries.logIndex", "logId.keyId"},
    "node": {
        "tlogEntries.logIndex",
        "inclusionProof.rootHash",  # the checkpoint's is taken
        "inclusionProof.treeSize",
        "certificate.rawBytes",  # only in how its DER is tagged
        "rfc3161Timestamps.signedTimestamp",  # not in what is stamped; the trusted root's certificate is taken
    },
}
"""Places of a bundle that a verifier does not rely on: changed, they change nothing of what it proves."""


@pytest.mark.parametrize("name", JUDGES)
def test_each_accepts_what_we_sign(offered: Offered, name: str, tmp_path: Path) -> None:
    """Our own verifier, the client of Sigstore and the one in JavaScript agree on what was signed."""
    (verdict,) = JUDGES[name]([offered.case], tmp_path)
    assert verdict.accepted, verdict.why
    assert verdict.statement == offered.case.statement


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_another_expectation(offered: Offered, name: str, tmp_path: Path) -> None:
    """Another identity, issuer, root, type or subject is refused, but for what this verifier is not there to check."""
    verdicts = JUDGES[name]([make(offered) for make in WRONG.values()], tmp_path)
    assert {what for what, verdict in zip(WRONG, verdicts, strict=True) if verdict.accepted} == UNASKED[name]


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_a_changed_bit(offered: Offered, name: str, tmp_path: Path) -> None:
    """In each place of a bundle that proves something, a changed bit is refused; elsewhere the same is still proven."""
    cases = list(changed(offered.case, SAMPLES))
    assert len(cases) > 100
    accepted: dict[str, int] = defaultdict(int)
    for (place, _), verdict in zip(cases, JUDGES[name]([case for _, case in cases], tmp_path), strict=True):
        if verdict.accepted:
            accepted[place] += 1
            assert verdict.statement == offered.case.statement
    assert set(accepted) == UNREAD[name], dict(accepted)


@pytest.mark.parametrize("name", JUDGES)
def test_each_refuses_a_changed_statement(offered: Offered, name: str, tmp_path: Path) -> None:
    """Any of its bytes changed inside the envelope, the statement is not what was signed."""
    document = json.loads(offered.case.bundle)
    cases = []
    for index in range(0, len(offered.case.statement), 101):
        statement = bytearray(offered.case.statement)
        statement[index] ^= 1
        document["dsseEnvelope"]["payload"] = verifiers.b64(bytes(statement))
        cases.append(replace(offered.case, bundle=dumps(document), statement=bytes(statement)))
    assert [verdict for verdict in JUDGES[name](cases, tmp_path) if verdict.accepted] == []
