"""Where the roster may be sent: to this host, or anywhere under TLS; never along with a redirect."""

import pytest

from reconciler.adapters.opa import OpaServer
from reconciler.core.errors import PolicyError, SettingsError


@pytest.mark.parametrize(
    "url",
    [
        "opa:8181",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://user:secret@127.0.0.1:8181",
        "https://opa.example.com/base",
        "https://opa.example.com?x=1",
        "http://opa.example.com:8181",
        "http://10.0.0.1:8181",
        "http://127.0.0.1.example.com",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    """No URL, a path the client would drop, or a roster in the clear; a secret in it is not repeated."""
    with pytest.raises(SettingsError) as caught:
        OpaServer(url, "token")
    assert "secret" not in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8181/", "http://127.0.0.1:8181/v1"),
        ("http://localhost", "http://localhost:8181/v1"),
        ("http://[::1]:8181", "http://[::1]:8181/v1"),
        ("https://opa.example.com", "https://opa.example.com:443/v1"),
    ],
)
def test_addresses_that_are_taken(url: str, root: str) -> None:
    """This host in the clear, anybody else under TLS."""
    server = OpaServer(url, "token")
    assert server._control.root_url == root
    assert not server._control._session.trust_env
    server.close()


def test_asking_before_loading() -> None:
    """Without policies there is nothing to say."""
    with pytest.raises(PolicyError, match="not loaded"):
        OpaServer("http://127.0.0.1:9", None).info()
