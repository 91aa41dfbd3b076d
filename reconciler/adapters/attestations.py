"""Verifying a folder of attestations offline: each signature, each number, the chain, and that nothing is missing.

Needs the folder and the expected signer; no daemon, database, network or provider. Whose signature is trusted is the
auditor's decision: a key that was found in the same folder shows that the folder agrees with itself, and no more.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from reconciler.adapters.attestation_document import StatementDocument, read_statement
from reconciler.adapters.attestation_head import Head
from reconciler.adapters.attestation_names import BUNDLE_SUFFIX, STATEMENT_SUFFIX, parse_name
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.evidence_store import ATTESTATIONS
from reconciler.adapters.named_evidence import NamedEvidence
from reconciler.adapters.problems import Problem
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.adapters.verified_log import LogState, VerifiedLog
from reconciler.core.counting import UndoBalance, contradictions
from reconciler.core.errors import EvidenceError
from reconciler.core.statement import PREDICATE_TYPE, STATEMENT_TYPE, chain_genesis
from reconciler.ports import CycleEntry

STORE = "evidence"
"""Name of the store's folder in a state folder."""
PUBLIC_KEY = "keys/attestation.pub"
"""Where a pack, and a state folder, hold the public key."""
_Root = TypeVar("_Root", bound=Entry)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One pair of files, as named."""

    sequence: int
    cycle_id: str
    statement: Entry
    bundle: Entry


@dataclass(frozen=True, slots=True)
class Checked:
    """An attestation after every check that it can pass alone."""

    attestation: Attestation
    document: StatementDocument | None
    """None when something is wrong with it, and once it has been followed."""
    payload: bytes
    """The statement that `document` is of; empty where that is None."""
    stamped_at: datetime | None
    """The latest trusted time of its signature; None where nobody bears witness, or something is wrong."""
    digest: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What verification found."""

    verified: bool
    cycles: int
    gaps: tuple[int, ...]
    """Sequence numbers without an attestation that the chain itself accounts for: cycles that were interrupted."""
    incomplete: tuple[str, ...]
    """Ids of verified cycles whose outcome is `partial` or `failed`."""
    problems: tuple[Problem, ...]
    signer: str
    """Whoever everything was checked against: a key's fingerprint, or an identity and its issuer."""
    mode: str
    head: Head | None
    evidence_checked: int
    evidence_absent: int
    """Evidence files that statements name and that are not here (destroyed, or not part of a pack)."""
    log: LogState | None
    """The log of all records at the end of the chain; None where no statement could be read."""


def attestation_root(folder: _Root) -> _Root:
    """Return the folder that holds `attestations/`, given it, the state folder, or that folder itself.

    Raises `EvidenceError` when it is none of them.
    """
    for root in (folder, folder / STORE):
        if (root / ATTESTATIONS).is_dir():
            return root
    if folder.name == ATTESTATIONS and folder.is_dir():
        return folder.parent
    msg = f"there are no attestations in {folder}"
    raise EvidenceError(msg, advice="name the state folder or an unpacked evidence pack")


def public_key_of(root: _Root) -> _Root:
    """Return where the public key lies that came with the attestations: in a pack, or beside the store."""
    beside = root.parent / PUBLIC_KEY
    return beside if root.name == STORE and beside.is_file() else root / PUBLIC_KEY


def attestations_in(root: Entry) -> tuple[tuple[Attestation, ...], tuple[Problem, ...]]:
    """Return the attestations of a folder in order, and a problem for each file that does not belong there."""
    found: dict[tuple[int, str], Attestation] = {}
    problems: list[Problem] = []
    folder = root / ATTESTATIONS
    for path in sorted(folder.iterdir(), key=lambda one: one.name):
        name = parse_name(path.name)
        if name is None or not path.is_file():
            uuid = _UUID.search(path.name)
            message = f"{path.name} is no file of an attestation"
            problems.append(Problem(cycle_id=uuid[0] if uuid else "", code="unexpected_file", message=message))
            continue
        stem = path.name.removesuffix(name[2])
        found[name[:2]] = Attestation(
            sequence=name[0],
            cycle_id=name[1],
            statement=folder / (stem + STATEMENT_SUFFIX),
            bundle=folder / (stem + BUNDLE_SUFFIX),
        )
    return tuple(found[key] for key in sorted(found)), tuple(problems)


def check(attestation: Attestation, trusted: Trusted) -> Checked:
    """Check one attestation by itself: both files, signature, form, names, numbers. Raises nothing: it reports."""
    digest = ""
    problems: tuple[Problem, ...] = ()
    missing = [path for path in (attestation.statement, attestation.bundle) if not path.is_file()]
    if missing:
        code = "statement_missing" if missing[0] == attestation.statement else "bundle_missing"
        hint = "" if code == "statement_missing" else ": not signed yet, or removed"
        problems = (_problem(attestation, code, f"{missing[0].name} is missing{hint}"),)
    else:
        payload, bundle = attestation.statement.read_bytes(), attestation.bundle.read_bytes()
        digest = "sha256:" + hashlib.sha256(payload).hexdigest()
        document, problems = _check_content(attestation, payload, bundle, trusted)
        if not problems:
            return Checked(attestation, document, payload, trusted.stamped_at(bundle), digest, ())
    return Checked(attestation, None, b"", None, digest, problems)


def _problem(attestation: Attestation, code: str, message: str) -> Problem:
    named = f"cycle {attestation.sequence} ({attestation.cycle_id}): {message}"
    return Problem(cycle_id=attestation.cycle_id, code=code, message=named)


def _check_content(
    attestation: Attestation, payload: bytes, bundle: bytes, trusted: Trusted
) -> tuple[StatementDocument | None, tuple[Problem, ...]]:
    refused = trusted.refusal(bundle, payload)
    if refused is not None:
        return None, (_problem(attestation, refused.code, refused.message),)
    try:
        document = read_statement(payload)
    except EvidenceError as error:
        return None, (_problem(attestation, "statement_malformed", str(error)),)
    claims = _claims(attestation, document, trusted.mode)
    return document, tuple(_problem(attestation, code, text) for code, text in claims)


def _claims(attestation: Attestation, document: StatementDocument, mode: str) -> Iterator[tuple[str, str]]:
    predicate = document.predicate
    if document.type_ != STATEMENT_TYPE:
        yield "statement_type", f"the statement is of type {document.type_!r}"
    if document.predicate_type != PREDICATE_TYPE:
        yield "predicate_type", f"the predicate is of type {document.predicate_type!r}"
    if (predicate.sequence, predicate.cycle_id) != (attestation.sequence, attestation.cycle_id):
        yield "misplaced", f"these files hold the attestation of cycle {predicate.sequence} ({predicate.cycle_id})"
    if predicate.reconciler.signing_mode != mode:
        yield "signing_mode", f"the statement claims mode {predicate.reconciler.signing_mode!r}, not {mode!r}"
    names = [subject.name for subject in document.subject]
    if len(set(names)) != len(names):
        yield "subjects", "two subjects have the same name"
    for text in contradictions(predicate.counts):
        yield "counting", text


class _Chain:
    """Follows attestations in their order, from the first one on."""

    def __init__(self, trusted: Trusted, since: int) -> None:
        self._trusted = trusted
        self._since = since
        self._last: Checked | None = None
        self._genesis = ""
        self._cycle_ids: set[str] = set()
        self.gaps: list[int] = []

    def follow(self, checked: Checked) -> Iterator[Problem]:
        """Yield what is wrong with an attestation's place; one that failed by itself only counts as being there."""
        attestation, document = checked.attestation, checked.document
        last, self._last = self._last, checked
        if attestation.cycle_id in self._cycle_ids or (last and last.attestation.sequence == attestation.sequence):
            yield _problem(attestation, "duplicate", "its sequence number or cycle id is there twice")
        self._cycle_ids.add(attestation.cycle_id)
        if document is None:
            return
        yield from self._origin(attestation, document)
        yield from self._link(attestation, document, last)

    def _origin(self, attestation: Attestation, document: StatementDocument) -> Iterator[Problem]:
        predicate = document.predicate
        genesis = predicate.chain_genesis.sha256
        if predicate.previous is None:
            expected = chain_genesis(predicate.reconciler.instance_id, self._trusted.signer)
            if genesis != expected:
                yield _problem(attestation, "genesis", "the chain does not begin with this installation and signer")
        if self._genesis not in {"", genesis}:
            yield _problem(attestation, "genesis", "it belongs to another chain than the ones before")
        self._genesis = self._genesis or genesis

    def _link(self, attestation: Attestation, document: StatementDocument, last: Checked | None) -> Iterator[Problem]:
        previous = document.predicate.previous
        before = 0 if last is None else last.attestation.sequence
        if previous is not None and last is None and previous.sequence < self._since:
            self.gaps.extend(range(self._since, attestation.sequence))
        elif previous is None and last is None:
            self.gaps.extend(range(1, attestation.sequence))
        elif previous is None:
            yield _problem(attestation, "forked", "it says that it is the first, and is not")
        elif previous.sequence > before:
            text = (
                f"cycle {previous.sequence} ({previous.cycle_id}) is missing: cycle {attestation.sequence} follows it"
            )
            if previous.sequence > before + 1:
                text += f"; so are all others after cycle {before}"
            yield Problem(cycle_id=previous.cycle_id, code="missing", message=text)
        elif last is None or previous.sequence < before or _differs(last, previous.statement_digest.sha256):
            yield _problem(attestation, "forked", f"it does not follow the statement of cycle {before} that is here")
        else:
            self.gaps.extend(range(before + 1, attestation.sequence))


def _differs(last: Checked, hex_digest: str) -> bool:
    """Say whether the statement here is another one; of a statement already found wrong nothing more is said."""
    return last.document is not None and last.digest != "sha256:" + hex_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What the folder alone cannot show: where it should begin and end."""

    head: Head | None
    journal: Sequence[CycleEntry]
    since: int


def verify(  # noqa: PLR0913 - what an auditor knows, each by its name
    root: Entry,
    trusted: Trusted,
    *,
    expected_head: Head | None = None,
    expected_checkpoint: bytes | None = None,
    journal: Sequence[CycleEntry] = (),
    since: int = 1,
    each: Callable[[Checked], None] = lambda _: None,
) -> Report:
    """Verify all attestations under a root against the expected signer, one after another.

    A head, a checkpoint or a journal shows what the folder alone cannot: that its end was removed or rewritten. What
    lies before the sequence number `since` is not missing: a pack may begin in the middle of a chain. `each` is handed
    every attestation in its order and what is wrong with it. Cycles may end meanwhile: those that were attested at the
    beginning are verified; each is in the log before its bundle is stored. Raises `EvidenceError` for unreadable files.
    """
    expected = _Expected(head=expected_head, journal=journal, since=since)
    try:
        listed = attestations_in(root)
        with VerifiedLog.opened(root, expected_checkpoint, demanded=_is_store(root)) as log:
            return _verify(listed, root, trusted, expected, each, log)
    except OSError as error:
        msg = f"the attestations under {root} cannot be read: {error.strerror or error}"
        raise EvidenceError(msg, advice="check the rights of the folder and its files") from error


def _is_store(root: Entry) -> bool:
    """Say whether this is the store of a state folder, where everything is, and no pack that somebody unpacked."""
    return root.name == STORE and not (root / "manifest.json").is_file()


def _verify(
    listed: tuple[tuple[Attestation, ...], tuple[Problem, ...]],
    root: Entry,
    trusted: Trusted,
    expected: _Expected,
    each: Callable[[Checked], None],
    log: VerifiedLog,
) -> Report:
    attestations, strays = listed
    chain, evidence, undos = _Chain(trusted, expected.since), NamedEvidence(root), UndoBalance()
    problems = list(strays)
    by_sequence: dict[int, Checked] = {}
    incomplete: list[str] = []
    for attestation in attestations:
        checked = check(attestation, trusted)
        misplaced = tuple(chain.follow(checked))
        records = _records(checked, misplaced, evidence, log)
        wrong = (*checked.problems, *misplaced, *records)
        wrong += tuple(_undos(checked, undos, whole=not chain.gaps and not misplaced))
        problems.extend(wrong)
        each(replace(checked, problems=wrong))
        by_sequence[attestation.sequence] = replace(checked, document=None, payload=b"")
        if checked.document is not None and checked.document.predicate.outcome in {"partial", "failed"}:
            incomplete.append(attestation.cycle_id)
    known = {problem.cycle_id for problem in problems}
    problems.extend(
        problem for problem in _against_journal(by_sequence, expected.journal) if problem.cycle_id not in known
    )
    problems.extend(_against_head(by_sequence, expected.head))
    named = {(one.attestation.sequence, one.attestation.cycle_id) for one in by_sequence.values()}
    known = {problem.cycle_id for problem in problems} - {""}
    ended = log.end(named, _later(root, attestations))
    ends = (Problem(cycle_id=cycle, code=code, message=text) for cycle, code, text in ended)
    problems.extend(problem for problem in ends if problem.cycle_id not in known)
    if not attestations and not problems:
        problems.append(Problem(cycle_id="", code="nothing", message="there is no attestation: nothing is shown"))
    last = by_sequence[max(by_sequence)] if by_sequence else None
    return Report(
        verified=not problems,
        cycles=len(attestations),
        gaps=tuple(chain.gaps),
        incomplete=tuple(incomplete),
        problems=tuple(problems),
        signer=trusted.signer,
        mode=trusted.mode,
        head=None if last is None or problems else Head(sequence=last.attestation.sequence, digest=last.digest),
        evidence_checked=evidence.checked,
        evidence_absent=evidence.absent,
        log=log.state,
    )


def _later(root: Entry, verified: Sequence[Attestation]) -> frozenset[tuple[int, str]]:
    """Return the cycles after these that were attested while these were verified."""
    last = max((one.sequence for one in verified), default=0)
    return frozenset((one.sequence, one.cycle_id) for one in attestations_in(root)[0] if one.sequence > last)


def _records(
    checked: Checked, misplaced: Sequence[Problem], evidence: NamedEvidence, log: VerifiedLog
) -> Iterator[Problem]:
    """Check the evidence that a statement names and, where its place in the chain is right, its part of the log."""
    attestation, document = checked.attestation, checked.document
    if document is None:
        log.skip()
        return
    found = list(evidence.check(document))
    if attestation.cycle_id in {problem.cycle_id for problem in misplaced}:
        log.skip()
    else:
        found.extend(log.follow(document, checked.digest, evidence.hashes))
    yield from (_problem(attestation, code, text) for code, text in found)


def _undos(checked: Checked, balance: UndoBalance, *, whole: bool) -> Iterator[Problem]:
    if checked.document is None or not whole:
        balance.lose()
        return
    told = checked.document.predicate.actions.reverted
    if balance.overdrawn(told.begun, told.confirmed):
        yield _problem(checked.attestation, "counting", "more undos are confirmed, up to this cycle, than were begun")


def _against_journal(found: Mapping[int, Checked], journal: Sequence[CycleEntry]) -> Iterator[Problem]:
    for entry in journal:
        checked = found.get(entry.sequence)
        named = f"cycle {entry.sequence} ({entry.cycle_id})"
        if not entry.statement_digest:
            continue  # interrupted: it may have an attestation or not
        if checked is None:
            message = f"{named}: its attestation is missing; the journal knows it"
            yield Problem(cycle_id=entry.cycle_id, code="missing", message=message)
        elif checked.digest != entry.statement_digest:
            message = f"{named}: the journal knows another statement"
            yield Problem(cycle_id=entry.cycle_id, code="not_as_recorded", message=message)
    recorded = {entry.sequence for entry in journal}
    for sequence, checked in found.items():
        if recorded and sequence not in recorded:
            yield _problem(checked.attestation, "not_recorded", "the journal does not know it")


def _against_head(found: Mapping[int, Checked], head: Head | None) -> Iterator[Problem]:
    if head is None:
        return
    checked = found.get(head.sequence)
    if checked is None:
        last = max(found, default=0)
        message = f"cycle {head.sequence} is missing: the chain here ends with cycle {last}, its tail was cut off"
        yield Problem(cycle_id="", code="truncated", message=message)
    elif not checked.problems and checked.digest != head.digest:
        yield _problem(checked.attestation, "forked", "it is not the statement of the expected head")
