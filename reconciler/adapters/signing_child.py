"""Signing in a process of its own that is ended at a deadline: the libraries that sign wait for ever on some answers.

This is the half that gives the order; `child_work` is the half that carries it out. The child says whom it asks before
it asks, so that whoever did not answer in time can be named.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from reconciler.core.errors import SigningError, UnverifiedSignature


class SigningChild:
    """A module that carries out one order, the longest that it may take, and what to do when it ends without a word."""

    def __init__(self, module: str, deadline_seconds: float, advice: str) -> None:
        self._module = module
        self.deadline_seconds = deadline_seconds
        self._advice = advice

    def ordered(self, order: Mapping[str, Any], told: Mapping[str, str]) -> str:
        """Have an order carried out and return its answer; `told` goes into the child's environment.

        Raises `SigningError` that names who failed or did not answer within the deadline.
        """
        output, complaint = self.run(json.dumps(order).encode(), told)
        whole = output[: output.rfind(b"\n") + 1]  # a child that was ended may have been writing
        lines = [json.loads(line) for line in whole.splitlines()]
        last: dict[str, str] = lines[-1] if lines else {}
        if "refused" in last:
            raise SigningError(f"not signed: {last['refused']}", advice=last["advice"])
        if "unverified" in last:
            raise UnverifiedSignature(f"not signed: {last['unverified']}", advice=last["advice"])
        if "done" not in last:
            asked = f"{last['step']} ({last['place']})" if last else "the signing process"
            raise SigningError(f"not signed: {asked} {complaint}", advice=last.get("advice", self._advice))
        return last["done"]

    def run(self, order: bytes, told: Mapping[str, str]) -> tuple[bytes, str]:
        """Run the child; return its output and, when it did not end well, what to say of that."""
        try:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter, with fixed arguments
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **told},  # noqa: TID251 - proxies, credentials, tokens of CI: children are told this way
                start_new_session=True,
            )
        except OSError as error:
            msg = f"the signing process cannot be started: {error.strerror}"
            raise SigningError(msg, advice=self._advice) from error
        with process:
            try:
                output, errors = process.communicate(order, timeout=self.deadline_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                return output, f"did not answer within {self.deadline_seconds:g} s"
        return output, f"ended with code {process.returncode}{_kind_of(errors)}"


def _kind_of(errors: bytes) -> str:
    """Return the name of the error that ended the child: its text, and what it was handling, stay untold."""
    lines = errors.decode(errors="replace").strip().splitlines()
    name = lines[-1].split(":")[0].strip() if lines else ""
    return f" ({name.rpartition('.')[2]})" if name.replace(".", "").isidentifier() else ""
