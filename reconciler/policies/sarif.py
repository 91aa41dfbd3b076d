"""The report of a check as SARIF 2.1.0 (OASIS standard), which code hosts show beside the lines of a pull request."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from reconciler.core.canonical import Json, sha256_hex
from reconciler.policies.check import CheckReport
from reconciler.policies.problems import CODES, Problem

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_document(report: CheckReport, version: str) -> dict[str, Json]:
    """Return one SARIF log with one run; files are named from the top of the repository that the policies lie in.

    Code hosts find them nowhere else, wherever the command was run. Outside of a repository they are named from the
    working folder.
    """
    order = list(CODES)
    folder = report.folder.resolve()
    base = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), Path())
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "access-reconciler policies check",
                        "semanticVersion": version,
                        "rules": [_rule(code, text) for code, text in CODES.items()],
                    }
                },
                "automationDetails": {"id": "access-reconciler/policies/"},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True}],
                "results": [_result(problem, order, _prefix(report.folder, base)) for problem in report.problems],
            }
        ],
    }


def _rule(code: str, text: str) -> dict[str, Json]:
    return {"id": code, "shortDescription": {"text": text}}


def _prefix(folder: Path, base: Path) -> str:
    """Return how the folder is named in the repository; as it was given where it lies elsewhere."""
    whole, root = folder.resolve(), base.resolve()
    return (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()


def _result(problem: Problem, order: list[str], prefix: str) -> Json:
    name = "/".join(part for part in (prefix, problem.path) if part != ".")
    return {
        "ruleId": problem.code,
        "ruleIndex": order.index(problem.code),
        "level": problem.level.value,
        "message": {"text": f"{problem.message}; {problem.advice}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(name or ".")},
                    "region": {"startLine": problem.line, "startColumn": problem.column},
                }
            }
        ],
        "partialFingerprints": {"place/v1": sha256_hex(f"{problem.path}\n{problem.code}\n{problem.message}".encode())},
    }
