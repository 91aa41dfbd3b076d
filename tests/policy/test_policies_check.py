"""`policies check`: mistakes that people make in rule files are each refused with a line that says where and what."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.regal import lint
from reconciler.cli.main import run
from reconciler.cli.policies_check import check_document
from reconciler.core.errors import PolicyError
from reconciler.policies.check import CheckReport
from reconciler.policies.probes import probe_inputs, probe_workers
from reconciler.policies.problems import CODES
from reconciler.policies.sarif import sarif_document
from tests import peers
from tests.output_schemas import problems as schema_problems
from tests.rule_files import STATIC, STATIC_SAYS, checked, copy, plain, rule, told, write
from tests.worlds import POLICIES, emit, rule_source


def test_the_policies_of_this_repository_are_accepted() -> None:
    """Nothing is wrong with them, no warning either."""
    report = checked(POLICIES)
    assert [str(one) for one in report.problems] == []
    assert not report.refused
    assert report.policies is not None


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    """Check one folder with everything that is seen without compiling, a module of Rego v0 among it."""
    folder = copy(tmp_path_factory.mktemp("declared"))
    finding = emit('item.kind == "session"')
    write(folder, "misplaced", rule("elsewhere", finding))
    write(folder, "bare", 'package access.rules.bare\n\nid := "bare"\n\n' + finding + "\n")
    write(folder, "untested", rule("untested", finding), tested=False)
    write(folder, "schemaless", rule_source("schemaless", finding))
    write(folder, "twice", rule("twice", finding, codes="[leaver_unknown_kind]"))
    write(folder, "old", rule("old", "finding[x] {\n\tx := input.unit.access[_]\n}\n"))
    write(folder, "clock", rule("clock", emit("time.now_ns() > 0")))
    write(folder, "network", rule("network", emit('http.send({"url": "https://x.example"}).status_code == 200')))
    write(folder, "delete", rule("delete", emit('item.kind == "session"', effect='"delete"')))
    chosen = 'asked(item) := "destroy" if item.live\n\n' + emit("item.live", effect="asked(item)")
    write(folder, "chosen", rule("chosen", chosen))
    write(folder, "nameless", rule("nameless", finding).replace('id := "nameless"', ""))
    write(folder, "renamed", rule("renamed", finding).replace('id := "renamed"', 'id := "other"'))
    write(folder, "complete", rule("complete", 'finding := {"code": "complete"} if input.now_ns > 0'))
    write(folder, "silent", rule("silent", emit("item.holders == data.access.config.silent.most")))
    aliased = "config := data.access.config.orphan\n\n" + emit("item.holders == config.most")
    write(folder, "aliased", rule("aliased", aliased))
    write(folder, "few", rule("few", emit("item.holders < 2")))
    write(folder, "known", rule("known", emit("item.holders < 2\n\titem.holders != null", code='"known"')))
    write(folder, "young", rule("young", emit("input.unit.principal.created_at > item.created_at")))
    write(folder, "levels", rule("levels", finding, severity="awful"))
    for name, source in STATIC.items():
        write(folder, name, source)
    return checked(folder)


EXPECTED = {
    "misplaced": ("place", "package access.rules.elsewhere does not belong in this folder", "name the package after"),
    "bare": ("metadata", "has no METADATA", "write the METADATA block right above"),
    "few": ("unknown_value", "item.holders may be null", "ask `item.holders != null` first"),
    "young": ("unknown_value", "input.unit.principal.created_at may be null", "!= null` first"),
    "levels": ("metadata", "'severity' must be one of", "give it in the METADATA block"),
    "untested": ("no_test", "rule untested has no tests", "add untested_test.rego"),
    "schemaless": ("no_schema", "names no schema of its input", "add to its METADATA"),
    "twice": ("duplicate_code", "code 'leaver_unknown_kind' belongs to rule leaver", "name it otherwise"),
    "old": ("syntax", "keyword is required", "this is Rego v0"),
    "clock": ("banned_builtin", "calls time.now_ns", "use input.now_ns"),
    "network": ("banned_builtin", "calls http.send", "take the call out"),
    "delete": ("effect", "effect 'delete' is unknown", "keep, review, quarantine, revoke"),
    "chosen": ("effect", "effect 'destroy' is unknown", "keep, review, quarantine, revoke"),
    "nameless": ("rule_form", "has no `id`", 'id := "nameless"'),
    "renamed": ("rule_form", "`id` is not the name of the folder", 'id := "renamed"'),
    "complete": ("rule_form", "`finding` is no set", "finding contains"),
    "silent": ("undefined_field", "threshold silent.most is not given", "access/config/data.json"),
    "aliased": ("undefined_field", "threshold orphan.most is not given", "access/config/data.json"),
    **STATIC_SAYS,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_mistake_is_refused_with_place_and_advice(name: str, declared: CheckReport) -> None:
    """Each is named by file and line with what is wrong and what to do, whatever else is wrong beside it."""
    code, message, advice = EXPECTED[name]
    found = [text for _, kind, text in told(declared, name) if kind == code and message in text]
    assert len(found) >= 1, told(declared, name)
    assert found[0].startswith(f"access/rules/{name}/{name}.rego:")
    assert advice in found[0].split("; ", 1)[1]
    assert declared.refused
    assert declared.policies is None


def test_a_mistake_is_found_on_its_line(declared: CheckReport) -> None:
    """The line is the one that has to be changed."""
    twice = rule("twice", "", codes="[leaver_unknown_kind]").splitlines().index("#   codes: [leaver_unknown_kind]") + 1
    assert [line for line, code, _ in told(declared, "twice") if code == "duplicate_code"] == [twice]
    clock = rule("clock", emit("time.now_ns() > 0")).splitlines()
    assert ("\ttime.now_ns() > 0", "banned_builtin") in [
        (clock[line - 1], code) for line, code, _ in told(declared, "clock")
    ]


def test_whatever_is_right_beside_it_is_left_alone(declared: CheckReport) -> None:
    """The rules of this repository, which lie in the same folder, are not spoken of."""
    own = {path.name for path in (POLICIES / "access/rules").iterdir()} | {"known"}
    said = [one for one in declared.problems if one.path.split("/")[2] in own and one.code != "format"]
    assert [str(one) for one in said] == []


def test_the_line_that_opa_would_write_otherwise_is_named(declared: CheckReport) -> None:
    """Formatting is refused on its first line that differs, and line ends of Windows are called by name."""
    path = "access/rules/windows/windows.rego"
    (found,) = [str(one) for one in declared.problems if one.path == path and one.code == "format"]
    assert found == f"{path}:1: is not as `opa fmt` writes it, with line ends of Windows; run `opa fmt --write` on it"


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    """Check one folder with rules that compile, and fail on made-up principals."""
    folder = copy(tmp_path_factory.mktemp("tried"))
    young = "time.parse_rfc3339_ns(item.last_used_at) < input.now_ns"
    write(folder, "unknown_age", rule("unknown_age", emit(young, code='"unknown_age"')))
    write(folder, "other_code", rule("other_code", emit('item.kind == "session"')))
    strange = emit('item.kind == "session"', code='"strange"', access_id='"somebody/else"')
    write(folder, "strange", rule("strange", strange))
    joined = emit('item.kind == "session"', code='"joined"', effect='concat("", ["dele", "te"])')
    write(folder, "joined", rule("joined", joined))
    invented = emit(
        'item.kind == "session"', code='"invented"', access_id='concat("/", ["credential", item.kind, "x"])'
    )
    write(folder, "invented", rule("invented", invented.replace("access_id, item", "item")))
    forged = emit('item.kind == "session"', code='"forged"').replace('"reason"', '"rule": "leaver", "reason"')
    write(folder, "forged", rule("forged", forged))
    write(
        folder,
        "torn",
        plain("torn", "level(item) == 1", "level(item) := 1 if item.live\n\nlevel(item) := 2 if item.live"),
    )
    return checked(folder)


TRIED = {
    "unknown_age": ("unknown_value", "fails where a value is unknown", "ask `!= null`"),
    "other_code": ("undeclared_code", "code 'probe' is not declared", "add it to `codes`"),
    "strange": ("rule_form", "is not of the unit", "take access_id from input.unit.access"),
    "joined": ("effect", "refused, effect", "give access_id, code"),
    "invented": ("rule_form", "is not of the unit", "take access_id from input.unit.access"),
    "forged": ("rule_form", "says itself which rule it is", "leave `rule` out"),
    "torn": ("unknown_value", "contradicts itself", "let one condition exclude the other"),
}


@pytest.mark.parametrize("name", TRIED)
def test_a_rule_is_tried_on_what_may_be_unknown(name: str, tried: CheckReport) -> None:
    """A rule that compiles, and fails or gives nonsense for a principal that can exist, is refused."""
    code, message, advice = TRIED[name]
    assert [(kind, message in text, advice in text) for _, kind, text in told(tried, name)] == [(code, True, True)]


def test_a_misspelt_field_is_found(tmp_path: Path) -> None:
    """A field that the schema does not know would make a rule silent: it is refused, and the nearest one is named."""
    folder = copy(tmp_path)
    write(folder, "misspelt", plain("misspelt", "input.unit.principals.enabled"))
    write(folder, "item", plain("item", "item.last_use_at != null"))
    write(folder, "handed", plain("handed", "old(item)", "old(thing) if thing.expire_at != null"))
    write(folder, "groups", plain("groups", 'some group in input.unit.principal.groups\n\tgroup == "x"'))
    report = checked(folder)
    codes = [code for name in ("misspelt", "item", "handed", "groups") for _, code, _ in told(report, name)]
    assert codes == ["undefined_field"] * 4
    assert "undefined ref: input.unit.principal.groups[…]: there is no such field" in told(report, "groups")[0][2]
    assert "did you mean 'expires_at'?" in told(report, "handed")[0][2]
    assert "did you mean 'principal'?" in told(report, "misspelt")[0][2]
    assert "did you mean 'last_used_at'?" in told(report, "item")[0][2]


def test_probes_know_every_field_and_every_kind() -> None:
    """The made-up principals have all fields of the published schema, and every kind of principal and item occurs."""
    inputs = probe_inputs()
    assert {one["unit"]["principal"]["kind"] for one in inputs} >= {"human", "service", "unknown"}
    kinds = {item["kind"] for one in inputs for item in one["unit"]["access"].values()}
    assert {"access_key", "group_membership", "session"} <= kinds
    assert {item["last_used_at"] is None for one in inputs for item in one["unit"]["access"].values()} == {True, False}
    assert {one["access_end_at"] is None for one in probe_workers().values()} == {True, False}


def regal(folder: Path, script: str) -> Path:
    """Write a program that stands for Regal."""
    program = folder / "regal"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


REGAL_REPORT = Path(__file__).parent.parent / "regal_report.json"
"""A report with everything that Regal's documentation gives a violation: an end, a warning, and one without a place."""


def test_regal_is_heard_where_it_is_there(tmp_path: Path) -> None:
    """What Regal reports stands among the problems, at its own level: an error refuses, a warning does not."""
    report = checked(POLICIES, regal(tmp_path, f"cat {REGAL_REPORT}; exit 3"))
    assert report.regal
    assert [
        (one.path, one.line, one.column, one.level.value, str(one).partition("; ")[0]) for one in report.problems
    ] == [
        (
            *("access/driver.rego", 7, 121, "error"),
            "access/driver.rego:7: Line too long (style/line-length)",
        ),
        (
            *("access/lib/lib.rego", 26, 14, "warning"),
            "access/lib/lib.rego:26: External reference in function (style/external-reference)",
        ),
        (
            *("access/rules/leaver/leaver.rego", 1, 1, "error"),
            "access/rules/leaver/leaver.rego:1: File should be formatted with `opa fmt` (style/opa-fmt)",
        ),
    ]
    assert report.refused


@pytest.mark.parametrize(
    "script", ["echo broken >&2; exit 1", "echo '{}'", "echo '[]'", "echo '{\"violations\": 1}'", ":"]
)
def test_a_regal_that_breaks_is_an_error(tmp_path: Path, script: str) -> None:
    """What is no report is told as that: silence would read as nothing found."""
    with pytest.raises(PolicyError, match="gave no report"):
        lint(regal(tmp_path, script), POLICIES)


def test_a_variable_that_is_not_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the compiler refuses is quoted by line with advice; the command prints a line each and exits with 2."""
    folder = copy(tmp_path)
    write(folder, "unused", rule("unused", emit("other := item.kind")))
    assert run(["policies", "check", str(folder)]) == 2
    said = capsys.readouterr().out
    assert "error: access/rules/unused/unused.rego:18: assigned var other unused; use it or take it out" in said


def test_the_report_as_json_and_as_sarif(declared: CheckReport) -> None:
    """JSON is as its schema says, and SARIF has a place for each problem, by the path in the repository."""
    document = check_document(declared)
    assert schema_problems("policies-check", json.loads(json.dumps(document))) == []
    assert not document["accepted"]
    log = json.loads(json.dumps(sarif_document(declared, "1.2.3")))
    assert_is_sarif(log)
    assert len(places_of(log)) == len(declared.problems) > 20


@pytest.mark.parametrize(("top", "prefix"), [("..", "policies/"), (".", "")])
def test_sarif_names_files_from_the_top_of_the_repository(
    declared: CheckReport, top: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command was run, and also where the repository holds nothing but policies; elsewhere from here."""
    git = declared.folder / top / ".git"
    git.mkdir()
    monkeypatch.chdir(declared.folder / "access")
    assert f"{prefix}access/rules/bare/bare.rego" in places_of(sarif_document(declared, "1.2.3"))
    git.rmdir()
    monkeypatch.chdir(declared.folder.parent)
    assert "policies/access/rules/bare/bare.rego" in places_of(sarif_document(declared, "1.2.3"))


def places_of(log: Any) -> list[str]:
    """Return where the results of a log lie."""
    return [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in log["runs"][0]["results"]]


def test_the_command_prints_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`--output sarif` is a log without results where nothing is wrong."""
    peers.require("opa")
    assert run(["policies", "check", str(POLICIES), "--output", "sarif"]) == 0
    log = json.loads(capsys.readouterr().out)
    assert_is_sarif(log)
    assert log["runs"][0]["results"] == []


def assert_is_sarif(log: dict[str, Any]) -> None:
    """Hold a log against what sections 3.13 to 3.30 of SARIF 2.1.0 require of the objects that are used."""
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    driver = one["tool"]["driver"]
    assert driver["name"]
    rules = [entry["id"] for entry in driver["rules"]]
    assert rules == list(CODES)
    assert all(entry["shortDescription"]["text"] for entry in driver["rules"])
    assert one["columnKind"] in {"utf16CodeUnits", "unicodeCodePoints"}
    for result in one["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        for location in result["locations"]:
            place = location["physicalLocation"]
            assert " " not in place["artifactLocation"]["uri"]
            assert place["region"]["startLine"] >= 1
            assert place["region"]["startColumn"] >= 1


def test_what_cannot_be_checked_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there ends with exit code 1, unlike one that is refused."""
    assert run(["policies", "check", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err
