"""Verifying keyless attestations: by our command, by the client of Sigstore, and not when anything is another."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner, Result

from reconciler.adapters.attestations import verify
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.attestation import Attester
from reconciler.cli.attestations import build_app
from reconciler.core.canonical import dumps
from reconciler.core.errors import EvidenceError, ReconcilerError, SigningError
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from tests.fakes.clock import FakeClock
from tests.keyless import InProcess, keyless_chain, keyless_settings, trusting
from tests.record_builders import cycle_id, evidence_log, put_attestation
from tests.tampering import unsigned

NOBODY = "https://corp.example/workloads/nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A chain of two keyless attestations, and the instance that they were signed with."""

    instance: PrivateSigstore
    store: FileEvidenceStore
    trust: Path
    """The client trust configuration that an auditor was handed."""
    trusted: Trusted

    def files(self, sequence: int = 1) -> tuple[Path, Path]:
        """Return statement and bundle of a cycle."""
        stem = self.store.root / "attestations" / f"{sequence:06d}-{cycle_id(sequence)}"
        return Path(f"{stem}.statement.json"), Path(f"{stem}.sigstore.json")

    def pair(self) -> tuple[bytes, bytes]:
        """Return the bundle and the statement of the first cycle."""
        statement, bundle = self.files()
        return bundle.read_bytes(), statement.read_bytes()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Attest two cycles; afterwards every service is stopped, so that verifying can ask nobody."""
    folder = tmp_path_factory.mktemp("keyless")
    with PrivateSigstore(folder / "instance") as instance:
        settings = keyless_settings(instance, folder / "own")
        store = keyless_chain(folder / "evidence", InProcess(settings, folder / "cache"))
    return Signed(
        instance=instance,
        store=store,
        trust=folder / "own" / "trust.json",
        trusted=trusting(instance, folder / "root.json"),
    )


def run(*arguments: str) -> Result:
    """Run `attestations` as an auditor without a configuration does; an error of ours is raised."""
    result = CliRunner().invoke(build_app(), [*arguments])
    if isinstance(result.exception, ReconcilerError):
        raise result.exception
    return result


def auditor(signed: Signed, **changes: str) -> list[str]:
    """Return the options by which an auditor says whom to trust."""
    given = {"trust-root": str(signed.trust), "identity": WORKLOAD, "issuer": signed.instance.issuer.url} | changes
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def test_an_auditor_verifies_offline(signed: Signed) -> None:
    """With root, identity and issuer the chain verifies, all services being gone, and says how it is signed."""
    result = run("verify", "--dir", str(signed.store.root), *auditor(signed), "--output", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["verified"], told["cycles"], told["mode"]) == (True, 2, "keyless")
    assert (told["signer"], told["key_source"]) == (f"{WORKLOAD} by {signed.instance.issuer.url}", "given")
    statement = json.loads(signed.files()[0].read_bytes())
    assert statement["predicate"]["reconciler"]["signingMode"] == "keyless"
    assert statement["predicate"]["reconciler"]["assurance"] == "private-log"
    assert "bear witness" in run("verify", "--dir", str(signed.store.root), *auditor(signed)).stdout


@pytest.mark.parametrize(
    ("option", "value"), [("identity", NOBODY), ("issuer", "https://elsewhere.example")], ids=["identity", "issuer"]
)
def test_another_signer_is_not_accepted(signed: Signed, option: str, value: str) -> None:
    """Who signed, or who vouches for it, is another than expected: every cycle is refused for that."""
    result = run("verify", "--dir", str(signed.store.root), *auditor(signed, **{option: value}), "--output", "json")
    assert result.exit_code == 1
    assert [one["code"] for one in json.loads(result.stdout)["problems"]] == ["wrong_identity", "wrong_identity"]


def test_another_instance_is_not_accepted(signed: Signed, tmp_path: Path) -> None:
    """The trusted root of another instance, though all its names are the same, proves nothing."""
    with PrivateSigstore(tmp_path / "other") as other:
        trusted = trusting(other, tmp_path / "other.json", issuer=signed.instance.issuer.url)
    refused = trusted.refusal(*signed.pair())
    assert refused is not None
    assert refused.code == "signature"


def test_nothing_of_it_is_taken_from_the_folder(signed: Signed) -> None:
    """Without the three, or with some of them, or with a key beside them, nothing is verified."""
    folder = str(signed.store.root)
    options = auditor(signed)
    for given in ([], options[:2], options[2:], [*options, "--key", "signer.pub"]):
        with pytest.raises(EvidenceError) as refused:
            run("verify", "--dir", folder, *given)
        assert "--trust-root, --identity and --issuer" in f"{refused.value} {refused.value.advice}"


def test_a_key_does_not_verify_them(signed: Signed, tmp_path: Path) -> None:
    """An auditor who trusts a key is not shown an identity in its place."""
    key = KeySigner.open(tmp_path / "key.pem").verifying_key
    report = verify(signed.store.root, key)
    assert {problem.code for problem in report.problems} == {"wrong_key"}


def change(path: tuple[str | int, ...], value: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    """Return a change of one place of a bundle."""

    def apply(bundle: dict[str, Any]) -> None:
        place: Any = bundle
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value(place[path[-1]])

    return apply


ENTRY = ("verificationMaterial", "tlogEntries", 0)
STAMPS = ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps")
TAMPERED = {
    "another payload type": change(("dsseEnvelope", "payloadType"), lambda _: "text/plain"),
    "another entry number": change((*ENTRY, "logIndex"), lambda old: str(int(old) + 1)),
    "another log": change(
        (*ENTRY, "logId", "keyId"), lambda old: base64.b64encode(base64.b64decode(old)[::-1]).decode()
    ),
    "another size": change(
        (*ENTRY, "inclusionProof", "checkpoint", "envelope"), lambda old: old.replace("\n1\n", "\n2\n", 1)
    ),
    "another name under the checkpoint": change(
        (*ENTRY, "inclusionProof", "checkpoint", "envelope"), lambda old: old.replace("— rekor", "— rekos")
    ),
    "no stamp": change(STAMPS, lambda _: []),
    "a stamp twice": change(STAMPS, lambda old: old * 2),
    "a field more": change(("dsseEnvelope",), lambda old: {**old, "more": 1}),
    "a field more beside": change(("verificationMaterial",), lambda old: {**old, "note": "x"}),
    "no signature": change(("dsseEnvelope", "signatures"), lambda _: []),
    "no entry": change(("verificationMaterial", "tlogEntries"), lambda _: []),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_bundle_is_refused(signed: Signed, name: str) -> None:
    """Each part of a bundle counts: another value, a part less or a part more is refused."""
    content, payload = signed.pair()
    document = json.loads(content)
    TAMPERED[name](document)
    assert dumps(document) != content
    assert signed.trusted.refusal(dumps(document), payload) is not None


def test_another_form_is_refused(signed: Signed) -> None:
    """The same bundle with a space more, or cut short, is not what was written."""
    content, payload = signed.pair()
    assert signed.trusted.refusal(content, payload) is None
    for other in (content + b"\n", content.replace(b'":', b'": ', 1), content[:-1], b"", b"[]", b"{}"):
        assert signed.trusted.refusal(other, payload) is not None


def test_any_flipped_byte_is_found(signed: Signed) -> None:
    """Every 17th byte of bundle and statement: flipped, it is refused.

    What nobody signs in a stamp is excepted: two versions and the name of an algorithm, which change no claim.
    """
    content, payload = signed.pair()
    stamp = json.loads(content)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]
    encoded = stamp["signedTimestamp"].encode()
    start = content.index(encoded)
    free = {start + at * 4 // 3 + more for at in unsigned(base64.b64decode(encoded)) for more in (0, 1)}
    accepted = [
        index
        for index in range(0, len(content), 17)
        if index not in free
        and signed.trusted.refusal(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :], payload)
        is None
    ]
    assert accepted == []
    for index in range(0, len(payload), 17):
        flipped = payload[:index] + bytes([payload[index] ^ 1]) + payload[index + 1 :]
        assert signed.trusted.refusal(content, flipped) is not None


def test_a_certificate_of_no_known_version_is_refused(signed: Signed) -> None:
    """What the library cannot even read is a refusal with a reason, and never an error of ours."""
    content, payload = signed.pair()
    document = json.loads(content)
    certificate = base64.b64decode(document["verificationMaterial"]["certificate"]["rawBytes"])
    other = certificate.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"), 1)
    assert other != certificate
    document["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(other).decode()
    refused = signed.trusted.refusal(dumps(document), payload)
    assert refused is not None
    assert refused.code == "bundle_malformed"


def test_a_bundle_of_another_cycle_is_refused(signed: Signed) -> None:
    """A true bundle proves its own statement only."""
    refused = signed.trusted.refusal(signed.files(2)[1].read_bytes(), signed.files(1)[0].read_bytes())
    assert refused is not None
    assert refused.code == "statement_changed"


def resigned(signed: Signed, folder: Path, change_statement: Callable[[dict[str, Any]], None]) -> list[str]:
    """Sign a changed statement truly, put it in the first one's place, and return the problem codes of cycle 1."""
    document = json.loads(signed.files()[0].read_bytes())
    change_statement(document)
    payload = dumps(document)
    with PrivateSigstore(folder / "instance") as instance:
        settings = keyless_settings(instance, folder / "own")
        bundle = InProcess(settings, folder / "cache").sign(payload)
        store = FileEvidenceStore(folder / "evidence")
        put_attestation(store, 1, document["predicate"]["cycleId"], bundle)
        report = verify(store.root, trusting(instance, folder / "root.json"))
    return [problem.code for problem in report.problems]


def test_another_predicate_type_is_refused(signed: Signed, tmp_path: Path) -> None:
    """A statement of another kind by the right signer is not an attestation of ours."""
    codes = resigned(signed, tmp_path, lambda document: document.update(predicateType="https://corp.example/other/v1"))
    assert "predicate_type" in codes


def test_a_claim_of_another_mode_is_refused(signed: Signed, tmp_path: Path) -> None:
    """A keyless bundle around a statement that says `managed-key` contradicts itself."""
    codes = resigned(
        signed, tmp_path, lambda document: document["predicate"]["reconciler"].update(signingMode="managed-key")
    )
    assert "signing_mode" in codes


def test_another_subject_is_found(signed: Signed, tmp_path: Path) -> None:
    """Evidence that is not what a subject says is named."""
    root = tmp_path / "copy"
    for path in (signed.store.root).rglob("*"):
        if path.is_file():
            target = root / path.relative_to(signed.store.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    digest = json.loads(signed.files()[0].read_bytes())["subject"][0]["digest"]["sha256"]
    (root / "sha256" / digest[:2] / digest).write_bytes(b"another")
    assert "evidence_changed" in {problem.code for problem in verify(root, signed.trusted).problems}


def sigstore(signed: Signed, bundle: Path, subject: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Verify with the command of the Python client of Sigstore; every service is gone."""
    given = {"identity": WORKLOAD, "issuer": signed.instance.issuer.url} | changes
    command = [sys.executable, "-m", "sigstore", "--trust-config", str(signed.trust), "verify", "identity"]
    expected = ["--cert-identity", given["identity"], "--cert-oidc-issuer", given["issuer"]]
    return subprocess.run(
        [*command, "--bundle", str(bundle), *expected, subject], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_client_of_sigstore_agrees(signed: Signed, tmp_path: Path) -> None:
    """`sigstore verify` accepts our bundle and prints our statement; another identity or subject it refuses."""
    statement, bundle = signed.files()
    document = json.loads(statement.read_bytes())
    subject = f"sha256:{document['subject'][0]['digest']['sha256']}"
    done = sigstore(signed, bundle, subject)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == document
    assert sigstore(signed, bundle, subject, identity=NOBODY).returncode == 1
    assert sigstore(signed, bundle, f"sha256:{'0' * 64}").returncode == 1


def test_a_pack_tells_how_and_brings_no_trust(signed: Signed, tmp_path: Path) -> None:
    """A keyless pack verifies with what the auditor brings, and holds neither root nor key."""
    out = tmp_path / "pack.zip"
    assert run("export", "--dir", str(signed.store.root), "--out", str(out), *auditor(signed)).exit_code == 0
    with ZipFile(out) as pack:
        names = pack.namelist()
        readme = pack.read("README.md").decode()
        pack.extractall(tmp_path / "pack")
    assert not [
        name for name in names if name.startswith("keys/") or (name.startswith("trust/") and name != "trust/signer.txt")
    ]
    statement, bundle = signed.files()
    subject = json.loads(statement.read_bytes())["subject"][0]["digest"]["sha256"]
    assert f"--bundle attestations/{bundle.name} --cert-identity ID" in readme
    assert f"sha256:{subject}" in readme
    assert run("verify", "--dir", str(tmp_path / "pack"), *auditor(signed)).exit_code == 0


def test_one_mode_never_continues_the_chain_of_another(signed: Signed, tmp_path: Path) -> None:
    """A key in the place of an identity is refused when a cycle begins, before anything is done."""
    signer = KeySigner.open(tmp_path / "key.pem")
    attester = Attester(
        store=signed.store,
        log=evidence_log(signed.store.root),
        signer=signer,
        instance_id="test-installation",
        random_bytes=os.urandom,
    )
    with pytest.raises(SigningError, match="signed in mode keyless; configured is managed-key"):
        attester.resume((), FakeClock())
