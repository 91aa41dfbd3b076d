"""An AWS account on moto's server behind a proxy that counts and fails calls, and a private Sigstore."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.demo import moto_server
from reconciler.demo.sigstore.instance import PrivateSigstore
from tests import peers
from tests.fakes.aws_world import AwsWorld, Build, collectors, reset
from tests.fakes.counting_proxy import CountingProxy


@pytest.fixture(scope="module")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto's server."""
    peers.require("moto_server")
    with moto_server.start(tmp_path_factory.mktemp("moto"), managed_policies=False) as running:
        yield running.url


@pytest.fixture
def proxy(moto_url: str) -> Iterator[CountingProxy]:
    """Stand between the client under test and an empty account."""
    reset(moto_url)
    with CountingProxy(moto_url) as running:
        yield running


@pytest.fixture
def world(proxy: CountingProxy) -> AwsWorld:
    """Give the account, without the proxy seeing what is seeded."""
    return AwsWorld(proxy.upstream)


@pytest.fixture
def collector(proxy: CountingProxy, tmp_path: Path) -> Iterator[Build]:
    """Build collectors that go through the proxy and are closed at the end."""
    with collectors(proxy.url, tmp_path) as build:
        yield build


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSigstore]:
    """Start one private Sigstore for the module."""
    with PrivateSigstore(tmp_path_factory.mktemp("sigstore")) as instance:
        yield instance


@pytest.fixture
def instance(started: PrivateSigstore) -> Iterator[PrivateSigstore]:
    """Return the private Sigstore and mend it afterwards."""
    yield started
    started.mend()
