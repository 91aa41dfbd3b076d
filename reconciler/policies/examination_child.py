"""The process in which a revision of the policies is checked and tested: an order on stdin, the answer on stdout."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from reconciler.core.errors import ReconcilerError
from reconciler.policies.check import Tools, check
from reconciler.policies.problems import Level
from reconciler.policies.testing import run_tests

_PATIENT: Final = 10
"""Niceness: a pass over leavers, and the engine that it asks, come first."""


def reasons(order: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the policies of an order are refused. Tests run only where the check refuses nothing."""
    tools = Tools(opa=Path(order["opa"]), regal=None, capabilities=order["capabilities"])
    folder = Path(order["folder"])
    checked = check(folder, tools, datetime.fromisoformat(order["now"]), int(order["max_waiver_days"]))
    wrong = [problem for problem in checked.problems if problem.level is Level.ERROR]
    yield from (str(problem) for problem in wrong)
    if wrong:
        return
    tested = run_tests(folder, tools.opa, tools.capabilities)
    yield from (f"{one.path}:{one.line}: test {one.name or '(all)'}: {one.reason}" for one in tested.failures)
    yield from (
        f"{one.path}:{one.first}: no test goes through lines {one.first}-{one.last}" for one in tested.uncovered
    )
    yield from (f"access/rules/{rule}: has no test" for rule in tested.untested)
    yield from (f"access/rules/{rule}: its tests also pass when the rule finds nothing" for rule in tested.unproven)
    if tested.skipped:
        yield f"{tested.skipped} tests are only planned (todo_…)"
    if not tested.passed and not tested.failures:
        yield "no test ran"


def main() -> None:
    """Take one order and answer it."""
    os.nice(_PATIENT)
    order = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"reasons": list(reasons(order))}
    except ReconcilerError as error:
        answer = {"failed": str(error), "advice": error.advice}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
