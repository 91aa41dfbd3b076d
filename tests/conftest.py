"""What holds for every test."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests import postgresql as postgresql_peer

CI = os.environ.get("CI") == "true"
MESSAGE = "skipped, which counts as a failure with CI=true: "


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgresql_peer.PostgreSQL]:
    """Give a PostgreSQL server for the whole session; every test asks it for a database of its own."""
    with postgresql_peer.running() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one with CI=true: there, everything must have run."""
    report = yield
    if CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = MESSAGE + _reason(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a whole module that skips itself, as `pytest.importorskip` makes it do."""
    report = yield
    if CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = MESSAGE + _reason(report.longrepr)
    return report


def _reason(representation: object) -> str:
    return str(representation[2]) if isinstance(representation, tuple) else str(representation)
