"""Policy folders with a mistake in a rule each, as people make them, and what `policies check` says of every one."""

import shutil
from pathlib import Path

from reconciler.policies.check import CheckReport, Tools, check
from tests import peers
from tests.builders import NOW
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
    "imported_threshold": plain("imported_threshold", "item.holders == cfg.few.most").replace(
        "id :=", "import data.access.config as cfg\n\nid :="
    ),
    "held_threshold": plain("held_threshold", "cfg := data.access.config\n\titem.holders == cfg.few.most"),
    "inner_field": plain("inner_field", "not item.tags.approved"),
    "strangers": plain("strangers", 'not lib.worker.department == "sales"').replace("id :=", IMPORT),
    "strangers_in": plain("strangers_in", 'not data.roster.workers[input.unit.worker_id].status in {"leave"}'),
    "strangers_call": plain("strangers_call", "not lib.left(lib.worker)").replace("id :=", IMPORT),
    "bare_some": plain("bare_some", 'some id\n\tdata.roster.workers[id].status == "leave"'),
    "roster_held": plain("roster_held", 'all := data.roster\n\tsome w in all.workers\n\tw.status == "leave"'),
    "by_name": plain("by_name", 'data.roster.workers.E1003.status == "leave"'),
    "idle_code": plain("idle_code", codes="[idle_code_twice]"),
    "other_schema": plain("other_schema").replace("- input: schema", "- data.x: schema"),
    "scoped": plain("scoped").replace("# title:", "# scope: rule\n# title:"),
    "misspelt_field": plain("misspelt_field").replace("#   remediation:", "#   remedy:"),
    "doubled": plain("doubled", needs="item\n#   needs: scope"),
    "flat": plain("flat").replace("#   severity:", "#  severity:"),
    "quoted": plain("quoted").replace('"reason": "probe"', '"reason": “probe”'),
    "unmerged": plain("unmerged").replace("finding", "<<<<<<< HEAD\nfinding", 1) + ">>>>>>> main\n",
    "returned": plain("returned").replace("# title", "# \rtitle"),
    "leaver_code": plain("leaver_code", codes="[leaver_break_glass]"),
    "aa": plain("aa", codes="[dormant]"),
}
"""A mistake each, found without asking the rule anything."""
STATIC_SAYS = {
    "Upper": ("place", "package access.rules.upper does not belong in this folder", "name the package after"),
    "indented": ("place", "no package is declared in the plain form", "name the package after"),
    "cut": ("metadata", "is cut off from the package line", "right above the package line"),
    "unnumbered": ("metadata", "'SOC2 6.1' is not as its framework numbers them", "'SOC2 CC6.2'"),
    "foreign_list": ("metadata", "'ACME-12' is not as its framework", "begin with the framework"),
    "weekly": ("metadata", "'effective_on' is no RFC 3339 instant", "give it in the METADATA"),
    "zoneless": ("metadata", "'effective_on' needs a time and a zone", "give it in the METADATA"),
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
    "imported_threshold": ("undefined_field", "threshold few.most is not given", "access/config/data.json"),
    "held_threshold": ("undefined_field", "threshold few.most is not given", "access/config/data.json"),
    "inner_field": ("undefined_field", "item.tags: an access item has no such field", "known are type"),
    "strangers": ("unknown_value", "asks `not` about lib.worker, who need not be there", "somebody := lib.worker"),
    "strangers_in": (
        *("unknown_value", "asks `not` about data.roster.workers[input.unit.worker_id], who need not be there"),
        "somebody := data.roster.workers[input.unit.worker_id]",
    ),
    "strangers_call": ("unknown_value", "asks `not` about lib.worker, who need not be there", "outside the `not`"),
    "bare_some": ("all_workers", "goes through all workers", "refer to one"),
    "roster_held": ("all_workers", "goes through all workers", "refer to one"),
    "by_name": ("all_workers", "asks for one worker by name, 'E1003'", "refer to one"),
    "idle_code": ("undeclared_code", "code 'idle_code_twice' is declared, and no finding has it", "take it out"),
    "other_schema": ("no_schema", "names no schema of its input", "add to its METADATA"),
    "scoped": ("syntax", "annotation scope 'rule' must be applied to rule", "take `scope` out"),
    "misspelt_field": ("metadata", "unknown field 'remedy'", "correct its name, or take it out"),
    "doubled": ("metadata", "field 'needs' is given twice", "leave one of them"),
    "flat": ("metadata", "is no YAML: ", "stand deeper by two blanks"),
    "quoted": ("syntax", "illegal token", 'write " for “'),
    "unmerged": ("syntax", "holds a merge that was not finished", "choose one of the two texts"),
    "returned": ("unreadable", "holds the character U+000D, which nobody sees", "take it out"),
    "leaver_code": ("duplicate_code", "code 'leaver_break_glass' belongs to rule leaver", "name it otherwise"),
    "aa": ("duplicate_code", "code 'dormant' belongs to rule dormant", "such as aa_dormant"),
}
