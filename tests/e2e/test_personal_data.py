"""What becomes public of the sample company holds nobody; what is kept can be replayed, and erased without a trace."""

import base64
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.e2e import raw
from tests.e2e.company import Company
from tests.e2e.conftest import Demonstrated
from tests.output_schemas import problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PERSONAL = ("Employee ID", "Employment ID", "Legal Name", "Work Email", "User Names", "Manager ID")
OPENING = {"disclosures", "pseudonym-keys"}
"""Folders of the evidence that hold what opens leaves: inside, and erasable."""
SCOPED = {"inventory-manifest", "roster-facts", "policy-bundle"}
"""Evidence that names scopes, files and thresholds, and is kept inside."""


def of_the_roster(company: Company) -> Iterator[str]:
    """Yield every id, name, family name, address and login of the roster."""
    with company.roster.open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            yield from (row[column] for column in PERSONAL)
            yield from re.split(r"[;,| ]", row["User Names"])
            yield from row["Legal Name"].split()[1:]


def of_the_providers(company: Company) -> Iterator[str]:
    """Yield every id and login that the providers know a principal by."""
    for user in raw.iam(company.servers["corp-aws"]).list_users()["Users"]:
        yield from (user["UserName"], user["UserId"], user["Arn"])
    for user in raw.scim_all(company.servers["wiki"], "Users"):
        yield from (user["id"], user["userName"], *(mail["value"] for mail in user.get("emails", ())))
    for name in raw.dump(company.servers):
        kind, _, place = name.partition("/")
        if kind == "ldap" and place.startswith("uid="):
            yield from (place, place.split(",")[0].removeprefix("uid="))


def named(company: Company) -> re.Pattern[bytes]:
    """Return what finds any of them as a word of its own."""
    everything = {text for source in (of_the_roster, of_the_providers) for text in source(company) if len(text) > 3}
    assert len(everything) > 200
    words = "|".join(re.escape(text) for text in sorted(everything, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])".encode())


def texts(content: bytes) -> Iterator[bytes]:
    """Yield a file's bytes, or of a bundle its texts, with what they hold in base64."""
    try:
        document = json.loads(content)
    except ValueError:
        yield content
        return
    if not isinstance(document, dict) or "verificationMaterial" not in document:
        yield content
        return
    yield from _decoded(document)


def _decoded(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield name.encode()
            yield from _decoded(one)
    elif isinstance(value, list):
        for one in value:
            yield from _decoded(one)
    elif isinstance(value, str):
        try:
            yield base64.b64decode(value, validate=True)
        except ValueError:
            yield value.encode()


def found(pattern: re.Pattern[bytes], content: bytes) -> set[bytes]:
    """Return who is named in a file."""
    return {match for text in texts(content) for match in pattern.findall(text)}


def inside(company: Company) -> set[str]:
    """Return the digests of the evidence that is kept inside."""
    statements = [json.loads(path.read_bytes()) for path in company.attestations.glob("*.statement.json")]
    return {one["digest"]["sha256"] for told in statements for one in told["subject"] if one["name"] in SCOPED}


def test_nothing_that_is_signed_logged_or_exported_names_anybody(demonstrated: Demonstrated, tmp_path: Path) -> None:
    """Statements, bundles, checkpoints, hashes, leaves and the pack hold no id, name, address or login of anybody."""
    company = demonstrated.company
    pattern, kept = named(company), inside(company)
    root = company.attestations.parent
    looked = {path for path in root.rglob("*") if path.is_file() and not OPENING & set(path.relative_to(root).parts)}
    looked -= {path for path in looked if path.name in kept}
    assert {path.relative_to(root).parts[0] for path in looked} >= {"attestations", "checkpoints", "log", "sha256"}
    assert {str(path): found(pattern, path.read_bytes()) for path in looked if found(pattern, path.read_bytes())} == {}
    pack = tmp_path / "pack.zip"
    assert company.run("attestations", "export", "--out", pack).code == 0
    with ZipFile(pack) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    shown = {name: found(pattern, content) for name, content in members.items() if not name.startswith("policy/")}
    assert {name: who for name, who in shown.items() if who} == {}


def test_the_search_finds_people_where_they_are(demonstrated: Demonstrated) -> None:
    """In what opens the leaves, and in the roster, the same search finds the same people."""
    company = demonstrated.company
    pattern = named(company)
    opened = [path.read_bytes() for path in (company.attestations.parent / "disclosures").iterdir()]
    assert all(b"E1003" in found(pattern, content) for content in opened)
    assert len(found(pattern, company.roster.read_bytes())) > 100


def test_every_decision_of_the_company_is_replayed(demonstrated: Demonstrated) -> None:
    """The stock opa comes to the same findings on every access item, from the evidence alone."""
    answer = demonstrated.company.run("attestations", "replay", "--output", "json")
    assert answer.code == 0, f"{answer.out}{answer.err}"
    assert problems("attestations-replay", answer.document) == []
    assert answer.document["equal"] == answer.document["decisions"] > 30


def test_an_erased_company_is_forgotten_and_still_proven(demonstrated: Demonstrated, tmp_path: Path) -> None:
    """No byte of the evidence names anybody any more; all of it verifies, and the next cycle goes on from it."""
    company = demonstrated.company.variant(tmp_path / "erased")
    pattern, root = named(company), company.attestations.parent
    answer = company.run("attestations", "erase", "--before", "2100-01-01", "--leaves", "--yes", "--output", "json")
    assert answer.code == 0, answer.err
    erased = len(answer.document["cycles"])
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name not in inside(company)}
    assert {str(path): found(pattern, content) for path, content in files.items() if found(pattern, content)} == {}
    report = company.verified()
    assert report["verified"] is True
    assert (report["erased"]["cycles"], report["erased"]["keys"]) == (erased, erased)
    assert report["log"]["recomputed"] is True
    assert company.cycle().code == 0
    assert company.verified()["cycles"] == report["cycles"] + 1
    assert company.run("attestations", "replay", "--cycle", str(report["cycles"] + 1)).code == 0
