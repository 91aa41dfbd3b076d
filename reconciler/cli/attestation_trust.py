"""Where the attestations of a command lie, and whom their signatures are held against.

Trust comes from the auditor, or from the operator's configuration. A key that lies in the verified folder itself shows
agreement only, and of keyless signatures nothing is ever taken from there. Nothing here imports what a daemon needs
before a configuration is read: an auditor's installation has none of it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reconciler.adapters.attestation_head import Head
from reconciler.adapters.attestations import attestation_root, public_key_of
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.pack_file import opened, refuse_irregular
from reconciler.adapters.pack_order import Manifest, read_manifest
from reconciler.adapters.sigstore_bundle import Trusted, VerifyingKey
from reconciler.cli.exits import DEFAULT_CONFIG
from reconciler.core.errors import EvidenceError, WrongUsage
from reconciler.evidence_ports import Signer
from reconciler.ports import CycleEntry


class KeySource(StrEnum):
    """Where the trusted key came from."""

    GIVEN = "given"
    """By the auditor, with --key, or with --trust-root, --identity and --issuer."""
    CONFIGURED = "configured"
    """The operator's own signing key or identity, as the configuration names it."""
    STORE = "store"
    """From the folder that is being verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a configuration says of the attestations it makes."""

    root: Entry
    """Holds `attestations/` and `evidence/`."""
    trusted: Callable[[], Trusted]
    """Reads whom the operator expects to have signed; raises `EvidenceError`."""
    journal: tuple[CycleEntry, ...] = ()
    """The cycles that the journal knows, oldest first."""
    damaged: tuple[str, ...] = ()
    """Files of a zip file that its own checksums refuse."""
    manifest: Manifest | None = None
    """What a pack says of itself; None for a state folder."""
    signer: Callable[[], Signer] | None = None
    """Returns who signs for the operator; None without a configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What an auditor kept, or received by another way than the pack."""

    head: Head | None = None
    checkpoint: bytes | None = None
    manifest: str | None = None
    """`sha256:` and hex of a pack's manifest."""


Locate = Callable[[Path | None], Place]
"""Reads a configuration (None: the usual one) and says where its attestations are."""

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Configuration file; {DEFAULT_CONFIG} without --pack.")
]
PackOption = Annotated[
    Path | None,
    typer.Option(
        "--pack", "--dir", help="Evidence pack (zip or unpacked) or state folder, instead of a configuration."
    ),
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Public key (PEM) of the signer that you trust.")]
RootOption = Annotated[
    Path | None,
    typer.Option("--trust-root", help="Trusted root or client trust configuration that you trust, for keyless."),
]
IdentityOption = Annotated[str | None, typer.Option("--identity", help="Who must have signed, for keyless.")]
IssuerOption = Annotated[str | None, typer.Option("--issuer", help="Who must vouch for the identity, for keyless.")]
HeadOption = Annotated[
    str | None,
    typer.Option("--expect-head", help="SEQUENCE:DIGEST, or a file that holds it: finds a tail that was cut off."),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--expect-checkpoint", help="Checkpoint file that you kept: finds a log rewritten or cut off since."),
]


ManifestOption = Annotated[
    str | None,
    typer.Option("--expect-manifest", help="SHA-256 of the pack's manifest, had by another way than the pack."),
]
_DIGEST = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Whom the auditor says must have signed."""

    key: Path | None
    trust_root: Path | None
    identity: str | None
    issuer: str | None

    def trusted(self) -> Trusted | None:
        """Return the key or the identity; None when neither was given. Raises `EvidenceError` for half of one."""
        keyless = (self.trust_root, self.identity, self.issuer)
        if self.key is not None and any(keyless):
            msg = "--key and the options of keyless signing exclude each other"
            raise WrongUsage(msg, advice="give --key, or --trust-root, --identity and --issuer")
        if self.key is not None:
            return VerifyingKey.from_file(self.key)
        if self.trust_root is not None and self.identity is not None and self.issuer is not None:
            from reconciler.adapters.sigstore_identity import TrustedIdentity  # noqa: PLC0415 - takes a second

            return TrustedIdentity.from_file(self.trust_root, self.identity, self.issuer)
        if any(keyless):
            msg = "--trust-root, --identity and --issuer need one another"
            raise WrongUsage(msg, advice="none of them is ever taken from the attestations: give all three")
        return None


def trusted_of(place: Place, given: Given, *, from_store: bool) -> tuple[Trusted, KeySource]:
    """Return whom signatures are held against, and who said so; raises `EvidenceError` when nobody did."""
    trusted = given.trusted()
    if trusted is not None:
        return trusted, KeySource.GIVEN
    return place.trusted(), KeySource.STORE if from_store else KeySource.CONFIGURED


@contextmanager
def opened_place(locate: Locate, config: Path | None, pack: Path | None) -> Iterator[Place]:
    """Give the place of the attestations: the pack or folder that was given, else where the configuration says."""
    if pack is None:
        place = locate(config)
        yield replace(place, root=attestation_root(place.root))
        return
    with opened(pack) as found:
        root = attestation_root(found.folder)
        refuse_irregular(root)
        own = Place(
            root=root,
            trusted=lambda: VerifyingKey.from_file(public_key_of(root)),
            damaged=found.damaged,
            manifest=read_manifest(root),
        )
        if config is None:
            yield own
            return
        place = locate(config)
        ours = _same(root, attestation_root(place.root))  # a pack may be older than the journal
        yield replace(own, trusted=place.trusted, signer=place.signer, journal=place.journal if ours else ())


def _same(one: Entry, other: Entry) -> bool:
    """Say whether both are one folder on disk."""
    return isinstance(one, Path) and isinstance(other, Path) and one.resolve() == other.resolve()


def configured_place(config: Path | None) -> Place:
    """Return where the attestations of a configuration lie, with what its journal knows, if there is one yet."""
    from reconciler.settings import load_settings  # noqa: PLC0415 - an auditor has no configuration
    from reconciler.signers import build_signer, configured_trust  # noqa: PLC0415 - as above
    from reconciler.wiring import open_store  # noqa: PLC0415 - as above
    from reconciler.writer import journal_exists, open_journal  # noqa: PLC0415 - as above

    settings = load_settings(config or DEFAULT_CONFIG)
    journal: tuple[CycleEntry, ...] = ()
    if journal_exists(settings):
        with open_journal(settings) as opened:
            journal = tuple(opened.cycles())
    return Place(
        root=open_store(settings).root,
        trusted=lambda: configured_trust(settings),
        journal=journal,
        signer=lambda: build_signer(settings),
    )


def expected_checkpoint(path: Path | None) -> bytes | None:
    """Read the checkpoint that an auditor kept. Raises `EvidenceError`."""
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        msg = f"the checkpoint {path} cannot be read: {error.strerror}"
        raise EvidenceError(msg, advice="give the file that you kept of the folder checkpoints") from error


def expected_manifest(text: str | None) -> str | None:
    """Read the digest of a manifest, with or without `sha256:`. Raises `EvidenceError`."""
    if text is None:
        return None
    match = _DIGEST.match(text.strip())
    if match is None:
        msg = f"{text.strip()!r} is no SHA-256"
        raise WrongUsage(msg, advice="take the line that `attestations export` printed as manifest")
    return "sha256:" + match["hex"]


def expected_head(text: str | None) -> Head | None:
    """Read the head that an auditor kept: given itself, or as a file. Raises `EvidenceError`."""
    if text is None:
        return None
    path = Path(text)
    try:
        return Head.parse(path.read_text(encoding="utf-8") if path.is_file() else text)
    except OSError as error:
        msg = f"the head file {path} cannot be read: {error.strerror}"
        raise EvidenceError(msg, advice="give SEQUENCE:DIGEST itself") from error
