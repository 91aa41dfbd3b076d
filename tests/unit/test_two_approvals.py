"""Approval by two people: whose word counts, when it is enough, and what is recorded of it."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.os_account import Account, acting_account
from reconciler.cli import approve
from reconciler.cli.main import run
from reconciler.core.errors import LimitExceeded
from reconciler.core.guard import ApprovedPlan, Circumstances, HeldPlan, Limits, Population, guard, joint
from reconciler.core.model import Approval, CycleId, HoldCode, HoldReason, Plan
from reconciler.core.predicate import plan as told_plan
from reconciler.ports import Journal
from tests.builders import NOW, PROVIDER, action, credential, principal
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import plan_of
from tests.output_schemas import problems
from tests.record_builders import cycle_record, guard_facts

ANN, BOB = Account(uid=1001, login="ann"), Account(uid=1002, login="bob")
SHOWN = (HoldCode.CAP_COUNT, HoldCode.NEW_POLICY)
PLAN = plan_of(action(principal(), credential()))
CYCLE = CycleId("cycle-2")


def given(account: Account | None, *, minutes: int = 0, **changes: Any) -> Approval:
    """Build an account's approval of the plan, some minutes after the first."""
    approval = Approval(
        plan_digest=PLAN.digest,
        approved_by="chief of security",
        approved_at=NOW + timedelta(minutes=minutes),
        expires_at=NOW + timedelta(hours=1),
        lifts=SHOWN,
        uid=account.uid if account else None,
        login=account.login if account else "",
    )
    return replace(approval, **changes)


def circumstances(approval: Approval | None, needed: int) -> Circumstances:
    """Surround the plan with a cap that holds it."""
    return Circumstances(
        now=NOW,
        limits=Limits(max_principals=0, approvals_needed=needed),
        populations=(Population(provider=PROVIDER, principals=50, identity_known=True),),
        approval=approval,
    )


@pytest.fixture(params=["sql", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """Give each kind of journal, two approvals needed."""
    made: Journal = MemoryJournal(approvals_needed=2)
    if request.param == "sql":
        made = SqlJournal(sqlite_url(tmp_path / "journal.db"), approvals_needed=2)
    yield made
    made.close()


def test_one_person_under_two_names_is_one_person(journal: Journal) -> None:
    """Approving twice, and typing another name the second time, does not release a plan that two have to approve."""
    journal.record_approval(given(ANN))
    journal.record_approval(given(ANN, minutes=1, approved_by="somebody else"))
    assert journal.approval_for(PLAN.digest, NOW) is None


def test_two_accounts_release_it_once(journal: Journal) -> None:
    """The second account's word makes it whole; both are spent together, and neither counts again."""
    journal.record_approval(given(ANN))
    assert journal.approval_for(PLAN.digest, NOW) is None
    journal.record_approval(given(BOB, minutes=5))
    both = journal.approval_for(PLAN.digest, NOW)
    assert both == given(ANN, lifts=tuple(sorted(SHOWN)), beside=(given(BOB, minutes=5),))
    journal.use_approval(PLAN.digest, CYCLE, NOW)
    assert journal.approval_for(PLAN.digest, NOW) is None
    journal.record_approval(given(BOB, minutes=9))
    assert journal.approval_for(PLAN.digest, NOW) is None


def test_an_expired_word_is_none(journal: Journal) -> None:
    """When the first approval expires before the second comes, the plan waits for two again."""
    journal.record_approval(given(ANN, expires_at=NOW + timedelta(minutes=1)))
    journal.record_approval(given(BOB))
    assert journal.approval_for(PLAN.digest, NOW) is not None
    assert journal.approval_for(PLAN.digest, NOW + timedelta(minutes=1)) is None


def test_a_word_for_another_plan_is_none(journal: Journal) -> None:
    """Two people who approved two plans have approved neither together."""
    other = plan_of(action(principal("bob"), credential("bob")))
    journal.record_approval(given(ANN))
    journal.record_approval(given(BOB, plan_digest=other.digest))
    assert journal.approval_for(PLAN.digest, NOW) is None
    assert journal.approval_for(other.digest, NOW) is None


def test_together_they_lift_what_both_were_shown() -> None:
    """A reason that only one of the two was shown still holds the plan."""
    both = joint([given(ANN), given(BOB, lifts=(HoldCode.CAP_COUNT,))], 2)
    assert both is not None
    assert both.lifts == (HoldCode.CAP_COUNT,)
    new = HoldReason(code=HoldCode.NEW_POLICY, message="new")
    held = guard(PLAN, replace(circumstances(both, 2), novelties=(new,)))
    assert isinstance(held, HeldPlan)


def test_the_later_word_of_an_account_counts() -> None:
    """Who approved again after seeing a further reason has approved that too."""
    again = joint([given(ANN, lifts=(HoldCode.CAP_COUNT,)), given(BOB), given(ANN, minutes=3)], 2)
    assert again is not None
    assert set(again.lifts) == set(SHOWN)


def test_nobody_s_word_counts_for_nobody() -> None:
    """An approval from before accounts were noted is enough where one is needed, and no second one where two are."""
    assert joint([given(None)], 1) == given(None)
    assert joint([given(ANN), given(None)], 2) is None
    assert joint([], 1) is None


@pytest.mark.parametrize(
    "approval",
    [
        given(ANN),
        given(ANN, beside=(given(ANN),)),
        given(ANN, beside=(given(None),)),
        given(ANN, beside=(given(BOB, plan_digest="sha256:other"),)),
        given(ANN, beside=(given(BOB, lifts=()),)),
    ],
    ids=["one", "twice the same", "nobody", "another plan", "another reason"],
)
def test_no_path_makes_an_approved_plan_of_too_few(approval: Approval) -> None:
    """The guard counts by itself: whatever a journal hands it, the executor gets nothing that one person released."""
    assert isinstance(guard(PLAN, circumstances(approval, 2)), HeldPlan)
    with pytest.raises(LimitExceeded):
        ApprovedPlan(plan=PLAN, circumstances=circumstances(approval, 2))


def test_enough_is_enough() -> None:
    """One account where one is needed, two where two are."""
    both = given(ANN, beside=(given(BOB),))
    assert isinstance(guard(PLAN, circumstances(given(ANN), 1)), ApprovedPlan)
    assert isinstance(guard(PLAN, circumstances(both, 2)), ApprovedPlan)


def test_the_attestation_tells_both_apart_and_names_neither() -> None:
    """Each approver has a pseudonym of the account, so that the same name typed twice is not two people."""
    record = cycle_record(guard=guard_facts(approval=given(ANN, beside=(given(BOB),)), approvals_needed=2))
    told = json.dumps(told_plan(record, b"k" * 32)["approval"])
    first, second = (json.loads(told), json.loads(told)["beside"][0])
    assert first["approver"] != second["approver"]
    assert [name for name in ("ann", "bob", "1001", "1002", "chief") if name in told] == []


@pytest.fixture
def held(tmp_path: Path) -> str:
    """Write a configuration that needs two approvals, with a held plan in its journal; return its path."""
    path = tmp_path / "access-reconciler.yaml"
    path.write_text(yaml.safe_dump({"roster": {"path": "roster.csv"}, "guard": {"approvals_needed": 2}}))
    now = SystemClock().now()
    plan: Plan = replace(PLAN, created_at=now)
    (tmp_path / "state").mkdir()
    with SqlJournal(sqlite_url(tmp_path / "state" / "journal.sqlite3")) as journal:
        journal.record_plan(plan, (HoldReason(code=HoldCode.CAP_COUNT, message="too many"),), now + timedelta(hours=1))
    return str(path)


def test_the_command_counts_accounts(
    held: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`approve` notes the account whatever --by says, and says when the plan is released."""
    released = []
    for account, by in ((ANN, "ann"), (ANN, "bob"), (BOB, "ann")):
        monkeypatch.setattr(approve, "acting_account", lambda account=account: account)
        assert run(["approve", PLAN.digest, "--config", held, "--by", by, "--output", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert problems("approve", document) == []
        assert (document["uid"], document["login"], document["approved_by"]) == (account.uid, account.login, by)
        released.append(document["released"])
    assert released == [False, False, True]


def test_a_first_approval_says_that_it_is_not_enough(
    held: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is told to carry out what still waits for another one."""
    monkeypatch.setattr(approve, "acting_account", lambda: ANN)
    assert run(["approve", PLAN.digest, "--config", held]) == 0
    told = capsys.readouterr().out
    assert "not released yet" in told
    assert "carries it out" not in told


def test_the_daemon_s_own_account_is_nobody(
    held: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where two are needed, the account that owns the state counts for none of them."""
    monkeypatch.setattr(approve, "acting_account", lambda: Account(uid=os.getuid(), login="service"))
    assert run(["approve", PLAN.digest, "--config", held]) == 1
    assert "owns the state folder" in capsys.readouterr().err


def test_the_login_counts_before_the_process(tmp_path: Path) -> None:
    """Behind `sudo` the account of the login is taken; without a login, that of the process."""
    login = tmp_path / "loginuid"
    login.write_text("54321")
    assert acting_account(login) == Account(uid=54321, login="")
    login.write_text(str(2**32 - 1))
    assert acting_account(login).uid == os.getuid()
    assert acting_account(tmp_path / "none").uid == os.getuid()


def test_a_journal_from_before_keeps_its_approvals(tmp_path: Path) -> None:
    """Approvals that were recorded without an account are read, and count where one is enough."""
    url = sqlite_url(tmp_path / "journal.db")
    with SqlJournal(url) as journal:
        journal.record_approval(given(None))
        assert journal.approval_for(PLAN.digest, NOW) == given(None)
    with SqlJournal(url, approvals_needed=2) as journal:
        assert journal.approval_for(PLAN.digest, NOW) is None
