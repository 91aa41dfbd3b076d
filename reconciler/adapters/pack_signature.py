"""What binds the rest of a pack to its signer: a signature over the manifest, or a digest that came by another way.

The attestations bind what follows from them. README, controls, schema and the signer's name follow from no statement:
only the manifest tells their digests, and whoever changes them can write another manifest. The signature lies beside
the manifest as a bundle around an in-toto statement, which is made anew here and compared byte for byte.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reconciler.adapters.evidence_files import Entry, read_here
from reconciler.adapters.pack_order import MANIFEST, SIGNATURE, Cycle, Manifest
from reconciler.adapters.problems import Problem
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.core.canonical import dumps, sha256_hex
from reconciler.core.errors import EvidenceError
from reconciler.core.statement import STATEMENT_TYPE

PACK_PREDICATE_TYPE: Final = "https://access-reconciler.dev/attestation/evidence-pack/v1"
Sign = Callable[[bytes], bytes]
"""Returns the bundle that signs a statement; raises `SigningError`."""


def manifest_statement(content: bytes, manifest: Manifest) -> bytes:
    """Return the one statement that signs a manifest: its digest, and which cycles it is of. Nothing personal."""
    return dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": MANIFEST, "digest": {"sha256": sha256_hex(content)}}],
            "predicateType": PACK_PREDICATE_TYPE,
            "predicate": {
                "packFormat": manifest.type,
                "cycles": manifest.cycles,
                "first": _end(manifest.first),
                "last": _end(manifest.last),
            },
        }
    )


def _end(cycle: Cycle) -> dict[str, object]:
    digest = cycle.digest.removeprefix("sha256:")
    return {"sequence": cycle.sequence, "cycleId": cycle.cycle_id, "statementDigest": {"sha256": digest}}


def signature_of(content: bytes, manifest: Manifest, trusted: Trusted, sign: Sign) -> bytes:
    """Return the bundle that signs a manifest. Raises `EvidenceError` when another one signs than signed the cycles."""
    statement = manifest_statement(content, manifest)
    bundle = sign(statement)
    refused = trusted.refusal(bundle, statement)
    if refused is not None:
        msg = f"the manifest would not be signed by {trusted.signer}: {refused.message}"
        raise EvidenceError(msg, advice="export with the configuration that signs these cycles, or without --sign")
    return bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """How far the manifest of a pack can be believed."""

    digest: str
    """`sha256:` and hex of its bytes."""
    signed: bool
    """Whether the signer of the cycles signed it."""
    compared: bool
    """Whether it has the digest that the auditor received by another way."""


def check_binding(
    folder: Entry, manifest: Manifest | None, trusted: Trusted, expected: str | None
) -> tuple[Binding | None, tuple[Problem, ...]]:
    """Hold the manifest against its signature and an expected digest; one that is expected has to be there.

    Raises `EvidenceError` for unreadable files.
    """
    if manifest is None:
        return None, () if expected is None else (
            _unexpected(f"{MANIFEST} is missing, though a digest of it is given"),
        )
    content = read_here(folder / MANIFEST) or b""
    digest = "sha256:" + sha256_hex(content)
    bundle = read_here(folder / SIGNATURE)
    refused = None if bundle is None else trusted.refusal(bundle, manifest_statement(content, manifest))
    problems = []
    if refused is not None:
        text = f"{SIGNATURE} does not sign {MANIFEST}: {refused.message}"
        problems.append(Problem(cycle_id="", code="manifest_signature", message=text))
    if expected not in {None, digest}:
        problems.append(_unexpected(f"{MANIFEST} has the digest {digest}, not the expected one"))
    signed = bundle is not None and refused is None
    return Binding(digest=digest, signed=signed, compared=expected == digest), tuple(problems)


def _unexpected(message: str) -> Problem:
    return Problem(cycle_id="", code="manifest_changed", message=message)
