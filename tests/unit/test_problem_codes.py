"""The codes of problems: one list, told whole by the pages, and nothing outside it."""

import re

import pytest

from reconciler.adapters.problems import CODES, Problem
from tests.architecture import tree

PAGES = ("docs/attestations.md", "docs/auditors.md")


def test_the_pages_tell_every_code() -> None:
    """Whoever meets a code finds it on one of the two pages."""
    told = {code for page in PAGES for code in re.findall(r"`([a-z_]+)`", tree.text(page))}
    assert sorted(CODES.keys() - told) == []


def test_the_pages_tell_no_other_code() -> None:
    """What the lists of codes name can be met: none is left of an earlier version."""
    text = tree.text(PAGES[0])
    listed = text[text.index("**Problem codes**") : text.index("Of a pack's manifest")]
    told = set(re.findall(r"`([a-z_]+)`", listed)) - {"replay"}
    for line in tree.text(PAGES[1]).partition("## What is found")[2].splitlines():
        if line.startswith("|"):
            told |= set(re.findall(r"`([a-z_]+)`", line))
    assert sorted(told - CODES.keys()) == []
    assert len(told) > 30


def test_a_problem_without_a_known_code_cannot_be_made() -> None:
    """A new finding is added to the list, and by the test above to the pages, before it can be told."""
    with pytest.raises(ValueError, match="'new' is no code of a problem"):
        Problem(cycle_id="", code="new", message="")
