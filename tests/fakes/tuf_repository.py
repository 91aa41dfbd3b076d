"""A TUF repository that hands out the trust of a private instance, signed, versioned and over HTTP."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # re-exported, no __all__
from tuf.api import metadata as tuf

from reconciler.demo.sigstore.service import NOT_FOUND, Reply, Request, Service

ROLES = ("root", "timestamp", "snapshot", "targets")


@dataclass(slots=True)
class TufRepository:
    """One key signs every role; each publication is a new version."""

    service: Service = field(init=False)
    version: int = 0
    _signer: Any = field(default_factory=CryptoSigner.generate_ed25519)
    _files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.service = Service(self._answer)
        root = tuf.Root(expires=_later(), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(self._signer.public_key, role)
        self._files["/1.root.json"] = self._signed(root)

    @property
    def first_root(self) -> bytes:
        """Return the root that a client is given before it trusts anything here."""
        return self._files["/1.root.json"]

    def publish(self, trusted_root: Mapping[str, Any], signing_config: Mapping[str, Any]) -> None:
        """Publish a new version of both documents."""
        self.version += 1
        targets = {}
        for name, document in {
            "trusted_root.json": trusted_root,
            "signing_config.v0.2.json": signing_config,
        }.items():
            content = json.dumps(document).encode()
            targets[name] = tuf.TargetFile.from_data(name, content, ["sha256"])
            self._files[f"/targets/{sha256(content).hexdigest()}.{name}"] = content
        number = self.version
        self._files[f"/{number}.targets.json"] = self._signed(tuf.Targets(number, expires=_later(), targets=targets))
        meta = {"targets.json": tuf.MetaFile(number)}
        self._files[f"/{number}.snapshot.json"] = self._signed(tuf.Snapshot(number, expires=_later(), meta=meta))
        stamp = tuf.Timestamp(number, expires=_later(), snapshot_meta=tuf.MetaFile(number))
        self._files["/timestamp.json"] = self._signed(stamp)

    def forge(self) -> None:
        """Let the newest targets be signed by somebody else."""
        ours, self._signer = self._signer, CryptoSigner.generate_ed25519()
        number = self.version
        self._files[f"/{number}.targets.json"] = self._signed(tuf.Targets(number, expires=_later()))
        self._signer = ours

    def _signed(self, signed: Any) -> bytes:
        metadata: tuf.Metadata[Any] = tuf.Metadata(signed)
        metadata.sign(self._signer)
        content: bytes = metadata.to_bytes()
        return content

    def _answer(self, request: Request) -> Reply:
        content = self._files.get(request.path)
        return NOT_FOUND if content is None else Reply(status=200, body=content)


def _later() -> datetime:
    return (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
