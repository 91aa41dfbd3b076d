"""Fixtures of several modules here."""

from collections.abc import Iterator

import pytest

from tests.fakes.sigstore.instance import PrivateSigstore


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSigstore]:
    """Start one instance for the module."""
    with PrivateSigstore(tmp_path_factory.mktemp("sigstore")) as instance:
        yield instance


@pytest.fixture
def instance(started: PrivateSigstore) -> Iterator[PrivateSigstore]:
    """Return the instance and mend it afterwards."""
    yield started
    started.mend()
