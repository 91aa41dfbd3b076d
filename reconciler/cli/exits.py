"""Exit codes and the options that every command shares."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

OK: Final = 0
"""Nothing to do, or all done and verified."""
ERROR: Final = 1
HELD: Final = 2
"""The plan has actions that were not carried out, or is held."""
IN_PART: Final = 3
"""All that was looked at is in order, yet not everything could be, or something waits: told apart from both."""
USAGE: Final = 64
"""`EX_USAGE` of sysexits(3): never mistaken for a plan with actions."""


class Output(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or one JSON document.")]
DEFAULT_CONFIG: Final = Path("access-reconciler.yaml")
