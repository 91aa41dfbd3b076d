"""Markdown for a comment on a pull request: text that stays text, and lists that fit without being cut in silence."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

_ROW: Final = ("| ", "- ")
_RULER: Final = "| ---"
_SHORT: Final = 8
"""Rows of a list that is never shortened: it sums up, or is not what makes a text long."""


def cell(text: str) -> str:
    """Return text that stays in its cell: it comes from providers and policies, and is never read as markup.

    A code host looks for names to notify and issues to link after it has taken the backslashes out, so `@` and `#` are
    parted from what follows by an empty comment, which is neither seen nor copied.
    """
    kept = "".join(mark if mark.isprintable() else " " for mark in text)
    for mark in "\\|[]`*_":
        kept = kept.replace(mark, f"\\{mark}")
    kept = kept.replace("<", "&lt;").replace(">", "\\>")
    return kept.replace("@", "@<!-- -->").replace("#", "#<!-- -->")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 worker` and `2 workers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def fitted(text: str, most: int, whole: str) -> str:
    """Return Markdown of at most `most` characters: lists give up their last rows, each saying how many.

    `whole` says where everything is. A text that does not even fit without any row ends early, and says so.
    """
    if len(text) <= most:
        return text
    lines = text.splitlines()
    numbered = groupby(enumerate(lines), key=lambda one: _is_row(lines, one[0]))
    groups = [(is_row, [line for _, line in group]) for is_row, group in numbered]
    longest = max((len(group) for is_row, group in groups if is_row), default=0)
    fits, too_many = -1, longest
    while too_many - fits > 1:
        rows = (fits + too_many) // 2
        fits, too_many = (rows, too_many) if len(_shortened(groups, rows, whole)) <= most else (fits, rows)
    return _shortened(groups, fits, whole) if fits >= 0 else _ended(_shortened(groups, 0, whole), most, whole)


def _is_row(lines: Sequence[str], number: int) -> bool:
    """Say whether a line is a row of a list, not the head of a table."""
    is_head = number + 1 < len(lines) and lines[number + 1].startswith(_RULER)
    return lines[number].startswith(_ROW) and not lines[number].startswith(_RULER) and not is_head


def _shortened(groups: Sequence[tuple[bool, Sequence[str]]], rows: int, whole: str) -> str:
    return "".join(f"{line}\n" for is_row, lines in groups for line in (_kept(lines, rows, whole) if is_row else lines))


def _kept(lines: Sequence[str], rows: int, whole: str) -> Iterator[str]:
    if len(lines) <= max(rows, _SHORT):
        yield from lines
    else:
        yield from lines[:rows]
        yield from ("", f"{len(lines) - rows} lines are left out here for their length: {whole} has all of them.", "")


def _ended(text: str, most: int, whole: str) -> str:
    lines = text.splitlines(keepends=True)
    told = "\n\nThe last {} lines of this report are left out for their length: " + f"{whole} has all of them.\n"
    room = most - len(told) - len(str(len(lines)))
    kept = 0
    while kept < len(lines) and len(lines[kept]) <= room:
        room -= len(lines[kept])
        kept += 1
    return "".join(lines[:kept]) + told.format(len(lines) - kept)
