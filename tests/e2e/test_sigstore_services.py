"""A cycle of ours signed by the real services of Sigstore, before four verifiers. `make e2e-sigstore` runs this."""

import base64
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.core.canonical import dumps
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from reconciler.signing_settings import SigstoreSettings
from tests import peers, sigstore_services, verifiers
from tests.e2e.company import Company
from tests.keyless import InProcess, keyless_chain, keyless_settings
from tests.pack_builders import commands, exported, record_of
from tests.record_builders import attested_chain
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


def filled(command: str, values: dict[str, str]) -> str:
    """Return a command with what an auditor brings in the place of the words that stand for it."""
    return re.sub(r"\b(" + "|".join(values) + r")\b", lambda found: values[found[1]], command)


def ran(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a printed command in a shell, in the unpacked pack; no proxy and no configuration of cosign's is around."""
    places = (peers.ROOT / ".tools" / "sigstore", Path(sys.executable).parent, Path("/usr/bin"), Path("/bin"))
    environment = {"PATH": os.pathsep.join(map(str, places)), "HOME": str(folder), "PYTHONPATH": str(peers.ROOT)}
    return subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def unpacked(pack: Path) -> Path:
    """Unpack a pack beside itself."""
    folder = pack.with_suffix("")
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(folder)
    return folder


def test_the_commands_of_a_keyless_pack_work_as_printed(
    keyless: Company, services: RealSigstore, tmp_path: Path
) -> None:
    """Ours, `sigstore`, cosign and OpenSSL: each accepts the pack as its README says, and no other identity."""
    trust, root, pack = keyless.directory / "sigstore" / "trust.json", tmp_path / "root.json", tmp_path / "pack.zip"
    root.write_text(json.dumps(services.trust["trustedRoot"]))
    assert keyless.run("attestations", "export", "--out", pack).code == 0
    folder = unpacked(pack)
    brought = {
        "TRUST": str(trust),
        "TRUSTED_ROOT": str(root),
        "ISSUER": services.issuer.url,
        "ID": WORKLOAD,
        "PACK.zip": str(pack),
    }
    printed = commands((folder / "README.md").read_text())
    programs = [text.split()[0] for text in printed]
    assert programs == ["access-reconciler", "sigstore", "cosign", "grep"]
    for text in printed:
        done = ran(filled(text, brought), folder)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        if text.startswith("grep"):
            assert f"URI:{WORKLOAD}" in done.stdout
            continue
        refused = ran(filled(text, brought | {"ID": "https://corp.example/workloads/another"}), folder)
        assert refused.returncode == 1, f"{text}\n{refused.stdout}{refused.stderr}"


def test_the_commands_of_a_pack_with_a_key_work_as_printed(tmp_path: Path) -> None:
    """OpenSSL and cosign accept the pack as its README says, and refuse it with a changed signature."""
    chain = attested_chain(tmp_path / "state" / "evidence", record_of(1))
    key = tmp_path / "signer.pub"
    key.write_bytes(chain.key.pem)
    pack = exported(chain, key, tmp_path / "pack.zip")
    folder = unpacked(pack)
    printed = commands((folder / "README.md").read_text())
    ours, fingerprint, openssl, cosign = printed
    assert fingerprint == chain.key.signer
    assert ran(filled(ours, {"KEY.pub": str(key), "PACK.zip": str(pack)}), folder).returncode == 0
    for text, proof in ((openssl, "Verified OK"), (cosign, "Verified OK")):
        done = ran(text, folder)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        assert proof in done.stdout + done.stderr
    bundle = next(folder.glob("attestations/*.sigstore.json"))
    document = json.loads(bundle.read_bytes())
    signature = bytearray(base64.b64decode(document["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    bundle.write_bytes(dumps(document))
    assert [ran(text, folder).returncode == 0 for text in (openssl, cosign)] == [False, False]
