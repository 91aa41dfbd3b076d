"""Building the revokers of a cycle: who they are is asked first, and one that does not say is left out."""

import socket
from contextlib import ExitStack
from pathlib import Path

from inventory.model import ProviderName
from inventory.roster.csv_file import CsvRosterSettings
from reconciler.core.model import Mode
from reconciler.settings import ProviderSettings, Settings
from reconciler.wiring import build_revokers
from tests.fakes.clock import FakeClock
from tests.fakes.scim_vendor import TOKEN, Vendor
from tests.fakes.world import Watcher


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of(folder: Path, url: str, mode: Mode = Mode.ENFORCE) -> Settings:
    """Configure one SCIM service with a revoker."""
    token = folder / "token"
    token.write_text(TOKEN)
    scim = ProviderSettings(type="scim", mode=mode, revoker={"url": url, "token_file": str(token)})
    return Settings(
        state_dir=folder / "state",
        roster=CsvRosterSettings(path=folder / "roster.csv"),
        providers={"corp-scim": scim},
    )


def test_a_revoker_is_asked_who_it_is(tmp_path: Path) -> None:
    """What the provider answers is known as ours before anything is planned; without /Me nothing is."""
    with Vendor() as vendor, ExitStack() as stack:
        vendor.user("dave")
        settings = settings_of(tmp_path, vendor.url)
        nameless = build_revokers(settings, Mode.ENFORCE, FakeClock(), stack, Watcher())
        vendor.behaviour.me = "dave"
        named = build_revokers(settings, Mode.ENFORCE, FakeClock(), stack, Watcher())
    name = ProviderName("corp-scim")
    assert (set(nameless.revokers), nameless.own_names) == ({name}, frozenset())
    assert (set(named.revokers), named.own_names) == ({name}, frozenset({(name, "dave")}))


def test_a_revoker_that_cannot_say_who_it_is_is_left_out(tmp_path: Path) -> None:
    """A provider that gives no answer, or one that is no user, is not acted upon; whoever watches is told."""
    watcher = Watcher()
    with Vendor() as vendor, ExitStack() as stack:
        vendor.user("odd")
        vendor.objects["Users"]["odd"]["id"] = ""
        vendor.behaviour.me = "odd"
        for url in (f"http://127.0.0.1:{closed_port()}", vendor.url):
            hands = build_revokers(settings_of(tmp_path, url), Mode.ENFORCE, FakeClock(), stack, watcher)
            assert (hands.revokers, hands.own_names) == ({}, frozenset())
    assert [step.message.startswith("corp-scim cannot be acted upon: ") for step in watcher.steps] == [True, True]


def test_an_observing_instance_is_not_even_asked(tmp_path: Path) -> None:
    """Where nothing may be done, no write client exists and no call is made."""
    with Vendor() as vendor, ExitStack() as stack:
        settings = settings_of(tmp_path, vendor.url, Mode.OBSERVE)
        assert build_revokers(settings, Mode.ENFORCE, FakeClock(), stack, Watcher()).revokers == {}
        assert vendor.requests == []
