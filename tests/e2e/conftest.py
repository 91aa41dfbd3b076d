"""Sample companies for the tests: one after the demo, and fresh ones; their servers end with the session."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.e2e.company import Answer, Company, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrated:
    """A company on which the demo has run, and what the demo answered."""

    company: Company
    answer: Answer

    @property
    def summary(self) -> Any:
        """Return the demo's summary document."""
        return json.loads(self.answer.out)


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstrated]:
    """Run the demo once; its servers stay until the session ends. Not to be changed."""
    peers.require("opa")
    peers.require("slapd")
    folder = tmp_path_factory.mktemp("demonstrated")
    try:
        answer = run("demo", "--dir", folder / "company", "--output", "json", cwd=folder)
        assert answer.code == 0, f"{answer.err}{answer.out}"
        yield Demonstrated(company=Company.opened(folder / "company"), answer=answer)
    finally:
        run("demo", "--dir", folder / "company", "--stop", cwd=folder)


@pytest.fixture(scope="session")
def folder_for_fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give all fresh companies one folder, one after the other: each ends the servers of the one before."""
    peers.require("opa")
    peers.require("slapd")
    folder = tmp_path_factory.mktemp("fresh") / "company"
    yield folder
    run("demo", "--dir", folder, "--stop", cwd=folder.parent)


@pytest.fixture(scope="module")
def company(folder_for_fresh: Path) -> Company:
    """Return a fresh company for the tests of one module, on which no cycle has run."""
    return Company.prepare(folder_for_fresh)
