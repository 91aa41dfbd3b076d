"""Printing without layout: JSON for programs, one line for an error. Imports nothing that takes time.

What comes from outside (names, reasons) is stripped of control and direction characters.
"""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence

Document = Mapping[str, object] | Sequence[object] | str | int | float | bool | None
"""What can be printed as JSON."""


def clean(text: object) -> str:
    """Return text without control, format and direction characters, fit for a terminal."""
    return "".join(mark for mark in str(text) if unicodedata.category(mark) not in ("Cc", "Cf", "Cs", "Co"))


def print_json(document: Document) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def complain(what: str, advice: str = "") -> None:
    """Print one line on stderr: what went wrong, and what to do."""
    line = clean(" ".join(what.split()))
    sys.stderr.write(f"error: {line}{'; ' + advice if advice else ''}\n")
