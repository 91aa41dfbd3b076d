"""`policies diff` and what it stands on: recordings, pseudonyms, revisions, and a comment that cuts nothing unsaid."""

import gc
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.adapters.policy_files import load_policies
from reconciler.cli import inventory as exporting
from reconciler.cli.garbage import no_collections
from reconciler.cli.main import run
from reconciler.core.errors import PolicyError
from reconciler.core.guard import Limits
from reconciler.core.model import Effect, Mode, PolicySet, Touch
from reconciler.policies.deciding import Revision, decide
from reconciler.policies.difference import (
    Difference,
    Turn,
    compare,
    planned_effects,
)
from reconciler.policies.difference_document import difference_digest, difference_document
from reconciler.policies.difference_text import MOST_LINES, SHOWN, markdown
from reconciler.policies.export import anonymous
from reconciler.policies.pseudonyms import pseudonymise, pseudonyms
from reconciler.policies.recording import Recording, read_recording, to_bytes
from reconciler.policies.revisions import git_folder, policy_folder
from reconciler.wiring import Assembly
from tests import peers
from tests.builders import PROVIDER, SCOPE, credential, principal
from tests.fakes.house import House
from tests.output_schemas import problems
from tests.recordings import recording
from tests.worlds import POLICIES, emit, rule_source, starter, with_modules

KEY = b"k" * 32


@pytest.fixture(scope="module")
def rego() -> Iterator[EmbeddedRego]:
    """Decide in one process for all tests."""
    engine = EmbeddedRego(deadline_seconds=20)
    yield engine
    engine.close()


def difference(rego: EmbeddedRego, head: PolicySet, recorded: Recording | None = None) -> Difference:
    """Compare the policies of this repository with changed ones."""
    recorded = recorded or recording()
    sides = [
        decide(recorded, Revision(name=name, policies=policies, waivers=recorded.waivers), rego)
        for name, policies in (("main", starter()), ("change", head))
    ]
    return compare(recorded, sides[0], sides[1])


def test_a_recording_comes_back_as_it_went(tmp_path: Path) -> None:
    """Nothing is lost or changed by writing and reading: every item of its own type, every instant."""
    file = tmp_path / "snapshot.json"
    file.write_bytes(to_bytes(recording()))
    back = read_recording(file)
    original = recording()
    assert set(back.snapshot.items()) == set(original.snapshot.items())
    bare = [replace(one.snapshot.inventories[0], items=()) for one in (back, original)]
    assert bare[0] == bare[1]
    assert replace(back, snapshot=original.snapshot) == original


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "other/v1"}', "[1]"])
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    """The file is named, and what to do; its content is not repeated."""
    file = tmp_path / "snapshot.json"
    file.write_text(text)
    with pytest.raises(PolicyError, match=r"snapshot\.json: is no recorded snapshot"):
        read_recording(file)


def test_pseudonyms_change_no_decision(rego: EmbeddedRego) -> None:
    """Every finding and every planned act is the same, item by item, under the pseudonyms."""
    original = recording()
    names = pseudonyms(original, KEY)
    hidden = pseudonymise(original, names)
    before, after = (
        decide(one, Revision(name="", policies=changed_threshold(), waivers=one.waivers), rego)
        for one in (original, hidden)
    )
    assert len(before.evaluation.findings) > 8
    assert {finding.rule for finding in before.evaluation.findings} >= {"leaver", "orphan", "drift"}
    expected = sorted((names.item(one.access_id), one.rule, one.code, one.effect) for one in before.evaluation.findings)
    assert sorted((one.access_id, one.rule, one.code, one.effect) for one in after.evaluation.findings) == expected
    planned = planned_effects(before.plan)
    assert planned_effects(after.plan) == {
        (name, names.items.name(item)): planned[name, item] for name, item in planned
    }
    codes = [sorted(one.code for one in side.plan.withheld) for side in (before, after)]
    assert codes[0] == codes[1]
    assert {"waived", "protected"} <= set(codes[0])


def test_pseudonyms_leave_nobody_to_be_recognised() -> None:
    """No id, name, login, label or reason of the original stands in the file, and the key changes every pseudonym."""
    original = recording()
    text = to_bytes(pseudonymise(original, pseudonyms(original, KEY))).decode()
    telling = {
        "alice",
        "bob",
        "ghost",
        "twin",
        "backup",
        "E1001",
        "E1002",
        "Smith",
        "payments",
        "ciso",
        str(SCOPE),
        "abc",
    }
    telling |= {worker.display_name for worker in original.roster.workers} - {""}
    telling |= {mail for worker in original.roster.workers for mail in worker.emails}
    assert {word for word in telling if f'"{word}' in text or f"{word}/" in text or f" {word}" in text} == set()
    other = pseudonyms(original, b"x" * 32)
    assert other.worker(original.roster.workers[0].worker_id) not in text


def test_pseudonyms_that_would_change_a_decision_are_refused(rego: EmbeddedRego) -> None:
    """A rule that looks at a resource by its text decides otherwise: nothing is written."""
    original = recording()
    source = rule_source("byname", emit(f'item.resource == "{SCOPE}"'))
    policies = with_modules(starter(), access__rules__byname__byname=source)
    side = decide(original, Revision(name="", policies=policies, waivers=()), rego)

    class Seen:
        world = type("World", (), {"policies": policies})
        evaluation = side.evaluation
        plan = side.plan

    with pytest.raises(PolicyError, match="decides otherwise under pseudonyms"):
        anonymous(replace(original, waivers=()), Seen(), rego, KEY)  # type: ignore[arg-type]  # the parts it looks at


def changed_threshold() -> PolicySet:
    """Return the policies with orphans asked to be quarantined."""
    policies = starter()
    data = json.loads(policies.data)
    data["access"]["config"]["orphan"]["effect"] = "quarantine"
    return with_modules(replace(policies, data=json.dumps(data, sort_keys=True, separators=(",", ":"))))


def test_a_changed_threshold_is_shown_line_by_line(rego: EmbeddedRego) -> None:
    """The orphan is asked for otherwise, and nobody else; the plan gains nothing while a waiver stands."""
    found = difference(rego, changed_threshold())
    assert [(one.principal_id, one.rule, one.before, one.after, one.turn) for one in found.lines] == [
        ("ghost", "orphan", "review", "quarantine", Turn.CHANGED)
    ]
    assert found.planned == ()
    assert found.changes_effects
    unwaived = difference(rego, changed_threshold(), replace(recording(), waivers=()))
    assert [(one.access_id, one.before, one.after) for one in unwaived.planned] == [
        ("ghost/account/1", "keep", "quarantine")
    ]
    assert "**1 access item of 1 principal of nobody newly lost. Within every cap.**" in markdown(unwaived)


def test_the_same_policies_change_nothing(rego: EmbeddedRego) -> None:
    """No line, no act, exit code 0; rules that matched nothing are named."""
    found = difference(rego, starter())
    assert not found.changes_effects
    comment = markdown(found)
    assert "**Nobody's access is dealt with otherwise. Within every cap.**\n\nNo decision changes." in comment
    assert "Rules that matched nothing:" in comment


def test_a_rule_that_is_added_and_one_that_goes(rego: EmbeddedRego) -> None:
    """What is newly found and what is not found any more stand apart, each with its rule and its number."""
    head = with_modules(with_live_session(), access__rules__orphan__orphan=None)
    found = difference(rego, head)
    assert {(one.rule, one.turn) for one in found.lines} == {("live_session", Turn.GAINED), ("orphan", Turn.LOST)}
    document = difference_document(found)
    assert problems("policies-diff", json.loads(json.dumps(document))) == []
    comment = markdown(found)
    assert "### Newly found: 1\n\n`live_session`: keep → revoke (1)" in comment
    assert "### Not found any more:" in comment
    assert "\n\nRules that are new: `live_session`. Rules that are gone: `orphan`. " in comment
    assert "### Newly lost: 1 access item of 1 worker\n\n`live_session`: keep → revoke (1)" in comment
    assert comment.rstrip().endswith(
        f"Digest of this difference: `{difference_digest(found)}`. Whoever has looked at it may adopt the change so "
        "that it acts at once: `policies adopt --diff-digest`, on the same snapshot."
    )
    assert "| corp-aws | 5 |" in comment


def with_live_session() -> PolicySet:
    """Return the policies with a rule that ends every session."""
    body = emit('item.kind == "session"', effect='"revoke"', code='"live_session"')
    return with_modules(starter(), access__rules__live_session__live_session=rule_source("live_session", body))


def test_who_keeps_what_newly_and_why(rego: EmbeddedRego) -> None:
    """A rule that goes, and a waiver that comes, leave access standing: whose, and which of the two it was, is told."""
    recorded = recording()
    before = decide(recorded, Revision(name="main", policies=with_live_session(), waivers=()), rego)
    gone = compare(recorded, before, decide(recorded, Revision(name="change", policies=starter(), waivers=()), rego))
    comment = markdown(gone)
    assert "**1 access item of 1 worker newly kept. Within every cap.**" in comment
    row = "| E1002 | corp-aws/bob | bob/s | session | revoke | keep | `live_session` | nothing asks for it any more |"
    assert row in comment
    waiver = replace(recorded.waivers[0], rule="live_session", principal_id=principal("bob").principal_id)
    waived = Revision(name="waived", policies=with_live_session(), waivers=(waiver,))
    found = compare(recorded, before, decide(recorded, waived, rego))
    assert "| `live_session` | withheld: `waived` |" in markdown(found)
    back = compare(recorded, found.head, before)
    assert [(one.before, one.after, one.withheld_before) for one in back.planned] == [("keep", "revoke", ("waived",))]
    assert "| withheld before: `waived` |" in markdown(back)


def test_what_does_not_fit_the_cap_is_said_first(rego: EmbeddedRego) -> None:
    """Whoever was touched within the window counts beside the plan, as the guard counts; the headline says so."""
    touch = Touch(provider=PROVIDER, principal_id=principal("ghost").principal_id, effect=Effect.REVOKE)
    recorded = replace(recording(), limits=Limits(max_principals=1), touched=(touch,))
    found = difference(rego, with_live_session(), recorded)
    comment = markdown(found)
    assert "newly lost. Beyond the cap of corp-aws: the guard would hold the plan.**" in comment
    assert "| corp-aws | 5 | 0 | 1 | 1 | 1 | **no** |" in comment
    document = json.loads(json.dumps(difference_document(found)))
    assert problems("policies-diff", document) == []
    assert [(cap["touched_already"], cap["fits"]) for cap in document["caps"]] == [(1, False)]
    roomy = difference(rego, with_live_session(), replace(recorded, limits=Limits(max_principals=2)))
    assert "| corp-aws | 5 | 0 | 1 | 1 | 2 | yes |" in markdown(roomy)
    share = replace(recorded, limits=Limits(max_principals=9, max_percent=20, percent_population=1))
    assert "| 9, and 20 % (1) | **no** |" in markdown(difference(rego, with_live_session(), share))


def test_a_long_list_is_folded_and_never_cut_in_silence(rego: EmbeddedRego) -> None:
    """The first lines stand open, the next are folded, and what is left out is counted."""
    original = recording()
    (inventory,) = original.snapshot.inventories
    many = tuple(credential("bob", access_id=f"bob/|`<{number:04d}") for number in range(MOST_LINES + 7))
    recorded = replace(
        original, snapshot=replace(original.snapshot, inventories=(replace(inventory, items=many),)), waivers=()
    )
    body = emit('item.kind == "access_key"', code='"every_key"')
    head = with_modules(starter(), access__rules__every_key__every_key=rule_source("every_key", body))
    comment = markdown(difference(rego, head, recorded))
    assert f"### Newly found: {MOST_LINES + 7}" in comment
    assert f"<details><summary>{MOST_LINES - SHOWN} more</summary>" in comment
    assert f"7 more are not shown here: `--output json` has all {MOST_LINES + 7}." in comment
    assert "bob/\\|\\`&lt;0000" in comment
    assert len(comment) < 65_536


def git(folder: Path, *arguments: str, given: str = "") -> str:
    """Run git in a repository of the test's own, and return what it says."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    done = subprocess.run(command, input=given, check=True, capture_output=True, timeout=60, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with the policies, in which the working tree asks for more than the commit."""
    peers.require("git")
    shutil.copytree(POLICIES, tmp_path / "repo" / "policies")
    repo = tmp_path / "repo"
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "Policies")
    data = repo / "policies/access/config/data.json"
    document = json.loads(data.read_text())
    document["orphan"]["effect"] = "quarantine"
    data.write_text(json.dumps(document))
    return repo


def test_a_revision_is_the_folder_as_git_had_it(repository: Path) -> None:
    """A git revision gives the committed policies, a folder those that lie there; anything else is refused."""
    with policy_folder("main", repository / "policies") as found:
        assert load_policies(found).digest == starter().digest
    with policy_folder(str(repository / "policies"), repository / "policies") as found:
        assert load_policies(found).digest != starter().digest
    for name in ("nowhere", "--output=/tmp/x"):
        with pytest.raises(PolicyError, match="git does not know it"), policy_folder(name, repository / "policies"):
            pass
    with pytest.raises(PolicyError, match="without a name"), policy_folder("", repository / "policies"):
        pass


@pytest.mark.parametrize("place", ["", "policies/"])
def test_no_attribute_changes_a_revision(repository: Path, place: str) -> None:
    """What `.gitattributes` says of archives and line ends takes no rule out of a revision, and changes no byte."""
    attributes = "orphan export-ignore\n*.rego text eol=crlf\n*_test.rego export-ignore\nREADME.md export-subst\n"
    (repository / f"{place}.gitattributes").write_text(attributes)
    (repository / "policies" / "waivers" / "README.md").write_text("$Format:%H$\n")
    git(repository, "add", f"{place}.gitattributes", "policies/waivers")
    git(repository, "commit", "-q", "-m", "Attributes")
    with git_folder("main", repository) as (whole, _):
        assert load_policies(whole / "policies").digest == starter().digest
    with policy_folder("main", repository / "policies") as found:
        assert load_policies(found).digest == starter().digest
        assert (found / "access" / "rules" / "orphan" / "orphan_test.rego").is_file()
        assert (found / "waivers" / "README.md").read_text() == "$Format:%H$\n"


def test_a_revision_of_which_a_file_is_missing_is_refused(repository: Path) -> None:
    """A repository that was fetched in part, or is broken, is not taken for one with fewer rules."""
    rule = "main:policies/access/rules/orphan/orphan.rego"
    blob = git(repository, "rev-parse", rule)
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with (
        pytest.raises(PolicyError, match=r"main:policies: (not all of it is in this repository|is no folder)"),
        policy_folder("main", repository / "policies"),
    ):
        pass


def test_a_file_of_a_revision_that_lies_outside_of_it_is_refused(repository: Path, tmp_path: Path) -> None:
    """No git makes such a tree by itself, but a repository may be sent one."""
    blob = git(repository, "hash-object", "-w", "policies/.manifest")
    tree = git(repository, "mktree", given=f"100644 blob {blob}\tescaped")
    for name in ("..", "policies"):
        tree = git(repository, "mktree", given=f"040000 tree {tree}\t{name}")
    commit = git(repository, "commit-tree", "-m", "Escape", tree)
    with (
        pytest.raises(PolicyError, match="names a file that lies outside of it"),
        policy_folder(commit, repository / "policies"),
    ):
        pass


def test_the_command_on_a_repository(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real OPA: exit 2 and a comment where effects change, 0 where not, 1 where a revision is broken."""
    peers.require("opa")
    monkeypatch.chdir(repository)
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(to_bytes(recording()))
    given = ["--snapshot", str(snapshot)]
    assert run(["policies", "diff", "main", "policies", *given]) == 2
    assert "`orphan`: review → quarantine (1)" in capsys.readouterr().out
    assert run(["policies", "diff", "main", "main", *given, "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert problems("policies-diff", document) == []
    (repository / "policies/access/rules/orphan/orphan.rego").write_text("package access.rules.other\n")
    assert run(["policies", "diff", "main", "policies", *given]) == 1
    assert "policies: access/rules/orphan/orphan.rego:1: package access.rules.other" in capsys.readouterr().err


def test_nobody_looks_for_garbage_while_it_compares() -> None:
    """Python does not for as long as the picture is needed, and does as before afterwards."""
    with no_collections():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_exported_is_what_plan_reads(
    tmp_path: Path, rego: EmbeddedRego, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is written once, for its owner alone, under pseudonyms that the next export uses again."""
    house = House(tmp_path / "house")

    @contextmanager
    def assembled(*_: Any, **__: Any) -> Iterator[Assembly]:
        yield Assembly(
            house=replace(house.house(Mode.OBSERVE), engine=rego, load_policies=starter),
            rules=house.rules(Mode.OBSERVE),
        )

    monkeypatch.setattr(exporting, "assemble", assembled)
    config = tmp_path / "access-reconciler.yaml"
    config.write_text("roster: {path: roster.csv, default_timezone: UTC}\n")
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    given = ["--pseudonymise", "--config", str(config), "--quiet"]
    assert run(["inventory", "export", str(first), *given, "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert problems("inventory-export", document) == []
    assert (document["pseudonymised"], document["access_items"]) == (True, 2)
    assert first.stat().st_mode & 0o777 == 0o600
    assert run(["inventory", "export", str(second), *given]) == 0
    assert [one.worker_id for one in read_recording(first).correlations] == [
        one.worker_id for one in read_recording(second).correlations
    ]
    assert run(["inventory", "export", str(first), *given]) == 1
    assert "is there already" in capsys.readouterr().err
    assert run(["inventory", "export", str(tmp_path / "plain.json"), "--config", str(config)]) == 0
    plain = read_recording(tmp_path / "plain.json")
    assert {one.worker_id for one in plain.correlations} >= {"L1"}
    assert not plain.pseudonymised
