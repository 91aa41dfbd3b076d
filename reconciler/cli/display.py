"""Printing for people: tables, lists, and progress on stderr.

What comes from outside (names, reasons) is stripped of control and direction characters and never read as markup.
"""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reconciler.cli.plain_text import clean
from reconciler.ports import Progress

WIDEST = 100
"""Columns that a list for people fills at most, so that it can be read and pasted anywhere."""


def print_line(text: str = "") -> None:
    """Print one line for people on stdout."""
    Console(soft_wrap=True, highlight=False).print(Text(clean(text)))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people on stdout."""
    console = Console(highlight=False)
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)


def print_heading(text: str) -> None:
    """Print the heading of a list for people on stdout."""
    console = _narrow()
    console.print()
    console.print(Text(clean(text), style="bold"))


def print_entry(subject: str, reason: str, rows: Iterable[Sequence[str]]) -> None:
    """Print what a list says of one subject: whom, why, and a line for each row; long lines fold under themselves."""
    console = _narrow()
    console.print(Padding(Text(clean(subject)), (0, 0, 0, 2), expand=False))
    console.print(Padding(Text(clean(reason), style="dim"), (0, 0, 0, 4), expand=False))
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(clean(cell), overflow="fold") for cell in row))
    console.print(Padding(table, (0, 0, 0, 6), expand=False))


def _narrow() -> Console:
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDEST) if console.is_terminal else WIDEST)


class StderrProgress:
    """Implements `reconciler.ports.Observer`: one line a step on stderr, so that stdout stays the answer."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def progress(self, step: Progress) -> None:
        """Print a step."""
        if self._quiet:
            return
        count = f" [{step.done}/{step.total}]" if step.total else ""
        self._console.print(Text(f"{step.stage:>9}{count}  {clean(step.message)}", style="dim"))


def say(message: str) -> None:
    """Print one line of progress on stderr."""
    StderrProgress().progress(Progress(stage="demo", message=message))
