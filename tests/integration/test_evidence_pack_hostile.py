"""A pack from somebody who wants the verifier to look away, to hang, or to fall over: found, named, and survived."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from reconciler.adapters.pack_file import opened
from reconciler.core.errors import EvidenceError
from tests.pack_builders import CYCLES, codes, exported, forge, record_of, run, the_one, told
from tests.record_builders import Chain, attested_chain

HOSTILE = {
    "empty": b"",
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a long number": b"1" * 10_000,
    "half a character": b'{"a":"\\ud800"}',
    "two of a name": b'{"size":0,"peaks":[],"size":7}',
}
EXPLAINING = {"README.md", "controls.csv", "keys/attestation.pub", "schemas/statement.schema.json", "trust/signer.txt"}
"""Follow from no signed statement: the manifest alone tells what they are."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Attest six cycles of six days."""
    root = tmp_path_factory.mktemp("state") / "evidence"
    return attested_chain(root, *(record_of(number) for number in range(1, CYCLES + 1)))


@pytest.fixture(scope="module")
def key(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hand the auditor the signer's public key."""
    path = tmp_path_factory.mktemp("auditor") / "signer.pub"
    path.write_bytes(chain.key.pem)
    return path


@pytest.fixture(scope="module")
def whole(chain: Chain, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export everything there is to disclose, and unpack it."""
    folder = tmp_path_factory.mktemp("whole")
    with zipfile.ZipFile(exported(chain, key, folder / "pack.zip", "--disclose", "full")) as archive:
        archive.extractall(folder / "pack")
    return folder / "pack"


@pytest.fixture
def pack(whole: Path, tmp_path: Path) -> Path:
    """Return a copy that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "pack"))


@contextmanager
def replaced(pack: Path, name: str, content: bytes) -> Iterator[None]:
    """Put other content into a file of a pack and its digest into the manifest, as a forger would, and undo both."""
    before = {one: (pack / one).read_bytes() for one in (name, "manifest.json")}
    (pack / name).write_bytes(content)
    if name != "manifest.json":
        forge(pack, name)
    try:
        yield
    finally:
        for one, was in before.items():
            (pack / one).write_bytes(was)


def names_of(pack: Path) -> list[str]:
    """Return one name of each kind of file: the last cycle's, where there is one for every cycle."""
    every = sorted(path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_file())
    kinds = {name if "/" not in name else (name.split("/")[0], name.partition(".")[2]): name for name in every}
    return sorted(kinds.values())


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_content_is_found_and_survived(pack: Path, key: Path, kind: str) -> None:
    """Whatever a file that something signed leads to is replaced with, behind a forged manifest: it is a finding."""
    for name in names_of(pack):
        if name in EXPLAINING:
            continue
        with replaced(pack, name, HOSTILE[kind]):
            if name == "manifest.json":
                with pytest.raises(EvidenceError, match="manifest"):
                    told(pack, key)
            else:
                assert codes(pack, key), name


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"peaks":[],"size":7}', "no tree of 7 has 0 peaks"),
        (b'{"peaks":[],"size":1000000000000000000000000000000}', "peaks"),
        (b'{"peaks":[],"size":-1}', "not usable"),
    ],
)
def test_a_tree_that_cannot_be_is_refused(pack: Path, key: Path, content: bytes, says: str) -> None:
    """The tree that a pack's log continues is its own claim: numbers that fit no tree end no verifier."""
    with replaced(pack, "proofs/frontier.json", content):
        exit_code, document = told(pack, key)
    assert exit_code == 1
    assert [(one["code"], says in one["message"]) for one in document["problems"]] == [("pack_malformed", True)]


def test_a_manifest_taken_out_hides_nothing(pack: Path, key: Path) -> None:
    """Without its manifest, a dropped row of the population would be nobody's: the manifest itself is missed."""
    table = pack / "population.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    (pack / "manifest.json").unlink()
    _, document = told(pack, key)
    (problem,) = document["problems"]
    assert problem["code"] == "pack_missing"
    assert problem["message"].startswith("manifest.json is missing, though population.csv, matrix.csv")


def test_attestations_alone_are_no_pack(chain: Chain, key: Path, tmp_path: Path) -> None:
    """Who hands over nothing but the folder of attestations claims nothing more, and is asked for no manifest."""
    shutil.copytree(chain.folder, tmp_path / "some" / "attestations")
    exit_code, document = told(tmp_path / "some", key)
    assert (exit_code, document["verified"], document["problems"]) == (0, True, [])


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "decisions/extra.jsonl",
        "decisions/deeper/000001-11111111-1111-4111-8111-000000000001.jsonl",
        "sha256/aa/" + "a" * 64,
        "trust/trusted_root.json",
        "policy/extra.rego",
        "checkpoints/extra.txt",
        "attestations/extra.json",
        "log/extra",
    ],
)
def test_a_file_that_belongs_to_nothing_is_found(pack: Path, key: Path, name: str) -> None:
    """What lies beside the evidence is read as evidence: a file more is told, also behind a forged manifest."""
    (pack / name).parent.mkdir(parents=True, exist_ok=True)
    (pack / name).write_bytes(b"{}\n")
    assert "pack_unlisted" in codes(pack, key)
    forge(pack, name)
    _, document = told(pack, key)
    assert {one["code"] for one in document["problems"]} <= {"unexpected_file", "policy"}
    assert any(Path(name).name in one["message"] for one in document["problems"])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("README.md", {"pack_missing", "unexpected_file"}),
        ("population.csv", {"population", "unexpected_file"}),
        ("proofs/leaf-hashes", {"pack_missing", "unexpected_file", "log_root"}),
        ("decisions/000003-*", {"unexpected_file", "population", "matrix"}),
        ("checkpoints/000003-*", {"checkpoint_missing", "unexpected_file"}),
        ("attestations/000003-*.statement.json", {"statement_missing", "unexpected_file"}),
        ("attestations/000003-*.sigstore.json", {"bundle_missing", "unexpected_file"}),
    ],
)
def test_a_renamed_file_is_found(pack: Path, key: Path, pattern: str, found: set[str]) -> None:
    """A file under another name is missing where it belongs and belongs to nothing where it is."""
    path = the_one(pack, pattern)
    other = path.with_name("renamed-" + path.name)
    path.rename(other)
    forge(pack, path.relative_to(pack).as_posix(), other.relative_to(pack).as_posix())
    told_codes = codes(pack, key)
    assert "unexpected_file" in told_codes
    assert told_codes <= found


def test_a_statement_whose_bundle_stays_is_named(pack: Path, key: Path) -> None:
    """A bundle holds its statement; the statement's own file is missed all the same, by its cycle."""
    path = the_one(pack, "attestations/000003-*.statement.json")
    path.unlink()
    forge(pack, path.relative_to(pack).as_posix())
    _, document = told(pack, key)
    assert [(one["cycle_id"][-1], one["code"]) for one in document["problems"]] == [("3", "statement_missing")]


def test_a_true_bundle_of_another_cycle_is_named(pack: Path, key: Path) -> None:
    """A bundle that proves another cycle's statement does not prove this one's."""
    third, fourth = (the_one(pack, f"attestations/00000{at}-*.sigstore.json") for at in (3, 4))
    shutil.copyfile(fourth, third)
    forge(pack, third.relative_to(pack).as_posix())
    _, document = told(pack, key)
    assert [(one["cycle_id"][-1], one["code"]) for one in document["problems"]] == [("3", "statement_changed")]


@pytest.mark.parametrize("name", ["population.csv", "manifest.json", "attestations", "proofs/new"])
@pytest.mark.parametrize("kind", ["link", "pipe", "link to nowhere"])
def test_what_is_no_plain_file_is_refused(pack: Path, key: Path, name: str, kind: str, tmp_path: Path) -> None:
    """A link reads what nobody handed over and a pipe never ends: neither is opened, and the error names it."""
    path, aside = pack / name, tmp_path / "aside"
    if path.exists():
        path.rename(aside)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(aside if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(EvidenceError, match=f"holds '{name}', which is no plain file|there are no attestations in"):
        told(pack, key)


def test_an_oversized_attestation_is_refused_unread(pack: Path, key: Path) -> None:
    """A statement of a terabyte that takes no room on its disk is not read into memory."""
    path = the_one(pack, "attestations/000003-*.statement.json")
    os.truncate(path, 1 << 40)
    with pytest.raises(EvidenceError, match=r"statement\.json' of 1099511627776 bytes"):
        told(pack, key)


def test_names_write_nothing_on_the_terminal(pack: Path, key: Path) -> None:
    """A file name that would colour, move or add lines is printed without its control characters."""
    for name in ("\x1b[2Jred", "x\n6 attestations, verified"):
        (pack / name).write_bytes(b"")
    for command in ("verify", "chain"):
        lines = run(command, "--pack", pack, "--key", key).stdout.splitlines()
        assert "pack_unlisted: [2Jred is in the pack and not in the manifest" in lines
        assert "6 attestations, verified" not in lines


@pytest.mark.parametrize(
    "damage", ["short", "padded", "deflated", "outside", "absolute", "link", "twice", "file and folder", "large"]
)
def test_a_strange_zip_is_refused(whole: Path, key: Path, tmp_path: Path, damage: str) -> None:
    """Nothing is read of a zip file that leads elsewhere, grows, or says of one name two things."""
    path = tmp_path / "pack.zip"
    kind = zipfile.ZIP_DEFLATED if damage == "deflated" else zipfile.ZIP_STORED
    names = {"outside": "../evil", "absolute": "/tmp/evil", "twice": "README.md", "file and folder": "attestations"}  # noqa: S108 - must not be written
    with zipfile.ZipFile(path, "w", kind) as archive:
        if damage == "large":
            archive.writestr("attestations/000001-x.statement.json", bytes((4 << 20) + 1))
        for one in sorted(whole.rglob("*")):
            if one.is_file():
                archive.write(one, one.relative_to(whole).as_posix())
        if damage in names:
            with pytest.warns(UserWarning, match="Duplicate name") if damage == "twice" else _quiet():
                archive.writestr(names[damage], b"x")
        if damage == "link":
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/hostname")
        if damage == "padded":
            archive.writestr("zeros", bytes(1 << 20), zipfile.ZIP_DEFLATED)
    if damage == "short":
        os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(EvidenceError, match=r"pack\.zip"):
        told(path, key)
    assert not (tmp_path / "evil").exists()


@contextmanager
def _quiet() -> Iterator[None]:
    yield


def _zipped(whole: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for one in sorted(whole.rglob("*")):
            if one.is_file():
                archive.write(one, one.relative_to(whole).as_posix())
    return path


@pytest.mark.parametrize("change", ["mark", "name", "content", "beyond"])
def test_a_member_that_is_not_what_the_list_tells_is_named(whole: Path, key: Path, tmp_path: Path, change: str) -> None:
    """A zip file tells each name twice and each content's checksum: where they differ, nobody may choose one."""
    path = _zipped(whole, tmp_path / "pack.zip")
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("population.csv")
        listed = archive.start_dir
    raw = bytearray(path.read_bytes())
    name = entry.header_offset + 30
    at = {"mark": entry.header_offset, "name": name, "content": name + len(entry.filename) + 1, "beyond": name - 1}
    raw[at[change]] ^= 0x40  # of "beyond": the length of the extra field, so that the member begins elsewhere
    path.write_bytes(raw)
    assert at[change] < listed
    exit_code, document = told(path, key)
    assert exit_code == 1
    damaged = [one["message"] for one in document["problems"] if one["code"] == "pack_damaged"]
    assert damaged == ["population.csv was changed in the zip file"]


def test_a_zip_file_that_changes_while_it_is_read_is_refused(whole: Path, tmp_path: Path) -> None:
    """What was checked at first is not what would be read later: no answer is given on a file in motion."""
    path = _zipped(whole, tmp_path / "pack.zip")
    stack = ExitStack()
    pack = stack.enter_context(opened(path))
    assert (pack.folder / "README.md").read_bytes() == (whole / "README.md").read_bytes()
    with path.open("ab") as target:
        target.write(b"more")
    with pytest.raises(EvidenceError, match="was changed while it was read"):
        stack.close()


def test_a_change_that_is_hidden_from_the_time_of_writing_is_refused(whole: Path, tmp_path: Path) -> None:
    """Whoever writes as many bytes as before, and sets the time of the last writing back, is noticed too."""
    path = _zipped(whole, tmp_path / "pack.zip")
    facts = path.stat()
    stack = ExitStack()
    stack.enter_context(opened(path))
    with path.open("r+b") as target:
        target.write(b"PK")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    with pytest.raises(EvidenceError, match="was changed while it was read"):
        stack.close()


def test_a_pipe_for_a_pack_ends_at_once(key: Path, tmp_path: Path) -> None:
    """A pipe that nobody writes to is an error like any file that is no zip file, and no wait."""
    os.mkfifo(tmp_path / "pack.zip")
    with pytest.raises(EvidenceError, match=r"pack\.zip"):
        told(tmp_path / "pack.zip", key)


def test_nothing_of_a_zip_file_is_laid_out_on_disk(
    whole: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members are read where they lie: of all that is in a pack, only tables that are made anew are written."""
    path = _zipped(whole, tmp_path / "pack.zip")
    written: list[str] = []
    aside = tmp_path / "temporary"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    before = shutil.rmtree

    def remembering(folder: str, *arguments: object, **options: object) -> None:
        written.extend(one.name for one in Path(folder).rglob("*") if one.is_file())
        before(folder, *arguments, **options)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(shutil, "rmtree", remembering)
    assert told(path, key)[0] == 0
    assert "population.csv" in written
    assert not [name for name in written if name.endswith((".statement.json", ".sigstore.json", ".jsonl"))]
    assert list(aside.iterdir()) == []
