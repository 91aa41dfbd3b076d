"""Whether a revision of the policies may decide: `policies check` and `policies test` in a process with a deadline.

In a process of its own, and a patient one: whatever a rule makes OPA do, and however long Python reads
its syntax trees, no leaver waits for it. Without Regal: what decides must not hang on a linter's version.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from reconciler.core.canonical import rfc3339
from reconciler.core.errors import PolicyError
from reconciler.policies.check import Tools

CHILD: Final = "reconciler.policies.examination_child"
_ADVICE: Final = "run `access-reconciler policies report` on it by hand to see what takes so long or fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What revisions are examined with."""

    tools: Callable[[], Tools]
    """Returns what to check with; raises `SettingsError` where there is no OPA."""
    max_waiver_days: int
    deadline_seconds: float


def examine(bench: Bench, folder: Path, now: datetime) -> tuple[str, ...]:
    """Return why a policy folder is refused, a line each; nothing when it may decide.

    Raises `PolicyError` when that cannot be told: the examination did not end in time or broke, and `SettingsError`
    without OPA.
    """
    tools = bench.tools()
    order = {
        "folder": str(folder),
        "opa": str(tools.opa),
        "capabilities": tools.capabilities,
        "now": rfc3339(now),
        "max_waiver_days": bench.max_waiver_days,
    }
    answer = _asked(json.dumps(order).encode(), bench.deadline_seconds)
    if "failed" in answer:
        raise PolicyError(f"the policies could not be examined: {answer['failed']}", advice=answer["advice"])
    return tuple(str(one) for one in answer["reasons"])


def _asked(order: bytes, seconds: float) -> dict[str, Any]:
    process = subprocess.Popen(  # noqa: S603 - this very interpreter, with fixed arguments
        [sys.executable, "-P", "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            output, errors = process.communicate(order, timeout=seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with every `opa` that it started
            if isinstance(error, subprocess.TimeoutExpired):
                msg = f"check and test of the policies did not end within {seconds:g} s"
                raise PolicyError(msg, advice=_ADVICE) from None
            raise
    try:
        answer = json.loads(output)
    except json.JSONDecodeError:
        lines = errors.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][:200]}" if lines else ""
        msg = f"the examination of the policies ended with code {process.returncode}{last}"
        raise PolicyError(msg, advice=_ADVICE) from None
    if not isinstance(answer, dict):
        raise PolicyError("the examination of the policies gave no answer", advice=_ADVICE)
    return answer
