"""Probes: all at once, each for a bounded time."""

import threading

import pytest

from inventory.errors import Unavailable
from reconciler.adapters.clock import SystemClock
from reconciler.cli.probing import NoAnswer, Probes


def test_all_probes_are_under_way_at_once() -> None:
    """Each waits until all have begun, which they only do side by side."""
    together = threading.Barrier(3, timeout=60)
    probes = Probes({name: lambda: str(together.wait() >= 0) for name in "abc"}, SystemClock(), 60)
    assert [probes.answer(name) for name in "cab"] == ["True"] * 3


def test_a_probe_that_does_not_end_is_left_behind() -> None:
    """When its time is over it is given up, in a thread that does not outlive the program; the others are heard."""
    release = threading.Event()
    probes = Probes({"silent": lambda: str(release.wait(60)), "well": lambda: "well"}, SystemClock(), 1)
    with pytest.raises(NoAnswer):
        probes.answer("silent")
    assert probes.answer("well") == "well"
    (left,) = [one for one in threading.enumerate() if one.name == "probe silent"]
    assert left.daemon
    release.set()


def test_what_a_probe_raises_is_raised_to_whoever_asks() -> None:
    """An error of a provider and a defect both come out where the answer is asked for."""

    def refused() -> str:
        raise Unavailable("connection refused")

    probes = Probes({"refused": refused, "broken": lambda: str(1 // 0)}, SystemClock(), 10)
    with pytest.raises(Unavailable):
        probes.answer("refused")
    with pytest.raises(ZeroDivisionError):
        probes.answer("broken")
