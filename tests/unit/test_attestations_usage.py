"""Wrong usage of `attestations` ends with 64, and never with a code that says something of the evidence."""

from pathlib import Path

import pytest

from reconciler.cli.exits import ERROR, USAGE
from reconciler.cli.main import run

WRONG = {
    "no such option": ("verify", "--nonsense"),
    "a key and an identity": ("verify", "--key", "KEY", "--identity", "w"),
    "an identity without a root": ("chain", "--identity", "w"),
    "a head that is none": ("verify", "--key", "KEY", "--expect-head", "12"),
    "a digest that is none": ("verify", "--key", "KEY", "--expect-manifest", "12"),
    "a record that is none": ("verify-leaf", "--leaf", "first"),
    "no record": ("verify-leaf",),
    "an extent that is none": ("export", "--out", "OUT", "--disclose", "some"),
    "a day that is none": ("export", "--out", "OUT", "--from", "yesterday"),
    "an instant without zone": ("export", "--out", "OUT", "--to", "2026-03-31T12:00:00"),
    "a signature by nobody": ("export", "--out", "OUT", "--key", "KEY", "--sign"),
    "nothing to erase": ("erase",),
    "an end that is none": ("erase", "--before", "yesterday"),
    "an identity of half": ("replay", "--opa", "KEY", "--issuer", "i"),
}


@pytest.fixture(name="names")
def _names(tmp_path: Path) -> dict[str, str]:
    """Give a folder of no attestations, and a key."""
    (tmp_path / "attestations").mkdir()
    key = tmp_path / "signer.pub"
    key.write_text(
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
        "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
        "-----END PUBLIC KEY-----\n"
    )
    return {"KEY": str(key), "OUT": str(tmp_path / "pack.zip")}


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_usage_has_a_code_of_its_own(
    mistake: str, names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with what was typed: 64, and what to write instead on stderr."""
    command, *options = (names.get(one, one) for one in WRONG[mistake])
    place = [] if command == "erase" else ["--pack", str(tmp_path)]
    assert run(["attestations", command, *place, *options]) == USAGE
    assert capsys.readouterr().err.strip()
    assert not Path(names["OUT"]).exists()


def test_evidence_that_does_not_hold_is_no_wrong_usage(names: dict[str, str], tmp_path: Path) -> None:
    """A folder of nothing is an answer about the evidence: 1."""
    assert run(["attestations", "verify", "--pack", str(tmp_path), "--key", names["KEY"]]) == ERROR
