"""Everything that `attestations verify`, `chain` and `export` hold against a folder or a pack, in one answer."""

from collections.abc import Callable
from dataclasses import replace

from reconciler.adapters.attestation_head import Head
from reconciler.adapters.attestations import Checked, Problem, Report, attestations_in, verify
from reconciler.adapters.erasure import ErasedCount, recorded_erasures
from reconciler.adapters.pack_check import PackCheck, PackFindings, check_ends, check_manifest
from reconciler.adapters.pack_layout import without_manifest
from reconciler.adapters.pack_period import Period, following
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.cli.attestation_report import Answer
from reconciler.cli.attestation_trust import KeySource, Place
from reconciler.core.errors import EvidenceError


def answer_of(
    place: Place,
    trusted: Trusted,
    source: KeySource,
    *,
    head: Head | None = None,
    checkpoint: bytes | None = None,
    each: Callable[[Checked], None] = lambda _: None,
) -> Answer:
    """Verify all attestations of a place and, of a pack, all that it promises beside them.

    Raises `EvidenceError` when a file cannot be read at all.
    """
    period = Period()
    follow = following(period, trusted)
    erased = ErasedCount(place.root, recorded_erasures(place.root))

    def both(checked: Checked) -> None:
        follow(checked)
        each(checked)
        if checked.document is not None:
            erased.count(checked.document)

    manifest = place.manifest
    since = 1 if manifest is None or manifest.after is None else manifest.first.sequence
    report = verify(
        place.root,
        trusted,
        expected_head=head,
        expected_checkpoint=checkpoint,
        journal=place.journal,
        since=since,
        each=both,
    )
    found = _pack(place, trusted, report)
    if found.problems:
        report = replace(report, verified=False, head=None, problems=(*report.problems, *found.problems))
    elif manifest is not None and report.log is not None:
        report = replace(report, log=replace(report.log, recomputed=True))  # from the hashes that the pack has of it
    return Answer(
        report=report, source=source, period=period, manifest=manifest, notes=tuple(found.notes), erased=erased
    )


def _pack(place: Place, trusted: Trusted, report: Report) -> PackFindings:
    """Check what a pack promises; its records only where its attestations hold."""
    told = [
        Problem(cycle_id="", code="pack_damaged", message=f"{one} was changed in the zip file") for one in place.damaged
    ]
    found = PackFindings(problems=told)
    manifest = place.manifest
    if manifest is None:
        found.problems.extend(without_manifest(place.root))
        return found
    found.problems.extend(check_manifest(place.root, manifest))
    if report.head is None:
        return found
    attestations, _ = attestations_in(place.root)
    found.problems.extend(check_ends(manifest, attestations, report.head.digest))
    try:
        records = PackCheck(place.root, manifest, trusted).run(attestations)
    except (EvidenceError, OSError) as error:
        found.problems.append(Problem(cycle_id="", code="pack_malformed", message=str(error)))
        return found
    found.problems.extend(records.problems)
    found.notes.extend(records.notes)
    return found
