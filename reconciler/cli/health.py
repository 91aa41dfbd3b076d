"""`access-reconciler health`: asks the daemon on this machine how it is; for supervisors and for people.

Reads no configuration and no state, and imports nothing that a cycle works with: a probe runs every few seconds.
"""

import json
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Annotated, Any, Final

import typer

from reconciler.cli.exits import ERROR, OK, Output, OutputOption
from reconciler.cli.plain_text import clean, print_json
from reconciler.core.errors import ReconcilerError

LOOPBACK: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8580
"""As the setting `daemon.health_port`; a test compares them."""
PORT_VARIABLE: Final = "ACCESS_RECONCILER_DAEMON__HEALTH_PORT"
"""What overrides that setting also tells us."""
ANSWER_SECONDS: Final = 4.0
"""Below the shortest `timeoutSeconds` that our manifests give a probe."""
_MOST_BYTES: Final = 64 * 1024
_OK_STATUS: Final = 200


class Question(StrEnum):
    """What can be asked of the daemon."""

    LIVE = "live"
    READY = "ready"
    STARTED = "started"

    @property
    def path(self) -> str:
        """Return the address of the answer."""
        return "/startupz" if self is Question.STARTED else f"/{self.value}z"


class NoDaemon(ReconcilerError):
    """Nobody answers on the health port as the daemon does."""


QuestionArgument = Annotated[
    Question, typer.Argument(metavar="live|ready|started", help="What is asked; the exit code answers.")
]
PortOption = Annotated[
    int,
    typer.Option(
        "--port", min=1, max=65535, envvar=PORT_VARIABLE, help="Loopback port: the setting daemon.health_port."
    ),
]


def health(
    question: QuestionArgument = Question.READY,
    port: PortOption = DEFAULT_PORT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask the daemon on this machine how it is: alive, ready, or done with its start.

    Exit codes: 0 it is; 1 it is not, or nobody answers.

    Example: access-reconciler health live
    """
    good, facts = ask(question, port)
    if output is Output.JSON:
        print_json(facts)
    else:
        _show(question, good, facts)
    raise typer.Exit(OK if good else ERROR)


def ask(question: Question, port: int) -> tuple[bool, dict[str, Any]]:
    """Return the daemon's answer and what it says of itself; raises `NoDaemon` when there is none."""
    # No proxy of the environment stands between us and the loopback address.
    connection = HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", question.path)
        response = connection.getresponse()
        return response.status == _OK_STATUS, _facts(response)
    except (OSError, HTTPException, ValueError) as error:
        raise NoDaemon(
            f"{LOOPBACK}:{port} does not answer as the daemon does: {type(error).__name__}: {error}",
            advice="is `access-reconciler run` up on this machine, with this daemon.health_port?",
        ) from error
    finally:
        connection.close()


def _facts(response: HTTPResponse) -> dict[str, Any]:
    """Return the body, which must be one of ours: a JSON document that says whether it is live."""
    facts = json.loads(response.read(_MOST_BYTES))
    if not isinstance(facts, dict) or "live" not in facts:
        msg = "the answer is not the daemon's"
        raise ValueError(msg)
    return facts


def _show(question: Question, good: bool, facts: dict[str, Any]) -> None:  # noqa: FBT001 - the answer itself
    typer.echo(f"{question.value}: {'yes' if good else 'no'}")
    for name, value in facts.items():
        shown = (
            ", ".join(f"{key} {_cell(one)}" for key, one in value.items()) if isinstance(value, dict) else _cell(value)
        )
        typer.echo(f"  {name.replace('_', ' '):22}{clean(shown)}")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}"
    return "-" if value in (None, "") else str(value)
