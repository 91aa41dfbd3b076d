"""A file for the auditor: all attestations, what is needed to check them, and how, in one deterministic zip.

The same attestations give the same bytes: entries are in a fixed order, stored without compression, and dated 1980. The
public key goes along for convenience; the README says why it must be compared with one received by another way. Of a
keyless chain nothing goes along that a verifier trusts: root, identity and issuer come to the auditor by another way.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from reconciler.adapters.attestation_document import read_statement
from reconciler.adapters.attestations import PUBLIC_KEY, Attestation, Report, attestations_in
from reconciler.adapters.evidence_store import ATTESTATIONS
from reconciler.adapters.sigstore_bundle import Trusted, VerifyingKey
from reconciler.core.canonical import dumps
from reconciler.core.errors import EvidenceError
from reconciler.core.statement import PAYLOAD_TYPE, PREDICATE_TYPE

_EPOCH = (1980, 1, 1, 0, 0, 0)
_README = """\
# Attestations of access reconciliation

{cycles} attestations, in the order of their sequence numbers, the last one being {head}.
Compare this fingerprint with one that you received by another way than this file; it is what all trust rests on:

    {fingerprint}

## Verify everything

    access-reconciler attestations verify --dir . --key KEY_RECEIVED_ANOTHER_WAY.pub --expect-head {head}

Exit code 0: verified. 3: verified, with interrupted cycles or cycles that could not see everything. 1: not verified.

## Verify one attestation by hand

Needs a shell and OpenSSL. The first command prints the key's fingerprint, the last one `Verified OK`.

```sh
openssl pkey -pubin -in {key} -outform DER | openssl dgst -sha256
bundle={bundle}
statement={statement}
grep -o '"sig":"[^"]*"' "$bundle" | cut -d'"' -f4 | openssl base64 -d -A > signature.der
printf 'DSSEv1 {type_length} {type} %d ' "$(wc -c < "$statement")" | cat - "$statement" > signed.bin
openssl dgst -sha256 -verify {key} -signature signature.der signed.bin
```

Each statement names the SHA-256 of the one before it (`predicate.previous.statementDigest`): `sha256sum` of the
statement files shows the chain.

## What this does not prove

The signing mode is `managed-key` with a key in a file: no transparency log and no trusted clock bear witness. Whoever
held the key file could have signed other statements. Keep the head above: a later pack must contain it.
"""


_KEYLESS_README = """\
# Attestations of access reconciliation

{cycles} attestations, in the order of their sequence numbers, the last one being {head}.
All trust rests on three things that are not in this file. Have them by another way:

- the trusted root, or client trust configuration, of the Sigstore instance (`TRUST`),
- the identity that must have signed, and the issuer that vouches for it. This pack was verified as signed by
  `{signer}`; compare.

## Verify everything

    access-reconciler attestations verify --dir . --trust-root TRUST --identity ID --issuer ISSUER --expect-head {head}

Exit code 0: verified. 3: verified, with interrupted cycles or cycles that could not see everything. 1: not verified.

## Verify one attestation without our code

With the Python client of Sigstore (no network; it prints the statement):

    sigstore --trust-config TRUST verify identity --bundle {bundle} --cert-identity ID \\
      --cert-oidc-issuer ISSUER sha256:{subject}

With cosign (3.0.5 or later; `TRUSTED_ROOT` is the trusted root alone):

    cosign verify-blob-attestation --bundle {bundle} --trusted-root TRUSTED_ROOT --use-signed-timestamps \\
      --certificate-identity ID --certificate-oidc-issuer ISSUER --type {predicate} \\
      --digest {subject} --digestAlg sha256

Each statement names the SHA-256 of the one before it (`predicate.previous.statementDigest`): `sha256sum` of the
statement files shows the chain.

## What this does not prove

That the inventory is true, and that the instance's operator did not make certificates for themselves: watch the
instance's logs for this identity. Keep the head above: a later pack must contain it.
"""


def write_pack(root: Path, trusted: Trusted, report: Report, out: Path) -> None:
    """Write the pack of a verified folder. Raises `EvidenceError` when it is not verified or `out` is already there."""
    if not report.verified:
        msg = "the attestations do not verify; nothing was exported"
        raise EvidenceError(msg, advice="run `attestations verify` and look into each problem first")
    if out.exists():
        msg = f"{out} is already there"
        raise EvidenceError(msg, advice="choose another name; packs are never overwritten")
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pack-") as staging:
            unfinished = Path(staging) / out.name
            _write(root, trusted, report, unfinished)
            unfinished.replace(out)
    except OSError as error:
        msg = f"the pack {out} cannot be written: {error.strerror or error}"
        raise EvidenceError(msg, advice="check that the folder exists, may be written to, and has space") from error


def _write(root: Path, trusted: Trusted, report: Report, out: Path) -> None:
    digests: dict[str, str] = {}
    with ZipFile(out, "w", ZIP_STORED) as pack:
        for name, content in _contents(root, trusted, report):
            digests[name] = hashlib.sha256(content).hexdigest()
            pack.writestr(_entry(name), content)
        pack.writestr(_entry("manifest.json"), dumps({"sha256": digests}))


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # Unix, wherever it was made: the same bytes everywhere
    return entry


def _contents(root: Path, trusted: Trusted, report: Report) -> Iterator[tuple[str, bytes]]:
    attestations, _ = attestations_in(root)
    yield "README.md", _readme(attestations[0], trusted, report).encode()
    for attestation in attestations:
        for path in (attestation.bundle, attestation.statement):
            yield f"{ATTESTATIONS}/{path.name}", path.read_bytes()
    if isinstance(trusted, VerifyingKey):
        yield PUBLIC_KEY, trusted.pem
    yield "schemas/statement.schema.json", statement_schema()


def _readme(first: Attestation, trusted: Trusted, report: Report) -> str:
    bundle = f"{ATTESTATIONS}/{first.bundle.name}"
    if isinstance(trusted, VerifyingKey):
        return _README.format(
            cycles=report.cycles,
            head=report.head,
            fingerprint=trusted.fingerprint,
            key=PUBLIC_KEY,
            bundle=bundle,
            statement=f"{ATTESTATIONS}/{first.statement.name}",
            type=PAYLOAD_TYPE,
            type_length=len(PAYLOAD_TYPE),
        )
    subject = read_statement(first.statement.read_bytes()).subject[0].digest.sha256
    return _KEYLESS_README.format(
        cycles=report.cycles,
        head=report.head,
        signer=trusted.signer,
        bundle=bundle,
        subject=subject,
        predicate=PREDICATE_TYPE,
    )


def statement_schema() -> bytes:
    """Return the published JSON Schema of a statement."""
    return (resources.files("reconciler") / "schemas" / "statement.schema.json").read_bytes()
