"""Builders of keyless signing: settings that lead to the private Sigstore of the tests, and orders carried out."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.adapters.child_work import answer
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.signing_child import SigningChild
from reconciler.adapters.sigstore_child import perform
from reconciler.adapters.sigstore_identity import TrustedIdentity
from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.attestation import Attester
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from reconciler.signing_settings import SigstoreSettings
from tests.record_builders import cycle_record, evidence_log


def keyless_settings(instance: PrivateSigstore, folder: Path, **changes: Any) -> SigstoreSettings:
    """Return the settings of an installation that signs with this instance, by a token in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    block: dict[str, Any] = {
        "identity": WORKLOAD,
        "issuer": instance.issuer.url,
        "trust_config_file": instance.write_trust(folder / "trust.json"),
        "token": {"source": "file", "file": instance.write_token(folder / "token")},
        "deadline_seconds": 60,
    }
    return SigstoreSettings.model_validate(block | changes)


def trusting(instance: PrivateSigstore, path: Path, **changes: str) -> TrustedIdentity:
    """Return what an auditor of this instance trusts; `identity` and `issuer` may be others."""
    expected = {"identity": WORKLOAD, "issuer": instance.issuer.url} | changes
    return TrustedIdentity.from_file(instance.write_trust(path), **expected)


def ordered(settings: SigstoreSettings, payload: bytes, verb: str = "sign") -> list[dict[str, str]]:
    """Carry out an order in this process, as the child does, and return the lines that it would write."""
    lines: list[dict[str, str]] = []
    order = {
        "verb": verb,
        "settings": settings.model_dump(mode="json"),
        "payload": base64.b64encode(payload).decode(),
    }
    answer(order, perform, lines.append)
    return lines


class _Here(SigningChild):
    """The child's work done in this process."""

    def run(self, order: bytes, told: Mapping[str, str]) -> tuple[bytes, str]:
        lines: list[dict[str, str]] = []
        answer(json.loads(order), perform, lines.append)
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines), "ended"


class InProcess(KeylessSigner):
    """The signer with its child's work done in this process, for tests of what is signed rather than of how."""

    def __init__(self, settings: SigstoreSettings, cache: Path) -> None:
        super().__init__(settings, cache)
        self._child = _Here("", settings.deadline_seconds, "")


def keyless_chain(root: Path, signer: KeylessSigner, cycles: int = 2) -> FileEvidenceStore:
    """Attest cycles one after another, as a cycle does."""
    store = FileEvidenceStore(root)
    attester = Attester(
        store=store,
        log=evidence_log(root),
        signer=signer,
        instance_id="test-installation",
        random_bytes=os.urandom,
    )
    for sequence in range(1, cycles + 1):
        attester.sign(attester.attest(cycle_record(sequence=sequence), ()), SystemClock())
    return store
