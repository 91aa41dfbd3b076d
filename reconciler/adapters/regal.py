"""Regal, the linter for Rego, where it is installed: what it says of a policy folder."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.core.errors import PolicyError

LONGEST_SECONDS: Final = 120.0
_ENDS_WELL: Final = (0, 2, 3)
"""Exit codes of a run that came to an end: nothing, warnings, violations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that Regal would have otherwise."""

    path: str
    """Relative to the policy folder."""
    line: int
    column: int
    rule: str
    """Category and name, such as `style/line-length`."""
    message: str
    error: bool
    """Whether its level is `error`, as the folder's own `.regal/config.yaml` has it."""


def find_regal() -> Path | None:
    """Return the `regal` binary on PATH."""
    found = shutil.which("regal")
    return None if found is None else Path(found)


def lint(executable: Path, folder: Path) -> tuple[Violation, ...]:
    """Return what Regal says of the folder, under the configuration that lies there. Raises `PolicyError`."""
    try:
        done = subprocess.run(  # noqa: S603 - the program found on PATH and fixed arguments
            [str(executable), "lint", "--format", "json", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise PolicyError(f"{executable} could not be run: {type(error).__name__}", advice=_ADVICE) from error
    try:
        found = json.loads(done.stdout)["violations"] if done.returncode in _ENDS_WELL else None
    except (json.JSONDecodeError, KeyError, TypeError):
        found = None
    if not isinstance(found, list):
        first = " ".join(done.stderr.split())[:200]
        raise PolicyError(f"{executable} gave no report (exit {done.returncode}): {first}", advice=_ADVICE)
    return tuple(_violation(one) for one in found)


_ADVICE: Final = "run `regal lint` by hand, or take it off PATH"


def _violation(one: dict[str, Any]) -> Violation:
    place = one.get("location") or {}
    return Violation(
        path=str(place.get("file", "")).removeprefix("./"),
        line=int(place.get("row", 1)),
        column=int(place.get("col", 1)),
        rule=f"{one.get('category', '')}/{one.get('title', '')}",
        message=str(one.get("description", "")),
        error=one.get("level") == "error",
    )
