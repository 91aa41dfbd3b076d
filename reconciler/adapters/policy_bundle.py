"""Signed OPA bundles of policies: written for OPA's own verification, and read only after OPA has verified them.

The archive may be anybody's. It is read into memory within bounds, nothing but ordinary files with plain names is let
in, and what OPA verifies is an archive made anew of exactly what was read: no two readers can take it for two things.
`opa build` verifies signatures only since 1.21.3 as it should (GHSA-g2pf-6v5v-qcc8), and never asks which key id the
signature itself names, so that is compared here.
"""

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from inventory.regular_files import read_regular
from reconciler.adapters.durable_file import replace_file
from reconciler.adapters.policy_store import MOST_BYTES, MOST_FILES, Files
from reconciler.core.errors import PolicyError, SettingsError

SIGNATURES: Final = ".signatures.json"
MOST_PACKED_BYTES: Final = 10_000_000
_MANIFEST: Final = ".manifest"
_MOST_KEY_BYTES: Final = 64 * 1024
_LEAST_RSA_BITS: Final = 2048
_LONGEST_SECONDS: Final = 120.0
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LEAST_OPA: Final = (1, 21, 3)
_MAKE: Final = "make bundles with `access-reconciler policies bundle`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key file with what OPA has to be told of it."""

    path: Path
    algorithm: str
    key_id: str
    """As named, or the fingerprint of the public key: `sha256:` and hex over its SubjectPublicKeyInfo."""


def signing_key(path: Path, key_id: str) -> Key:
    """Return a private key to sign with; raises `SettingsError` when OPA could not use it."""
    try:
        private = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"{path}: is no private key in PEM without a passphrase", advice="RSA of 2048 bits or more, or EC"
        ) from error
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{path}: OPA signs with RSA and EC keys only", advice="make one of these")
    return _key(path, private.public_key(), key_id)


def verification_key(path: Path, key_id: str) -> Key:
    """Return a public key to verify with; raises `SettingsError` when OPA could not use it."""
    try:
        public = load_pem_public_key(_read(path))
    except ValueError as error:
        raise SettingsError(f"{path}: is no public key in PEM", advice="name the public half of the key") from error
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise SettingsError(f"{path}: OPA verifies RSA and EC keys only", advice="name such a key")
    return _key(path, public, key_id)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST_KEY_BYTES)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}", advice="check its path and mode") from error


def _key(path: Path, public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, key_id: str) -> Key:
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < _LEAST_RSA_BITS:
            raise SettingsError(f"{path}: has only {public.key_size} bits", advice="RSA of 2048 bits or more, or EC")
        algorithm = "RS256"
    else:
        algorithm = _CURVES.get(public.curve.name, "")
        if not algorithm:
            raise SettingsError(f"{path}: OPA knows no curve {public.curve.name}", advice="P-256, P-384 or P-521")
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(path=path, algorithm=algorithm, key_id=key_id or f"sha256:{hashlib.sha256(spki).hexdigest()}")


def write_bundle(files: Files, target: Path, key: Key, opa: Path, revision: str) -> None:
    """Write a signed bundle of a policy tree; raises `PolicyError` where OPA does not sign it."""
    manifest = json.dumps({"revision": revision, "roots": ["access"], "rego_version": 1})
    members = {name: text.encode() for name, text in (*files, (_MANIFEST, manifest))}
    with tempfile.TemporaryDirectory(prefix="access-reconciler-bundle-") as place:
        tree = Path(place) / "tree"
        for name, content in members.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(content)
        claims = Path(place) / "claims.json"
        claims.write_text(json.dumps({"keyid": key.key_id}), encoding="utf-8")
        signing = ("--signing-key", str(key.path.resolve()), "--signing-alg", key.algorithm)
        _run(opa, tree, "sign", "--bundle", ".", *signing, "--claims-file", str(claims), "--output-file-path", ".")
        members[SIGNATURES] = (tree / SIGNATURES).read_bytes()
    replace_file(target, _packed(members))


def read_bundle(path: Path, key: Key, opa: Path) -> Files:
    """Return the policy tree of a bundle whose signature is right.

    Raises `PolicyError` naming the file in it that is unsigned, altered, added or missing, or what else is wrong.
    """
    try:
        raw = read_regular(path, MOST_PACKED_BYTES)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}", advice=_MAKE) from error
    members = dict(_members(path, _unpacked(path, raw)))
    if SIGNATURES not in members:
        raise PolicyError(f"{path}: is not signed: it holds no {SIGNATURES}", advice=_MAKE)
    _verify(path, members, key, opa)
    return tuple(sorted((name, _text(path, name, content)) for name, content in members.items() if _kept(name)))


def _kept(name: str) -> bool:
    place = Path(name)
    return (
        place.suffix == ".rego"
        or (place.name == "data.json" and name.startswith("access/"))
        or (place.parent == Path("waivers") and place.suffix in {".yaml", ".yml"})
    )


def _text(path: Path, name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: {name}: cannot be read as UTF-8 text", advice=_MAKE) from error


def _unpacked(path: Path, raw: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
            content = packed.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PolicyError(f"{path}: is no whole gzip archive", advice=_MAKE) from error
    if len(content) > MOST_BYTES:
        raise PolicyError(f"{path}: unpacks to more than {MOST_BYTES} bytes", advice=_MAKE)
    return content


def _members(path: Path, archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an archive by their plain names; refuse whatever else is in it."""
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as found:
            for member in found:
                if member.isdir():
                    continue
                name = _plain_name(path, member)
                if name in seen:
                    raise PolicyError(f"{path}: {name} is in it twice", advice=_MAKE)
                seen.add(name)
                if len(seen) > MOST_FILES:
                    raise PolicyError(f"{path}: holds more than {MOST_FILES} files", advice=_MAKE)
                content = found.extractfile(member)
                yield name, b"" if content is None else content.read()
    except tarfile.TarError as error:
        raise PolicyError(f"{path}: is no whole tar archive", advice=_MAKE) from error


def _plain_name(path: Path, member: tarfile.TarInfo) -> str:
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise PolicyError(f"{path}: {member.name!r} is no ordinary file: a link, device or pipe", advice=_MAKE)
    name = member.name.removeprefix("./").removeprefix("/")
    plain = name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(name.split("/"))
    if not plain:
        raise PolicyError(f"{path}: {member.name!r} is no name of a file inside the bundle", advice=_MAKE)
    return name


def _verify(path: Path, members: Mapping[str, bytes], key: Key, opa: Path) -> None:
    version = _version(opa)
    if version < _LEAST_OPA:
        told = ".".join(map(str, version))
        raise PolicyError(f"OPA {told} does not verify bundles as it should", advice="install OPA 1.21.3 or later")
    with tempfile.TemporaryDirectory(prefix="access-reconciler-bundle-") as place:
        (Path(place) / "bundle.tar.gz").write_bytes(_packed(members))
        try:
            _run(
                *(opa, Path(place), "build", "--bundle", "bundle.tar.gz", "--output", "verified.tar.gz"),
                *("--verification-key", str(key.path.resolve()), "--verification-key-id", key.key_id),
                *("--signing-alg", key.algorithm),
            )
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}", advice=error.advice) from error
    named = _named_key(members[SIGNATURES])
    if named != key.key_id:
        raise PolicyError(
            f"{path}: its signature names the key {named or '(none)'}, not {key.key_id}",
            advice="sign with `policies bundle --key-id`, or set adoption.verification_key_id",
        )


def _named_key(signatures: bytes) -> str:
    """Return the key id of a signature that OPA found right."""
    try:
        payload = json.loads(signatures)["signatures"][0].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims.get("keyid", ""))
    except (ValueError, LookupError, AttributeError, TypeError):
        return ""


def _packed(members: Mapping[str, bytes]) -> bytes:
    """Return an archive that is the same for the same files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as into:
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            into.addfile(member, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), mtime=0)


@cache
def _version(opa: Path) -> tuple[int, ...]:
    lines = _run(opa, Path("/"), "version").splitlines()
    told = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Version:")), "")
    return tuple(int(part) for part in told.split("-")[0].split(".") if part.isdigit())


def _run(opa: Path, folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the configured executable, and names that are ours
            [str(opa), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        msg = f"`{opa} {arguments[0]}` could not be run: {type(error).__name__}"
        raise PolicyError(msg, advice="install OPA 1.21.3 or later") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        reason = said.removeprefix("error: load error: bundle bundle.tar.gz: ").removeprefix("error: ")
        raise PolicyError(f"OPA refuses the bundle: {reason[:300]}", advice=_MAKE)
    return done.stdout
