"""Verifiers of what we sign: our own, and others that share no code with it. Each judges a signed cycle.

None is asked over the network, and none gets more than an auditor brings: trust root, identity, issuer, the predicate's
type, and the evidence file that is to be a subject.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from reconciler.adapters.attestations import verify
from reconciler.adapters.sigstore_identity import TrustedIdentity
from reconciler.core.statement import PREDICATE_TYPE
from tests import peers

_SECONDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A bundle, and what whoever verifies it expects."""

    stem: str
    """Name of the cycle's files, without what follows the id."""
    bundle: bytes
    statement: bytes
    """The statement as it lies beside the bundle."""
    evidence: bytes
    """Content of the file that is to be the subject `decision-log`."""
    evidence_digest: str
    """Under which digest that file lies in the evidence (hex)."""
    trust: dict[str, Any]
    """The client trust configuration."""
    identity: str
    issuer: str
    predicate_type: str = PREDICATE_TYPE


def b64(content: bytes) -> str:
    """Return standard base64."""
    return base64.b64encode(content).decode()


def stored(evidence: Path, bundle: Path, trust: dict[str, Any], identity: str, issuer: str) -> Case:
    """Return the case of a cycle as it lies in an evidence folder."""
    stem = bundle.name.removesuffix(".sigstore.json")
    statement = bundle.with_name(f"{stem}.statement.json").read_bytes()
    subjects = {one["name"]: one["digest"]["sha256"] for one in json.loads(statement)["subject"]}
    digest = subjects["decision-log"]
    return Case(
        stem=stem,
        bundle=bundle.read_bytes(),
        statement=statement,
        evidence=(evidence / "sha256" / digest[:2] / digest).read_bytes(),
        evidence_digest=digest,
        trust=trust,
        identity=identity,
        issuer=issuer,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier made of a case."""

    statement: bytes | None
    """What it holds for signed, where it says so; None when it refused."""
    why: str

    @property
    def accepted(self) -> bool:
        """Say whether it accepted the bundle."""
        return self.statement is not None


Judge = Callable[[Sequence[Case], Path], list[Verdict]]
"""Judges cases, with a folder to write into."""


def ours(cases: Sequence[Case], folder: Path) -> list[Verdict]:
    """Verify as `attestations verify` does: a folder with this one cycle and the evidence that its subject names."""
    return [_ours(case, folder / str(number)) for number, case in enumerate(cases)]


def _ours(case: Case, root: Path) -> Verdict:
    attestations = root / "attestations"
    stored = root / "sha256" / case.evidence_digest[:2] / case.evidence_digest
    for place in (attestations, stored.parent):
        place.mkdir(parents=True)
    stored.write_bytes(case.evidence)
    (attestations / f"{case.stem}.sigstore.json").write_bytes(case.bundle)
    (attestations / f"{case.stem}.statement.json").write_bytes(case.statement)
    trust = root.with_name(f"{root.name}-trust.json")
    trust.write_text(json.dumps(case.trust))
    report = verify(root, TrustedIdentity.from_file(trust, case.identity, case.issuer))
    codes = ", ".join(sorted({problem.code for problem in report.problems}))
    return Verdict(statement=case.statement if report.verified else None, why=codes)


_DRIVER = """
import contextlib, io, json, sys, traceback
from sigstore._cli import main
for line in sys.stdin:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(json.loads(line))
        except SystemExit as end:
            code = end.code
        except Exception:
            code = 1
            traceback.print_exc()
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
"""Calls the command's own entry point for many command lines, since to import it takes longer than to verify."""


def sigstore_command(cases: Sequence[Case], folder: Path) -> list[Verdict]:
    """Verify with `sigstore verify identity`, the client of Sigstore in Python."""
    asked = "".join(
        json.dumps(_sigstore_arguments(case, folder / str(number))) + "\n" for number, case in enumerate(cases)
    )
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER], input=asked, capture_output=True, text=True, check=True, timeout=_SECONDS
    )
    return [_sigstore_verdict(*json.loads(line)) for line in done.stdout.splitlines()]


def _sigstore_arguments(case: Case, folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "trust.json").write_text(json.dumps(case.trust))
    (folder / "bundle.sigstore.json").write_bytes(case.bundle)
    given = ["--trust-config", str(folder / "trust.json"), "verify", "identity"]
    given += ["--bundle", str(folder / "bundle.sigstore.json")]
    given += ["--cert-identity", case.identity, "--cert-oidc-issuer", case.issuer]
    return [*given, f"sha256:{sha256(case.evidence).hexdigest()}"]


def _sigstore_verdict(code: int, out: str, err: str) -> Verdict:
    assert code in (0, 1), f"sigstore was called wrongly: {err}"
    return Verdict(statement=out.removesuffix("\n").encode() if code == 0 else None, why=err)


def node(cases: Sequence[Case], folder: Path) -> list[Verdict]:
    """Verify with `@sigstore/verify`, in JavaScript. It is shown no subject, and asks for no type of predicate."""
    folder.mkdir(exist_ok=True)
    asked = "".join(
        json.dumps(
            {
                "bundle": b64(case.bundle),
                "root": case.trust["trustedRoot"],
                "identity": case.identity,
                "issuer": case.issuer,
            }
        )
        + "\n"
        for case in cases
    )
    done = subprocess.run(
        peers.require_node_verifier(), input=asked, capture_output=True, text=True, check=True, timeout=_SECONDS
    )
    return [_node_verdict(json.loads(line)) for line in done.stdout.splitlines()]


def _node_verdict(answer: dict[str, str]) -> Verdict:
    if "refused" in answer:
        return Verdict(statement=None, why=answer["refused"])
    return Verdict(statement=base64.b64decode(answer["statement"]), why="")


def cosign(cases: Sequence[Case], folder: Path) -> list[Verdict]:
    """Verify with `cosign verify-blob-attestation`. It does not say what was signed."""
    program = peers.require_sigstore_service("cosign")
    return [_cosign(program, case, folder / str(number)) for number, case in enumerate(cases)]


def _cosign(program: str, case: Case, folder: Path) -> Verdict:
    folder.mkdir(parents=True)
    (folder / "root.json").write_text(json.dumps(case.trust["trustedRoot"]))
    (folder / "bundle.sigstore.json").write_bytes(case.bundle)
    (folder / "evidence").write_bytes(case.evidence)
    command = [program, "verify-blob-attestation", "--bundle", str(folder / "bundle.sigstore.json")]
    command += ["--trusted-root", str(folder / "root.json"), "--use-signed-timestamps", "--type", case.predicate_type]
    command += ["--certificate-identity", case.identity, "--certificate-oidc-issuer", case.issuer]
    done = subprocess.run(
        [*command, str(folder / "evidence")], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    assert done.returncode in (0, 1), f"cosign was called wrongly: {done.stderr}"
    return Verdict(statement=case.statement if done.returncode == 0 else None, why=done.stderr)
