"""docs/metrics.md and the alerting rules say what the metrics say: every one, and no other."""

import re
from typing import Any

import pytest
import yaml

from reconciler.daemon.metric_table import PREFIX, TABLE
from scripts.metrics_page import PAGE, page
from tests.architecture import tree

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(tree.text("deploy/prometheus/alerts.yaml"))["groups"] for rule in group["rules"]
]
SPAN = re.compile(r"\d+[smhd]")


def named(expression: str) -> set[str]:
    """Return the families that an expression names, by their name in the table."""
    found = re.findall(rf"{PREFIX}([a-z_]+)", expression)
    return {name if name in TABLE else re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def test_the_table_is_current() -> None:
    """The table is what the metrics say now: write it anew by `python scripts/metrics_page.py`."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_names_follow_the_conventions() -> None:
    """Counters end in _total, durations say seconds, and no label could hold a person."""
    for name, row in TABLE.items():
        assert (row.kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"(_ms|_millis|_minutes|_percent)", name), name
        assert set(row.labels) <= {
            *("provider", "stage", "effect", "outcome", "state", "reason", "trouble", "stream", "version", "breadth"),
        }, name
        assert row.help.endswith("."), name


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_can_work(rule: dict[str, Any]) -> None:
    """Each rule has the fields that Prometheus reads, metrics and labels that exist, and a chapter of the run book."""
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert SPAN.fullmatch(rule["for"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    families = named(rule["expr"])
    assert families
    assert families <= set(TABLE)
    known = {label for name in families for label in TABLE[name].labels} | {"le", "job"}
    used = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
    used += re.findall(r"(\w+)=~?\"", rule["expr"])
    assert set(used) <= known
    assert rule["expr"].count("(") == rule["expr"].count(")")
    assert f"### {rule['annotations']['chapter']}\n" in tree.text("docs/operations.md")


def test_a_metric_that_is_not_there_is_found() -> None:
    """The check above sees a name that no metric has, and knows the parts of a histogram."""
    assert named(f"rate({PREFIX}time_to_revoke_seconds_bucket[1h])") == {"time_to_revoke_seconds"}
    assert not named(f"{PREFIX}leavers_left > 0") <= set(TABLE)


def test_no_alert_is_there_twice() -> None:
    """The rules are many, and each has a name of its own."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10
