"""Where identity tokens come from, and which are refused before anybody is asked for a certificate."""

import base64
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from reconciler.adapters.token_sources import check, fetch
from reconciler.core.errors import SigningError
from reconciler.demo.sigstore.issuer import CLIENT_ID, WORKLOAD, Issuer
from reconciler.demo.sigstore.service import Fault, Reply, Request, Service
from reconciler.signing_settings import SigningSettings, SigstoreSettings, TokenSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ISSUER = "https://issuer.corp.example"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Run an issuer."""
    running = Issuer(client_secret="made-for-a-test:%&+")
    running.service.start()
    yield running
    running.service.stop()


def nothing(_: str) -> str | None:
    """Find no token in the environment."""
    return None


def token_of(**changes: Any) -> str:
    """Return an unsigned token valid now; None removes a claim."""
    claims = {
        "iss": ISSUER,
        "aud": "sigstore",
        "sub": WORKLOAD,
        "iat": NOW.timestamp(),
        "exp": (NOW + timedelta(minutes=10)).timestamp(),
    } | changes
    told = json.dumps({name: value for name, value in claims.items() if value is not None}).encode()
    return "e30." + base64.urlsafe_b64encode(told).decode().rstrip("=") + ".c2ln"


def from_file(tmp_path: Path, source: str = "file") -> TokenSettings:
    """Return settings of a token in a file."""
    return TokenSettings.model_validate({"source": source, "file": tmp_path / "token"})


def refusal(token: str, settings: TokenSettings) -> str:
    """Return why a token is refused; it is never in the message."""
    with pytest.raises(SigningError) as refused:
        check(token, settings, ISSUER, NOW)
    assert refused.value.advice
    assert token not in str(refused.value)
    return str(refused.value)


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    """Each fetch gives what the file now holds, without the newline at its end."""
    settings = from_file(tmp_path)
    for token in ("a.b.c", "d.e.f"):
        (tmp_path / "token").write_text(token + "\n")
        assert fetch(settings, nothing) == token


def test_a_missing_or_strange_file_is_named(tmp_path: Path) -> None:
    """A file that is not there, or holds no text, is named."""
    settings = from_file(tmp_path)
    with pytest.raises(SigningError, match=r"token, cannot be read: No such file"):
        fetch(settings, nothing)
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(SigningError, match="holds no identity token"):
        fetch(settings, nothing)


def credentials(issuer: Issuer, folder: Path, secret: str = "", **changes: Any) -> TokenSettings:
    """Return settings of client credentials."""
    (folder / "secret").write_text((secret or issuer.client_secret) + "\n")
    block = {"source": "client_credentials", "token_url": issuer.token_url, "client_id": CLIENT_ID}
    return TokenSettings.model_validate({**block, "client_secret_file": folder / "secret", **changes})


def test_client_credentials_give_a_fresh_token(issuer: Issuer, tmp_path: Path) -> None:
    """Each fetch asks the token endpoint, with a secret of any characters, and gets another token."""
    settings = credentials(issuer, tmp_path)
    first, second = fetch(settings, nothing), fetch(settings, nothing)
    assert first != second
    check(first, settings, issuer.url, datetime.now(UTC))


def test_a_wrong_secret_is_told_and_not_shown(issuer: Issuer, tmp_path: Path) -> None:
    """The endpoint's error code is told; the secret and the endpoint's prose are not."""
    with pytest.raises(SigningError) as refused:
        fetch(credentials(issuer, tmp_path, "another-secret"), nothing)
    assert str(refused.value) == "the token endpoint answered 401 (invalid_client)"


def test_an_error_page_is_no_token(issuer: Issuer, tmp_path: Path) -> None:
    """HTML, with or without an error status, is refused and not repeated."""
    issuer.service.fail(Fault.ERROR)
    with pytest.raises(SigningError, match=r"answered 500$"):
        fetch(credentials(issuer, tmp_path), nothing)
    issuer.service.fail(Fault.HTML)
    with pytest.raises(SigningError, match="holds no access_token"):
        fetch(credentials(issuer, tmp_path), nothing)
    issuer.service.fail(Fault.DOWN)
    with pytest.raises(requests.ConnectionError):
        fetch(credentials(issuer, tmp_path), nothing)


def test_the_secret_follows_no_redirect(tmp_path: Path) -> None:
    """A token endpoint that sends elsewhere gets no second request."""
    seen: list[str] = []

    def redirect(request: Request) -> Reply:
        seen.append(request.path)
        return Reply(status=307, body=b"", location="/elsewhere")

    service = Service(redirect)
    service.start()
    try:
        settings = TokenSettings.model_validate(
            {
                "source": "client_credentials",
                "token_url": f"{service.url}/token",
                "client_id": CLIENT_ID,
                "client_secret_file": tmp_path / "secret",
            }
        )
        (tmp_path / "secret").write_text("s")
        with pytest.raises(SigningError, match="answered 307"):
            fetch(settings, nothing)
    finally:
        service.stop()
    assert seen == ["/token"]


def test_a_command_prints_a_token() -> None:
    """What the configured program prints is the token; nothing goes through a shell."""
    command = (sys.executable, "-c", "import sys; print(sys.argv[1])", "a.b.$HOME")
    assert fetch(TokenSettings(source="command", command=command), nothing) == "a.b.$HOME"


def test_a_command_that_fails_is_named_by_its_code() -> None:
    """Its output, which may hold secrets, is not told."""
    command = (sys.executable, "-c", "import sys; sys.exit('secret')")
    with pytest.raises(SigningError, match=r"ended with code 1$"):
        fetch(TokenSettings(source="command", command=command), nothing)
    with pytest.raises(SigningError, match="cannot be run: No such file"):
        fetch(TokenSettings(source="command", command=("/no/such/program",)), nothing)


def test_the_environment_may_offer_one() -> None:
    """An ambient token is asked for with the audience; when there is none, that is said."""
    settings = TokenSettings(source="ambient", audience="corp")
    assert fetch(settings, lambda audience: f"{audience}.b.c") == "corp.b.c"
    with pytest.raises(SigningError, match="offers no identity token"):
        fetch(settings, nothing)


def test_a_good_token_passes(tmp_path: Path) -> None:
    """One audience of several, whole or broken seconds, and no `nbf`: all are common, and good."""
    check(token_of(aud=["other", "sigstore"]), from_file(tmp_path), ISSUER, NOW)
    check(token_of(nbf=NOW.timestamp() - 0.5), from_file(tmp_path), ISSUER, NOW)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exp": (NOW - timedelta(seconds=90)).timestamp()}, "ended 90 s ago"),
        ({"exp": (NOW + timedelta(seconds=20)).timestamp()}, "ends in 20 s"),
        ({"nbf": (NOW + timedelta(seconds=3)).timestamp()}, "not valid for another 3 s"),
        ({"aud": "elsewhere"}, "not for the audience 'sigstore'"),
        ({"iss": "https://elsewhere.example"}, "is by 'https://elsewhere.example'"),
        ({"exp": None}, "no usable 'exp'"),
        ({"exp": True}, "no usable 'exp'"),
        ({"exp": "soon"}, "no usable 'exp'"),
    ],
)
def test_a_token_of_no_use_is_told_why(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """Expired, nearly so, too early, for or by somebody else: each is named for what it is."""
    assert told in refusal(token_of(**changes), from_file(tmp_path))


@pytest.mark.parametrize("junk", ["", "a.b", "a.!!.c", "a.W10.c", "<html>", "a.bm90.c"])
def test_what_is_no_token_is_refused(tmp_path: Path, junk: str) -> None:
    """What a source gives by mistake is called no token, and not repeated."""
    with pytest.raises(SigningError, match="is no JSON web token"):
        check(junk, from_file(tmp_path), ISSUER, NOW)


def test_a_token_is_by_whom_its_source_says(tmp_path: Path) -> None:
    """One said to be of Kubernetes or SPIFFE names a service account or a SPIFFE id."""
    kubernetes, spiffe = from_file(tmp_path, "kubernetes"), from_file(tmp_path, "spiffe")
    check(token_of(sub="system:serviceaccount:access:reconciler"), kubernetes, ISSUER, NOW)
    check(token_of(sub="spiffe://corp.example/reconciler"), spiffe, ISSUER, NOW)
    assert "'system:serviceaccount:'" in refusal(token_of(), kubernetes)
    assert "'spiffe://'" in refusal(token_of(), spiffe)


TOKEN = {"source": "ambient"}
BLOCK: dict[str, Any] = {"identity": WORKLOAD, "issuer": ISSUER, "token": TOKEN, "trust_config_file": "trust.json"}


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"source": "file"}, "needs file"),
        ({"source": "client_credentials", "client_id": "a"}, "needs client_secret_file, token_url"),
        ({"source": "ambient", "file": "token"}, "does not use file"),
        ({"source": "client_credentials", "token_url": "http://issuer.corp.example/token"}, "token_url"),
        ({"source": "guess"}, "source"),
    ],
)
def test_token_settings_say_what_is_missing(block: dict[str, Any], told: str) -> None:
    """A source without its settings, settings of another source, and a secret in the clear are refused."""
    with pytest.raises(ValidationError, match=told):
        TokenSettings.model_validate(block)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"trust_config_file": None}, "either trust_config_file or tuf_url"),
        ({"tuf_url": "https://tuf.corp.example"}, "either trust_config_file or tuf_url"),
        ({"tuf_root_file": "root.json"}, "tuf_root_file needs tuf_url"),
        ({"tuf_url": "http://tuf.corp.example", "trust_config_file": None}, "tuf_url"),
    ],
)
def test_one_instance_is_named(block: dict[str, Any], told: str) -> None:
    """None, two, or one that would be reached without TLS: refused."""
    with pytest.raises(ValidationError, match=told):
        SigstoreSettings.model_validate(BLOCK | block)


def test_one_mode_is_named() -> None:
    """The mode and its block need each other, and a key beside `sigstore` is refused: it would never sign."""
    for block in (
        {"mode": "sigstore"},
        {"sigstore": BLOCK},
        {"mode": "sigstore", "sigstore": BLOCK, "key_file": "key.pem"},
    ):
        with pytest.raises(ValidationError, match="mode `sigstore`"):
            SigningSettings.model_validate(block)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    """Every path of the block is anchored, those that are not given stay so."""
    token = {"source": "file", "file": "token"}
    block = SigningSettings.model_validate({"mode": "sigstore", "sigstore": BLOCK | {"token": token}})
    anchored = block.anchored(tmp_path).sigstore
    assert anchored is not None
    assert (anchored.trust_config_file, anchored.token.file) == (tmp_path / "trust.json", tmp_path / "token")
    assert (anchored.ca_file, anchored.tuf_root_file) == (None, None)
