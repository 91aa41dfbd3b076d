"""Everything that `attestations verify`, `chain` and `export` hold against a folder or a pack, in one answer."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from reconciler.adapters.attestations import Checked, Report, attestations_in, verify
from reconciler.adapters.erasure import ErasedCount, recorded_erasures
from reconciler.adapters.pack_check import PackCheck, PackFindings, check_ends, check_manifest
from reconciler.adapters.pack_layout import without_manifest
from reconciler.adapters.pack_period import Period
from reconciler.adapters.pack_signature import check_binding
from reconciler.adapters.pack_tables import PackCycle
from reconciler.adapters.problems import Problem
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.cli.attestation_report import Answer
from reconciler.cli.attestation_trust import Kept, KeySource, Place

_NOTHING_KEPT = Kept()


class _Following:
    """Takes in each attestation once, while it is verified: its statement is parsed and its bundle read only then."""

    def __init__(self, place: Place, records: PackCheck | None, each: Callable[[Checked], None]) -> None:
        self.period = Period()
        self.erased = ErasedCount(place.root, recorded_erasures(place.root))
        self._records = records
        self._each = each

    def __call__(self, checked: Checked) -> None:
        if checked.problems:
            self._records = None  # the records of a pack are looked into as long as its attestations hold
        if checked.document is not None:
            cycle = PackCycle.of(checked, checked.document)
            self.period.add(cycle.claim, cycle.stamped_at)
            self.erased.count(cycle.document)
            if self._records is not None:
                self._records.add(cycle)
        self._each(checked)


def answer_of(
    place: Place,
    trusted: Trusted,
    source: KeySource,
    *,
    kept: Kept = _NOTHING_KEPT,
    each: Callable[[Checked], None] = lambda _: None,
) -> Answer:
    """Verify all attestations of a place and, of a pack, all that it promises beside them.

    Raises `EvidenceError` when a file cannot be read at all.
    """
    manifest = place.manifest
    with _records(place) as records:
        following = _Following(place, records, each)
        report = verify(
            place.root,
            trusted,
            expected_head=kept.head,
            expected_checkpoint=kept.checkpoint,
            journal=place.journal,
            since=1 if manifest is None or manifest.after is None else manifest.first.sequence,
            each=following,
        )
        found = _pack(place, records, report)
    binding, unbound = check_binding(place.root, manifest, trusted, kept.manifest)
    found.problems.extend(unbound)
    if found.problems:
        report = replace(report, verified=False, head=None, problems=(*report.problems, *found.problems))
    elif manifest is not None and report.log is not None:
        report = replace(report, log=replace(report.log, recomputed=True))  # from the hashes that the pack has of it
    return Answer(
        report=report,
        source=source,
        period=following.period,
        manifest=manifest,
        binding=binding,
        notes=tuple(found.notes),
        erased=following.erased,
    )


def _records(place: Place) -> AbstractContextManager[PackCheck | None]:
    return nullcontext() if place.manifest is None else PackCheck.opened(place.root, place.manifest)


def _pack(place: Place, records: PackCheck | None, report: Report) -> PackFindings:
    """Check what a pack promises; its records only where its attestations hold."""
    told = [
        Problem(cycle_id="", code="pack_damaged", message=f"{one} was changed in the zip file") for one in place.damaged
    ]
    found = PackFindings(problems=told)
    manifest = place.manifest
    if manifest is None or records is None:
        found.problems.extend(without_manifest(place.root))
        return found
    found.problems.extend(check_manifest(place.root, manifest))
    if report.head is None:
        return found
    attestations, _ = attestations_in(place.root)
    found.problems.extend(check_ends(manifest, attestations, report.head.digest))
    shown = records.finish()
    found.problems.extend(shown.problems)
    found.notes.extend(shown.notes)
    return found
