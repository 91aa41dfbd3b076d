"""Writes the table of docs/metrics.md from the metrics themselves: `python scripts/metrics_page.py`."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "metrics.md"
MARK = "<!-- From here on written by scripts/metrics_page.py. -->"


def page(old: str) -> str:
    """Return the page with its table written anew; what stands above the mark is left as it is."""
    table = import_module("reconciler.daemon.metric_table")
    rows = [
        f"| `{table.PREFIX}{name}` | {row.kind} | {_labels(row.labels)} | {row.help} |"
        for name, row in table.TABLE.items()
    ]
    head = ("", "## Every metric", "", "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |")
    return "\n".join((old.split(MARK, maxsplit=1)[0] + MARK, *head, *rows, ""))


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
