"""The in-toto statement of one cycle: what it saw, decided, did and proved, in canonical bytes.

Counts, digests and codes only. Free text and personal data never enter, persons and objects stay behind the digests of
`documents`, and a record that contradicts itself is refused before anybody signs it. `docs/attestations.md` explains
every field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.core import merkle, predicate
from reconciler.core.canonical import Json, dumps, plain, sha256_hex
from reconciler.core.counting import Counts, contradictions
from reconciler.core.disclosure import disclose
from reconciler.core.errors import EvidenceError
from reconciler.core.grounds import NO_GROUNDS, Grounds
from reconciler.core.leaves import (
    Nonces,
    action_leaves,
    cycle_leaf,
    decision_leaves,
    key_commitment,
    leaf_file,
    leaver_leaves,
)
from reconciler.core.model import CycleId
from reconciler.core.record import CycleRecord
from reconciler.core.running_log import LogSection, logged

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://access-reconciler.dev/attestation/access-reconciliation/v1"
"""Names the predicate and its major version; consumers ignore fields they do not know."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LEAF_FORMAT = "rfc6962-sha256/1"
COMMITMENT_SCHEME = "hmac-sha256/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The attestation that a statement follows."""

    sequence: int
    cycle_id: CycleId
    digest: str
    """`sha256:` and hex of the previous statement's bytes, not of its signature."""
    outcome: str = ""
    """How that cycle ended, where it was read."""
    signing_mode: str = ""
    """How it says that it is signed, where it was read."""
    genesis: str = ""
    """The digest that binds its chain to an installation and a signer, where it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The evidence files of one cycle and the Merkle roots over its leaves."""

    files: tuple[tuple[str, bytes], ...]
    """(subject name, content), sorted by name; each is stored and named by the statement as a subject."""
    leavers_root: str
    leaver_leaves: int
    decisions_root: str
    decision_leaves: int
    actions_root: str
    action_leaves: int
    disclosures: bytes
    """The lines that open leaves, as JSON lines: personal data, named by the leaves alone. May be empty."""

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """Return the leaves that the cycle adds to the running log, in their order."""
        return logged(dict(self.files))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFacts:
    """What a statement says beyond the record of its cycle."""

    documents: Documents
    key: bytes
    """The cycle's pseudonym key, as given to `documents`. Never appears in the statement."""
    previous: Link | None
    """None for the first attestation of a chain only."""
    genesis: str
    """Hex of `chain_genesis`; the same in every statement of a chain."""
    log: LogSection
    """The running log before and after the leaves of `documents`."""
    instance_id: str
    signing_mode: str
    assurance: str


def chain_genesis(instance_id: str, signer: str) -> str:
    """Return the hex digest that binds a chain to an installation and to whoever signs its first statement.

    `signer` is `sha256:` and the fingerprint of the public key in managed-key mode.
    """
    return sha256_hex(dumps({"instanceId": instance_id, "predicateType": PREDICATE_TYPE, "signer": signer}))


def documents(
    record: CycleRecord, key: bytes, nonces: Iterable[bytes], previous: Link | None, grounds: Grounds = NO_GROUNDS
) -> Documents:
    """Make the evidence files of a cycle that follows another one.

    `nonces` gives one fresh random value for each leaf, and each line of one. Raises `EvidenceError` for a bad key or
    when the nonces run out.
    """
    source = Nonces(iter(nonces))
    was = cycle_leaf(record, "" if previous is None else previous.digest, source)
    disclosed = disclose(record, grounds, source)
    left = leaver_leaves(record, key, disclosed.leavers, source)
    decided = decision_leaves(record, key, disclosed.decisions, source)
    acted = action_leaves(record, key, source)
    logs = {"cycle-log": (was,), "leaver-log": left, "decision-log": decided, "action-log": acted}
    files = {name: leaf_file(leaves) for name, leaves in logs.items()}
    files["inventory-manifest"] = dumps({"snapshot": record.snapshot_digest, "scopes": plain(record.inventories)})
    if record.policy is not None:
        files["policy-bundle"] = dumps(record.policy)
    if record.roster is not None:
        files["roster-facts"] = dumps(record.roster)
    return Documents(
        files=tuple(sorted(files.items())),
        leavers_root=merkle.root(left).hex(),
        leaver_leaves=len(left),
        decisions_root=merkle.root(decided).hex(),
        decision_leaves=len(decided),
        actions_root=merkle.root(acted).hex(),
        action_leaves=len(acted),
        disclosures=leaf_file(disclosed.lines),
    )


def build_statement(record: CycleRecord, facts: StatementFacts) -> bytes:
    """Return the canonical bytes of the statement of a cycle.

    Raises `EvidenceError` when the record contradicts itself (see `core.counting`) or the chain does not continue.
    """
    _check_link(record, facts)
    made = facts.documents
    decided = {**predicate.decision_counts(record), **_tree(made.decisions_root, made.decision_leaves)}
    acted = {**predicate.action_counts(record), **_tree(made.actions_root, made.action_leaves)}
    left = {**predicate.leavers(record), **_tree(made.leavers_root, made.leaver_leaves)}
    _check_counts(record, decided, acted, left)
    told: dict[str, Json] = {
        **predicate.cycle(record),
        **_chain(facts),
        "log": facts.log.json(),
        "reconciler": _reconciler(record, facts),
        "policy": predicate.policy(record),
        "roster": predicate.roster(record),
        "inventory": predicate.inventory(record, facts.key),
        "decisions": decided,
        "plan": predicate.plan(record, facts.key),
        "actions": acted,
        "guardrails": predicate.guardrails(record),
        "leavers": left,
        "waivers": predicate.waivers(record),
        "slo": predicate.slo(record),
        "controls": predicate.controls(record),
        "commitments": {"scheme": COMMITMENT_SCHEME, "keyCommitment": {"sha256": key_commitment(facts.key)}},
    }
    subjects = [{"name": name, "digest": {"sha256": sha256_hex(content)}} for name, content in made.files]
    return dumps({"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": told})


def _check_link(record: CycleRecord, facts: StatementFacts) -> None:
    if facts.previous is not None and facts.previous.sequence >= record.sequence:
        msg = f"cycle {record.sequence} cannot follow cycle {facts.previous.sequence}"
        raise EvidenceError(msg, advice="the journal and the attestation folder belong to different chains")


def _check_counts(
    record: CycleRecord, decided: Mapping[str, Json], acted: Mapping[str, Json], left: Mapping[str, Json]
) -> None:
    found = contradictions(
        Counts(
            mode=record.mode.value,
            outcome=record.outcome.value,
            providers_complete=record.snapshot_complete,
            roster_fresh=predicate.roster_fresh(record),
            undecided_principals=record.undecided,
            roster_leavers=None if record.roster is None else record.roster.leavers,
            breadth=record.breadth.value,
            decisions=_numbers(decided),
            actions=_numbers(acted),
            leavers=_numbers(left),
        )
    )
    if found:
        msg = f"the record of cycle {record.cycle_id} contradicts itself: {'; '.join(found)}"
        raise EvidenceError(msg, advice="nothing was signed; this is a defect of the cycle, please report it")


def _numbers(section: Mapping[str, Json]) -> dict[str, int]:
    return {name: value for name, value in section.items() if isinstance(value, int)}


def _chain(facts: StatementFacts) -> dict[str, Json]:
    link = facts.previous
    previous: Json = None
    if link is not None:
        previous = {
            "sequence": link.sequence,
            "cycleId": link.cycle_id,
            "statementDigest": predicate.digest_set(link.digest),
        }
    return {"previous": previous, "chainGenesis": predicate.digest_set(facts.genesis)}


def _reconciler(record: CycleRecord, facts: StatementFacts) -> dict[str, Json]:
    return {
        "version": record.version,
        "configDigest": predicate.digest_set(record.config_digest),
        "instanceId": facts.instance_id,
        "signingMode": facts.signing_mode,
        "assurance": facts.assurance,
    }


def _tree(root: str, leaves: int) -> dict[str, Json]:
    return {"merkleRoot": {"sha256": root}, "leafCount": leaves, "leafFormat": LEAF_FORMAT}
