"""`policies check` names files that would be passed over, tests that test nothing, and rules that never answer."""

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
