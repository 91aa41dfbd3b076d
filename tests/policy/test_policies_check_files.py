"""`policies check` names files that would be passed over, tests that test nothing, and rules that never answer."""

import shutil
from pathlib import Path

import pytest

from reconciler.adapters.opa_tool import workspace
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_sources import read_sources
from reconciler.policies import probes
from tests import peers
from tests.rule_files import TESTS, checked, copy, plain, write
from tests.worlds import POLICIES, emit


def test_a_rule_that_never_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that counts for minutes is ended and refused by its line; nobody waits for it."""
    monkeypatch.setattr(probes, "ALONE_SECONDS", 1.0)
    pairs = "count([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i * j == 7]) > 0"
    folder = copy(tmp_path)
    write(folder, "endless", plain("endless", pairs))
    sources = read_sources(folder)
    (endless,) = (one for one in load_policies(folder).rules if one.rule_id == "endless")
    with workspace(Path(peers.require("opa")), sources, (POLICIES / "capabilities.json").read_text()) as opa:
        (found,) = probes.probe(opa, (endless,), sources.modules)
    assert (found.code, found.line) == ("slow", plain("endless", pairs).splitlines().index(found_head()) + 1)
    assert "gave no answer" in found.message


def found_head() -> str:
    """Return the line that the finding of a plain rule begins with."""
    return emit("", code='"endless"').splitlines()[0]


def rule_folder(folder: Path, name: str) -> Path:
    """Make the folder of a rule and return it."""
    place = folder / "access" / "rules" / name
    place.mkdir()
    return place


def test_what_would_be_passed_over_is_named(tmp_path: Path) -> None:
    """Files and folders that nobody reads, links, and tests that test nothing are refused: they look like more."""
    folder = copy(tmp_path)
    rule_folder(folder, "bare_folder")
    (rule_folder(folder, "loud") / "loud.REGO").write_text(plain("loud"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "linked.rego").write_text(plain("linked"))
    (folder / "access/rules/linked").symlink_to(outside)
    (folder / "access/config/more.yaml").write_text("leaver: {grace_days: 0}\n")
    (folder / "access/config/more.rego").write_text("package access.config\n\nextra := 1\n")
    marked = rule_folder(folder, "marked") / "marked.rego"
    marked.write_bytes(b"\xef\xbb\xbf" + plain("marked").encode())
    latin = rule_folder(folder, "latin") / "latin.rego"
    latin.write_bytes(plain("latin").encode().replace(b"Look.", b"Look \xe9."))
    for name, tests in TESTING_NOTHING.items():
        write(folder, name, plain(name), tested=False)
        (folder / f"access/rules/{name}/{name}_test.rego").write_text(tests)
    found = {(one.path.removeprefix("access/"), one.line, one.code) for one in checked(folder).problems}
    line = plain("latin").splitlines().index("#   remediation: Look.") + 1
    assert found >= {
        ("rules/bare_folder", 1, "place"),
        ("rules/loud", 1, "place"),
        ("rules/loud/loud.REGO", 1, "place"),
        ("rules/linked", 1, "place"),
        ("config/more.yaml", 1, "place"),
        ("config/more.rego", 1, "place"),
        ("rules/marked/marked.rego", 1, "unreadable"),
        ("rules/latin/latin.rego", line, "unreadable"),
        ("rules/untried/untried_test.rego", 1, "no_test"),
        ("rules/unrelated/unrelated_test.rego", 1, "no_test"),
        ("rules/planned/planned_test.rego", 5, "no_test"),
        ("rules/strayed/strayed_test.rego", 1, "place"),
    }


TESTING_NOTHING = {
    "untried": "package access.rules.untried_test\n",
    "unrelated": "package access.rules.unrelated_test\n\ntest_sum if 1 + 1 == 2\n",
    "planned": TESTS.format(name="planned").replace("test_its", "todo_test_its"),
    "strayed": TESTS.format(name="strayed").replace("strayed_test", "leaver_test"),
}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"days_ahead": 14', '"day_ahead": 14', "leaver_due"),
        ('"days_ahead": 14', '"days_ahead": "14"', "leaver_due.days_ahead"),
        ('"window_days": 7', '"window_days": 7,', "is not JSON"),
    ],
)
def test_a_threshold_is_named_by_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    """One mistake in the thresholds is one problem on its line, whatever rests on them."""
    folder = copy(tmp_path)
    data = folder / "access/config/data.json"
    source = data.read_text()
    data.write_text(source.replace(old, new))
    (found,) = checked(folder).problems
    assert (found.path, found.code, says in found.message) == ("access/config/data.json", "config", True)
    assert abs(found.line - 1 - source.count("\n", 0, source.index(old))) <= 1


def test_files_that_are_no_files_are_named(tmp_path: Path) -> None:
    """A link out of the folder and a text that is no UTF-8 are problems; nothing is read through them."""
    folder = copy(tmp_path)
    (tmp_path / "secret").write_text("package access.rules.leaver\n")
    (folder / "access/rules/leaver/more.rego").symlink_to(tmp_path / "secret")
    (folder / "access/lib/latin.rego").write_bytes(b"package access.lib\n# \xe9\n")
    found = {(one.path, one.code) for one in checked(folder).problems}
    assert {("access/rules/leaver/more.rego", "unreadable"), ("access/lib/latin.rego", "unreadable")} <= found


def test_a_wrong_threshold_and_an_old_schema_are_named(tmp_path: Path) -> None:
    """A threshold is refused where the daemon would refuse it; a schema of another version only warns."""
    folder = copy(tmp_path)
    data = folder / "access/config/data.json"
    data.write_text(data.read_text().replace("access.config/v1", "access.config/v9"))
    (folder / "schemas/workers.schema.json").write_text("{}\n")
    report = checked(folder)
    assert [(one.path, one.code, one.level.value) for one in report.problems] == [
        ("access/config/data.json", "config", "error"),
        ("schemas/workers.schema.json", "schema_file", "warning"),
    ]


@pytest.fixture(scope="module")
def misplaced(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], str]:
    """Check one folder with everything that lies wrong, is named wrong, or stands twice; formatting aside."""
    folder = copy(tmp_path_factory.mktemp("misplaced"))
    write(folder, "alike", plain("alike").replace("# title: alike", "# title: Leavers keep no access"))
    for name in NO_NAMES:
        write(folder, name, plain("other"))
    write(folder, "named", plain("named"), tested=False)
    (folder / "access/rules/named/test_named.rego").write_text(TESTS.format(name="named"))
    (folder / "access/rules/leaver_more_test.rego").write_text(TESTS.format(name="leaver"))
    shutil.copytree(folder / "access/rules/drift", folder / "access/rules/zcopied")
    problems = [one for one in checked(folder).problems if one.code != "format"]
    return {(one.path.removeprefix("access/rules/"), one.line): str(one) for one in problems}


NO_NAMES = ("old-key", "old key", "every", "old_test")
Told = dict[tuple[str, int], str]


def test_a_title_belongs_to_one_rule(misplaced: Told) -> None:
    """Two rules of one title cannot be told apart in the catalogue: both are named, on the line of the title."""
    found = [place for place, text in misplaced.items() if "title 'Leavers keep no access' is that of" in text]
    assert found == [("alike/alike.rego", 2), ("leaver/leaver.rego", 2)]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_folder_that_no_package_can_be_named_after_is_refused(misplaced: Told, name: str) -> None:
    """It is told once, of the folder, instead of asking for a package that Rego does not allow."""
    (told,) = [text for (path, _), text in misplaced.items() if path.split("/")[0] == name]
    assert told.startswith(f"access/rules/{name}:1: is no name that a rule can have; name folder, files, package and")


def test_a_test_that_is_not_named_as_one_is_told_so(misplaced: Told) -> None:
    """A test module is one by its name, and nothing else is said of it; one in no rule's folder is told where to go."""
    (told,) = [text for (path, _), text in misplaced.items() if path == "named/test_named.rego"]
    assert told.endswith("; name the file of a test named_test.rego: anything else is taken for a part of the rule")
    assert misplaced["leaver_more_test.rego", 1].endswith("; move it into the folder of its rule")


def test_a_copied_folder_is_told_of_where_it_lies(misplaced: Told) -> None:
    """A package that is there twice is the fault of the copy, and the rule that lies right is not spoken of."""
    assert "zcopied/drift.rego" in {path for path, _ in misplaced}
    assert "drift" not in {path.split("/")[0] for path, _ in misplaced}


def test_leavers_who_would_keep_everything_are_found_before_the_merge(tmp_path: Path) -> None:
    """Policies under which every cycle would fail at its made-up leaver are refused, whatever their tests say."""
    folder = copy(tmp_path)
    data = folder / "access/config/data.json"
    text = data.read_text()
    assert text.count('"item_effect": "revoke"') == 2
    data.write_text(text.replace('"item_effect": "revoke"', '"item_effect": "review"'))
    (found,) = checked(folder).problems
    assert (found.path, found.code) == ("access/rules/leaver/leaver.rego", "canary")
    assert "no rule asks to take the access key of a made-up worker who has left; see that rule `leaver`" in str(found)


def test_a_rule_that_takes_from_everybody_is_found_before_the_merge(tmp_path: Path) -> None:
    """A rule under which every cycle would fail at its made-up worker who stays is named, by the line of its effect."""
    folder = copy(tmp_path)
    source = plain("wide", 'item.kind == "access_key"').replace('"review"', '"revoke"')
    write(folder, "wide", source)
    (found,) = (one for one in checked(folder).problems if one.code == "canary")
    line = next(number for number, text in enumerate(source.splitlines(), start=1) if '"effect"' in text)
    assert (found.path, found.line) == ("access/rules/wide/wide.rego", line)
    assert "rule wide asks to take the access key of a made-up worker who has not left" in found.message
