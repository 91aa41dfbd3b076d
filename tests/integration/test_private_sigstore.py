"""The private Sigstore of the tests is itself held to account: the real library works with it, and it is strict."""

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rfc3161_client import decode_timestamp_response
from sigstore.dsse import Statement
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig, InvalidBundle
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy

from reconciler.core import merkle
from reconciler.demo.sigstore.authority import Authority, CtLog
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD, Issuer
from reconciler.demo.sigstore.rekor import audit_path, b64, leaf_hash, tree_root
from reconciler.demo.sigstore.service import Fault

REJECTED = 2
"""PKIStatus of a reply without a stamp (RFC 3161)."""
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://corp.example/any/v1",
        "predicate": {},
    }
).encode()


def signed(instance: PrivateSigstore) -> Bundle:
    """Sign with the real library."""
    config = ClientTrustConfig.from_json(json.dumps(instance.trust_config()))
    with SigningContext.from_trust_config(config).signer(IdentityToken(instance.issuer.token())) as signer:
        return signer.sign_dsse(Statement(STATEMENT))


def verify(instance: PrivateSigstore, document: dict[str, Any], root: dict[str, Any] | None = None) -> bytes:
    """Verify with the real library; return what was signed."""
    trust = {**instance.trust_config(), "trustedRoot": root or instance.trusted_root()}
    verifier = Verifier(trusted_root=ClientTrustConfig.from_json(json.dumps(trust)).trusted_root)
    expected = policy.Identity(identity=WORKLOAD, issuer=instance.issuer.url)
    return verifier.verify_dsse(Bundle.from_json(json.dumps(document)), expected)[1]


def test_the_real_library_signs_and_verifies(instance: PrivateSigstore) -> None:
    """The client of sigstore gets a bundle from it, and its own verifier accepts that bundle."""
    before = instance.rekor.size
    bundle = signed(instance)
    assert verify(instance, json.loads(bundle.to_json())) == STATEMENT
    assert instance.rekor.size == before + 1


def test_proofs_hold_in_a_growing_tree(instance: PrivateSigstore) -> None:
    """The inclusion proofs of its tree are the ones of our own implementation, for every size and place."""
    bodies = [bytes([number]) * 3 for number in range(20)]
    leaves = [leaf_hash(body) for body in bodies]
    for size in range(1, len(bodies) + 1):
        assert tree_root(leaves[:size]) == merkle.root(bodies[:size])
        for index in range(size):
            assert audit_path(leaves[:size], index) == list(merkle.inclusion_proof(bodies[:size], index))


def test_a_log_key_may_be_rotated_and_removed(instance: PrivateSigstore) -> None:
    """A bundle outlives the key that signed its checkpoint, until that key is taken out of the trusted root."""
    bundle = json.loads(signed(instance).to_json())
    instance.rekor.rotate()
    assert verify(instance, bundle) == STATEMENT
    assert verify(instance, json.loads(signed(instance).to_json())) == STATEMENT
    root = instance.trusted_root()
    root["tlogs"] = root["tlogs"][-1:]
    with pytest.raises(VerificationError):
        verify(instance, bundle, root)


def drop_stamps(bundle: dict[str, Any]) -> None:
    """Remove the time stamp."""
    bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = []


def change_root_hash(bundle: dict[str, Any]) -> None:
    """Claim another tree."""
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["rootHash"] = b64(sha256(b"another").digest())


def change_checkpoint(bundle: dict[str, Any]) -> None:
    """Claim a larger tree in the signed note."""
    checkpoint = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    lines = checkpoint["envelope"].split("\n")
    checkpoint["envelope"] = "\n".join([lines[0], str(int(lines[1]) + 1), *lines[2:]])


def change_entry(bundle: dict[str, Any]) -> None:
    """Put another entry into the log's mouth."""
    bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] = b64(b'{"apiVersion":"0.0.2"}')


def change_statement(bundle: dict[str, Any]) -> None:
    """Change what was signed."""
    bundle["dsseEnvelope"]["payload"] = b64(STATEMENT.replace(b'"a"', b'"b"'))


@pytest.mark.parametrize("tamper", [drop_stamps, change_root_hash, change_checkpoint, change_entry, change_statement])
def test_what_it_proves_is_needed(instance: PrivateSigstore, tamper: Callable[[dict[str, Any]], None]) -> None:
    """Each part of its proof is real: without it, or with another one, the library refuses the bundle."""
    bundle = json.loads(signed(instance).to_json())
    tamper(bundle)
    with pytest.raises((VerificationError, InvalidBundle)):
        verify(instance, bundle)


def test_another_ct_log_is_not_believed(instance: PrivateSigstore) -> None:
    """The SCT in its certificates is by its CT key: a client that trusts another key gets no signature."""
    ours = instance.fulcio.log
    instance.fulcio.log = CtLog()
    trust = json.dumps(instance.trust_config())
    instance.fulcio.log = ours
    context = SigningContext.from_trust_config(ClientTrustConfig.from_json(trust))
    with (
        pytest.raises(VerificationError, match="SCT"),
        context.signer(IdentityToken(instance.issuer.token())),
    ):
        pytest.fail("a certificate without a believed SCT was taken")


def certificate_request(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """Build a request for a key."""
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())


def ask_fulcio(instance: PrivateSigstore, token: str, pem: bytes | None = None) -> requests.Response:
    """Ask for a certificate as the library does."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = pem or certificate_request(key).public_bytes(serialization.Encoding.PEM)
    return requests.post(
        f"{instance.fulcio.service.url}/api/v2/signingCert",
        json={"certificateSigningRequest": base64.b64encode(csr).decode()},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )


def test_fulcio_takes_the_issuers_own_tokens_only(instance: PrivateSigstore) -> None:
    """A forged, expired, unknown, misdirected or nameless token gets no certificate, and is told why."""
    other = Issuer()
    other.service = instance.issuer.service  # claims the same address, and signs with a key of its own
    refused = {
        "another key": other.token(),
        "expired": instance.issuer.token(exp=1),
        "another audience": instance.issuer.token(aud="elsewhere"),
        "another issuer": instance.issuer.token(iss="https://elsewhere.example"),
        "no workload": instance.issuer.token(sub="somebody"),
        "an unverified e-mail": instance.issuer.token(sub="somebody", email="a@corp.example"),
        "no token": "",
    }
    for what, token in refused.items():
        answer = ask_fulcio(instance, token)
        assert answer.status_code == 400, what
        assert "identity token" in answer.json()["message"], what
    assert ask_fulcio(instance, instance.issuer.token()).status_code == 201


def test_fulcio_forgets_keys_that_the_issuer_withdrew(instance: PrivateSigstore) -> None:
    """A token by a key that is not published any more is refused; one that is still published is taken."""
    before = instance.issuer.token()
    instance.issuer.rotate(keep_old=True)
    assert ask_fulcio(instance, before).status_code == 201
    instance.issuer.rotate()
    assert ask_fulcio(instance, before).status_code == 400


def test_fulcio_wants_proof_of_the_key(instance: PrivateSigstore) -> None:
    """A request whose signature does not hold gets no certificate."""
    good = certificate_request(ec.generate_private_key(ec.SECP256R1())).public_bytes(serialization.Encoding.DER)
    bad = x509.load_der_x509_csr(good[:-1] + bytes([good[-1] ^ 1])).public_bytes(serialization.Encoding.PEM)
    assert ask_fulcio(instance, instance.issuer.token(), bad).status_code == 400


def test_rekor_takes_signatures_that_verify_only(instance: PrivateSigstore) -> None:
    """An entry whose signature is not by its key over its digest is not logged."""
    key = ec.generate_private_key(ec.SECP256R1())
    digest, signature = sha256(b"told").digest(), key.sign(b"told", ec.ECDSA(hashes.SHA256()))
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    verifier = {"publicKey": {"rawBytes": b64(public)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}

    def ask(digest: bytes, signature: bytes) -> requests.Response:
        wanted = {"digest": b64(digest), "signature": {"content": b64(signature), "verifier": verifier}}
        url = f"{instance.rekor.service.url}/api/v2/log/entries"
        return requests.post(url, json={"hashedRekordRequestV002": wanted}, timeout=10)

    before = instance.rekor.size
    assert ask(sha256(b"another").digest(), signature).status_code == 400
    assert ask(digest, signature[:-1] + bytes([signature[-1] ^ 1])).status_code == 400
    assert ask(digest[:-1], signature).status_code == 400
    assert instance.rekor.size == before
    answer = ask(digest, signature)
    assert answer.status_code == 201
    proof = answer.json()["inclusionProof"]
    body = base64.b64decode(answer.json()["canonicalizedBody"])
    assert merkle.verify_inclusion(
        body,
        int(proof["logIndex"]),
        int(proof["treeSize"]),
        [base64.b64decode(one) for one in proof["hashes"]],
        base64.b64decode(proof["rootHash"]),
    )


def test_the_tsa_stamps_queries_only(instance: PrivateSigstore) -> None:
    """What is no time-stamp query, by its type or its bytes, gets no stamp."""
    kind = {"Content-Type": "application/timestamp-query"}
    assert requests.post(instance.tsa.url, data=b"x", timeout=10).status_code == 415
    answer = requests.post(instance.tsa.url, data=b"not DER", headers=kind, timeout=10)
    assert decode_timestamp_response(answer.content).status == REJECTED


def test_the_token_endpoint_wants_the_secret(instance: PrivateSigstore) -> None:
    """Client credentials are checked: a wrong secret gets no token."""
    form = {"grant_type": "client_credentials"}
    answer = requests.post(instance.issuer.token_url, data=form, auth=("access-reconciler", "wrong"), timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_faults_are_what_they_say(instance: PrivateSigstore) -> None:
    """Down refuses, a black hole never answers, an error page is HTML, and a mended service works again."""
    url = f"{instance.issuer.url}/jwks"
    instance.issuer.service.fail(Fault.DOWN)
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    instance.issuer.service.fail(Fault.BLACK_HOLE)
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=0.2)
    instance.issuer.service.fail(Fault.ERROR)
    answer = requests.get(url, timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "text/html")
    instance.issuer.service.fail(None)
    assert requests.get(url, timeout=5).json()["keys"]


def test_authorities_are_told_apart(instance: PrivateSigstore) -> None:
    """A certificate of another authority, though of the same name, is not believed."""
    bundle = json.loads(signed(instance).to_json())
    ours = instance.fulcio.authority
    instance.fulcio.authority = Authority("fulcio")
    root = instance.trusted_root()
    instance.fulcio.authority = ours
    with pytest.raises(VerificationError):
        verify(instance, bundle, root)
