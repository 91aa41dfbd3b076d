"""A cycle killed in the middle of its acts, several times: the next one ends where an undisturbed one would have."""

import json
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import raw
from tests.e2e.company import Company, command, environment
from tests.e2e.conftest import Demonstrated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = (
    ("intents", 1, "the first intent stands"),
    ("outcomes", 9, "some acts are done and not verified"),
    ("verifications", 20, "some principals are verified"),
    ("intents", 38, "most is done"),
)
"""Table of the journal, its number of rows at which the process is killed, and what that is."""
OPAQUE = re.compile(
    rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b(?:[0-9a-f]{32}|[0-9a-z]{20}|A[A-Z]{3}[A-Z0-9]{14,17})\b"
    rb"|\d{4}-\d\d-\d\d[T ][\d:.+Z]+(?: ?\+00:00)?|127\.0\.0\.1:\d+|W/[^,}]*"
)
"""Ids and instants, which differ from one company to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """A company whose enforcing cycles were killed until one was let through."""

    company: Company
    before: raw.Dump
    after: raw.Dump
    killed: tuple[str, ...]
    """Ids of the cycles that were killed."""
    last: Any


def kill_at(company: Company, table: str, rows: int) -> None:
    """Start an enforcing cycle and kill it once it has begun and the journal has so many rows; fails when it ends first.

    What is done side by side may pass several of these places at once: then the kill comes right after the beginning.
    """
    begun = company.query("SELECT count(*) FROM cycles")[0][0]
    process = subprocess.Popen(
        command("cycle", "--mode", "enforce", "--quiet", "--config", company.config),
        cwd=company.directory.parent,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 90
    try:
        while (
            company.query("SELECT count(*) FROM cycles")[0][0] <= begun
            or company.query(f"SELECT count(*) FROM {table}")[0][0] < rows  # noqa: S608 - our own words
        ):
            assert process.poll() is None, f"the cycle ended before {rows} {table}"
            assert time.monotonic() < until, f"no {rows} {table}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def survived(company: Company) -> Survived:
    """Observe, then kill one cycle after the other at later and later points, then let one end."""
    before = raw.dump(company.servers)
    company.configure(verification={"window_seconds": 3})
    assert company.cycle("observe").code == 2
    for table, rows, _ in KILLS:
        kill_at(company, table, rows)
    killed = company.query("SELECT cycle_id FROM cycles WHERE mode = 'enforce' ORDER BY sequence")
    last = company.cycle()
    assert last.code == 0, f"{last.err}{last.out}"
    return Survived(
        company=company,
        before=before,
        after=raw.dump(company.servers),
        killed=tuple(row[0] for row in killed),
        last=last.document,
    )


def test_the_kills_hit_in_the_middle(survived: Survived) -> None:
    """Each killed cycle had begun, none had ended by itself, and they left acts to settle."""
    assert len(survived.killed) == len(KILLS)
    told = survived.company.query("SELECT DISTINCT detail FROM outcomes WHERE detail LIKE 'interrupted%'")
    assert told


def test_the_end_is_that_of_an_undisturbed_run(survived: Survived, demonstrated: Demonstrated) -> None:
    """Every server holds what it holds after an undisturbed demo, but for ids and instants."""

    def shape(dump: raw.Dump) -> dict[str, list[bytes]]:
        return {name: sorted(re.split(rb"[,\[\]{}]", OPAQUE.sub(b"?", text))) for name, text in dump.items()}

    undisturbed = raw.dump(demonstrated.company.servers)
    assert survived.after.keys() == undisturbed.keys()
    aws_and_scim = [name for name in undisturbed if not name.startswith("ldap/")]
    ours, theirs = shape(survived.after), shape(undisturbed)
    assert [name for name in aws_and_scim if ours[name] != theirs[name]] == []
    told = {"member", "memberUid", "sshPublicKey", "pwdAccountLockedTime", "uid", "mail", "objectClass"}
    for name in undisturbed.keys() - aws_and_scim:
        mine, other = json.loads(survived.after[name]), json.loads(undisturbed[name])
        assert {key: mine.get(key) for key in told} == {key: other.get(key) for key in told}, name


def test_the_same_principals_were_changed(survived: Survived, demonstrated: Demonstrated) -> None:
    """Killed or not, the leavers are touched and nobody else is."""
    changed = {name for name in raw.changed(survived.before, survived.after) if "roup" not in name}
    expected = {name.partition("/")[2] for name in demonstrated.summary["others"]["changed"]}
    assert {name.rpartition("/")[2] for name in changed} == expected


def test_every_intent_has_one_outcome(survived: Survived) -> None:
    """No act is left open, and none has two ends."""
    assert survived.company.intents() > 50
    assert survived.company.query("SELECT count(*) FROM intents LEFT JOIN outcomes USING (action_id) "
                                  "WHERE outcome IS NULL") == [(0,)]  # fmt: skip
    assert survived.company.query("SELECT action_id FROM outcomes GROUP BY action_id HAVING count(*) > 1") == []


def test_nothing_is_done_twice(survived: Survived) -> None:
    """Over all cycles, each access item was taken once."""
    done = survived.company.query(
        "SELECT provider, json_extract(action, '$.item.access_id'), effect FROM intents "
        "JOIN outcomes USING (action_id) WHERE outcome = 'done'"
    )
    twice = {item: count for item, count in Counter(done).items() if count > 1}
    assert twice == {}
    assert len(done) > 40


def test_everything_done_was_verified(survived: Survived) -> None:
    """The last word on each act that was done is that it is gone."""
    open_ones = survived.company.query(
        "SELECT action_id, (SELECT state FROM verifications v WHERE v.action_id = o.action_id "
        "ORDER BY position DESC LIMIT 1) AS last FROM outcomes o WHERE outcome = 'done' AND last IS NOT 'gone'"
    )
    assert open_ones == []


def test_the_killed_cycles_are_attested_as_failed(survived: Survived) -> None:
    """Each interrupted cycle has its attestation, as failed, with its acts; the chain verifies without a gap."""
    statements = [
        json.loads(path.read_bytes()) for path in sorted(survived.company.attestations.glob("*.statement.json"))
    ]
    outcomes = {one["predicate"]["cycleId"]: one["predicate"]["outcome"] for one in statements}
    assert [outcomes[cycle_id] for cycle_id in survived.killed] == ["failed"] * len(KILLS)
    assert [one["predicate"]["sequence"] for one in statements] == list(range(1, len(KILLS) + 3))
    attested = sum(one["predicate"]["actions"]["attempted"] for one in statements)
    assert attested == survived.company.intents()
    report = survived.company.verified()
    assert (report["verified"], report["gaps"], report["problems"]) == (True, [], [])


def test_the_cycle_after_has_nothing_to_do(survived: Survived) -> None:
    """Once more, and nothing is planned."""
    again = survived.company.cycle()
    assert again.code == 0, again.err
    assert again.document["actions"]["planned"] == 0
