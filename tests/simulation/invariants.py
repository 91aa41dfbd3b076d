"""The invariants of the reconciler, as far as they can be seen on the simulated world, each as a function of its own.

They look at the vendors' own books, at the journal's rows by plain SQL, at the records of the cycles and at the truth
about the people; never at what the code under test computed of these. What is not seen here is proven elsewhere:

| invariant | proven by |
| --- | --- |
| I-2, every way in which a feed can be broken | tests/unit/test_roster_messy_feeds.py, test_roster_gate.py |
| I-8, a policy engine that answers nonsense | tests/integration/test_opa_faults.py, tests/unit/test_evaluation.py |
| I-9, the lock itself | tests/unit/test_journal_lease.py, tests/contract/test_journal_contract.py |
| I-12, every history of records | tests/property/test_roster_folding.py |
| I-15, the order of the input | tests/property/test_planning_promises.py |
| I-16, that nothing but a revoker can write | tests/architecture/test_who_may_write.py |
| I-17, each way to alter an attestation | tests/integration/test_attestations_tamper.py, tests/e2e/test_tampering.py |
| I-18, lost log servers | tests/integration/test_audit_cloud_logging.py |
| I-18, full and read-only disks | tests/unit/test_journal_sql.py, tests/unit/test_evidence_store.py |
| I-19, hostile feeds; a whole day | tests/unit/test_roster_messy_feeds.py; tests/simulation/test_long_day.py |
| I-20, the probe outside the process | tests/unit/test_daemon_health.py, tests/e2e/test_daemon.py |
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from inventory.model import Credential
from reconciler.adapters.attestations import verify
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.sigstore_bundle import VerifyingKey
from reconciler.core.guard import Limits
from reconciler.core.model import VerificationState
from reconciler.core.record import CycleOutcome, CycleRecord
from tests.builders import SCOPE
from tests.simulation.company import ADMINS, AWS, Company
from tests.simulation.vendor import Effected

_SURE = {"done", "already_absent"}


@dataclass(slots=True, kw_only=True)
class History:
    """Everything that an invariant may look at."""

    company: Company
    limits: Limits
    records: list[CycleRecord] = field(default_factory=list)

    def effects(self) -> Iterator[Effected]:
        """Yield every effect that any vendor really had."""
        for vendor in self.company.vendors.values():
            yield from vendor.book

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """Ask the journal's file."""
        if not self.company.journal_path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.company.journal_path}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def pairs(self, query: str) -> dict[str, str]:
        """Ask for two columns and return the second by the first."""
        return {row[0]: row[1] for row in self.rows(query)}

    def cycle_of(self) -> dict[str, str]:
        """Return the cycle of each intent."""
        return self.pairs("select action_id, cycle_id from intents")

    def released(self) -> set[str]:
        """Return the cycles that spent an approval."""
        return {one for (one,) in self.rows("select cycle_id from approval_uses")}

    def against(self, *words: str) -> list[Effected]:
        """Return the effects against which the truth held one of these objections."""
        return [one for one in self.effects() if one.objections & set(words)]


def check_i01_completeness(history: History) -> None:
    """What rests on an absence was done only after a whole listing; a partial cycle is not called complete."""
    assert [one for one in history.effects() if one.needs == "scope" and not one.whole] == []
    for record in history.records:
        if record.outcome is CycleOutcome.COMPLETE:
            assert all(facts.complete for facts in record.inventories), record.cycle_id


def check_i02_roster(history: History) -> None:
    """Nothing was done on a damaged, stale or future-dated feed, unless a human released that very plan."""
    cycles, released = history.cycle_of(), history.released()
    unfed = [one for one in history.effects() if not one.fed]
    assert [one for one in unfed if cycles[one.action_id] not in released] == []


def check_i03_protected(history: History) -> None:
    """Our own principals, emergency access, machines and protected people kept everything; two administrators work."""
    assert history.against("special") == []
    working = [
        one for one in history.company.vendors[AWS].principals.values() if one.privileged and one.enabled is not False
    ]
    assert len(working) >= min(2, ADMINS)


def check_i04_caps(history: History) -> None:
    """No window of 24 h saw more principals of a provider named by intents than the limit, but for released cycles."""
    released = history.released()
    by_provider: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
    query = "select provider, principal_id, recorded_at, cycle_id from intents order by position"
    for provider, principal_id, recorded_at, cycle_id in history.rows(query):
        by_provider[provider].append((datetime.fromisoformat(recorded_at), principal_id, cycle_id))
    for provider, intents in by_provider.items():
        for number, (at, _, cycle_id) in enumerate(intents):
            if cycle_id in released:
                continue
            since = at - timedelta(seconds=history.limits.window_seconds)
            named = {who for when, who, _ in intents[: number + 1] if when >= since}
            assert len(named) <= history.limits.max_principals, (provider, at)
    held = {one for one, count in history.rows("select cycle_id, held from plans") if count}
    assert held.isdisjoint(one for (one,) in history.rows("select cycle_id from intents"))


def check_i05_journal_first(history: History) -> None:
    """Whenever a call came, its intent could be read from the journal by another connection."""
    assert [one for one in history.effects() if not one.intended] == []


def check_i06_verified(history: History) -> None:
    """A cycle called complete saw each of its acts gone by reading again; nothing is verified without an intent."""
    for record in history.records:
        if record.outcome is CycleOutcome.COMPLETE:
            states = {one.verification for one in record.results if one.outcome.value in {"done", "unknown"}}
            assert states <= {VerificationState.GONE}, record.cycle_id
    query = "select count(*) from verifications v left join intents i using (action_id) where i.action_id is null"
    assert [int(count) for (count,) in history.rows(query)] in ([], [0])


def check_i06_truth(history: History) -> None:
    """Right after a cycle: what it saw gone is truly gone, whatever the provider had answered."""
    for result in history.records[-1].results if history.records else ():
        if result.verification is VerificationState.GONE:
            held = history.company.vendors[result.action.provider].items.get(result.action.item.access_id)
            assert held is None or (isinstance(held, Credential) and held.enabled is False), result.action.action_id


def check_i07_once(history: History) -> None:
    """No action had its effect twice, and no outcome was recorded twice."""
    counts = Counter(one.action_id for one in history.effects())
    assert [one for one, count in counts.items() if count > 1] == []


def check_i08_policy_errors(history: History) -> None:
    """A cycle without a trusted answer of the policy engine did nothing."""
    for record in history.records:
        if record.engine is None:
            assert record.results == ()
            assert record.outcome is not CycleOutcome.COMPLETE


def check_i09_one_actor(history: History) -> None:
    """Once a later process had written an intent, no earlier one wrote any."""
    epochs = [int(one) for (one,) in history.rows("select epoch from intents order by position")]
    assert epochs == sorted(epochs)


def check_i10_fresh(history: History) -> None:
    """No intent was written after its plan had expired, and nobody lost anything who was back or never gone."""
    query = "select i.recorded_at, p.document from intents i join plans p on p.cycle_id = i.cycle_id"
    for recorded_at, document in history.rows(query):
        planned = datetime.fromisoformat(json.loads(document)["created_at"])
        assert datetime.fromisoformat(recorded_at) < planned + timedelta(seconds=history.limits.plan_ttl_seconds)
    assert history.against("waived", "not asked for") == []


def check_i11_absence(history: History) -> None:
    """Nobody lost anything because their row was missing."""
    assert history.against("absent") == []


def check_i12_all_records(history: History) -> None:
    """Nobody lost anything while one of their employments was open."""
    assert history.against("works here") == []


def check_i13_certainty(history: History) -> None:
    """Nothing was taken where two people share the evidence, and nothing removed for good on an address alone."""
    assert history.against("disputed", "unsure", "nobody's", "owned") == []


def check_i14_modes(history: History) -> None:
    """Nothing was done in observe mode, nothing removed in quarantine mode; nothing new acted in its first cycle."""
    cycles, released = history.cycle_of(), history.released()
    modes = history.pairs("select cycle_id, mode from cycles")
    for one in history.effects():
        mode = modes[cycles[one.action_id]]
        assert mode != "observe", one
        assert one.verb == "quarantine" or mode == "enforce", one
    seen = {
        (kind, value): cycle_id
        for kind, value, cycle_id in history.rows("select kind, value, cycle_id from observations")
    }
    for cycle_id, policy in history.rows("select distinct cycle_id, policy_digest from intents"):
        assert cycle_id in released or seen.get(("policy", policy)) not in {None, cycle_id}, cycle_id
    for cycle_id, provider in history.rows("select distinct cycle_id, provider from intents"):
        assert cycle_id in released or seen.get(("provider", f"{provider}/{SCOPE}")) not in {None, cycle_id}, cycle_id


def check_i16_narrowing(history: History) -> None:
    """Whatever was given back stood in the journal as an undo that had begun."""
    undone = [one for vendor in history.company.vendors.values() for one in vendor.undone]
    assert [action_id for action_id, known in undone if not known] == []


def check_i17_chain(history: History) -> None:
    """The attestations verify offline, against the key and against what the journal knows."""
    state = history.company.state
    if not (state / "evidence" / "attestations").is_dir():
        return
    with SqlJournal(sqlite_url(history.company.journal_path)) as journal:
        cycles = journal.cycles()
    report = verify(state / "evidence", VerifyingKey.from_file(state / "keys" / "attestation.pub"), journal=cycles)
    assert report.problems == ()


def check_i18_streams(history: History) -> None:
    """Each line of the audit trail is whole and told once, whatever happened to the process that wrote it."""
    path = history.company.state / "audit.jsonl"
    if path.exists():
        ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert len(ids) == len(set(ids))


EVERY_STEP: tuple[Callable[[History], None], ...] = (
    check_i01_completeness,
    check_i02_roster,
    check_i03_protected,
    check_i04_caps,
    check_i05_journal_first,
    check_i06_verified,
    check_i07_once,
    check_i08_policy_errors,
    check_i09_one_actor,
    check_i10_fresh,
    check_i11_absence,
    check_i12_all_records,
    check_i13_certainty,
    check_i14_modes,
    check_i16_narrowing,
    check_i18_streams,
)
"""Cheap enough for after every step; I-15 and I-20 are asserted when calm returns, I-17 whenever a process ended."""


def check_every_step(history: History) -> None:
    """Assert every invariant that is cheap to see."""
    for check in EVERY_STEP:
        check(history)
