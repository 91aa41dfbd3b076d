"""What keyless signing is called, and what of it would become public: shared by signer, child and verifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.core.canonical import sha256_hex

MODE = "keyless"
_PUBLIC = ("sigstore.dev", "sigstage.dev")
"""The domains of the public-good instance and of its staging twin: whatever they log stays readable to everybody."""
_CODE_LENGTH = 16


def signer_name(identity: str, issuer: str) -> str:
    """Return how statements, chains and reports name a keyless signer."""
    return f"{identity} by {issuer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Where one signature goes."""

    fulcio: str
    rekor: str
    """Address with the version of its interface, such as `https://rekor.example/api/v2`."""
    stampers: tuple[str, ...]

    @property
    def public(self) -> tuple[str, ...]:
        """Return the addresses that are the public instance's."""
        every = (self.fulcio, self.rekor, *self.stampers)
        return tuple(one for one in every if _is_public(urlsplit(one).hostname or ""))

    @property
    def whole_statement(self) -> bool:
        """Say whether the log is sent the whole statement (Rekor 1) and not its digest alone (Rekor 2)."""
        return not self.rekor.rstrip("/").endswith("/v2")


def _is_public(host: str) -> bool:
    return any(host == one or host.endswith(f".{one}") for one in _PUBLIC)


def becomes_public(services: Services, identity: str, issuer: str) -> Sequence[str]:
    """Return, line by line, what each signature makes public for good; empty with a private instance."""
    if not services.public:
        return ()
    statement = "the whole statement is sent to it" if services.whole_statement else "of the statement, its digest"
    return (
        f"certificates, in a public log: the identity {identity}, the issuer {issuer}, and when it signs",
        f"signatures, in the log {services.rekor}: the certificate again, the signature, and {statement}",
        f"time stamps, by {', '.join(services.stampers) or 'nobody'}: the digest of each signature",
        "the rhythm of cycles, and that this installation exists; nothing of it can ever be deleted",
    )


def acceptance(lines: Sequence[str]) -> str:
    """Return the code by which an operator accepts exactly these lines; it changes when they do."""
    return sha256_hex("\n".join(lines).encode())[:_CODE_LENGTH]
