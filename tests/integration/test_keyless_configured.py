"""Keyless signing as a configuration file has it: doctor, signer and the operator's own verification."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from reconciler.adapters.attestations import verify
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import CLIENT_ID, WORKLOAD
from reconciler.demo.sigstore.service import Fault
from reconciler.settings import Settings, load_settings
from reconciler.signers import build_signer, cached_root, check_signing, configured_trust
from reconciler.wiring import build_attester
from tests.fakes.tuf_repository import TufRepository
from tests.record_builders import cycle_record


def configured(instance: PrivateSigstore, folder: Path) -> Path:
    """Write a configuration that signs by client credentials, every path relative to it."""
    instance.write_trust(folder / "trust.json")
    (folder / "secret").write_text(instance.issuer.client_secret)
    token = {
        "source": "client_credentials",
        "token_url": instance.issuer.token_url,
        "client_id": CLIENT_ID,
        "client_secret_file": "secret",
    }
    sigstore = {
        "trust_config_file": "trust.json",
        "identity": WORKLOAD,
        "issuer": instance.issuer.url,
        "token": token,
    }
    document = {"roster": {"path": "roster.csv"}, "signing": {"mode": "sigstore", "sigstore": sigstore}}
    path = folder / "access-reconciler.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_configuration_signs_and_verifies(instance: PrivateSigstore, tmp_path: Path) -> None:
    """The configured signer signs in its child with a token of the endpoint; `verify` expects that very signer."""
    path = configured(instance, tmp_path)
    settings = load_settings(path)
    assert WORKLOAD in check_signing(settings)
    attester = build_attester(settings)
    assert attester.signer.mode == "keyless"
    attester.sign(attester.attest(cycle_record(), ()), SystemClock())
    result = CliRunner().invoke(build_app(), ["verify", "--config", str(path), "--output", "json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["mode"], told["key_source"], told["self_consistent_only"]) == ("keyless", "configured", False)
    assert not list((settings.state_dir / "keys").glob("attestation.*"))


def test_what_doctor_says_of_an_outage(instance: PrivateSigstore, tmp_path: Path) -> None:
    """A token endpoint that is down is named by its address before any cycle needs it."""
    settings = load_settings(configured(instance, tmp_path))
    instance.issuer.service.fail(Fault.DOWN)
    with pytest.raises(SigningError, match="identity token") as refused:
        check_signing(settings)
    assert instance.issuer.token_url in str(refused.value)
    assert "cannot be reached" in str(refused.value)


def test_a_removed_trust_root_verifies_nothing(instance: PrivateSigstore, tmp_path: Path) -> None:
    """Without its trusted root the operator's own verification is an error, and no key stands in."""
    settings = load_settings(configured(instance, tmp_path))
    (tmp_path / "trust.json").unlink()
    with pytest.raises(EvidenceError, match=r"trust\.json cannot be read"):
        configured_trust(settings)


def test_the_default_is_a_key(tmp_path: Path) -> None:
    """Without settings of signing a managed key signs, as ever."""
    path = tmp_path / "access-reconciler.yaml"
    path.write_text("roster:\n  path: roster.csv\n")
    assert build_signer(load_settings(path)).mode == "managed-key"


def attest(settings: Settings, sequence: int = 1) -> None:
    """Attest a cycle and have it signed."""
    attester = build_attester(settings)
    attested = attester.sign(attester.attest(cycle_record(sequence=sequence), ()), SystemClock())
    assert not attested.record.errors


def by_tuf(instance: PrivateSigstore, folder: Path, repository: TufRepository) -> Settings:
    """Return settings whose instance is known by its TUF repository."""
    document = yaml.safe_load(configured(instance, folder).read_text())
    block = document["signing"]["sigstore"]
    del block["trust_config_file"]
    (folder / "root.json").write_bytes(repository.first_root)
    block |= {"tuf_url": repository.service.url, "tuf_root_file": "root.json"}
    path = folder / "by-tuf.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_settings(path)


def test_an_instance_by_its_tuf_repository(instance: PrivateSigstore, tmp_path: Path) -> None:
    """Root and services come from TUF, a rotated log key by its next version, and the operator verifies from there."""
    repository = TufRepository()
    repository.service.start()
    try:
        repository.publish(instance.trusted_root(), instance.signing_config())
        settings = by_tuf(instance, tmp_path, repository)
        store = FileEvidenceStore(settings.state_dir / "evidence")
        attest(settings)
        instance.rekor.rotate()
        repository.publish(instance.trusted_root(), instance.signing_config())
        attest(settings, 2)
        assert verify(store.root, configured_trust(settings)).verified
        repository.publish(instance.trusted_root(), instance.signing_config())
        repository.forge()
        with pytest.raises(SigningError, match=r"TUF repository \(http://127\.0\.0\.1:\d+\): "):
            check_signing(settings)
    finally:
        repository.service.stop()


def test_a_repository_never_seen_is_no_trust(instance: PrivateSigstore, tmp_path: Path) -> None:
    """Before anything was signed nothing is cached: the operator is told which root is missing."""
    settings = by_tuf(instance, tmp_path, TufRepository())
    with pytest.raises(EvidenceError, match="cannot be read"):
        configured_trust(settings)
    assert settings.signing.sigstore is not None
    assert cached_root(tmp_path, settings.signing.sigstore.tuf_url).name == "trusted_root.json"
