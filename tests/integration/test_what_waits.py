"""What an operator is shown of statements that wait, and how they come to be signed: `pending`, `retry`, `verify`."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from reconciler.adapters.clock import SystemClock
from reconciler.cli.attestations import build_app
from reconciler.cli.main import run
from reconciler.core.errors import SigningError
from reconciler.daemon.health import Health, Silence
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.service import Fault
from reconciler.evidence_ports import SignedStatement
from reconciler.settings import load_settings
from reconciler.spool import look
from reconciler.wiring import build_attester, open_store
from tests.keyless import InProcess, keyless_settings
from tests.output_schemas import problems
from tests.record_builders import cycle_id, cycle_record

WAITING = 3


@dataclass
class Waiting:
    """An installation that signs with an instance, three of whose statements wait."""

    instance: PrivateSigstore
    folder: Path

    @property
    def config(self) -> Path:
        """Return the configuration."""
        return self.folder / "access-reconciler.yaml"

    def run(self, command: str, *options: str) -> tuple[int, dict[str, Any], Exception | None]:
        """Run a command; return its exit code, its document held against its schema, and the error it ended with."""
        asked = [command, "--config", str(self.config), "--output", "json", *options]
        result = CliRunner().invoke(build_app(), asked)
        document = json.loads(result.stdout)
        assert problems(f"attestations-{command}", document) == []
        ended = result.exception if isinstance(result.exception, Exception) else None
        return result.exit_code, document, ended

    def states(self) -> list[str]:
        """Return how far each statement that waits has come; the exit code says whether any does."""
        code, document, _ = self.run("pending")
        assert code == (3 if document["waiting"] else 0)
        return [f"{one['sequence']} {one['state']}" for one in document["waiting"]]

    def refused(self, *options: str) -> tuple[str, int]:
        """Retry, and return why it ended, and how many were signed before."""
        _, document, error = self.run("retry", *options)
        assert isinstance(error, SigningError)
        assert error.advice
        _, pending, _ = self.run("pending")
        assert (pending["error"], pending["advice"]) == (str(error), error.advice)
        assert pending["next_attempt"]
        return str(error), document["signed"]


@pytest.fixture
def waiting(instance: PrivateSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """State three cycles and sign none; the work of the signing child is done in this process."""
    monkeypatch.setattr("reconciler.signers.KeylessSigner", InProcess)
    block = keyless_settings(instance, tmp_path / "own").model_dump(mode="json", exclude_defaults=True)
    document = {"roster": {"path": "roster.csv"}, "signing": {"mode": "sigstore", "sigstore": block}}
    made = Waiting(instance, tmp_path)
    made.config.write_text(yaml.safe_dump(document))
    attester = build_attester(load_settings(made.config))
    for sequence in range(1, WAITING + 1):
        attester.attest(cycle_record(sequence=sequence), ())
    return made


SPOOLED = [f"{sequence} spooled" for sequence in range(1, WAITING + 1)]

TWO_FAULTS: dict[str, tuple[Callable[[PrivateSigstore], None], str]] = {
    "the log is slow, the time stamper answers 500": (
        lambda instance: _fail(instance, rekor=Fault.SLOW, tsa=Fault.ERROR),
        "time-stamping authority",
    ),
    "Fulcio answers a page, the log is down": (
        lambda instance: _fail(instance, fulcio=Fault.HTML, rekor=Fault.DOWN),
        "Fulcio",
    ),
    "Fulcio is slow, the log answers a page": (
        lambda instance: _fail(instance, fulcio=Fault.SLOW, rekor=Fault.HTML),
        "Rekor",
    ),
    "everything is down": (
        lambda instance: _fail(instance, fulcio=Fault.DOWN, rekor=Fault.DOWN, tsa=Fault.DOWN, issuer=Fault.DOWN),
        "time-stamping authority",
    ),
}


def _fail(instance: PrivateSigstore, **faults: Fault) -> None:
    for name, fault in faults.items():
        instance.services[name].slow_seconds = 0.05
        instance.services[name].fail(fault)


@pytest.mark.parametrize("what", TWO_FAULTS)
def test_more_faults_than_one_name_the_first_that_matters(waiting: Waiting, what: str) -> None:
    """The state says who failed and when the next attempt is due; mended, all is signed in its order and verifies."""
    break_it, name = TWO_FAULTS[what]
    break_it(waiting.instance)
    why, signed = waiting.refused()
    assert (why.startswith(f"not signed: {name}"), signed) == (True, 0), why
    assert waiting.states() == SPOOLED
    code, told, _ = waiting.run("verify")
    assert code == 1
    assert [(one["cycle_id"], one["code"]) for one in told["problems"]] == [
        (cycle_id(sequence), "bundle_missing") for sequence in range(1, WAITING + 1)
    ]
    waiting.instance.mend()
    assert waiting.run("retry", "--most", "2")[0] == 1
    assert waiting.states() == SPOOLED[2:]
    assert waiting.run("retry")[1]["signed"] == 1
    assert waiting.states() == []
    assert waiting.run("verify")[1]["verified"] is True


def test_a_signature_that_nobody_would_accept_is_a_state_of_its_own(waiting: Waiting) -> None:
    """With clocks 90 s apart the first one counts as signed and not as verified, and none after it is tried."""
    waiting.instance.fulcio.skew_seconds = 90
    assert "verification" in waiting.refused()[0]
    assert waiting.states() == ["1 signed", *SPOOLED[1:]]
    waiting.instance.fulcio.skew_seconds = 0
    assert waiting.run("retry")[0] == 0


@pytest.mark.parametrize(("service", "seconds"), [("fulcio", -90), ("issuer", -90)])
def test_clocks_that_are_behind_do_no_harm(waiting: Waiting, service: str, seconds: int) -> None:
    """A certificate or a token that began 90 s ago is as good as a fresh one."""
    getattr(waiting.instance, service).skew_seconds = seconds
    assert waiting.run("retry")[0] == 0
    assert waiting.run("verify")[1]["verified"] is True


def test_a_token_that_ends_between_two_attempts_stops_there(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was signed before stays; the token is named, with nobody asked for what comes after; a fresh one goes on."""
    sign = InProcess.sign

    def once(signer: InProcess, payload: bytes) -> SignedStatement:
        signed = sign(signer, payload)
        waiting.instance.write_token(token, exp=int(time.time()) - 60)
        return signed

    token = waiting.folder / "own" / "token"
    monkeypatch.setattr(InProcess, "sign", once)
    before = waiting.instance.rekor.size
    why, signed = waiting.refused()
    assert "the identity token ended" in why
    assert signed == 1
    assert waiting.states() == SPOOLED[1:]
    assert waiting.instance.rekor.size == before + 1
    monkeypatch.undo()
    monkeypatch.setattr("reconciler.signers.KeylessSigner", InProcess)
    waiting.instance.write_token(token)
    assert waiting.run("retry")[1]["signed"] == 2
    assert waiting.run("verify")[1]["verified"] is True


def test_what_waits_is_told_in_words(waiting: Waiting) -> None:
    """Without JSON too: which, how far, since when, why, and what to do."""
    _fail(waiting.instance, rekor=Fault.ERROR)
    waiting.refused()
    told = CliRunner().invoke(build_app(), ["pending", "--config", str(waiting.config)]).stdout
    for words in ("spooled", "3 waiting; the oldest for", "last attempt: not signed: Rekor", "next attempt:", "retry"):
        assert words in told


def test_status_and_readiness_tell_what_waits(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """In an outage both say how many statements wait and since when; once all are signed, that there are none."""

    def shown() -> tuple[int, bool]:
        capsys.readouterr()
        assert run(["status", "--config", str(waiting.config), "--output", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert problems("status", document) == []
        return document["unsigned"]["statements"], document["unsigned"]["since"] is not None

    _fail(waiting.instance, fulcio=Fault.DOWN)
    assert waiting.refused()[1] == 0
    assert shown() == (WAITING, True)
    clock, settings = SystemClock(), load_settings(waiting.config)
    silence = Silence(stages={}, stage_seconds=60, cycle_seconds=600)
    health = Health(clock, (), silence, lambda _: None)
    health.signing(look(open_store(settings), settings.signing.pace, clock))
    ready = health.snapshot()
    assert ready.unsigned == WAITING
    assert ready.unsigned_age_seconds > 0
    waiting.instance.mend()
    assert waiting.run("retry")[0] == 0
    assert shown() == (0, False)
