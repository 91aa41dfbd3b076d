"""A file for the auditor: the attestations of a period, what is needed to check them, and how, in one zip.

The same evidence and the same order give the same bytes: entries are sorted, stored without compression, and dated
1980. The pack is laid out in a folder first, one cycle after another: its size is the disk's concern, not memory's. The
public key goes along for convenience; the README says why it must be compared with one received by another way. Of a
keyless chain nothing goes along that a verifier trusts: root, identity and issuer come to the auditor by another way.
"""

import csv
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from reconciler.adapters.attestation_document import parsed_statement
from reconciler.adapters.attestations import PUBLIC_KEY, Attestation, Report, attestations_in
from reconciler.adapters.disclosures import DECISION_LOG, LEAVER_LOG, CycleLeaves, sample
from reconciler.adapters.evidence_files import Entry, file_digest, files_in
from reconciler.adapters.evidence_store import ATTESTATIONS, PSEUDONYM_KEYS, evidence_path
from reconciler.adapters.log_files import CHECKPOINTS, checkpoint_path
from reconciler.adapters.pack_claims import read_claim
from reconciler.adapters.pack_log import write_log
from reconciler.adapters.pack_order import MANIFEST, PACK_FORMAT, SIGNATURE, Cycle, Extent, Manifest, PackOrder, Profile
from reconciler.adapters.pack_signature import Sign, signature_of
from reconciler.adapters.pack_tables import DECISIONS, POLICY_BUNDLE, PackCycle, Tables
from reconciler.adapters.pack_text import controls, readme
from reconciler.adapters.sigstore_bundle import Trusted, VerifyingKey
from reconciler.core.canonical import rfc3339, sha256_hex
from reconciler.core.errors import EvidenceError

_EPOCH = (1980, 1, 1, 0, 0, 0)
ALWAYS = ("cycle-log", LEAVER_LOG, POLICY_BUNDLE)
"""Evidence files that every pack holds of each of its cycles, as far as they still exist."""
_CHUNK = 1 << 20


def write_pack(
    root: Entry, trusted: Trusted, report: Report, order: PackOrder, out: Path, sign: Sign | None = None
) -> Manifest:
    """Write the pack of a verified folder and return its manifest, signed where somebody is handed in who does.

    Raises `EvidenceError` when the folder is not verified, `out` is already there, or no cycle is in the period.
    """
    if not report.verified:
        msg = "the attestations do not verify; nothing was exported"
        raise EvidenceError(msg, advice="run `attestations verify` and look into each problem first")
    if (root / MANIFEST).is_file():
        msg = f"{root} is a pack itself"
        raise EvidenceError(msg, advice="export from the state folder")
    if out.exists():
        msg = f"{out} is already there"
        raise EvidenceError(msg, advice="choose another name; packs are never overwritten")
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pack-") as staging:
            folder, unfinished = Path(staging) / "pack", Path(staging) / out.name
            manifest = _Layout(root, folder, trusted).make(order)
            if sign is not None:
                (folder / SIGNATURE).write_bytes(signature_of(manifest.content(), manifest, trusted, sign))
            _zip(folder, unfinished)
            unfinished.replace(out)
    except OSError as error:
        msg = f"the pack {out} cannot be written: {error.strerror or error}"
        raise EvidenceError(msg, advice="check that the folder exists, may be written to, and has space") from error
    return manifest


def pack_cycles(attestations: Iterable[Attestation], trusted: Trusted) -> Iterator[PackCycle]:
    """Yield attestations that hold, one after another. Raises `EvidenceError` for one that cannot be read."""
    for attestation in attestations:
        payload = attestation.statement.read_bytes()
        yield PackCycle(
            attestation=attestation,
            document=parsed_statement(payload),
            claim=read_claim(payload),
            digest="sha256:" + sha256_hex(payload),
            stamped_at=trusted.stamped_at(attestation.bundle.read_bytes()),
        )


@dataclass(frozen=True, slots=True)
class _Layout:
    """Lays a pack out in a folder."""

    root: Entry
    folder: Path
    trusted: Trusted

    def make(self, order: PackOrder) -> Manifest:
        """Write everything and return the manifest, which is written last."""
        self.folder.mkdir()
        chosen = _chosen(self.root, order)
        first, last = (next(self._cycles([chosen[at]])) for at in (0, -1))
        seed = order.seed or last.digest
        whole: PackCycle | None = None
        for cycle in self._cycles(chosen):
            self._copy_cycle(cycle)
            whole = cycle if cycle.claim.whole and cycle.claim.outcome != "failed" else whole
        if whole is not None:
            self._copy_evidence(whole, DECISION_LOG)
        self._disclose(chosen, order, seed)
        begin = first.document.predicate.log.section.before
        write_log(self.root, self.folder, begin, last.document.predicate.log.section.after)
        make_tables(self.folder, self.folder, self._cycles(chosen))
        manifest = self._manifest(order, seed, (first, last), len(chosen))
        self._explain(manifest, first)
        manifest = manifest.model_copy(update={"files": digests(self.folder)})
        (self.folder / MANIFEST).write_bytes(manifest.content())
        return manifest

    def _cycles(self, chosen: Sequence[Attestation]) -> Iterator[PackCycle]:
        return pack_cycles(chosen, self.trusted)

    def _copy(self, source: Entry, name: str) -> bool:
        if not source.is_file():
            return False
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with source.open("rb") as content, target.open("wb") as copy:
                shutil.copyfileobj(content, copy, _CHUNK)
        return True

    def _copy_cycle(self, cycle: PackCycle) -> None:
        for path in (cycle.attestation.bundle, cycle.attestation.statement):
            self._copy(path, f"{ATTESTATIONS}/{path.name}")
        checkpoint = checkpoint_path(self.root, cycle.stem)
        self._copy(checkpoint, f"{CHECKPOINTS}/{checkpoint.name}")
        for name in ALWAYS:
            self._copy_evidence(cycle, name)

    def _copy_evidence(self, cycle: PackCycle, name: str) -> None:
        digest = cycle.evidence(name)
        if digest is not None:
            self._copy(evidence_path(self.root, digest), f"sha256/{digest[:2]}/{digest}")

    def _disclose(self, chosen: Sequence[Attestation], order: PackOrder, seed: str) -> None:
        extent = order.disclosing.extent
        if extent is Extent.NONE:
            return
        (self.folder / DECISIONS).mkdir()
        drawn = {}
        if extent is Extent.SAMPLE:
            leaves = (CycleLeaves.open(self.root, cycle.document) for cycle in self._cycles(chosen))
            drawn = sample(leaves, order.disclosing.count, seed)
        for cycle in self._cycles(chosen):
            if extent is Extent.SAMPLE and cycle.attestation.cycle_id not in drawn:
                continue
            opened = CycleLeaves.open(self.root, cycle.document)
            places = opened.everything() if extent is Extent.FULL else drawn[cycle.attestation.cycle_id]
            content = opened.show(places).content()
            if content:
                (self.folder / DECISIONS / f"{cycle.stem}.jsonl").write_bytes(content)
            if extent is Extent.FULL:
                name = f"{PSEUDONYM_KEYS}/{cycle.stem}.key"
                self._copy(self.root / name, name)

    def _manifest(self, order: PackOrder, seed: str, ends: tuple[PackCycle, PackCycle], cycles: int) -> Manifest:
        first, last = ends
        previous = first.document.predicate.previous
        return Manifest(
            type=PACK_FORMAT,
            profile=order.profile.value,
            disclose=str(order.disclosing),
            seed=seed if order.disclosing.extent is Extent.SAMPLE else "",
            since=None if order.since is None else rfc3339(order.since),
            until=None if order.until is None else rfc3339(order.until),
            cycles=cycles,
            first=_cycle(first),
            after=None
            if previous is None
            else Cycle(
                sequence=previous.sequence,
                cycle_id=previous.cycle_id,
                digest="sha256:" + previous.statement_digest.sha256,
            ),
            last=_cycle(last),
            signer=self.trusted.signer,
            signing_mode=self.trusted.mode,
            files={},
        )

    def _explain(self, manifest: Manifest, first: PackCycle) -> None:
        key = ""
        if isinstance(self.trusted, VerifyingKey):
            key = PUBLIC_KEY
            (self.folder / PUBLIC_KEY).parent.mkdir()
            (self.folder / PUBLIC_KEY).write_bytes(self.trusted.pem)
        files = (first.attestation.bundle.name, first.attestation.statement.name)
        text = readme(
            manifest,
            key=key,
            first_files=(f"{ATTESTATIONS}/{files[0]}", f"{ATTESTATIONS}/{files[1]}"),
            subject=first.document.subject[0].digest.sha256,
        )
        (self.folder / "README.md").write_text(text, encoding="utf-8")
        with (self.folder / "controls.csv").open("w", encoding="utf-8", newline="") as target:
            csv.writer(target, lineterminator="\n").writerows(controls(Profile(manifest.profile)))
        trust = self.folder / "trust"
        trust.mkdir()
        told = f"To compare only, never to trust:\n{manifest.signing_mode}: {manifest.signer}\n"
        log = f"log: {first.document.predicate.log.verifier_key}\n"
        (trust / "signer.txt").write_text(told + log, encoding="utf-8")
        (self.folder / "schemas").mkdir()
        (self.folder / "schemas" / "statement.schema.json").write_bytes(statement_schema())


def _cycle(cycle: PackCycle) -> Cycle:
    return Cycle(sequence=cycle.claim.sequence, cycle_id=cycle.claim.cycle_id, digest=cycle.digest)


def _chosen(root: Entry, order: PackOrder) -> tuple[Attestation, ...]:
    """Return the cycles of a period and all between them: a pack has no holes of its own making."""
    attestations, _ = attestations_in(root)
    inside = [at for at, one in enumerate(attestations) if _is_inside(one, order)]
    if not inside:
        msg = "no cycle is in this period"
        raise EvidenceError(msg, advice="see `attestations list` for when cycles ran")
    return attestations[inside[0] : inside[-1] + 1]


def _is_inside(attestation: Attestation, order: PackOrder) -> bool:
    began = datetime.fromisoformat(read_claim(attestation.statement.read_bytes()).started_at)
    return (order.since is None or began >= order.since) and (order.until is None or began < order.until)


def make_tables(pack: Path, out: Path, cycles: Iterable[PackCycle]) -> None:
    """Write the tables that follow from a pack's cycles into a folder."""
    with Tables(pack, out) as tables:
        for cycle in cycles:
            tables.add(cycle)
        tables.finish()


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of every file of a pack but its manifest."""
    return {name: file_digest(folder / name) for name in files_in(folder) if name != MANIFEST}


def _zip(folder: Path, out: Path) -> None:
    with ZipFile(out, "w", ZIP_STORED) as pack:
        for name in files_in(folder):
            entry = ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it was made: the same bytes everywhere
            entry.file_size = (folder / name).stat().st_size
            with pack.open(entry, "w") as target, (folder / name).open("rb") as source:
                shutil.copyfileobj(source, target, _CHUNK)


def statement_schema() -> bytes:
    """Return the published JSON Schema of a statement."""
    return (resources.files("reconciler") / "schemas" / "statement.schema.json").read_bytes()
