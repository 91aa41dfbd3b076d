"""Files that nobody should have put there: bombs, endless ones, and what is no file. All are refused soon."""

import json
import os
import shutil
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inventory.aws.connection import _secret
from inventory.documents.aws_iam import document_of
from inventory.errors import Misconfigured
from inventory.http import bearer
from inventory.regular_files import read_regular
from inventory.roster.csv_file import CsvRosterSource
from inventory.roster.csv_settings import CsvRosterSettings
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.waiver_files import load_waivers
from reconciler.circumstances import roster_holds
from reconciler.cli import main
from reconciler.core.errors import PolicyError, SettingsError
from reconciler.core.model import Mode
from reconciler.core.plain_yaml import MOST_DEPTH, MOST_SCALAR
from reconciler.daemon import watched_files
from reconciler.daemon.watched_files import digest_of_files
from reconciler.engines import build_engine
from reconciler.settings import EngineSettings, Settings, load_settings
from tests import feeds
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.worlds import POLICIES

TWO_GB = 2 * 1024**3
MEBIBYTE = 1024 * 1024


@contextmanager
def bounded(*, seconds: float = 10, mebibytes: int = 16) -> Iterator[None]:
    """Hold what happens inside to a time of computing and to so much memory at its peak.

    Not to a time of day, which passes for other processes too; what waits without end runs into pytest's own limit.
    """
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
        assert time.process_time() - began < seconds
        assert tracemalloc.get_traced_memory()[1] < mebibytes * MEBIBYTE
    finally:
        tracemalloc.stop()


def sparse(path: Path, size: int) -> Path:
    """Make a file of this size that takes no room."""
    with path.open("wb") as sink:
        sink.truncate(size)
    return path


def socket_at(path: Path) -> None:
    """Put a socket at a path; the kernel takes short names only."""
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": socket_at,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a device without content": lambda path: path.symlink_to("/dev/null"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nowhere": lambda path: path.symlink_to(path.with_name("nowhere")),
    "nothing": lambda _: None,
}
ENDLESS: dict[str, Callable[[Path], object]] = {**NO_FILES, "two gigabytes": lambda path: sparse(path, TWO_GB)}


@pytest.mark.parametrize("make", ENDLESS.values(), ids=list(ENDLESS))
def test_nothing_but_a_small_file_is_read(make: Callable[[Path], object], tmp_path: Path) -> None:
    """Whatever a path leads to, reading it ends at once: with the bytes of a small file, or with the reason."""
    path = tmp_path / "f"
    make(path)
    with bounded(), pytest.raises(OSError) as refused:  # noqa: PT011 - which one it is differs; that it says why does not
        read_regular(path, MEBIBYTE)
    assert refused.value.strerror


def test_a_file_of_exactly_the_bound_is_read(tmp_path: Path) -> None:
    """The bound is the last size that is read; one byte more is refused."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    assert read_regular(path, 1000) == b"x" * 1000
    with pytest.raises(OSError, match="larger than 999 bytes"):
        read_regular(path, 999)


@pytest.mark.parametrize("make", ENDLESS.values(), ids=list(ENDLESS))
def test_no_secret_or_setting_hangs_the_program(make: Callable[[Path], object], tmp_path: Path) -> None:
    """Tokens, secrets and the configuration itself: each reader refuses by its own error, naming the path."""
    path = tmp_path / "f"
    make(path)
    engine = Settings(
        state_dir=tmp_path,
        roster=CsvRosterSettings(path=tmp_path / "r"),
        engine=EngineSettings(kind="url", url="http://127.0.0.1:1", token_file=path),
    )
    with bounded(mebibytes=64):
        with pytest.raises(SettingsError, match="cannot be read"):
            load_settings(path)
        with pytest.raises(SettingsError, match="cannot be read"):
            build_engine(engine, Mode.OBSERVE)
        with pytest.raises(Misconfigured, match="cannot be read"):
            bearer(path)
        with pytest.raises(Misconfigured, match="cannot be read"):
            _secret(path)


def source(path: Path) -> CsvRosterSource:
    """Return a roster source on a path."""
    return CsvRosterSource(CsvRosterSettings(path=path), FakeClock(NOW))


ROSTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{name: (make, "") for name, make in NO_FILES.items()},
    "two gigabytes": (lambda path: sparse(path, TWO_GB), "too_large"),
    "one line of 60 MB": (lambda path: path.write_bytes(b"worker_id,status," + b"x" * 60_000_000), "line_too_long"),
    "one cell of 60 MB": (
        lambda path: path.write_bytes(b'worker_id,status,termination_date\n"' + b"x\n" * 30_000_000),
        "quoting",
    ),
}


@pytest.mark.parametrize("name", ROSTERS)
def test_a_hostile_roster_makes_nobody_a_leaver(name: str, tmp_path: Path) -> None:
    """It is refused with a code, at once and without being read whole; so is looking whether it is still the same."""
    make, code = ROSTERS[name]
    path = tmp_path / "roster.csv"
    make(path)
    with bounded():
        verdict = source(path).load(None)
    problem = feeds.refusal_of(verdict)
    assert problem.code == code or not code
    assert not roster_holds(verdict)
    if name in ENDLESS:
        with bounded():
            assert source(path).fingerprint() == f"unreadable:{problem.code}"
            digest_of_files([path], [])


def test_a_line_of_a_hundred_megabytes_is_not_gathered(tmp_path: Path) -> None:
    """Even where the settings allow such a file, a line without an end is refused after its first mebibyte."""
    path = tmp_path / "roster.csv"
    with path.open("wb") as sink:
        sink.write(b"worker_id,status,termination_date\n")
        sink.truncate(100 * 1000 * 1000)
    path.write_bytes(path.read_bytes().replace(b"\0", b"x"))
    settings = CsvRosterSettings(path=path, max_bytes=TWO_GB)
    with bounded():
        assert feeds.refusal_of(CsvRosterSource(settings, FakeClock(NOW)).load(None)).code == "line_too_long"


def test_looking_for_a_change_never_reads_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty files of sixty megabytes each: so much is hashed and no more, and a change of the rest is still seen."""
    files = [sparse(tmp_path / f"{number}.rego", 60 * MEBIBYTE) for number in range(30)]
    hashed: list[str] = []

    def hash_nothing(path: Path) -> str:
        hashed.append(path.name)
        return ""

    monkeypatch.setattr(watched_files, "_hashed", hash_nothing)
    before = digest_of_files([], [tmp_path])
    assert sum((tmp_path / name).stat().st_size for name in hashed) <= 256 * MEBIBYTE
    assert hashed
    os.utime(files[29], (1, 1))
    assert files[29].name not in hashed
    assert digest_of_files([], [tmp_path]) != before


YAML_BOMBS: dict[str, str] = {
    "lists in lists": "[" * 400_000,
    "lists in lists, closed": "[" * 200_000 + "]" * 200_000,
    "mappings in mappings": "{a: " * 100_000,
    "a list in each line": "- " * 200_000,
    "keys in keys": "? " * 200_000,
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "a merged alias": "a: &a {x: y}\nb:\n  <<: *a\n",
    "a giant value": "a: " + "x" * (MOST_SCALAR + 1),
    "a giant key": "x" * (MOST_SCALAR + 1) + ": a",
    "too many values": "[" + "a," * 200_000 + "]",
    "one level too many": "a: " + "[" * MOST_DEPTH + "]" * MOST_DEPTH,
    "NUL": "a: \0",
}
ODD_VALUES: dict[str, str] = {
    "a number of 5,000 digits": "a: " + "9" * 5000,
    "a day that there is not": "a: 2026-02-31",
    "a key that is a number": "1: a",
    "a key that is a list": "[1]: a",
    "bytes": "!!binary '%%%'",
    "an object": "!!python/object/apply:os.system ['true']",
}


@pytest.mark.parametrize("text", [*YAML_BOMBS.values(), *ODD_VALUES.values()], ids=[*YAML_BOMBS, *ODD_VALUES])
def test_a_yaml_bomb_in_the_settings_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The process survives, the error names the file, and both commands that read settings say so with exit 1."""
    path = tmp_path / "access-reconciler.yaml"
    path.write_text(text, encoding="utf-8")
    with bounded(), pytest.raises(SettingsError, match=str(path)):
        load_settings(path)
    feed = feeds.write(tmp_path, "worker_id,status\n")
    assert main.run(["roster", "check", "--config", str(path), str(feed)]) == 1
    assert str(path) in capsys.readouterr().err


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Give each test a copy of the policies to spoil."""
    copy = tmp_path / "policies"
    shutil.copytree(POLICIES, copy)
    return copy


@pytest.mark.parametrize("text", YAML_BOMBS.values(), ids=list(YAML_BOMBS))
def test_a_yaml_bomb_in_a_waiver_is_refused(text: str, policies: Path) -> None:
    """Refused by file, soon: no waiver is in force on the word of a file that cannot be read."""
    (policies / "waivers" / "bomb.yaml").write_text(text, encoding="utf-8")
    with bounded(), pytest.raises(PolicyError, match=r"waivers/bomb\.yaml:\d+: "):
        load_waivers(policies, NOW)


def test_a_yaml_bomb_in_the_metadata_of_a_rule_is_refused(policies: Path) -> None:
    """What stands in a rule's comment is YAML too."""
    rule = policies / "access/rules/leaver/leaver.rego"
    rule.write_text(rule.read_text().replace("# METADATA\n", "# METADATA\n# custom: " + "[" * 200_000 + "\n", 1))
    with bounded(), pytest.raises(PolicyError, match=r"access/rules/leaver/leaver\.rego:\d+: is no YAML: it is nested"):
        load_policies(policies)


JSON_BOMBS = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number of 5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "a number of 400 digits": '{"a": ' + "9" * 400 + "}",
    "infinity": '{"a": Infinity}',
    "half a character": '{"a": "\\ud800"}',
}


@pytest.mark.parametrize("text", JSON_BOMBS.values(), ids=list(JSON_BOMBS))
def test_a_json_bomb_in_the_thresholds_is_refused(text: str, policies: Path) -> None:
    """Refused by file: a policy folder is whole or not used."""
    (policies / "access" / "config" / "data.json").write_text(text, encoding="utf-8")
    with bounded(), pytest.raises(PolicyError, match=r"access/config/data\.json:1: "):
        load_policies(policies)


@pytest.mark.parametrize("text", JSON_BOMBS.values(), ids=list(JSON_BOMBS))
def test_a_json_bomb_beside_the_roster_is_refused(text: str, tmp_path: Path) -> None:
    """The side file is an input like the roster itself."""
    path = feeds.write(tmp_path, "worker_id,status\n")
    path.with_name("roster.csv.meta.json").write_text(text)
    with bounded():
        assert feeds.refusal_of(source(path).load(None)).code == "sidecar_invalid"


def test_a_json_bomb_in_a_policy_of_the_cloud_is_no_document() -> None:
    """What an account holds as an IAM policy cannot end the reading of the account."""
    assert document_of(JSON_BOMBS["lists"]) == {}
    assert document_of(JSON_BOMBS["a number of 5,000 digits"]) == {}


@pytest.mark.parametrize(
    "name", ["a pipe", "a folder", "a socket", "a link to nowhere", "a link to itself", "two gigabytes"]
)
@pytest.mark.parametrize("place", ["access/odd.rego", "access/config/sub/data.json", "waivers/odd.yaml"])
def test_no_policy_file_hangs_the_program(name: str, place: str, policies: Path) -> None:
    """What is no file, or endless, in a policy folder is refused by its name; a folder so named is none of ours."""
    path = policies / place
    path.parent.mkdir(exist_ok=True)
    ENDLESS[name](path)
    load = load_policies if place.startswith("access") else lambda folder: load_waivers(folder, NOW)
    with bounded(), pytest.raises(PolicyError, match=place):
        load(policies)


def test_the_page_of_a_refusal_shows_nothing_of_the_file(tmp_path: Path) -> None:
    """An error names the place and not what stands there: it may be a secret in the wrong file."""
    path = tmp_path / "access-reconciler.yaml"
    path.write_text(json.dumps({"a": "canary-" + "x" * MOST_SCALAR}))
    with pytest.raises(SettingsError) as refused:
        load_settings(path)
    assert "canary" not in str(refused.value)
