"""`policies check`: mistakes that people make in rule files are each refused with a line that says where and what."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.opa_tool import workspace
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_sources import read_sources
from reconciler.adapters.regal import lint
from reconciler.cli.main import run
from reconciler.cli.policies_check import check_document
from reconciler.core.errors import PolicyError
from reconciler.policies import probes
from reconciler.policies.check import CheckReport, Tools, check
from reconciler.policies.probes import probe_inputs, probe_workers
from reconciler.policies.problems import CODES
from reconciler.policies.sarif import sarif_document
from tests import peers
from tests.builders import NOW
from tests.output_schemas import problems as schema_problems
from tests.worlds import POLICIES, emit, rule_source

TESTS = """package access.rules.{name}_test

import data.access.rules.{name}

test_its_name if {name}.id == "{name}"
"""
SCHEMAS = '# schemas:\n#   - input: schema["rule_input.schema"]\n'


def write(folder: Path, name: str, source: str, *, tested: bool = True) -> None:
    """Put a rule, and a test module that holds little of it, into a policy folder."""
    place = folder / "access" / "rules" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.rego").write_text(source)
    if tested:
        (place / f"{name}_test.rego").write_text(TESTS.format(name=name))


def rule(name: str, body: str, **fields: str) -> str:
    """Write a rule with METADATA that names the schema of its input."""
    return rule_source(name, body, **fields).replace("# custom:", f"{SCHEMAS}# custom:", 1)


def checked(folder: Path, regal: Path | None = None) -> CheckReport:
    """Check a folder with the installed OPA."""
    capabilities = (POLICIES / "capabilities.json").read_text()
    return check(folder, Tools(opa=Path(peers.require("opa")), regal=regal, capabilities=capabilities), NOW)


def copy(folder: Path) -> Path:
    """Return a copy of the policies of this repository."""
    return Path(shutil.copytree(POLICIES, folder / "policies"))


def told(report: CheckReport, rule_name: str) -> list[tuple[int, str, str]]:
    """Return line, code and text of what was said of a rule's module, formatting aside."""
    path = f"access/rules/{rule_name}/{rule_name}.rego"
    return [(one.line, one.code, str(one)) for one in report.problems if one.path == path and one.code != "format"]


def test_the_policies_of_this_repository_are_accepted() -> None:
    """Nothing is wrong with them, no warning either."""
    report = checked(POLICIES)
    assert [str(one) for one in report.problems] == []
    assert not report.refused
    assert report.policies is not None


def plain(name: str, condition: str = 'item.kind == "session"', more: str = "", **fields: str) -> str:
    """Write a rule that is right but for what is handed in."""
    body = emit(condition, code=f'"{name}"')
    return rule(name, body + (f"\n\n{more}" if more else ""), **fields)


def worker(condition: str) -> str:
    """Write a condition on the worker of the unit."""
    return f"w := data.roster.workers[input.unit.worker_id]\n\tw.{condition}"


IMPORT = "import data.access.lib\n\nid :="
STATIC = {
    "Upper": plain("Upper").replace("rules.Upper", "rules.upper"),
    "indented": plain("indented").replace("\npackage", "\n  package"),
    "cut": plain("cut").replace("\npackage", "\n\npackage"),
    "unnumbered": plain("unnumbered", controls="[SOC2 6.1]"),
    "foreign_list": plain("foreign_list", controls="[ACME-12]"),
    "weekly": plain("weekly", effective_on='"2026-W01-1T00:00:00Z"'),
    "zoneless": plain("zoneless", effective_on='"2026-01-01T00:00:00"'),
    "early": plain("early", effective_on='"0001-01-01T00:00:00+23:59"'),
    "needful": plain("needful", needs="roster"),
    "hyphen": plain("hyphen", code="hy-phen"),
    "hollow": "",
    "replaced": plain("replaced", "item.live with input.now_ns as 3"),
    "handed_in": plain("handed_in", 'helper("x") with count as http.send', "helper(x) if count(x) > 1"),
    "imported": plain("imported", "t.now_ns() > 0").replace("id :=", "import data.time as t\n\nid :="),
    "deep": plain("deep", "now > 0", "now := time.now_ns()"),
    "chatty": plain("chatty", "print(item)"),
    "granting": plain("granting", "allow", "default allow := true\n\nallow if input.unit.worker_id == null"),
    "unasked": plain("unasked", more="deny if input.unit.worker_id == null"),
    "sometimes": plain("sometimes").replace('id := "sometimes"', 'id := "sometimes" if input.now_ns > 0'),
    "grave": plain("grave").replace('"severity": "low"', '"severity": "grave"'),
    "mystery": rule("mystery", emit('item.kind == "session"', code='"secret"')),
    "everybody": plain("everybody", 'some w in data.roster.workers\n\tw.status == "leave"'),
    "office": plain("office", worker("office == 1")),
    "office_of": plain("office_of", "lib.worker.office == 1").replace("id :=", IMPORT),
    "handed_worker": plain("handed_worker", "gone(lib.worker)", "gone(who) if who.ended").replace("id :=", IMPORT),
    "got": plain("got", 'object.get(item, "ownr", "") == "x"'),
    "indexed": rule("indexed", emit("one.kindd == 1").replace("\tone", "\tone := input.unit.access[access_id]\n\tone")),
    "elsewhere_data": plain("elsewhere_data", "data.company.offices[_] == 1"),
    "no_helper": plain("no_helper", "lib.workr.status == 1").replace("id :=", IMPORT),
    "robot": plain("robot", 'input.unit.principal.kind == "robot"'),
    "sesion": plain("sesion", 'item.kind in {"sesion", "account"}'),
    "orphaned": plain("orphaned", 'input.unit.correlation.state == "orphaned"'),
    "fired": plain("fired", worker('status != "fired"')),
    "numbered": plain("numbered", "item.kind == 3"),
    "late_worker": plain("late_worker", worker('access_end_at < "2026"')),
    "unseen": plain("unseen").replace('"reason": "probe"', '"reason": "pro\u202ebe"'),
    "windows": plain("windows").replace("\n", "\r\n"),
}
"""A mistake each, found without asking the rule anything."""
STATIC_SAYS = {
    "Upper": ("place", "package access.rules.upper does not belong in this folder", "name the package after"),
    "indented": ("place", "no package is declared in the plain form", "name the package after"),
    "cut": ("metadata", "is cut off from the package line", "right above the package line"),
    "unnumbered": ("metadata", "'SOC2 6.1' is not as its framework numbers them", "'SOC2 CC6.2'"),
    "foreign_list": ("metadata", "'ACME-12' is not as its framework", "begin with the framework"),
    "weekly": ("metadata", "'effective_on' is no RFC 3339 instant", "give it in the METADATA"),
    "zoneless": ("metadata", "'effective_on' needs a zone", "give it in the METADATA"),
    "early": ("metadata", "'effective_on' is no RFC 3339 instant", "give it in the METADATA"),
    "needful": ("metadata", "'needs' must be one of item, scope", "give it in the METADATA"),
    "hyphen": ("metadata", "codes are different names in snake_case", "METADATA block"),
    "hollow": ("syntax", "empty module", "write the rule, or remove the file"),
    "replaced": ("rule_form", "puts something else in place of input.now_ns", "it is for tests"),
    "handed_in": ("banned_builtin", "calls http.send", "take the call out"),
    "imported": ("banned_builtin", "calls time.now_ns", "use input.now_ns"),
    "deep": ("banned_builtin", "calls time.now_ns", "use input.now_ns"),
    "chatty": ("banned_builtin", "calls print", "the engine's log"),
    "granting": ("rule_form", "`default allow := true` holds wherever something is unknown", "leave the default out"),
    "unasked": ("rule_form", "nothing asks for `deny`", "write it as a condition of `finding`"),
    "sometimes": ("rule_form", "`id` has a condition", 'write: id := "sometimes"'),
    "grave": ("rule_form", "severity 'grave' is unknown", "info, low, medium, high, critical"),
    "mystery": ("undeclared_code", "code 'secret' is not declared", "add it to `codes`"),
    "everybody": ("all_workers", "goes through all workers", "refer to one"),
    "office": ("undefined_field", "w.office: a worker has no such field", "known are status"),
    "office_of": ("undefined_field", "lib.worker.office: a worker has no such field", "known are status"),
    "handed_worker": ("undefined_field", "who.ended: a worker has no such field", "known are status"),
    "got": ("undefined_field", "ownr: an access item has no such field", "known are type"),
    "indexed": ("undefined_field", "one.kindd: an access item has no such field", "did you mean 'kind'?"),
    "elsewhere_data": ("undefined_field", "data.company.offices does not exist", "known are access, roster, waivers"),
    "no_helper": ("undefined_field", "data.access.lib.workr.status does not exist", "did you mean 'worker'?"),
    "robot": ("undefined_field", "input.unit.principal.kind is never 'robot'", "it is one of"),
    "sesion": ("undefined_field", "item.kind is never 'sesion'", "did you mean 'session'?"),
    "orphaned": ("undefined_field", "input.unit.correlation.state is never 'orphaned'", "did you mean 'orphan'?"),
    "fired": ("undefined_field", "w.status is never 'fired'", "it is one of"),
    "numbered": ("undefined_field", "item.kind is never 3", "it is one of"),
    "late_worker": ("unknown_value", "w.access_end_at may be null", "ask `w.access_end_at != null` first"),
    "unseen": ("unreadable", "holds the character U+202E, which nobody sees", "a reviewer must see"),
}


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


def test_a_misspelt_field_is_found(tmp_path: Path) -> None:
    """A field that the schema does not know would make a rule silent: it is refused, and the nearest one is named."""
    folder = copy(tmp_path)
    write(folder, "misspelt", plain("misspelt", "input.unit.principals.enabled"))
    write(folder, "item", plain("item", "item.last_use_at != null"))
    write(folder, "handed", plain("handed", "old(item)", "old(thing) if thing.expire_at != null"))
    report = checked(folder)
    codes = [code for name in ("misspelt", "item", "handed") for _, code, _ in told(report, name)]
    assert codes == ["undefined_field"] * 3
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


def regal(folder: Path, script: str) -> Path:
    """Write a program that stands for Regal."""
    program = folder / "regal"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_regal_is_heard_where_it_is_there(tmp_path: Path) -> None:
    """What Regal reports stands among the problems, at its own level; a Regal that breaks is an error, not silence."""
    violation = {
        "title": "line-length",
        "category": "style",
        "description": "Line too long",
        "level": "warning",
        "location": {"file": "access/driver.rego", "row": 7, "col": 1},
    }
    report = json.dumps({"violations": [violation], "summary": {"num_violations": 1}})
    found = lint(regal(tmp_path, f"echo '{report}'; exit 2"), POLICIES)
    assert [(one.path, one.line, one.rule, one.error) for one in found] == [
        ("access/driver.rego", 7, "style/line-length", False)
    ]
    with pytest.raises(PolicyError, match="gave no report"):
        lint(regal(tmp_path, "echo broken >&2; exit 1"), POLICIES)


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
    log = json.loads(json.dumps(sarif_document(declared, "1.2.3", declared.folder.parent)))
    assert_is_sarif(log)
    places = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in log["runs"][0]["results"]]
    assert len(places) == len(declared.problems) > 20
    assert "policies/access/rules/bare/bare.rego" in places


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
