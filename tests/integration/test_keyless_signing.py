"""Keyless signing: what comes out verifies, and each failing service is named in time, with nothing half done."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.core.errors import SigningError
from reconciler.core.statement import PREDICATE_TYPE
from reconciler.demo.sigstore.authority import CtLog
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import CLIENT_ID, WORKLOAD
from reconciler.demo.sigstore.service import Fault
from reconciler.signing_settings import SigstoreSettings
from tests.keyless import keyless_settings, ordered, trusting

STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {},
        "predicateType": PREDICATE_TYPE,
        "subject": [{"digest": {"sha256": "0" * 64}, "name": "decision-log"}],
    },
    separators=(",", ":"),
).encode()


@pytest.fixture
def settings(instance: PrivateSigstore, tmp_path: Path) -> SigstoreSettings:
    """Return the settings of an installation that signs with it."""
    return keyless_settings(instance, tmp_path / "own")


def refused(settings: SigstoreSettings, verb: str = "sign") -> tuple[str, str]:
    """Carry out an order that must be refused; return the message and the advice, which is never empty."""
    last = ordered(settings, STATEMENT, verb)[-1]
    assert "done" not in last, "it was carried out"
    assert last["advice"]
    return last.get("refused") or last["unverified"], last["advice"]


def test_a_signature_verifies(instance: PrivateSigstore, settings: SigstoreSettings, tmp_path: Path) -> None:
    """The child's bundle is accepted for its identity and issuer; the signer says what it is worth."""
    signer = KeylessSigner(settings, tmp_path / "cache")
    signed = signer.sign(STATEMENT)
    assert signed.payload == STATEMENT
    assert trusting(instance, tmp_path / "root.json").refusal(signed.bundle, STATEMENT) is None
    assert (signer.mode, signer.assurance) == ("keyless", "private-log")
    assert signer.identity == f"{WORKLOAD} by {instance.issuer.url}"


def test_each_attempt_has_a_token_of_its_own(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """The token's file is read with every attempt: one that was renewed is used, one that ended is not."""
    assert settings.token.file is not None
    instance.write_token(settings.token.file, exp=int(time.time()) - 60)
    message, _ = refused(settings)
    assert message.startswith(f"identity token ({settings.token.file}): the identity token ended ")
    instance.write_token(settings.token.file)
    assert "done" in ordered(settings, STATEMENT)[-1]


def test_looking_leaves_no_trace(instance: PrivateSigstore, settings: SigstoreSettings, tmp_path: Path) -> None:
    """What `doctor` tries asks the time stamper and checks the token, and neither Fulcio nor Rekor hears of it."""
    before = instance.fulcio.service.answered, instance.rekor.service.answered, instance.tsa.service.answered
    assert WORKLOAD in KeylessSigner(settings, tmp_path / "cache").check()
    after = instance.fulcio.service.answered, instance.rekor.service.answered, instance.tsa.service.answered
    assert after == (before[0], before[1], before[2] + 1)


NAMES = {"fulcio": "Fulcio (http://127.0.0.1:", "rekor": "Rekor (http://127.0.0.1:", "tsa": "time-stamping authority ("}
TOLD = {
    Fault.DOWN: "cannot be reached",
    Fault.ERROR: "answered 500, and not with JSON",
    Fault.HTML: "",
}


@pytest.mark.parametrize("fault", TOLD)
@pytest.mark.parametrize("name", NAMES)
def test_a_failing_service_is_named(
    instance: PrivateSigstore, settings: SigstoreSettings, name: str, fault: Fault
) -> None:
    """Down, an error page or a log-in page: the service and its address are named, and nothing is logged."""
    before = instance.rekor.size
    instance.services[name].fail(fault)
    message, _ = refused(settings)
    assert message.startswith(NAMES[name])
    assert TOLD[fault] in message
    assert "<p>" not in message
    assert instance.rekor.size == before
    instance.services[name].fail(None)
    assert "done" in ordered(settings, STATEMENT)[-1]


def test_slow_services_are_waited_for(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """Answers that come late, each within the deadline, are answers."""
    for name in NAMES:
        instance.services[name].slow_seconds = 0.3
        instance.services[name].fail(Fault.SLOW)
    assert "done" in ordered(settings, STATEMENT)[-1]


def test_a_black_hole_ends_at_the_deadline(tmp_path: Path) -> None:
    """A service that takes the call and never answers: the child is ended in time, and the service is named."""
    deadline = 12.0

    def attempt(name: str) -> tuple[str, float]:
        with PrivateSigstore(tmp_path / name) as instance:
            asked = {"token": by_credentials(instance, tmp_path / name)} if name == "issuer" else {}
            settings = keyless_settings(instance, tmp_path / f"{name}-own", deadline_seconds=deadline, **asked)
            instance.services[name].fail(Fault.BLACK_HOLE)
            began = time.monotonic()
            with pytest.raises(SigningError) as stopped:
                KeylessSigner(settings, tmp_path / "cache").sign(STATEMENT)
            assert stopped.value.advice
            return str(stopped.value), time.monotonic() - began

    with ThreadPoolExecutor() as pool:
        fulcio, rekor, stamper, issuer = pool.map(attempt, ("fulcio", "rekor", "tsa", "issuer"))
    for (message, seconds), name in ((fulcio, "Fulcio"), (rekor, "Rekor")):
        assert message.startswith(f"not signed: {name} (http://127.0.0.1:")
        assert message.endswith("did not answer within 12 s")
        assert seconds < 2 * deadline
    assert stamper[0].startswith("not signed: time-stamping authority (http://127.0.0.1:")
    assert issuer[0].startswith("not signed: identity token (http://127.0.0.1:")
    assert max(stamper[1], issuer[1]) < deadline + 3


def by_credentials(instance: PrivateSigstore, folder: Path) -> dict[str, str]:
    """Return the source of a token that is asked of the issuer with each attempt."""
    (folder / "secret").write_text(instance.issuer.client_secret)
    return {
        "source": "client_credentials",
        "token_url": instance.issuer.token_url,
        "client_id": CLIENT_ID,
        "client_secret_file": str(folder / "secret"),
    }


def test_fulcios_own_words_are_passed_on(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """A refusal that Fulcio explains is explained to the operator, and the token is not in it."""
    instance.issuer.rotate()
    message, _ = refused(settings)
    assert message.startswith("Fulcio (")
    assert "answered 400: There was an error processing the identity token: the issuer publishes no such key" in message
    assert settings.token.file is not None
    assert settings.token.file.read_text().strip() not in message


def test_clocks_apart_are_noticed_at_once(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """Fulcio's clock 90 s ahead of the time stamper's makes a bundle that nobody accepts: it is not handed out."""
    instance.fulcio.skew_seconds = 90
    message, advice = refused(settings)
    assert message.startswith("verification (of the fresh signature): the proof does not hold:")
    assert "compare the clocks" in advice


def test_an_issuer_ahead_is_noticed(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """A token that is not valid yet names the clocks, before anybody is asked."""
    instance.issuer.skew_seconds = 90
    assert settings.token.file is not None
    instance.write_token(settings.token.file)
    message, advice = refused(settings)
    assert "the identity token is not valid for another" in message
    assert "NTP" in advice


def test_a_rotated_log_key_needs_its_root(
    instance: PrivateSigstore, settings: SigstoreSettings, tmp_path: Path
) -> None:
    """A log key that the configured trusted root lacks is refused right after signing; the newer root is accepted."""
    instance.rekor.rotate()
    message, advice = refused(settings)
    assert message.startswith("verification (of the fresh signature):")
    assert "trusted root" in advice
    newer = keyless_settings(instance, tmp_path / "newer")
    assert "done" in ordered(newer, STATEMENT)[-1]


def test_an_unknown_ct_log_is_refused(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """A certificate whose SCT is by another CT log is not signed with."""
    before, instance.fulcio.log = instance.fulcio.log, CtLog()
    message, advice = refused(settings)
    instance.fulcio.log = before
    assert message.startswith("Fulcio (")
    assert "SCT" in message
    assert "CT key" in advice


def test_another_identity_is_not_handed_out(instance: PrivateSigstore, settings: SigstoreSettings) -> None:
    """A token of another workload makes a valid bundle of the wrong signer: it is refused right after signing."""
    assert settings.token.file is not None
    instance.write_token(settings.token.file, sub="https://corp.example/workloads/other")
    message, _ = refused(settings)
    assert message.startswith(f"verification (of the fresh signature): not signed by {WORKLOAD} by ")


def test_a_missing_or_broken_instance_is_named(settings: SigstoreSettings, tmp_path: Path) -> None:
    """A trust configuration that is absent or no such thing is named by its path."""
    absent = settings.model_copy(update={"trust_config_file": tmp_path / "absent.json"})
    message, _ = refused(absent)
    assert message == f"trust configuration ({tmp_path / 'absent.json'}): No such file or directory"
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    message, _ = refused(settings.model_copy(update={"trust_config_file": broken}))
    assert message.startswith(f"trust configuration ({broken}): ")


def test_a_log_without_a_time_stamper_is_refused_first(
    instance: PrivateSigstore, settings: SigstoreSettings, tmp_path: Path
) -> None:
    """An instance of Rekor 2 that names no time stamper could never verify: nothing is logged there."""
    config = instance.trust_config()
    config["signingConfig"]["tsaUrls"] = []
    path = tmp_path / "without.json"
    path.write_text(json.dumps(config))
    before = instance.rekor.size
    message, _ = refused(settings.model_copy(update={"trust_config_file": path}))
    assert "names none" in message
    assert instance.rekor.size == before


def test_nothing_is_published_unasked(instance: PrivateSigstore, settings: SigstoreSettings, tmp_path: Path) -> None:
    """The public log needs the very code that goes with the list of what becomes public; nothing is asked before."""
    config = instance.trust_config()
    config["signingConfig"]["rekorTlogUrls"][0]["url"] = "https://log2025-1.rekor.sigstore.dev"
    path = tmp_path / "public.json"
    path.write_text(json.dumps(config))
    public = settings.model_copy(update={"trust_config_file": path})
    asked = [service.answered for service in instance.services.values()]
    message, advice = refused(public, "check")
    assert f"the identity {WORKLOAD}" in message
    assert "https://log2025-1.rekor.sigstore.dev" in message
    code = advice.rpartition("public_log: ")[2]
    assert [service.answered for service in instance.services.values()] == asked
    assert "become public" in refused(public.model_copy(update={"public_log": "yes"}), "check")[0]
    accepted = public.model_copy(update={"public_log": code})
    assert "done" in ordered(accepted, STATEMENT, "check")[-1]
    renamed = accepted.model_copy(update={"identity": "https://corp.example/workloads/renamed"})
    assert "become public" in refused(renamed, "check")[0]


def test_a_public_log_is_not_claimed_of_a_private_instance(settings: SigstoreSettings) -> None:
    """An acceptance that nothing calls for is refused: the statement would say more than is true."""
    message, _ = refused(settings.model_copy(update={"public_log": "accepted"}), "check")
    assert "no service of this instance is public" in message


def test_a_password_of_netrc_is_not_sent(
    settings: SigstoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials for the same host in a .netrc do not take the token's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert KeylessSigner(settings, tmp_path / "cache").sign(STATEMENT).payload == STATEMENT


def test_a_killed_child_is_told(settings: SigstoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signing process that ends without an answer is an error with its code, not a hang."""
    monkeypatch.setattr("reconciler.adapters.sigstore_signer._CHILD", "reconciler.no_such_module")
    with pytest.raises(SigningError, match=r"not signed: the signing process ended with code 1") as stopped:
        KeylessSigner(settings, tmp_path / "cache").sign(STATEMENT)
    assert stopped.value.advice
