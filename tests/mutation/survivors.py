"""Changes the code that decides and acts bit by bit, and fails on a change that no test noticed and nobody explained.

    python -m tests.mutation.survivors [--keep]

mutmut makes the mutants and runs the tests that `[tool.mutmut]` names. A survivor is known by its function and by the
lines that differ, so that it stays known when code moves. `explained.toml` holds those that change nothing that anybody
could notice, each with the reason; an explanation that fits no survivor any more is told as well. `--keep` reads the
results of the last run without running anew.
"""

import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
EXPLAINED: Final = Path(__file__).with_name("explained.toml")
_RESULT = re.compile(r"^\s+(?P<mutant>\S+): (?P<state>.+)$")
_NUMBERED = re.compile(r"__mutmut_\d+$")
_MANGLED = re.compile(r"\.x(?:ǁ(?P<owner>\w+)ǁ|_)(?P<function>\w+)$")
NOTICED: Final = frozenset({"killed", "timeout"})


@dataclass(frozen=True, slots=True, order=True)
class Survivor:
    """A change that no test noticed."""

    place: str
    """Module and function."""
    change: str
    """The lines taken out and put in, each with its sign and without indentation."""


def place_of(mutant: str) -> str:
    """Return module and function of a mutant's name; raises `ValueError` for a name that mutmut does not make."""
    name = _NUMBERED.sub("", mutant)
    found = _MANGLED.search(name)
    if found is None:
        msg = f"{mutant!r} is no name of a mutant"
        raise ValueError(msg)
    owner = f"{found['owner']}." if found["owner"] else ""
    return f"{name[: found.start()]}.{owner}{found['function']}"


def change_of(diff: str) -> str:
    """Return the changed lines of a diff, whatever their place and indentation."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in lines)


def read_explained(text: str) -> Mapping[Survivor, str]:
    """Read the explained survivors; raises `ValueError` for one without a reason."""
    entries = {}
    for entry in tomllib.loads(text).get("mutant", []):
        survivor = Survivor(entry["place"], entry["change"].strip())
        if not entry["reason"].strip():
            msg = f"{survivor.place}: an explanation without a reason"
            raise ValueError(msg)
        entries[survivor] = entry["reason"]
    return entries


def judge(survivors: Iterable[Survivor], explained: Mapping[Survivor, str]) -> tuple[list[Survivor], list[Survivor]]:
    """Return the survivors that nobody explained, and the explanations that fit no survivor."""
    found = set(survivors)
    return sorted(found - set(explained)), sorted(set(explained) - found)


def _mutmut(*arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _survivors(states: Mapping[str, str]) -> list[Survivor]:
    alive = [mutant for mutant, state in states.items() if state not in NOTICED]
    return [Survivor(place_of(mutant), change_of(_mutmut("show", mutant))) for mutant in alive]


def main(arguments: list[str]) -> int:
    """Run, print the totals and return 1 when a survivor is not explained."""
    began = time.monotonic()
    if "--keep" not in arguments:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "mutmut", "run"], cwd=ROOT, check=True)
    found = (_RESULT.match(line) for line in _mutmut("results", "--all", "true").splitlines())
    states = {one["mutant"]: one["state"] for one in found if one is not None}
    survivors = _survivors(states)
    unexplained, outdated = judge(survivors, read_explained(EXPLAINED.read_text(encoding="utf-8")))
    for survivor in unexplained:
        sys.stdout.write(f"\nnot explained: {survivor.place}\n{survivor.change}\n")
    for survivor in outdated:
        sys.stdout.write(f"\nexplained, and no survivor any more: {survivor.place}\n{survivor.change}\n")
    totals = ", ".join(f"{count} {state}" for state, count in sorted(Counter(states.values()).items()))
    places = Counter(survivor.place.rpartition(".")[0] for survivor in unexplained)
    sys.stdout.write("".join(f"{place}: {count} not explained\n" for place, count in sorted(places.items())))
    sys.stdout.write(
        f"{len(states)} mutants in {time.monotonic() - began:.0f} s: {totals}; "
        f"{len(survivors)} survived, {len(unexplained)} of them not explained\n"
    )
    return 1 if unexplained or outdated or not states else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
