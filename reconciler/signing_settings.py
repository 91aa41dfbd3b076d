"""The settings of signing: a key of our own, or a workload's identity. One never stands in for the other."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reconciler.core.spooling import Pace

_HTTPS_OR_HERE = r"^(?:|https://[^\s@]+|http://(?:127\.0\.0\.1|localhost|\[::1\])[:/][^\s@]*)$"
"""TLS, or this very host: tokens and secrets travel to these addresses."""

_NEEDS = {
    "file": ("file",),
    "kubernetes": ("file",),
    "spiffe": ("file",),
    "client_credentials": ("token_url", "client_id", "client_secret_file"),
    "command": ("command",),
    "ambient": (),
}


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenSettings(_Block):
    """Where the identity token comes from. It is fetched anew for each attempt and kept for no other."""

    source: Literal["file", "kubernetes", "spiffe", "client_credentials", "ambient", "command"] = Field(
        description="`file`, or one kept by `kubernetes` or `spiffe`; `client_credentials`; `ambient` (CI); `command`."
    )
    audience: str = Field(default="sigstore", min_length=1, description="Audience that the token must be for.")
    file: Path | None = Field(
        default=None, description="File that somebody keeps fresh: a projected service account token, a JWT-SVID."
    )
    token_url: str = Field(
        default="", pattern=_HTTPS_OR_HERE, description="OAuth 2.0 token endpoint, for `client_credentials`."
    )
    client_id: str = Field(default="", description="Client id there.")
    client_secret_file: Path | None = Field(default=None, description="File with the client's secret.")
    scope: str = Field(default="", description="Scope to ask for; none when empty.")
    command: tuple[str, ...] = Field(
        default=(), description="Program and arguments that print a token, for `command`. No shell is involved."
    )

    @model_validator(mode="after")
    def _what_the_source_needs(self) -> Self:
        """Refuse a source without its settings, and settings of another source, which would seem to be in force."""
        needed = set(_NEEDS[self.source])
        given = {name for names in _NEEDS.values() for name in names if getattr(self, name)}
        if missing := sorted(needed - given):
            msg = f"token source {self.source!r} needs {', '.join(missing)}"
            raise ValueError(msg)
        if stray := sorted(given - needed):
            msg = f"token source {self.source!r} does not use {', '.join(stray)}"
            raise ValueError(msg)
        return self


class SigstoreSettings(_Block):
    """Keyless signing: a certificate of minutes for the identity of this workload, logged and time-stamped."""

    identity: str = Field(
        min_length=1, description="Who signs, as the certificate names it: a workload's URI, never a person's e-mail."
    )
    issuer: str = Field(min_length=1, description="Who vouches for that identity, as the certificate names it.")
    token: TokenSettings = Field(description="Where the identity token comes from.")
    trust_config_file: Path | None = Field(
        default=None, description="The instance, as a client trust configuration (JSON). Either this or `tuf_url`."
    )
    tuf_url: str = Field(
        default="", pattern=_HTTPS_OR_HERE, description="The instance, by its TUF repository. Either this or the file."
    )
    tuf_root_file: Path | None = Field(
        default=None, description="First root of that repository; not needed for the public one."
    )
    public_log: str = Field(
        default="", description="Acceptance of what becomes public, as `doctor` prints it; empty: nothing may."
    )
    ca_file: Path | None = Field(default=None, description="PEM file of the authorities of the instance's TLS.")
    deadline_seconds: float = Field(
        default=90.0, ge=1, le=600, description="Longest for one signature. A log may take 20 s: stay above 60."
    )

    @model_validator(mode="after")
    def _one_instance(self) -> Self:
        """Refuse none and two instances: which one is meant must be plain."""
        if (self.trust_config_file is None) == (not self.tuf_url):
            msg = "give either trust_config_file or tuf_url"
            raise ValueError(msg)
        if self.tuf_root_file is not None and not self.tuf_url:
            msg = "tuf_root_file needs tuf_url"
            raise ValueError(msg)
        return self

    def anchored(self, folder: Path) -> Self:
        """Return the same with every path relative to a folder made absolute."""
        token = self.token.model_copy(
            update={name: _under(folder, getattr(self.token, name)) for name in ("file", "client_secret_file")}
        )
        names = ("trust_config_file", "tuf_root_file", "ca_file")
        paths = {name: _under(folder, getattr(self, name)) for name in names}
        return self.model_copy(update={**paths, "token": token})


class SigningSettings(_Block):
    """How attestations are signed. One mode never stands in for another."""

    mode: Literal["managed-key", "sigstore"] = Field(
        default="managed-key", description="A P-256 key of our own, or `sigstore`: keyless, as this workload."
    )
    key_file: Path | None = Field(default=None, description="Private key; default `<state_dir>/keys/attestation.pem`.")
    key_uri: str = Field(
        default="",
        pattern=r"^(?:|file2:/\S+|awskms:\S+|gcpkms:projects/\S+|azurekms://\S+|hv:[^\s/]+/[1-9][0-9]*|hsm:\S*)$",
        description="A key that somebody else keeps, in place of a key file: `awskms:`, `gcpkms:`, `azurekms:`, `hv:` "
        "(Vault), `hsm:` (PKCS#11) or `file2:`, as securesystemslib writes it.",
    )
    public_key_file: Path | None = Field(
        default=None, description="Public half (PEM, P-256) of that key: each signature is verified against it."
    )
    pin_file: Path | None = Field(default=None, description="File with the PIN of a PKCS#11 device, for `hsm:`.")
    deadline_seconds: float = Field(default=30.0, ge=1, le=600, description="Longest for one signature of a `key_uri`.")
    sigstore: SigstoreSettings | None = Field(default=None, description="What mode `sigstore` needs.")
    required: bool = Field(
        default=False, description="No attestation, no act: begin no cycle while a statement waits for its signature."
    )
    first_retry_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="Pause after an attempt to sign that failed; doubled after each more."
    )
    longest_retry_seconds: float = Field(default=600.0, gt=0, le=86400, description="Longest such pause.")

    @property
    def pace(self) -> Pace:
        """Return how long to wait after an attempt to sign that failed."""
        return Pace(first_seconds=self.first_retry_seconds, longest_seconds=self.longest_retry_seconds)

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        """Refuse a mode without its settings, and settings of the other mode."""
        if (self.mode == "sigstore") != (self.sigstore is not None):
            msg = "mode `sigstore` and the block `sigstore` need each other"
            raise ValueError(msg)
        if self.sigstore is not None and self.key_file is not None:
            msg = "mode `sigstore` has no key_file: nothing is ever signed with a key in its place"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        """Refuse two keys, and half of what one needs: which one signs must be plain."""
        if not self.key_uri and (self.public_key_file or self.pin_file):
            msg = "public_key_file and pin_file belong to a key_uri"
            raise ValueError(msg)
        if self.key_uri and (self.mode == "sigstore" or self.key_file is not None):
            msg = "key_uri, key_file and mode `sigstore` exclude one another: nothing is signed with one for another"
            raise ValueError(msg)
        if self.key_uri and self.public_key_file is None:
            msg = "key_uri needs public_key_file: each signature is verified against it"
            raise ValueError(msg)
        if self.key_uri.startswith("hsm:") != (self.pin_file is not None):
            msg = "key_uri `hsm:` and pin_file need each other"
            raise ValueError(msg)
        return self

    def anchored(self, folder: Path) -> Self:
        """Return the same with every path relative to a folder made absolute."""
        sigstore = None if self.sigstore is None else self.sigstore.anchored(folder)
        paths = {name: _under(folder, getattr(self, name)) for name in ("key_file", "public_key_file", "pin_file")}
        return self.model_copy(update={**paths, "sigstore": sigstore})


def _under(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path
