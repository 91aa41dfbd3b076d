"""What stands behind the pseudonyms of a cycle's leaves: one line for each, which its leaf commits to by digest.

A line opens a leaf: it names whom the leaf is about, and on what the policies decided, so that a decision can be made
anew by somebody else. Lines are personal data. They lie apart from the evidence that statements name, are shown one by
one, and may be destroyed: the leaf keeps a digest that nobody can guess, for each line has a nonce of its own.

Four types of line, each canonical JSON; a digest is the SHA-256 of a line without its newline:

- `evaluation-data/1`: what all evaluations of the cycle had in common. At most one.
- `evaluation-input/1`: what was asked about one principal and answered; names the digest of the line above.
- `decision-disclosure/1`: whom one decision leaf is about; names the digest of the line of its principal.
- `leaver-disclosure/1`: whom one leaver leaf is about, and what HR said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from inventory.roster.model import WorkerId
from reconciler.core.canonical import Json, dumps, sha256_hex
from reconciler.core.grounds import Grounds, Place
from reconciler.core.leaves import Decision, Nonces, Subject, decisions
from reconciler.core.record import CycleRecord, LeaverVerdict

EVALUATION_DATA: Final = "evaluation-data/1"
EVALUATION_INPUT: Final = "evaluation-input/1"
DECISION_DISCLOSURE: Final = "decision-disclosure/1"
LEAVER_DISCLOSURE: Final = "leaver-disclosure/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """The lines of one cycle, and which of them each leaf commits to."""

    lines: tuple[bytes, ...] = ()
    decisions: Mapping[Subject, str] = field(default_factory=dict)
    """SHA-256 (hex) of the line of each decision."""
    leavers: Mapping[WorkerId, str] = field(default_factory=dict)
    """SHA-256 (hex) of the line of each leaver."""


def disclose(record: CycleRecord, grounds: Grounds, nonces: Nonces) -> Disclosure:
    """Return the lines of a cycle: none when it judged nobody and found nothing.

    One nonce is taken for each line. Raises `EvidenceError` when they run out.
    """
    made = decisions(record)
    lines: list[bytes] = []
    asked = dict(_evaluations(record, grounds, made, nonces, lines))
    of_decisions: dict[Subject, str] = {}
    for decision in made:
        of_decisions[decision.subject] = _add(lines, _decision(record, decision, asked, nonces.fresh()))
    of_leavers: dict[WorkerId, str] = {}
    for verdict in record.leavers:
        told = grounds.leavers.get(verdict.worker_id)
        of_leavers[verdict.worker_id] = _add(lines, _leaver(record, verdict, told, nonces.fresh()))
    return Disclosure(lines=tuple(lines), decisions=of_decisions, leavers=of_leavers)


def _add(lines: list[bytes], line: bytes) -> str:
    lines.append(line)
    return sha256_hex(line)


def _evaluations(
    record: CycleRecord, grounds: Grounds, made: tuple[Decision, ...], nonces: Nonces, lines: list[bytes]
) -> Iterator[tuple[Place, str]]:
    """Add the lines of what was asked; yield the digest of each principal's."""
    places = sorted({_place(decision) for decision in made} & grounds.asked.keys())
    if not places or grounds.common is None:
        return
    common = {"type": EVALUATION_DATA, "cycleId": record.cycle_id, **grounds.common, "nonce": nonces.fresh().hex()}
    data = _add(lines, dumps(common))
    for place in places:
        parts = (dumps(record.cycle_id), dumps(data), dumps(nonces.fresh().hex()), dumps(EVALUATION_INPUT))
        line = b'{"asked":%s,"cycleId":%s,"data":%s,"nonce":%s,"type":%s}' % (grounds.asked[place], *parts)
        yield place, _add(lines, line)


def _place(decision: Decision) -> Place:
    provider, principal_id, _ = decision.subject
    return (provider, decision.scope, principal_id)


def _decision(record: CycleRecord, decision: Decision, asked: Mapping[Place, str], nonce: bytes) -> bytes:
    provider, principal_id, access_id = decision.subject
    told: dict[str, Json] = {
        "type": DECISION_DISCLOSURE,
        "cycleId": record.cycle_id,
        "provider": provider,
        "scope": decision.scope,
        "principalId": principal_id,
        "accessId": access_id,
        "workerId": decision.worker_id,
        "evaluation": asked.get(_place(decision)),
        "nonce": nonce.hex(),
    }
    return dumps(told)


def _leaver(record: CycleRecord, verdict: LeaverVerdict, told: Json, nonce: bytes) -> bytes:
    line: dict[str, Json] = {
        "type": LEAVER_DISCLOSURE,
        "cycleId": record.cycle_id,
        "workerId": verdict.worker_id,
        "worker": told,
        "remaining": verdict.remaining,
        "missing": list[Json](verdict.missing),
        "nonce": nonce.hex(),
    }
    return dumps(line)
