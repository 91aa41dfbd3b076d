"""The demo with a private Sigstore: what it signs is verified by the commands that it tells of, with and without it."""

import json
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.core.errors import ReconcilerError
from reconciler.demo.signing import IDENTITY, start_sigstore
from tests import peers
from tests.e2e.company import Company, environment, run
from tests.e2e.conftest import Demonstrated
from tests.output_schemas import problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstrated]:
    """Run the demo with its own Sigstore; the servers stay until the module's tests are over."""
    for peer in ("opa", "slapd", "openssl"):
        peers.require(peer)
    folder = tmp_path_factory.mktemp("keyless") / "company"
    try:
        answer = run("demo", "--dir", folder, "--signing", "sigstore", "--output", "json", cwd=folder.parent)
        assert answer.code == 0, f"{answer.err}{answer.out}"
        yield Demonstrated(company=Company.opened(folder), answer=answer)
    finally:
        run("demo", "--dir", folder, "--stop", cwd=folder.parent)


def called(command: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command that the demo told of; `changes` replace arguments, by what they are now."""
    return subprocess.run(
        [changes.get(argument, argument) for argument in command],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def statements(company: Company) -> list[dict[str, Any]]:
    """Return every statement, oldest first."""
    return [json.loads(path.read_bytes()) for path in sorted(company.attestations.glob("*.statement.json"))]


def test_the_summary_is_as_promised(keyless: Demonstrated) -> None:
    """The document has the published shape, all three cycles are attested, and nobody but leavers was touched."""
    assert problems("demo", keyless.summary) == []
    assert [one["attestation"]["verified"] for one in keyless.summary["cycles"]] == [True, True, True]
    assert keyless.summary["others"]["unexpected"] == []


def test_every_statement_is_signed_by_the_workload(keyless: Demonstrated) -> None:
    """Each says that it was signed without a key, under a private log, and none waits; no key was ever made."""
    company = keyless.company
    made = [one["predicate"]["reconciler"] for one in statements(company)]
    assert [(one["signingMode"], one["assurance"]) for one in made] == [("keyless", "private-log")] * 3
    assert len(list(company.attestations.glob("*.sigstore.json"))) == 3
    assert not (company.directory / "state" / "keys" / "attestation.pem").exists()


def test_the_commands_that_it_tells_of_verify(keyless: Demonstrated) -> None:
    """Ours and the client of Sigstore accept what was signed, and refuse it with another identity."""
    ours, theirs = keyless.summary["verify"]
    assert called(ours).returncode == 0
    told = called(theirs)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.strip().splitlines()[-1]) == statements(keyless.company)[-1]
    for command in (ours, theirs):
        assert called(command, **{IDENTITY: IDENTITY + "s"}).returncode == 1


def test_its_secret_is_the_owner_s_alone(keyless: Demonstrated) -> None:
    """What the token endpoint is shown lies in a file of mode 0600, and nowhere else in what was written or printed."""
    secrets = keyless.company.directory / "secrets" / "sigstore-client.secret"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    secret = secrets.read_text().strip()
    texts = [path for path in keyless.company.directory.rglob("*") if path.is_file() and path != secrets]
    assert [path for path in texts if secret.encode() in path.read_bytes()] == []
    assert secret not in keyless.answer.out + keyless.answer.err


def test_what_was_signed_outlives_the_instance(keyless: Demonstrated) -> None:
    """`--stop` ends the private Sigstore with the other servers, and everything still verifies without it."""
    company = keyless.company
    issuer = json.loads((company.directory / "servers.json").read_text())["signing"]["sigstore"]["issuer"]
    assert requests.get(f"{issuer}/jwks", timeout=10).json()["keys"]
    stopped = run("demo", "--dir", company.directory, "--stop", cwd=company.directory.parent)
    assert "have ended" in stopped.out
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{issuer}/jwks", timeout=10)
    assert [called(command).returncode for command in keyless.summary["verify"]] == [0, 0]


def test_without_openssl_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stamps need `openssl`: where it is missing, the demo names it instead of signing otherwise."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with ExitStack() as stack, pytest.raises(ReconcilerError, match="openssl, which makes the time stamps"):
        start_sigstore(tmp_path / "sigstore", tmp_path, stack)
