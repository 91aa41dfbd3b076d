"""METADATA read from comments: complete, known and unique, or refused by file and line."""

from datetime import UTC, datetime

import pytest

from reconciler.core.errors import PolicyError
from reconciler.core.metadata import policy_digest, rules_of
from reconciler.core.model import Need, Severity

PATH = "access/rules/idle/idle.rego"
GOOD = """# METADATA
# title: Idle things go
# description: >-
#   Nobody
#   uses them.
# custom:
#   code: idle
#   codes: [idle_key]
#   severity: high
#   needs: scope
#   controls: ["SOC2 CC6.1", "NIST AC-2(3)"]
#   remediation: Remove it.
#   effective_on: "2026-05-01T00:00:00+02:00"
package access.rules.idle

id := "idle"
"""


def test_a_rule_is_what_its_metadata_says() -> None:
    """Every field arrives, instants in UTC."""
    (rule,) = rules_of([(PATH, GOOD)])
    assert (rule.rule_id, rule.title, rule.description) == ("idle", "Idle things go", "Nobody uses them.")
    assert (rule.code, rule.severity, rule.needs) == ("idle", Severity.HIGH, Need.SCOPE)
    assert rule.controls == ("SOC2 CC6.1", "NIST AC-2(3)")
    assert rule.effective_on == datetime(2026, 4, 30, 22, tzinfo=UTC)


def test_modules_outside_rules_need_none() -> None:
    """Driver and helpers are no rules."""
    assert rules_of([("access/driver.rego", "package access.driver\n")]) == ()


def test_a_rule_may_have_more_modules() -> None:
    """A second file of a rule's folder shares its METADATA."""
    more = ("access/rules/idle/days.rego", "package access.rules.idle\n")
    assert [rule.rule_id for rule in rules_of([more, (PATH, GOOD)])] == ["idle"]


WRONG = {
    "no title": ("# title: Idle things go\n", "", "title", 2),
    "empty title": ("title: Idle things go", "title:", "title", 2),
    "no code": ("#   code: idle\n", "", "code", 7),
    "no needs": ("#   needs: scope\n", "", "needs", 7),
    "unknown needs": ("needs: scope", "needs: luck", "needs", 10),
    "unknown severity": ("severity: high", "severity: awful", "severity", 9),
    "unknown custom field": ("#   remediation", "#   colour: red\n#   remediation", "colour", 12),
    "unknown field": ("# custom", "# custum: 1\n# custom", "custum", 6),
    "no custom": (GOOD[GOOD.index("# custom") : GOOD.index("package")], "", "custom", 2),
    "twice": ("#   needs: scope", "#   needs: scope\n#   needs: item", "twice", 11),
    "controls no list": ('["SOC2 CC6.1", "NIST AC-2(3)"]', "SOC2", "controls", 11),
    "controls empty": ('["SOC2 CC6.1", "NIST AC-2(3)"]', "[]", "controls", 11),
    "control twice": ('"NIST AC-2(3)"', '"SOC2 CC6.1"', "controls", 11),
    "code no name": ("code: idle\n", "code: Idle Key\n", "snake_case", 7),
    "no instant": ("2026-05-01T00:00:00+02:00", "soon", "effective_on", 13),
    "no zone": ("2026-05-01T00:00:00+02:00", "2026-05-01T00:00:00", "zone", 13),
    "no YAML": ("# title: Idle", "# title: [Idle", "expected", 3),
    "an alias": ("title: Idle things go", "title: &a x\n# scope: *a", "alias", 3),
    "an anchor that stays one": ("description: >-", "description: *nothing\n# authors: >-", "alias", 3),
    "cut off": ("# custom:\n", "\n# custom:\n", "cut off", 6),
    "two blocks": ("package access", "# METADATA\n# title: x\npackage access", "second", 14),
    "no METADATA": ("# METADATA\n", "", "no METADATA", 1),
    "another package": ("package access.rules.idle", "package access.rules.other", "does not belong", 14),
    "no package": ("package access.rules.idle", "", "no package", 1),
}


@pytest.mark.parametrize(("old", "new", "says", "line"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_refused_by_line(old: str, new: str, says: str, line: int) -> None:
    """The error names file, line and field."""
    assert old in GOOD
    with pytest.raises(PolicyError, match=says) as caught:
        rules_of([(PATH, GOOD.replace(old, new, 1))])
    assert str(caught.value).startswith(f"{PATH}:{line}: ")


@pytest.mark.parametrize("path", ["access/rules/idle.rego", "access/rules/deep/idle/idle.rego"])
def test_a_rule_lies_in_its_own_folder(path: str) -> None:
    """Higher or deeper, the driver would skip it in silence: it is refused."""
    package = path.rpartition("/")[0].replace("/", ".")
    with pytest.raises(PolicyError, match="neither higher nor deeper"):
        rules_of([(path, GOOD.replace("access.rules.idle", package))])


def test_metadata_stands_once_for_a_rule() -> None:
    """Two files of one rule cannot both declare it."""
    with pytest.raises(PolicyError, match="another file"):
        rules_of([(PATH, GOOD), ("access/rules/idle/other.rego", GOOD)])


def test_the_digest_covers_paths_texts_and_data() -> None:
    """Any change of a path, a byte or a threshold is another policy set; the order is not."""
    modules = [("access/a.rego", "package access.a\n"), ("access/b.rego", "package access.b\n")]
    one = policy_digest(modules, "{}")
    assert one == policy_digest(modules[::-1], "{}")
    others = {
        policy_digest(modules, '{"a":1}'),
        policy_digest(modules[:1], "{}"),
        policy_digest([("access/c.rego", modules[0][1]), modules[1]], "{}"),
        policy_digest([("access/a.rego", modules[0][1] + "\n"), modules[1]], "{}"),
    }
    assert len(others | {one}) == 5
