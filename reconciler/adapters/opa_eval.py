"""Decisions made again by the stock `opa eval`, a program that is not ours, on the policies of a past cycle.

Nothing here trusts the policies: they may come from somebody else's pack. They are written under names of ours into a
folder of their own and may call nothing that looks at a clock, the network or the environment.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from reconciler.core.builtins import allowed_capabilities
from reconciler.core.canonical import Json
from reconciler.core.errors import EvidenceError, PolicyError, Undecided

LONGEST_SECONDS: Final = 300.0
"""One run may take this long; the requests of one run take about a second."""

_QUERY: Final = (
    "{id: decision | some id; asked := input[id].input; roster := input[id].roster; waivers := input[id].waivers;"
    " decision := data.access.driver.decide"
    " with input as asked with data.roster as roster with data.waivers as waivers}"
)
"""The documents are bound first: a reference into a loop's variable after `with` is undefined in OPA 1.22."""
_VERSION = re.compile(r"^Version:\s*(\S+)", re.MULTILINE)
_ADVICE: Final = "run the same by hand: docs/attestations.md shows how"


class _Errors(BaseModel):
    """What `opa eval` says of an evaluation that failed."""

    model_config = ConfigDict(extra="ignore")

    class Entry(BaseModel):
        """One error."""

        code: str = ""
        message: str = ""

    errors: list[Entry] = []


def find_opa() -> Path | None:
    """Return the `opa` on PATH, or in the tool folder beside the Python environment."""
    tools = Path(sys.prefix).parent / ".tools" / "bin"
    found = shutil.which("opa") or shutil.which("opa", path=str(tools))
    return None if found is None else Path(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaEval:
    """`opa eval` on one set of policies. Made by `opa_eval`."""

    executable: Path
    folder: Path

    def decide(self, asked: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the decision on each request that has one, by the name of the request.

        A request holds `input`, `roster` and `waivers`. Raises `Undecided` when the evaluation fails, and `PolicyError`
        when `opa` cannot be run or says something that it never says.
        """
        arguments = ["--format=json", "--strict-builtin-errors", "--capabilities=capabilities.json", "--data=policies"]
        done = _run([str(self.executable), "eval", *arguments, "--stdin-input", _QUERY], self.folder, json.dumps(asked))
        try:
            told = json.loads(done.stdout)
            if done.returncode != 0:
                failed = _Errors.model_validate(told).errors
                reason = "; ".join(f"{one.code}: {one.message}" for one in failed) or f"exit code {done.returncode}"
                raise Undecided(f"opa could not decide: {reason}", advice=_ADVICE)
            decisions = told["result"][0]["expressions"][0]["value"]
        except (ValueError, ValidationError, LookupError, TypeError, RecursionError) as error:
            msg = f"opa gave no answer that can be read: {' '.join(done.stderr.split())[:500]}"
            raise PolicyError(msg, advice=_ADVICE) from error
        if not isinstance(decisions, dict):
            raise PolicyError("opa gave no object of decisions", advice=_ADVICE)
        return decisions


def opa_version(executable: Path) -> str:
    """Return the version that a binary tells. Raises `PolicyError` when it is no `opa`."""
    found = _VERSION.search(_run([str(executable), "version"], Path(tempfile.gettempdir()), "").stdout)
    if found is None:
        msg = f"{executable} does not tell a version of OPA"
        raise PolicyError(msg, advice="name the opa binary with --opa")
    return found[1]


@contextmanager
def opa_eval(executable: Path, modules: tuple[tuple[str, str], ...], data: str) -> Iterator[OpaEval]:
    """Lay out policies for `opa eval`, and remove them again.

    Raises `PolicyError` when `opa` cannot be run, and `EvidenceError` when there is no space to write.
    """
    with tempfile.TemporaryDirectory(prefix="replay-") as name:
        folder = Path(name)
        capabilities = _capabilities(executable, folder)
        try:
            (folder / "capabilities.json").write_text(capabilities, encoding="utf-8")
            (folder / "policies").mkdir()
            (folder / "policies" / "data.json").write_text(data, encoding="utf-8")
            for number, (_, source) in enumerate(modules):
                (folder / "policies" / f"{number:04d}.rego").write_text(source, encoding="utf-8")
        except OSError as error:
            msg = f"the policies cannot be written to {folder}: {error.strerror}"
            raise EvidenceError(msg, advice="see that there is space in the folder for temporary files") from error
        yield OpaEval(executable=executable, folder=folder)


def _capabilities(executable: Path, folder: Path) -> str:
    """Return what the binary can do, without what decisions must not rest on."""
    done = _run([str(executable), "capabilities", "--current"], folder, "")
    try:
        return allowed_capabilities(json.loads(done.stdout))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        msg = f"{executable} does not tell its capabilities as OPA does"
        raise PolicyError(msg, advice="name the opa binary with --opa") from error


def _run(command: list[str], folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the binary that the reader named, and fixed arguments
            command, cwd=folder, input=text, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{command[0]} did not end within {LONGEST_SECONDS:.0f} s"
        raise PolicyError(msg, advice="replay fewer cycles at once, with --cycle") from error
    except OSError as error:
        msg = f"{command[0]} cannot be run: {error.strerror}"
        raise PolicyError(msg, advice="install OPA, or name its binary with --opa") from error
