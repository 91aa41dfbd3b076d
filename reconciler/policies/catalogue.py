"""The rules of a policy folder as a list: what each finds, asks for and serves, and from when."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from reconciler.core.canonical import Json, plain
from reconciler.core.metadata import RULES
from reconciler.core.model import Effect, PolicySet, Rule

_LITERAL: Final = re.compile(r'"([a-z]+)"')


def catalogue(policies: PolicySet, pages: Path, now: datetime) -> list[dict[str, Json]]:
    """Return one entry a rule, sorted by id; `pages` is where the pages of rules lie, if anywhere."""
    return [_entry(policies, rule, pages / f"{rule.rule_id}.md", now) for rule in policies.rules]


def _entry(policies: PolicySet, rule: Rule, page: Path, now: datetime) -> dict[str, Json]:
    return {
        "rule": rule.rule_id,
        "title": rule.title,
        "description": rule.description,
        "code": rule.code,
        "codes": [code for code, _ in rule.codes],
        "severity": rule.severity.value,
        "effects": [effect.value for effect in effects(policies, rule)],
        "needs": rule.needs.value,
        "controls": list(rule.controls),
        "remediation": rule.remediation,
        "effective_on": plain(rule.effective_on),
        "in_effect": rule.effective_on is None or rule.effective_on <= now,
        "docs": page.as_posix() if page.exists() else None,
    }


def effects(policies: PolicySet, rule: Rule) -> tuple[Effect, ...]:
    """Return the effects that a rule can ask for, weakest first: those named in its source and in its thresholds."""
    known = {effect.value: effect for effect in Effect}
    named = {word for word in (*_in_source(policies, rule), *_in_thresholds(policies, rule)) if word in known}
    return tuple(sorted((known[word] for word in named), key=lambda effect: effect.rank))


def _in_source(policies: PolicySet, rule: Rule) -> Iterator[str]:
    for path, source in policies.modules:
        if path.startswith(f"{RULES}{rule.rule_id}/"):
            lines = (line for line in source.splitlines() if not line.lstrip().startswith("#"))
            yield from _LITERAL.findall("\n".join(lines))


def _in_thresholds(policies: PolicySet, rule: Rule) -> Iterator[str]:
    section = json.loads(policies.data)["access"]["config"].get(rule.rule_id)
    yield from _LITERAL.findall(json.dumps(section))
