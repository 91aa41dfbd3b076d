"""Signed bundles: what is read is what somebody with the key signed, and everything else is refused by name."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from reconciler.adapters import policy_bundle
from reconciler.adapters.policy_bundle import read_bundle, signing_key, verification_key, write_bundle
from reconciler.adapters.policy_store import MOST_BYTES
from reconciler.core.errors import PolicyError, SettingsError
from tests import peers

FILES = (
    ("access/config/data.json", '{"leaver": {"grace_days": 30.0, "big": 12345678901234567890}}'),
    ("access/driver.rego", "package access.driver\n\ndecide := true\n"),
    ("access/driver_test.rego", "package access.driver_test\n\ntest_it if true\n"),
    ("waivers/ledger.yaml", "waivers: []\n# until: 2026-03-01\n"),
)


@pytest.fixture(scope="module")
def opa() -> Path:
    """The real OPA."""
    return Path(peers.require("opa"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key pair of the kind that is usual."""
    return pair(tmp_path_factory.mktemp("keys"), "own", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path], opa: Path) -> dict[str, bytes]:
    """The files of a bundle that was signed with it."""
    return unpacked(bundle(tmp_path_factory.mktemp("signed"), keys[0], opa))


def pair(folder: Path, name: str, private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> tuple[Path, Path]:
    """Write a private and a public key, and return their files."""
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub"
    secret.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return secret, public


def bundle(folder: Path, secret: Path, opa: Path, key_id: str = "") -> Path:
    """Write the bundle of these tests."""
    target = folder / "policies.tar.gz"
    write_bundle(FILES, target, signing_key(secret, key_id), opa, "r1")
    return target


def unpacked(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle."""
    with tarfile.open(path) as found:
        return {one.name: read.read() for one in found if (read := found.extractfile(one)) is not None}


def repacked(path: Path, files: Mapping[str, bytes], *more: tarfile.TarInfo) -> None:
    """Write an archive of these files, and of members that no honest one has."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as into:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            into.addfile(member, io.BytesIO(content))
        for member in more:
            into.addfile(member, io.BytesIO(b"x" * member.size))
    path.write_bytes(gzip.compress(archive.getvalue()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
)
def test_a_bundle_comes_back_as_it_was_signed(
    make: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey], tmp_path: Path, opa: Path
) -> None:
    """Whatever key OPA can sign with: modules, tests, thresholds and waivers come back byte by byte."""
    secret, public = pair(tmp_path, "own", make())
    path = bundle(tmp_path, secret, opa)
    assert read_bundle(path, verification_key(public, ""), opa) == FILES


def test_the_stock_opa_takes_the_bundle(tmp_path: Path, keys: tuple[Path, Path], opa: Path) -> None:
    """It is a bundle like any other: OPA verifies and loads it, and knows its revision."""
    path = bundle(tmp_path, keys[0], opa)
    key = verification_key(keys[1], "")
    told = policy_bundle._run(
        opa, tmp_path, "eval", "--format=json", "--bundle", str(path), "data.access.driver.decide"
    )
    assert json.loads(told)["result"][0]["expressions"][0]["value"] is True
    verifying = ("--verification-key", str(keys[1]), "--signing-alg", key.algorithm)
    policy_bundle._run(opa, tmp_path, "build", "--bundle", str(path), "--output", "out.tar.gz", *verifying)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"waivers/ledger.yaml": b"waivers: [1]\n"}, r"waivers/ledger\.yaml: digest mismatch"),
        (
            {"access/driver.rego": b"package access.driver\n\ndecide := false\n"},
            r"access/driver\.rego: digest mismatch",
        ),
        ({"access/config/data.json": b'{"leaver": {"grace_days": 31}}'}, r"access/config/data\.json: digest mismatch"),
        ({"waivers/more.yaml": b"waivers: []\n"}, r"file waivers/more\.yaml not included in bundle signature"),
        (
            {"access/driver_test.rego": None},
            r"\[access/driver_test\.rego\] specified in bundle signatures but not found",
        ),
        ({".manifest": b'{"revision": "other", "roots": ["access"]}'}, r"\.manifest: digest mismatch"),
        ({".signatures.json": None}, r"is not signed: it holds no \.signatures\.json"),
        ({".signatures.json": b'{"signatures": []}'}, r"OPA refuses the bundle: .*signatures"),
        ({".signatures.json": b"{}"}, r"OPA refuses the bundle"),
    ],
)
def test_what_was_not_signed_is_refused_by_name(
    change: Mapping[str, bytes | None],
    named: str,
    tmp_path: Path,
    keys: tuple[Path, Path],
    signed: dict[str, bytes],
    opa: Path,
) -> None:
    """A file that is altered, added or missing, or a signature that is gone, refuses the whole bundle."""
    path = tmp_path / "changed.tar.gz"
    files = {name: content for name, content in (signed | dict(change)).items() if content is not None}
    repacked(path, files)
    with pytest.raises(PolicyError, match=named):
        read_bundle(path, verification_key(keys[1], ""), opa)


def test_another_key_or_key_id_is_refused(tmp_path: Path, keys: tuple[Path, Path], opa: Path) -> None:
    """The right key under another name is not the key that the operator trusts for this, nor is another key."""
    path = bundle(tmp_path, keys[0], opa, key_id="policies-2026")
    _, other = pair(tmp_path, "other", ec.generate_private_key(ec.SECP256R1()))
    assert read_bundle(path, verification_key(keys[1], "policies-2026"), opa) == FILES
    with pytest.raises(PolicyError, match="its signature names the key policies-2026, not policies-2027"):
        read_bundle(path, verification_key(keys[1], "policies-2027"), opa)
    with pytest.raises(PolicyError, match="failed to verify JWT signature"):
        read_bundle(path, verification_key(other, "policies-2026"), opa)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    """Return one member of a hostile archive."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (member("../../etc/cron.d/x", size=1), "is no name of a file inside"),
        (member("access/../../x.rego", size=1), "is no name of a file inside"),
        (member("//etc/passwd", size=1), "is no name of a file inside"),
        (member("access\\x.rego", size=1), "is no name of a file inside"),
        (member("access/\x1bx.rego", size=1), "is no name of a file inside"),
        (member("access/x.rego", tarfile.SYMTYPE, "/etc/passwd"), "is no ordinary file"),
        (member("access/x.rego", tarfile.LNKTYPE, "access/driver.rego"), "is no ordinary file"),
        (member("access/x.rego", tarfile.CHRTYPE), "is no ordinary file"),
        (member("access/x.rego", tarfile.FIFOTYPE), "is no ordinary file"),
        (member("./access/driver.rego", size=1), "access/driver.rego is in it twice"),
    ],
)
def test_a_hostile_member_is_refused_before_anything_is_verified(
    hostile: tarfile.TarInfo, named: str, tmp_path: Path, keys: tuple[Path, Path], signed: dict[str, bytes]
) -> None:
    """Names that lead out, links, devices and pipes are let nowhere near a disk, whoever signed the rest."""
    path = tmp_path / "hostile.tar.gz"
    repacked(path, signed, hostile)
    with pytest.raises(PolicyError, match=named):
        read_bundle(path, verification_key(keys[1], ""), Path("/nonexistent"))


def test_a_bundle_is_bounded(tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb is not unpacked: neither one of zeros, nor one of many files, nor one that is too large before that."""
    key, nowhere = verification_key(keys[1], ""), Path("/nonexistent")
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(b"\0" * (MOST_BYTES + 1), compresslevel=1))
    with pytest.raises(PolicyError, match="unpacks to more than"):
        read_bundle(path, key, nowhere)
    monkeypatch.setattr(policy_bundle, "MOST_FILES", 3)
    repacked(path, {f"access/{number}.rego": b"" for number in range(4)})
    with pytest.raises(PolicyError, match="more than 3 files"):
        read_bundle(path, key, nowhere)
    monkeypatch.setattr(policy_bundle, "MOST_PACKED_BYTES", 10)
    with pytest.raises(PolicyError, match="larger than 10 bytes"):
        read_bundle(path, key, nowhere)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no archive" * 100), b"\x1f\x8b\x08\x00"],
    ids=["empty", "something else", "packed, no archive", "cut off"],
)
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Half a download is no bundle."""
    path = tmp_path / "half.tar.gz"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"is no whole|is not signed"):
        read_bundle(path, verification_key(keys[1], ""), Path("/nonexistent"))


def test_an_old_opa_verifies_nothing(tmp_path: Path, keys: tuple[Path, Path], signed: dict[str, bytes]) -> None:
    """Before 1.21.3 a stripped signature could pass: such an OPA is not asked."""
    path = tmp_path / "policies.tar.gz"
    repacked(path, signed)
    old = tmp_path / "opa"
    old.write_text("#!/bin/sh\necho 'Version: 1.21.2'\n")
    old.chmod(0o755)
    with pytest.raises(PolicyError, match=r"OPA 1\.21\.2 does not verify bundles"):
        read_bundle(path, verification_key(keys[1], ""), old)


def test_keys_that_opa_cannot_use_are_refused(tmp_path: Path) -> None:
    """A secret, a short or strange key, a private key where a public one belongs: each is refused by its file."""
    short = pair(tmp_path, "short", rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - a key this short is to be refused
    with pytest.raises(SettingsError, match="has only 1024 bits"):
        signing_key(short[0], "")
    with pytest.raises(SettingsError, match="is no public key"):
        verification_key(short[0], "")
    strange = tmp_path / "ed.pem"
    strange.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(SettingsError, match="RSA and EC keys only"):
        signing_key(strange, "")
    with pytest.raises(SettingsError, match="cannot be read"):
        signing_key(tmp_path / "none.pem", "")
    (tmp_path / "secret").write_text("a shared secret")
    with pytest.raises(SettingsError, match="is no private key"):
        signing_key(tmp_path / "secret", "")
