"""What processes that sign have in common: one order (JSON) on stdin, lines of JSON on stdout, and an end of their own.

A `step` is written before anybody is asked, so that whoever ends this process at a deadline can say who did not answer;
at last comes `done`, or `refused` or `unverified` with advice.
"""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TextIO

from reconciler.core.errors import SigningError, UnverifiedSignature

GRACE_SECONDS: Final = 10
"""This process ends itself so long after the deadline, should nobody be left to end it."""
Tell = Callable[[dict[str, str]], None]
Order = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Whom to tell of each step, and how to say what an error means."""

    tell: Tell
    reason: Callable[[BaseException], str]

    @contextmanager
    def step(self, service: str, place: str, advice: str) -> Iterator[None]:
        """Say that a service is asked now; whatever goes wrong meanwhile becomes a `SigningError` that names it."""
        self.tell({"step": service, "place": place, "advice": advice})
        try:
            yield
        except SigningError as error:
            raise type(error)(f"{service} ({place}): {error}", advice=error.advice) from error
        except Exception as error:  # the errors of these libraries have no common parent, and some are private to them
            raise SigningError(f"{service} ({place}): {self.reason(error)}", advice=advice) from error


def answer(order: Order, work: Callable[[Order, Tell], str], tell: Tell) -> None:
    """Carry out one order and tell of its end."""
    try:
        tell({"done": work(order, tell)})
    except SigningError as error:
        kind = "unverified" if isinstance(error, UnverifiedSignature) else "refused"
        tell({kind: str(error), "advice": error.advice})


def serve(source: TextIO, sink: TextIO, work: Callable[[Order, Tell], str]) -> None:
    """Take one order from `source`, have it carried out, and answer to `sink`."""
    order = json.load(source)
    signal.alarm(int(order["deadline_seconds"]) + GRACE_SECONDS)

    def tell(line: dict[str, str]) -> None:
        sink.write(json.dumps(line) + "\n")
        sink.flush()

    answer(order, work, tell)
