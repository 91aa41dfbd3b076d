"""What people are shown of a cycle: names instead of ids, nothing wider than a page, and what to do."""

from dataclasses import replace
from typing import Any

import pytest

from inventory.model import AccessItem, ArtefactKind, Principal, PrincipalId, PrincipalKind
from reconciler.attestation import Attested
from reconciler.cli.display import WIDEST
from reconciler.cli.policy_change_view import show_change
from reconciler.cli.record_view import TO_DO, item_label, principal_name, show_record
from reconciler.core.model import Effect, HoldCode, HoldReason, Mode, Withheld
from reconciler.core.record import ChangeState, CycleOutcome, CycleRecord
from tests.architecture import tree
from tests.builders import action, credential, finding, grant, inventory, principal, snapshot
from tests.record_builders import action_result, cycle_record, guard_facts, plan
from tests.recordings import change

KEY_ID = "AKIARZPUZDIKNPYUB5LJ"
OPAQUE = "bed47cf2-7b04-1041-86bf-4b842fc4d252"


def shown(capsys: pytest.CaptureFixture[str], record: CycleRecord, *known: Principal | AccessItem) -> str:
    """Return what is printed of a record whose snapshot held these principals and items."""
    principals = tuple(one for one in known if isinstance(one, Principal))
    items = tuple(one for one in known if not isinstance(one, Principal))
    attested = Attested(
        record=record,
        statement_digest="sha256:" + "0" * 64,
        path="state/evidence/attestations/000001.sigstore.json",
        snapshot=snapshot(inventory(principals, items)),
    )
    show_record(attested, verified=True)
    return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())


def observed(**changes: object) -> CycleRecord:
    """Build the record of a cycle that observed one planned revocation."""
    return cycle_record(mode=Mode.OBSERVE, results=(), plan=plan(**changes))


def test_an_action_says_who_what_how_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """A result names provider, login, worker, rule, reason, item, outcome, what reading again showed, and the time."""
    owner = principal(OPAQUE, login_names=("lhofmann",))
    key = credential(OPAQUE, label=KEY_ID)
    out = shown(capsys, cycle_record(results=(action_result(action=action(owner, key)),)), owner, key)
    assert "  corp-aws  lhofmann  worker E1001\n    leaver: worker left on 2026-02-16\n" in out
    assert "      revoke  access_key AKIA…B5LJ  done  read again: gone  4.00 s\n" in out


def test_items_of_one_principal_stand_below_one_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Who and why are said once for all that is taken from a principal."""
    owner = principal(OPAQUE, login_names=("lhofmann",))
    account = credential(OPAQUE, ArtefactKind.ACCOUNT, label="account")
    steps = (action(owner, account, Effect.QUARANTINE), action(owner, grant(OPAQUE, "engineering")))
    out = shown(capsys, observed(actions=steps, reviews=(), withheld=()))
    assert out.count("lhofmann") == 1
    assert "      quarantine  account\n      revoke      group_membership engineering\n" in out


def test_what_waits_for_a_human_goes_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A withheld finding, which itself holds ids only, is shown with login name and label."""
    owner = principal(OPAQUE, login_names=("deploy-bot",), kind=PrincipalKind.SERVICE)
    key = credential(OPAQUE, label=KEY_ID)
    held_back = Withheld(finding=finding(key), code="shared_credential", message="others depend on it")
    out = shown(capsys, observed(actions=(), reviews=(), withheld=(held_back,)), owner, key)
    assert "For a human · Rotate it and hand it over (1)" in out
    assert "  corp-aws  deploy-bot  worker E1001\n" in out
    assert "access_key AKIA…B5LJ" in out
    assert OPAQUE not in out


def test_people_are_asked_by_what_they_must_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Findings of two rules that ask for the same stand together, and those of an unknown code are not lost."""
    one, two = (
        finding(credential("alice"), code="leaver_shared_credential"),
        finding(credential("bob"), code="leaver_shared_credential"),
    )
    held_back = Withheld(finding=finding(credential("carol")), code="not_personal", message="handed over")
    other = finding(credential("dave"), code="a_rule_of_your_own")
    out = shown(capsys, observed(actions=(), reviews=(one, other, two), withheld=(held_back,)))
    assert "For a human · Rotate it and hand it over (3)" in out
    assert "For a human · Look at it, as its rule says (1)" in out
    assert out.index("carol") < out.index("dave")


def test_nothing_is_wider_than_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Long names and reasons fold; only the path of the attestation may be longer."""
    owner = principal("p" * 90, login_names=("l" * 150,))
    step = action(owner, grant("p" * 90, "g" * 150), reason="because " * 40)
    review = finding(credential("q" * 130), reason="look at it " * 30)
    out = shown(capsys, observed(actions=(step,), reviews=(review,)))
    assert max(map(len, out.splitlines())) <= WIDEST
    assert out.count("g") >= 150


def test_names_from_outside_cannot_forge_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A login name with line breaks, escapes or markup is shown as plain text on its line."""
    owner = principal("p1", login_names=("eve\n\x1b[2Jcycle 9: complete [bold]x[/bold]\u202e",))
    out = shown(capsys, observed(actions=(action(owner, credential("p1")),)))
    assert "  corp-aws  eve[2Jcycle 9: complete [bold]x[/bold]  worker E1001\n" in out


def test_what_new_policies_change_goes_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The first cycle of a revision shows who newly loses what, by which rule, and what does not fit the caps."""
    seen = change()
    difference = dict(seen.difference or {})
    caps = difference["caps"]
    assert isinstance(caps, list)
    beyond: list[Any] = [{**one, "fits": False} for one in caps if isinstance(one, dict)]
    looked = replace(seen, difference={**difference, "caps": beyond}, planned_left_out=7)
    show_change(looked, lambda _, one: f"name of {one}", lambda _, one: f"label of {one}")
    told = capsys.readouterr().out
    assert "What the new policies change" in told
    assert "policies sha256:bbbbbbbbbbbb → sha256:cccccccccccc, on what its first cycle read: 1 access item" in told
    assert "  corp-aws  name of bob  worker E1002\n    old_key: asked for now\n" in told
    assert "keep → revoke  label of bob/access_key/1" in told
    assert "  and 7 more access items" in told
    assert "  rule old_key: keep → revoke, 1 access item" in told
    assert "  beyond the cap of corp-aws: 1 of 5 principals" in told
    show_change(change(state=ChangeState.FAILED, before="", reason="no copy is kept", difference=None))
    assert "policies unknown → sha256:cccccccccccc: not compared: no copy is kept" in capsys.readouterr().out
    assert "What the new policies change" in shown(capsys, cycle_record(policy_change=seen))
    assert "What the new policies change" not in shown(capsys, cycle_record())


def test_a_held_plan_tells_how_to_release_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The digest to approve is offered only when every reason can be lifted."""
    lifted = HoldReason(code=HoldCode.CAP_COUNT, message="too many at once")
    firm = HoldReason(code=HoldCode.ROSTER_STALE, message="the roster is old")
    record = cycle_record(outcome=CycleOutcome.HELD, results=(), guard=guard_facts(hold_reasons=(lifted,)))
    assert "access-reconciler approve sha256:" in shown(capsys, record)
    moved = HoldReason(code=HoldCode.APPROVAL_MOVED, message="another plan was approved")
    assert "approve sha256:" in shown(capsys, replace(record, guard=guard_facts(hold_reasons=(lifted, moved))))
    out = shown(capsys, replace(record, guard=guard_facts(hold_reasons=(lifted, firm))))
    assert "held: the roster is old" in out
    assert "approve" not in out


def test_a_record_without_snapshot_falls_back_to_ids(capsys: pytest.CaptureFixture[str]) -> None:
    """A cycle that failed early is still shown, with ids where no name is known."""
    review = finding(credential("bob"))
    attested = Attested(record=observed(reviews=(review,)), statement_digest="", path="p", snapshot=None)
    show_record(attested, verified=False)
    out = capsys.readouterr().out
    assert "bob/access_key/1" in out
    assert "NOT VERIFIED" in out


@pytest.mark.parametrize(
    ("item", "label"),
    [
        (credential(label=KEY_ID), "access_key AKIA…B5LJ"),
        (credential(label="1"), "access_key 1"),
        (
            credential(kind=ArtefactKind.SSH_KEY, label="ssh-ed25519 SHA256:L4WkRHXiPqQUMUEtlICJkXO2pORGLaqS2uT"),
            "ssh_key ssh-ed25519 SHA256:L4Wk…S2uT",
        ),
        (credential(kind=ArtefactKind.ACCOUNT, label="alice@example.com"), "account"),
        (credential(kind=ArtefactKind.PASSWORD, label="password"), "password"),
        (grant(role="a-group-with-a-rather-long-name"), "group_membership a-group-with-a-rather-long-name"),
    ],
)
def test_an_item_goes_by_kind_and_label(item: AccessItem, label: str) -> None:
    """Ids of keys are shortened so that they can still be told apart; names of groups are not."""
    assert item_label(item) == label


def test_a_principal_goes_by_login_then_display_name_then_id() -> None:
    """The first of them that is there."""
    assert principal_name(principal("p1", login_names=("alice",), display_name="Alice")) == "alice"
    assert principal_name(principal("p1", login_names=(), display_name="Alice")) == "Alice"
    assert principal_name(principal("p1", login_names=())) == PrincipalId("p1")


def test_every_code_that_withholds_has_a_task() -> None:
    """Nothing that the planner holds back ends among the things without advice."""
    told = {code for codes in TO_DO.values() for code in codes}
    assert tree.withheld_codes() - told == set()
    assert "shared_credential" in tree.withheld_codes()


def test_every_code_of_the_shipped_rules_has_a_task() -> None:
    """What the policies that come with the product may give to review is asked for in words."""
    told = {code for codes in TO_DO.values() for code in codes}
    given = {code for rule in tree.rules() for code in tree.rule_codes(rule)}
    assert given - told == {"leaver"}, "what the leaver rule finds itself is an action, not a question"
