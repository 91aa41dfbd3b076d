"""Looking at held plans, last cycles and open acts while the daemon runs."""

import json
import socket
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.lease import FileLease
from reconciler.adapters.policy_store import Adopted, Attempt, in_force
from reconciler.cli.main import run
from reconciler.core.model import (
    Approval,
    BeforeImage,
    CycleId,
    HoldCode,
    HoldReason,
    Mode,
    OutcomeState,
    Plan,
)
from reconciler.core.record import Breadth, CycleOutcome
from reconciler.daemon.health import Health, Silence
from reconciler.daemon.probes import HealthServer
from reconciler.policies.first_look import policy_changes
from reconciler.policies.standing import policy_store
from reconciler.ports import Intent
from reconciler.settings import load_settings
from tests.builders import action, credential, principal
from tests.fakes.world import plan_of
from tests.output_schemas import problems
from tests.recordings import change

CAP = HoldReason(code=HoldCode.CAP_COUNT, message="2 principals at okta, the limit is 1")
STALE = HoldReason(code=HoldCode.ROSTER_STALE, message="the roster is 3 days old")


class Installation:
    """A configuration with a journal, whose cycles the test writes."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "access-reconciler.yaml"
        with socket.socket() as unheard:  # a port on which nobody answers, whatever else runs on this machine
            unheard.bind(("127.0.0.1", 0))
            self.configure(health_port=unheard.getsockname()[1])
        self.state = folder / "state"
        self.state.mkdir()
        self.now = SystemClock().now()

    def configure(self, **daemon: int) -> None:
        """Write the configuration."""
        self.config.write_text(yaml.safe_dump({"roster": {"path": "roster.csv"}, "daemon": daemon}))

    def journal(self) -> SqlJournal:
        """Open the journal."""
        return SqlJournal(sqlite_url(self.state / "journal.sqlite3"))

    def cycle(
        self,
        plan: Plan,
        *holds: HoldReason,
        expires_at: datetime | None = None,
        breadth: Breadth = Breadth.WHOLE,
    ) -> Plan:
        """Write a cycle that came to a plan, and return the plan as it is kept."""
        with self.journal() as journal:
            cycle_id = CycleId(f"cycle-{len(journal.cycles()) + 1}")
            journal.begin_cycle(cycle_id, Mode.ENFORCE, self.now)
            kept = replace(plan, cycle_id=cycle_id, created_at=self.now)
            journal.record_plan(kept, holds, expires_at or self.now + timedelta(hours=24), breadth)
            outcome = CycleOutcome.HELD if holds else CycleOutcome.COMPLETE
            journal.finish_cycle(cycle_id, outcome, "sha256:" + "a" * 64, self.now)
        return kept

    def act(self, plan: Plan, cycle_id: str) -> None:
        """Write that a cycle began the plan's first act and never heard of its end."""
        with self.journal() as journal:
            journal.record_intent(
                Intent(
                    action=plan.actions[0],
                    before=BeforeImage(restorable=True, document="{}"),
                    cycle_id=CycleId(cycle_id),
                    epoch=journal.take_over(self.now),
                    plan_digest=plan.digest,
                    policy_digest=plan.policy_digest,
                    recorded_at=self.now,
                )
            )
            journal.record_outcome(plan.actions[0].action_id, OutcomeState.UNKNOWN, "no reply", self.now)

    def ask(self, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
        """Run a command and return its document, which is as its schema says."""
        capsys.readouterr()
        assert run([*words, "--config", str(self.config), "--output", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert problems("-".join(words[:2] if words[0] == "plans" else words[:1]), document) == []
        return document

    def read(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        """Run a command for people and return what it prints."""
        capsys.readouterr()
        assert run([*words, "--config", str(self.config)]) == 0
        return capsys.readouterr().out


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """Return an installation without cycles."""
    return Installation(tmp_path)


def plan_for(*names: str) -> Plan:
    """Plan to take the key of each of these people."""
    return plan_of(*(action(principal(name), credential(name)) for name in names))


def test_several_reasons_are_told_apart(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """A table shows no line ends that come from outside: reasons are parted by what it does show."""
    here.cycle(plan_for("alice"), CAP, STALE)
    assert "limit is 1; the roster is" in " ".join(here.read(capsys, "plans", "list").replace("│", " ").split())


def test_nothing_waits(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """An approved plan is not listed, and there is none to show."""
    here.cycle(plan_for("alice"))
    assert here.ask(capsys, "plans", "list") == []
    assert "no plan waits" in here.read(capsys, "plans", "list")
    assert run(["plans", "show", "--config", str(here.config)]) == 1
    assert "no held plan; see `access-reconciler plans list`" in capsys.readouterr().err


def test_a_held_plan_is_shown_while_the_daemon_runs(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """With the lease held by another process, the plan, its reasons, its actions and its expiry are told."""
    plan = here.cycle(plan_for("alice", "bob"), CAP)
    with FileLease(here.state, purpose="run", now=here.now):
        (listed,) = here.ask(capsys, "plans", "list")
        shown = here.ask(capsys, "plans", "show")
        told = here.read(capsys, "plans", "show", plan.digest)
    assert (listed["plan_digest"], listed["state"], listed["actions"]) == (plan.digest, "waiting", 2)
    assert listed["hold_reasons"] == [{"code": "cap_count", "provider": None, "message": CAP.message}]
    assert [item["principal_id"] for item in shown["items"]] == ["alice", "bob"]
    assert listed.items() <= shown.items()
    assert CAP.message in told
    assert f"access-reconciler approve {plan.digest}" in told
    assert all(one in told for one in ("alice", "bob", "leaver"))


def test_what_no_approval_lifts_is_not_offered(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan that a stale roster holds is shown without the command that would be refused."""
    here.cycle(plan_for("alice"), CAP, STALE)
    assert here.ask(capsys, "plans", "show")["releasable"] is False
    assert "access-reconciler approve" not in here.read(capsys, "plans", "show")


def test_a_plan_held_again_is_one_plan(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that holds the same plan every five minutes has one plan that waits, until its latest expiry."""
    for _ in range(3):
        here.cycle(plan_for("alice"), CAP)
    (listed,) = here.ask(capsys, "plans", "list")
    assert listed["sequence"] == 3


def test_a_world_that_moved_is_said(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan before the last one is told to be no longer what a cycle would do, and comes second."""
    old = here.cycle(plan_for("alice"), CAP)
    new = here.cycle(plan_for("alice", "bob"), CAP)
    listed = here.ask(capsys, "plans", "list")
    assert [(one["plan_digest"], one["state"]) for one in listed] == [(new.digest, "waiting"), (old.digest, "moved")]
    assert here.ask(capsys, "status")["held_plans"] == [new.digest, old.digest]


def test_what_a_few_leavers_need_moves_no_plan(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan of a whole cycle waits on beside those of leavers' cycles, held or not, until the next whole one."""
    whole = here.cycle(plan_for("alice"), CAP)
    urgent = here.cycle(plan_for("bob"), CAP, breadth=Breadth.LEAVERS)
    here.cycle(plan_for(), breadth=Breadth.LEAVERS)
    listed = here.ask(capsys, "plans", "list")
    assert [(one["plan_digest"], one["state"]) for one in listed] == [
        (urgent.digest, "waiting"),
        (whole.digest, "waiting"),
    ]
    both = here.cycle(plan_for("alice", "bob"), CAP)
    listed = here.ask(capsys, "plans", "list")
    assert [(one["plan_digest"], one["state"]) for one in listed] == [
        (both.digest, "waiting"),
        (urgent.digest, "moved"),
        (whole.digest, "moved"),
    ]


def test_what_is_past_is_not_listed_but_shown(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """An expired plan and one that was carried out wait for nobody; both can be looked up."""
    expired = here.cycle(plan_for("alice"), CAP, expires_at=here.now - timedelta(seconds=1))
    done = here.cycle(plan_for("bob"), CAP)
    here.cycle(plan_for("bob"))
    here.act(done, "cycle-3")
    assert here.ask(capsys, "plans", "list") == []
    assert here.ask(capsys, "plans", "show", expired.digest)["state"] == "expired"
    assert here.ask(capsys, "plans", "show", done.digest)["state"] == "carried_out"


def test_who_approved_is_told(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """The account and the name that was given stand side by side, and how many are needed."""
    plan = here.cycle(plan_for("alice"), CAP)
    with here.journal() as journal:
        journal.record_approval(
            Approval(
                plan_digest=plan.digest,
                approved_by="chief of security",
                approved_at=here.now,
                expires_at=here.now + timedelta(hours=1),
                uid=1001,
                login="ann",
            )
        )
    (listed,) = here.ask(capsys, "plans", "list")
    assert [(one["approved_by"], one["uid"], one["login"]) for one in listed["approvals"]] == [
        ("chief of security", 1001, "ann")
    ]
    assert "approved by chief of security (account ann)" in here.read(capsys, "plans", "show")


def test_the_beginning_of_a_digest_is_enough_when_it_is_one(
    here: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """A beginning names the plan, with or without the algorithm; one that fits two names none."""
    plans = [here.cycle(plan_for(name), CAP) for name in ("alice", "bob")]
    for plan in plans:
        for beginning in (plan.digest[:20], plan.digest.removeprefix("sha256:")[:12]):
            assert here.ask(capsys, "plans", "show", beginning)["plan_digest"] == plan.digest
    assert run(["plans", "show", "sha256:", "--config", str(here.config)]) == 1
    assert "2 held plans begin with" in capsys.readouterr().err
    assert run(["plans", "show", "%", "--config", str(here.config)]) == 1


def test_status_tells_the_last_cycles_and_what_is_open(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """The latest cycle comes first, an unfinished one has no outcome, and an act without proof is named."""
    assert here.ask(capsys, "status") == {
        "cycles": [],
        "held_plans": [],
        "unsettled": [],
        "unsigned": {"statements": 0, "since": None},
        "daemon": None,
        "policy_change": None,
    }
    plan = here.cycle(plan_for("alice"))
    here.act(plan, "cycle-1")
    with here.journal() as journal:
        journal.begin_cycle(CycleId("cycle-2"), Mode.OBSERVE, here.now)
    told = here.ask(capsys, "status")
    assert [(one["sequence"], one["outcome"]) for one in told["cycles"]] == [(2, None), (1, "complete")]
    assert [(one["action_id"], one["outcome"]) for one in told["unsettled"]] == [(plan.actions[0].action_id, "unknown")]
    assert len(here.ask(capsys, "status", "--last", "1")["cycles"]) == 1
    shown = here.read(capsys, "status")
    assert plan.actions[0].action_id[:8] in shown
    assert "observe" in shown
    assert "daemon: none answers on 127.0.0.1:" in shown


def test_the_first_look_at_new_policies_stands_beside_the_plan(
    here: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan that is held for its policies is shown with what they change; status tells it in numbers, damaged or not.

    A plan that is held for something else is shown without.
    """
    seen, settings = change(), load_settings(here.config)
    policy_changes(settings).put(seen)
    plan = here.cycle(
        replace(plan_for("bob"), policy_digest=seen.after), HoldReason(code=HoldCode.NEW_POLICY, message="new")
    )
    told = here.ask(capsys, "plans", "show", plan.digest)["policy_change"]
    assert told["difference"] == json.loads(json.dumps(seen.difference))
    for_people = here.read(capsys, "plans", "show", plan.digest)
    assert "1 access item newly lost, 0 newly kept" in for_people
    assert "corp-aws  bob  worker E1002\n    old_key: asked for now\n      keep → revoke" in for_people
    adopted = Adopted(digest=seen.after, source="policies", at="")
    attempt = Attempt(at="", source="policies", digest=seen.after, accepted=True, by="t")
    policy_store(settings).change(lambda standing: in_force(standing, adopted, attempt))
    assert here.ask(capsys, "status")["policy_change"]["counts"] == seen.counts
    assert "1 access item newly lost" in here.read(capsys, "status")
    (kept,) = (here.state / "policy-changes").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("{}")
    assert here.ask(capsys, "status")["policy_change"] is None
    assert run(["status", "--config", str(here.config)]) == 0
    assert "is damaged" in capsys.readouterr().err
    capped = here.cycle(plan_for("alice"), CAP)
    assert here.ask(capsys, "plans", "show", capped.digest)["policy_change"] is None


def test_status_tells_of_cycles_that_could_not_begin(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon whose disk is full leaves no trace in the journal: what it says of itself is told beside it."""
    silence = Silence(stages={}, stage_seconds=900, cycle_seconds=7200)
    health = Health(SystemClock(), (), silence, lambda _: None)
    with HealthServer(0, health.snapshot) as server:
        here.configure(health_port=server.port)
        assert "daemon: no cycle has ended yet" in here.read(capsys, "status")
        health.cycle_failed("JournalError: the disk is full; free space")
        health.cycle_failed("JournalError: the disk is full; free space")
        told = here.ask(capsys, "status")["daemon"]
        assert (told["failures"], told["last_outcome"]) == (2, "failed")
        assert told["last_error"] == "JournalError: the disk is full; free space"
        shown = " ".join(here.read(capsys, "status").split())
        assert "last cycle failed, 2 failed in a row; it met: JournalError: the disk is full" in shown
    here.configure(health_port=0)
    assert "daemon: not asked" in here.read(capsys, "status")
