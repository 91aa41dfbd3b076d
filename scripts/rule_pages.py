"""Writes docs/rules/*.md and the table of rules in docs/policies.md: `PYTHONPATH=. python scripts/rule_pages.py`.

A page is what the METADATA of its rule, the descriptions of its thresholds and their values say, and nothing else.
"""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.core.model import PolicySet, Rule

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "rules"
CATALOGUE = ROOT / "docs" / "policies.md"
BEGIN = "<!-- The table of rules, written by scripts/rule_pages.py. -->"
END = "<!-- End of the table of rules. -->"

_NEEDS = {
    "item": "A finding rests on what was seen: it may be acted upon when that principal was read live and whole.",
    "scope": "A finding rests on an absence: it may be acted upon only where the whole scope was read.",
}


def pages() -> dict[str, str]:
    """Return the text of every page, by file name."""
    policies: PolicySet = import_module("reconciler.adapters.policy_files").load_policies(ROOT / "policies")
    config = json.loads(policies.data)["access"]["config"]
    return {f"{rule.rule_id}.md": "\n".join(_page(rule, config)) + "\n" for rule in policies.rules}


def catalogue(old: str) -> str:
    """Return docs/policies.md with its table of rules written anew."""
    policies: PolicySet = import_module("reconciler.adapters.policy_files").load_policies(ROOT / "policies")
    before, rest = old.split(BEGIN)
    rows = [
        f"| [`{rule.rule_id}`](rules/{rule.rule_id}.md) | {rule.title} | {rule.severity} | {rule.needs} | "
        f"{', '.join(rule.controls)} |"
        for rule in policies.rules
    ]
    table = ["| rule | what it asks for | severity | needs | controls |", "| --- | --- | --- | --- | --- |", *rows]
    return "\n".join((f"{before}{BEGIN}", "", *table, "", f"{END}{rest.split(END)[1]}"))


def _page(rule: "Rule", config: dict[str, Any]) -> Iterator[str]:
    yield f"# Rule `{rule.rule_id}`"
    yield from ("", f"*{rule.title}.* Severity {rule.severity}, `needs: {rule.needs}`. {_NEEDS[rule.needs]}")
    yield from ("", rule.description, "", "| code | when, and what is asked |", "| --- | --- |")
    for code, when in rule.codes:
        yield f"| `{code}` | {when} |"
    if rule.notes:
        yield from ("", rule.notes)
    yield from _settings(rule, config)
    yield from ("", "## What to do about a finding", "", rule.remediation)
    yield from ("", f"Controls: {', '.join(rule.controls)}.")
    if rule.effective_on is not None:
        yield from (
            "",
            f"In effect since {rule.effective_on:%Y-%m-%d}; before that it is only reported as *will apply*.",
        )
    yield from ("", f"Source: [`{rule.rule_id}.rego`](../../policies/access/rules/{rule.rule_id}/{rule.rule_id}.rego).")


def _settings(rule: "Rule", config: dict[str, Any]) -> Iterator[str]:
    section = import_module("reconciler.core.thresholds").SECTIONS.get(rule.rule_id)
    if section is None:
        return
    yield from ("", "## Settings", "", f"In `policies/access/config/data.json` under `{rule.rule_id}`; a provider")
    yield f"instance has others under `providers.<instance>.{rule.rule_id}`."
    yield from ("", "| key | as it comes | meaning |", "| --- | --- | --- |")
    for key, field in section.model_fields.items():
        yield f"| `{key}` | {_shown(config[rule.rule_id][key])} | {field.description} |"


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return ", ".join(f"`{one}`" for one in value) or "none"
    return f"`{value}`"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
    CATALOGUE.write_text(catalogue(CATALOGUE.read_text(encoding="utf-8")), encoding="utf-8")
