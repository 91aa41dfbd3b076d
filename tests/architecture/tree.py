"""What the architecture tests look at: the files of the repository, read as text and as syntax trees."""

import ast
import importlib
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("inventory", "reconciler")

HTTP_WRITES = frozenset({"post", "put", "patch", "delete"})
WRITING_CALL = re.compile(
    # SDKs of the AWS kind name a call by its verb ...
    r"(add|attach|change|create|deactivate|delete|detach|disable|enable|put|remove|reset|set|tag|untag|update|upload)_\w+"
    # ... python-ldap ends it in how it waits (synchronously, or with controls) ...
    r"|(add|rename)(_ext_s|_ext|_s)|(delete|modify|modrdn|passwd)(_ext)?(_s)?"
    # ... and botocore's one way in takes the call as text.
    r"|_make_api_call"
)
TAKING_CALL = re.compile(
    r"(deactivate|delete|detach|disable|remove)_\w+|(delete|modrdn)(_ext)?(_s)?|rename(_ext_s|_ext|_s)"
)
IGNORE = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:\s*no cover|nosec)\b(?P<rest>.*)")
REASON = re.compile(r"(?:-|#)\s+\w\S*\s+\S+")


@cache
def tracked() -> tuple[str, ...]:
    """Return the files of the repository, those not yet added included, ignored ones left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    names = listed.stdout.decode().split("\0")
    return tuple(sorted({name for name in names if name and (ROOT / name).is_file()}))


def sources(*folders: str) -> list[str]:
    """Return the repository's Python files under the folders."""
    starts = tuple(f"{folder}/" for folder in folders)
    return [name for name in tracked() if name.endswith(".py") and name.startswith(starts)]


def text(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def long_functions(source: str, cap: int) -> list[str]:
    """Return `line name: length` of each function longer than `cap` lines, decorators not counted."""
    return [
        f"{node.lineno} {node.name}: {length} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > cap
    ]


def imported_modules(source: str) -> set[str]:
    """Return the dotted names of the modules that a source imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return names


def method_calls(source: str) -> Iterator[tuple[int, str, ast.Call]]:
    """Yield line, method name and node of every call of the form `something.name(…)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.lineno, node.func.attr, node


def writing_calls(source: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Return `line name` of each call that would write to a provider, by what SDKs and HTTP clients call it."""
    found = []
    for line, name, call in method_calls(source):
        writes = name in HTTP_WRITES or WRITING_CALL.fullmatch(name) is not None
        if name == "request" and call.args and isinstance(call.args[0], ast.Constant):
            writes = str(call.args[0].value).lower() in HTTP_WRITES
        if writes and name not in allowed:
            found.append(f"{line} {name}")
    return found


def taking_calls(source: str) -> list[str]:
    """Return `line name` of each call that would take something away at a provider."""
    return [f"{line} {name}" for line, name, _ in method_calls(source) if TAKING_CALL.fullmatch(name) is not None]


def unexplained_ignores(source: str) -> list[str]:
    """Return the lines whose noqa, type: ignore, no cover or nosec comment gives no reason."""
    comments = [
        token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT
    ]
    found = []
    for token in comments:
        ignore = IGNORE.search(token.string)
        if ignore is not None and not REASON.search(ignore["rest"]):
            found.append(f"{token.start[0]} {token.string}")
    return found


def test_functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the test functions and test methods of a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


test_functions.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test where it is imported


def rules() -> list[str]:
    """Return the ids of the rules that come with the product."""
    return sorted({name.split("/")[3] for name in tracked() if name.startswith("policies/access/rules/")})


def rule_codes(rule: str) -> set[str]:
    """Return every code that a rule may give a finding, as its METADATA declares them."""
    facts = metadata(text(f"policies/access/rules/{rule}/{rule}.rego"))["custom"]
    return {facts["code"], *facts.get("codes", ())}


def metadata(rego: str) -> dict[str, Any]:
    """Return the first METADATA block of a Rego module as a mapping; empty when there is none."""
    lines = iter(rego.splitlines())
    for line in lines:
        if line.strip() == "# METADATA":
            break
    block = []
    for line in lines:
        if not line.startswith("#"):
            break
        block.append(line[1:].removeprefix(" "))
    return yaml.safe_load("\n".join(block)) or {}


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the full name and object of each command below this one.

    Objects of click's classes, typed loosely: typer brings a click of its own.
    """
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


def all_commands() -> list[tuple[str, Any]]:
    """Return every command of the command line."""
    main = importlib.import_module("reconciler.cli.main")
    return [one for name in main.COMMANDS for one in commands(main.load(name), f"access-reconciler {name}")]


def withheld_codes() -> set[str]:
    """Return the codes in the source of the planner: of `Withheld(code=…)` and of `(code, sentence)` pairs."""
    found = set()
    for name in ("reconciler/core/planning.py", "reconciler/core/withholding.py"):
        for node in ast.walk(ast.parse(text(name))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                found.add(str(node.elts[0].value))
    return found
