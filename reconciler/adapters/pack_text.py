"""What a pack tells its reader: a README with commands that work without our code, and where controls are answered.

The control texts are our own words; numbers refer to the AICPA's Trust Services Criteria (2017, points of focus of
2022), ISO/IEC 27001:2022 annex A and Regulation (EU) 2016/679.
"""

from typing import Final

from reconciler.adapters.pack_order import Manifest, Profile
from reconciler.core.statement import PAYLOAD_TYPE, PREDICATE_TYPE

_CONTROLS: Final[dict[Profile, tuple[tuple[str, str, str, str], ...]]] = {
    Profile.SOC2: (
        (
            "CC6.1",
            "Is logical access known, everywhere it exists?",
            "inventory; dataAsOf",
            "coverage.json; summary.csv",
        ),
        ("CC6.2", "Is access removed when people leave?", "leavers; roster; slo", "population.csv; decisions/"),
        ("CC6.3", "Is access decided by rule and approved?", "policy; decisions; plan", "policy/; held-plans.json"),
        ("CC6.3", "Are exceptions known and limited?", "waivers; decisions.waived", "waivers.json; matrix.csv"),
        ("CC7.2", "Are failures noticed?", "errors; actions.failed; actions.unknown", "summary.csv"),
        ("CC8.1", "Are changes of program, policy and limits known?", "reconciler; policy; guardrails", "policy/"),
    ),
    Profile.ISO27001: (
        ("A.5.15", "Is access decided by rule?", "policy; decisions", "policy/; matrix.csv"),
        ("A.5.16", "Is every identity somebody's?", "inventory; decisions.byRule", "coverage.json; matrix.csv"),
        (
            "A.5.18",
            "Is access reviewed, and removed when due?",
            "leavers; actions; waivers",
            "population.csv; waivers.json",
        ),
        ("A.6.5", "What becomes of access after employment?", "roster; leavers; slo", "population.csv; decisions/"),
        ("A.8.2", "Who released what was held?", "plan; guardrails", "held-plans.json"),
        ("A.8.15", "Are records protected?", "previous; log; commitments", "attestations/; checkpoints/; proofs/"),
    ),
    Profile.GDPR: (
        ("Art. 5(1)(f)", "Can only those see data who should?", "decisions; actions", "matrix.csv; population.csv"),
        ("Art. 5(2)", "Can that be shown?", "previous; log", "attestations/; checkpoints/; proofs/"),
        ("Art. 25", "Is no more personal data shown than needed?", "commitments", "manifest.json (disclose)"),
        ("Art. 32(1)(b)", "Is confidentiality kept when people leave?", "leavers; slo", "population.csv"),
        (
            "Art. 32(1)(d)",
            "Is that tested at regular times?",
            "sequence; outcome; inventory",
            "summary.csv; coverage.json",
        ),
    ),
}
_PROFILES: Final = {
    Profile.SOC2: "It was made for an examination under the Trust Services Criteria (SOC 2).",
    Profile.ISO27001: "It was made for an audit of controls of ISO/IEC 27001:2022, annex A.",
    Profile.GDPR: "It was made to show security of processing under the GDPR; of persons it says what `disclose` says.",
}
_README: Final = """\
# Evidence of access reconciliation

{cycles} cycles, {first} to {last}; disclosed: {disclose}. {profile}
{begins}

| file | holds |
| --- | --- |
| `controls.csv` | each control, the fields of a statement and the files that answer it |
| `attestations/` | for each cycle its statement (in-toto) and the Sigstore bundle that signs it |
| `population.csv` | all who had left, cycle by cycle: end of access by HR, decided, acted, verified, effective by |
| `matrix.csv` | the last whole cycle: workers by systems, and what was found |
| `held-plans.json`, `waivers.json` | what was held and who released it; how many exceptions were in force |
| `summary.csv`, `coverage.json` | each month; what was not covered; what is left at the end |
| `decisions/` | the disclosed records, each with its inclusion proof, and what opens it |
| `policy/` | the policies that decided; the first line of each file is its name |
| `checkpoints/`, `proofs/` | states of the log over all records, and its leaf hashes |
| `sha256/` | evidence that statements name by digest |
| `manifest.json` | SHA-256 of every file |
| `manifest.sigstore.json` | where it is here: the signature of the cycles' signer over the manifest |

## Verify everything

Offline, from `pip install 'access-reconciler[verify]'`:

    access-reconciler attestations verify --pack PACK.zip {whom} --expect-head {head}
    access-reconciler attestations chain --pack PACK.zip {whom}

Exit code 0: verified. 3: verified, with interrupted cycles, cycles that could not see everything, or records that are
no longer there. 1: not verified. The tables are made anew from the signed records and compared. This file, the
controls and the schema follow from no record: the manifest tells them. `verify` says whether the manifest is signed;
where it is not, have its digest from the operator by another way and give it as `--expect-manifest`.

{by_hand}
Each statement names the SHA-256 of the one before it (`predicate.previous.statementDigest`): `sha256sum` of the
statement files shows the chain.

## What this does not prove

- {limits}
- That the inventory is true: a statement says what systems answered.

Keep the head above: a later pack that reaches back so far must contain it.
"""
_KEY: Final = """\
## Verify one attestation without our code

All trust rests on one key. Compare its fingerprint with one that you received by another way than this file:

    {signer}

With OpenSSL; the first command prints the fingerprint, the last one `Verified OK`:

```sh
openssl pkey -pubin -in {key} -outform DER | openssl dgst -sha256
bundle={bundle}
statement={statement}
grep -o '"sig":"[^"]*"' "$bundle" | cut -d'"' -f4 | openssl base64 -d -A > signature.der
printf 'DSSEv1 {type_length} {type} %d ' "$(wc -c < "$statement")" | cat - "$statement" > signed.bin
openssl dgst -sha256 -verify {key} -signature signature.der signed.bin
```

With cosign (3.0.5 or later); there is no transparency log to ask:

    cosign verify-blob-attestation --bundle {bundle} --key {key} --insecure-ignore-tlog \\
      --type {predicate} --digest {subject} --digestAlg sha256

The client of Sigstore (`sigstore`) knows no keys and refuses these bundles.

"""
_KEYLESS: Final = """\
## Verify one attestation without our code

All trust rests on three things that are not in this file. Have them by another way: the trusted root, or client
trust configuration, of the Sigstore instance (`TRUST`), the identity that must have signed (`ID`), and the issuer that
vouches for it (`ISSUER`). This pack was verified as signed by `{signer}`; compare.

With the Python client of Sigstore (no network; it prints the statement):

    sigstore --trust-config TRUST verify identity --bundle {bundle} --cert-identity ID \\
      --cert-oidc-issuer ISSUER sha256:{subject}

With cosign (3.0.5 or later; `TRUSTED_ROOT` is the trusted root alone):

    cosign verify-blob-attestation --bundle {bundle} --trusted-root TRUSTED_ROOT --use-signed-timestamps \\
      --certificate-identity ID --certificate-oidc-issuer ISSUER --type {predicate} \\
      --digest {subject} --digestAlg sha256

OpenSSL shows whom a certificate names (a bundle holds it as `rawBytes`):

```sh
grep -o '"rawBytes":"[^"]*"' {bundle} | head -n 1 | cut -d'"' -f4 | openssl base64 -d -A > certificate.der
openssl x509 -inform DER -in certificate.der -noout -ext subjectAltName
```

"""
_KEY_LIMITS: Final = (
    "That nobody signed other statements, or at other times: the mode is `managed-key`, whoever held the key could; no "
    "transparency log and no trusted clock bear witness."
)
_KEYLESS_LIMITS: Final = (
    "That the instance's operator made no certificates for themselves: watch the instance's logs for this identity."
)


def controls(profile: Profile) -> list[tuple[str, str, str, str]]:
    """Return the rows of `controls.csv`, its head first."""
    return [("control", "question", "statement_fields", "files"), *_CONTROLS[profile]]


def readme(manifest: Manifest, *, key: str, first_files: tuple[str, str], subject: str) -> str:
    """Return the README; `first_files` are bundle and statement of the first cycle, `subject` a digest that it names.

    `key` is where the public key lies in the pack; empty with keyless signing.
    """
    bundle, statement = first_files
    after = manifest.after
    by_hand = (_KEY if key else _KEYLESS).format(
        signer=manifest.signer,
        key=key,
        bundle=bundle,
        statement=statement,
        subject=subject,
        predicate=PREDICATE_TYPE,
        type=PAYLOAD_TYPE,
        type_length=len(PAYLOAD_TYPE),
    )
    return _README.format(
        cycles=manifest.cycles,
        first=manifest.first.sequence,
        last=manifest.last.sequence,
        disclose=manifest.disclose,
        profile=_PROFILES[Profile(manifest.profile)],
        begins=(
            "It begins where the chain does."
            if after is None
            else f"It begins in the middle of the chain: cycle {after.sequence} ({after.digest}) is before it."
        ),
        whom="--key KEY.pub" if key else "--trust-root TRUST --identity ID --issuer ISSUER",
        head=f"{manifest.last.sequence}:{manifest.last.digest}",
        by_hand=by_hand,
        limits=_KEY_LIMITS if key else _KEYLESS_LIMITS,
    )
