"""The `opa` program as a tool on a copy of a policy folder: check, format, parse, test, evaluate.

It sees a copy of exactly the texts that were read, beside this version's schemas and the builtins that policies may
use: nothing else that lies in the folder, and nothing of the environment.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reconciler.adapters.policy_sources import PolicySources
from reconciler.core.errors import PolicyError
from reconciler.core.schemas import published_schemas

LONGEST_SECONDS: Final = 120.0
"""Longest time of one run; the whole library takes about a second."""
_LAST_SECONDS: Final = 5.0
"""After the time in which an answer is waited for, `opa` ends by itself: it may have outlived who asked."""
_MOST_ERRORS: Final = "1000"
_MANIFEST: Final = '{"roots": ["access"], "rego_version": 1}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One thing that OPA refuses."""

    path: str
    """"" where OPA names no file."""
    line: int
    column: int
    code: str
    message: str
    known: tuple[str, ...] = ()
    """The fields that exist, where one is referred to that does not."""


class TookTooLong(PolicyError):
    """OPA gave no answer in time."""


class OpaTool:
    """Runs `opa` in a folder of its own."""

    def __init__(self, executable: Path, folder: Path) -> None:
        """Remember what to run, and where; `workspace` makes the folder."""
        self._executable = executable
        self._folder = folder

    def version(self) -> str:
        """Return the version of OPA."""
        lines = self._run("version").stdout.splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Version:")), "")

    def check(self) -> tuple[Complaint, ...]:
        """Compile everything strictly, with our schemas and without forbidden builtins; return what is wrong."""
        schemas = ("--schema", "../schemas", "--capabilities", "../capabilities.json")
        done = self._run("check", "--strict", "--bundle", "--max-errors", _MOST_ERRORS, *schemas, "--format=json", ".")
        return () if done.returncode == 0 else _complaints(done)

    def unformatted(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of these modules that `opa fmt` would write otherwise; all of them must parse."""
        if not names:
            return ()
        done = self._run("fmt", "--list", *names)
        if done.returncode != 0:
            raise PolicyError(f"`opa fmt` failed: {_first(done.stderr)}", advice="run `opa fmt --list` to see why")
        return tuple(sorted(line for line in done.stdout.splitlines() if line))

    def formatted(self, name: str) -> str:
        """Return a module that parses as `opa fmt` would write it."""
        return self._run("fmt", name).stdout

    def parse(self, name: str) -> Mapping[str, Any] | Complaint:
        """Return the syntax tree of a module, or why it does not parse: of several files `check` names the first."""
        done = self._run("parse", "--format=json", "--json-include=locations", name)
        if done.returncode != 0:
            return replace(_complaints(done)[0], path=name)
        tree: Mapping[str, Any] = json.loads(done.stdout)
        return tree

    def test(self) -> tuple[Mapping[str, Any], ...] | Complaint:
        """Run every test; return one result each, or what kept them from running."""
        done = self._run("test", "--bundle", "--capabilities=../capabilities.json", "--format=json", ".")
        found = _json(done)
        if isinstance(found, list):
            return tuple(found)
        return _complaints(done)[0]

    def coverage(self) -> Mapping[str, Any]:
        """Return what the tests went through, as OPA reports it: by file, lines covered and not. Tests must pass."""
        done = self._run("test", "--bundle", "--coverage", "--capabilities=../capabilities.json", "--format=json", ".")
        found = _json(done)
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            raise PolicyError(f"`opa test --coverage` failed: {_first(done.stderr)}", advice="run `opa test` by hand")
        return found

    def evaluate(self, query: str, document: object, seconds: float) -> tuple[Any, Complaint | None]:
        """Return the value of a query over the policies, None when undefined, or what failed; errors are never hidden.

        `document` is `input`. Raises `TookTooLong` when there is no answer after so many seconds.
        """
        done = self._run(
            *("eval", "--bundle", ".", "--capabilities=../capabilities.json", "--strict-builtin-errors"),
            *("--stdin-input", f"--timeout={seconds + _LAST_SECONDS:.0f}s", "--format=json", query),
            stdin=json.dumps(document),
            seconds=seconds,
        )
        if done.returncode != 0:
            return None, _complaints(done)[0]
        found = _json(done)
        results = found.get("result") if isinstance(found, dict) else None
        return (results[0]["expressions"][0]["value"] if results else None), None

    def _run(
        self, *arguments: str, stdin: str = "", seconds: float = LONGEST_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        command = [str(self._executable), *arguments]
        try:
            return subprocess.run(  # noqa: S603 - the configured executable, and names below our own folder
                command,
                cwd=self._folder,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder)},
            )
        except subprocess.TimeoutExpired as error:
            of_one = f" {arguments[-1]}" if arguments[-1].endswith(".rego") else ""
            msg = f"`opa {arguments[0]}{of_one}` did not end within {seconds:.0f} seconds"
            raise TookTooLong(msg, advice="look for a rule or test that walks everything") from error
        except (OSError, UnicodeDecodeError) as error:
            msg = f"`{self._executable} {arguments[0]}` could not be run: {type(error).__name__}"
            raise PolicyError(msg, advice="install OPA 1.21.3 or later") from error


@contextmanager
def workspace(executable: Path, sources: PolicySources, capabilities: str) -> Iterator[OpaTool]:
    """Lay out a copy of the policies for `opa`, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="access-reconciler-policies-") as place:
        root = Path(place)
        policies = root / "policies"
        for name, text in (*sources.rego, *sources.data, (".manifest", _MANIFEST)):
            _write(policies / name, text)
        for name, text in published_schemas().items():
            _write(root / "schemas" / name, text)
        _write(root / "capabilities.json", capabilities)
        yield OpaTool(executable, policies)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _json(done: subprocess.CompletedProcess[str]) -> Any:  # noqa: ANN401 - whatever OPA printed
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return None


def _complaints(done: subprocess.CompletedProcess[str]) -> tuple[Complaint, ...]:
    """Return what OPA complains of, in JSON on either stream, or else in its first line."""
    for stream in (done.stdout, done.stderr):
        try:
            document = json.loads(stream)
        except json.JSONDecodeError:
            continue
        errors = document.get("errors") if isinstance(document, dict) else None
        if errors:
            return tuple(_complaint(error) for error in errors)
    return (_from_text(_first(done.stderr) or _first(done.stdout)),)


def _complaint(error: Mapping[str, Any]) -> Complaint:
    place = error.get("location") or {}
    details = error.get("details")
    known = details.get("oneOf") if isinstance(details, dict) else None
    return Complaint(
        path=str(place.get("file", "")).removeprefix("./"),
        line=int(place.get("row", 1)),
        column=int(place.get("col", 1)),
        code=str(error.get("code", "")),
        message=" ".join(str(error.get("message", "")).split()),
        known=tuple(str(one) for one in known) if isinstance(known, list) else (),
    )


def _from_text(line: str) -> Complaint:
    """Return a complaint of which OPA printed one line: `1 error occurred: FILE:LINE: CODE: MESSAGE`."""
    path, line_number, message = "", 1, line
    for part in line.split(" "):
        name, _, rest = part.partition(".rego:")
        if rest.rstrip(":").isdigit():
            path, line_number = f"{name}.rego", int(rest.rstrip(":"))
            message = line.split(part, 1)[1].strip()
            break
    return Complaint(path=path, line=line_number, column=1, code="", message=message or "no answer")


def _first(text: str) -> str:
    return " ".join(text.split("\n", 1)[0].split()) if text.strip() else ""
