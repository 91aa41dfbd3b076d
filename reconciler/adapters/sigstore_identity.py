"""Verifying keyless bundles: against a trusted root, and one expected identity and issuer, all three the auditor's.

The proof is checked by the library `sigstore`, offline. What it leaves open is checked here: that the bundle is byte
for byte what was written, that it signs exactly this statement, and that the log's numbers agree with one another.
"""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sigstore.errors import Error
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from reconciler.adapters.keyless import MODE, signer_name
from reconciler.adapters.sigstore_bundle import Refusal, read_bundle
from reconciler.core.canonical import encoded, sha256_hex
from reconciler.core.errors import EvidenceError
from reconciler.core.statement import PAYLOAD_TYPE

_CONFIG_TYPE = "application/vnd.dev.sigstore.clienttrustconfig."
_TILES = "0.0.2"
"""Version of the entries of a Rekor of version 2, whose proof and checkpoint are of one tree."""
_NOTE = re.compile(r"(?P<origin>[^\n]+)\n(?P<size>[1-9][0-9]*)\n[^\n]+\n(?:[^\n]+\n)*\n(?P<signatures>(?:— [^\n]+\n)+)")


class TrustedIdentity:
    """Implements `reconciler.adapters.sigstore_bundle.Trusted` for one identity that one instance vouches for."""

    def __init__(self, root: TrustedRoot, identity: str, issuer: str) -> None:
        """Prepare the verifier. Raises `EvidenceError` when the root lacks a log, an authority or their keys."""
        try:
            self._verifier = Verifier(trusted_root=root)
        except Error as error:
            raise EvidenceError(f"the trusted root is of no use: {error}", advice=_ADVICE) from error
        self._policy = Identity(identity=identity, issuer=issuer)
        self._signer = signer_name(identity, issuer)
        self._stamped: dict[str, datetime | None] = {}
        logs = root._inner.tlogs  # noqa: SLF001 - the library tells the ids of the logs nowhere else
        self._log_ids = frozenset(base64.b64encode(log.log_id.key_id).decode() for log in logs)

    @classmethod
    def from_file(cls, path: Path, identity: str, issuer: str) -> Self:
        """Read a trusted root, or the client trust configuration that holds one. Raises `EvidenceError`."""
        try:
            raw = path.read_bytes()
            kind = json.loads(raw).get("mediaType", "")
            if str(kind).startswith(_CONFIG_TYPE):
                root = ClientTrustConfig.from_json(raw.decode()).trusted_root
            else:
                root = TrustedRoot.from_file(str(path))
        except OSError as error:
            raise EvidenceError(f"the trusted root {path} cannot be read: {error.strerror}", advice=_ADVICE) from error
        except (ValueError, AttributeError, Error) as error:
            raise EvidenceError(f"{path} is no trusted root of a Sigstore instance", advice=_ADVICE) from error
        return cls(root, identity, issuer)

    @property
    def mode(self) -> str:
        """Return `keyless`."""
        return MODE

    @property
    def signer(self) -> str:
        """Return the expected identity and its issuer."""
        return self._signer

    def refusal(self, content: bytes, payload: bytes) -> Refusal | None:
        """Return why the bundle does not prove that the identity signed exactly this statement; None when it does."""
        return next(self._refusals(content, payload), None)

    def stamped_at(self, content: bytes) -> datetime | None:
        """Return the latest time in the stamps of a bundle that was not refused, or the log's; None without either.

        Remembered by digest: an auditor asks more than once, and taking a bundle apart takes milliseconds.
        """
        digest = sha256_hex(content)
        if digest not in self._stamped:
            self._stamped[digest] = _latest_stamp(content)
        return self._stamped[digest]

    def _refusals(self, content: bytes, payload: bytes) -> Iterator[Refusal]:
        try:
            envelope = read_bundle(content)
            bundle = Bundle.from_json(content)
        except Exception as error:  # noqa: BLE001 - whatever a file does to the library, it is no bundle
            yield Refusal(code="bundle_malformed", message=f"not a keyless Sigstore bundle: {_brief(error)}")
            return
        if envelope.payload_type != PAYLOAD_TYPE:
            yield Refusal(code="payload_type", message="the envelope does not hold an in-toto statement")
        if envelope.payload != payload:
            yield Refusal(code="statement_changed", message="the statement is not the one that was signed")
        yield from self._unproven(bundle, payload)
        document = json.loads(content)
        if encoded(document) != content or encoded(json.loads(bundle.to_json())) != content:
            yield Refusal(code="bundle_changed", message="the bundle is not in the form in which it was written")
        yield from self._misstated(document["verificationMaterial"]["tlogEntries"][0])

    def _unproven(self, bundle: Bundle, payload: bytes) -> Iterator[Refusal]:
        try:
            self._policy.verify(bundle.signing_certificate)
        except Exception as error:  # noqa: BLE001 - whatever a certificate does to the library, it names nobody we trust
            yield Refusal(code="wrong_identity", message=f"not signed by {self._signer}: {_brief(error)}")
        try:
            kind, proven = self._verifier.verify_dsse(bundle, self._policy)
        except Exception as error:  # noqa: BLE001 - whatever a bundle does to the library, it proves nothing
            yield Refusal(code="signature", message=f"the proof does not hold: {_brief(error)}")
        else:
            if (kind, proven) != (PAYLOAD_TYPE, payload):
                yield Refusal(code="statement_changed", message="the proof is of another statement")

    def _misstated(self, entry: dict[str, Any]) -> Iterator[Refusal]:
        """Hold what a log entry says of itself against its proof: the library proves one of each pair.

        A Rekor of version 2 claims no time of its own, so none may stand there either.
        """
        if entry["kindVersion"]["version"] != _TILES:
            return
        proof = entry["inclusionProof"]
        note = _NOTE.fullmatch(proof["checkpoint"]["envelope"])
        agree = (
            note is not None
            and entry["logId"]["keyId"] in self._log_ids
            and entry["logIndex"] == proof["logIndex"]
            and str(entry.get("integratedTime", "0")) == "0"
            and note["size"] == proof["treeSize"]
            and note["signatures"].startswith(f"— {note['origin']} ")
        )
        if not agree:
            yield Refusal(code="bundle_changed", message="the log entry contradicts its own proof or checkpoint")


_ADVICE = "give the trusted root (or client trust configuration) that the instance's operator handed you"
_LONGEST = 200


def _latest_stamp(content: bytes) -> datetime | None:
    stamping = Bundle.from_json(content).verification_material.timestamp_verification_data
    stamps = [] if stamping is None else [one.tst_info.gen_time for one in stamping.rfc3161_timestamps]
    if stamps:
        return max(stamps)
    (entry,) = json.loads(content)["verificationMaterial"]["tlogEntries"]
    logged = int(entry.get("integratedTime", 0))
    return datetime.fromtimestamp(logged, UTC) if logged else None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
