"""Whose a user name is, asked once for acts that are made at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from inventory.aws.user_names import UserNames
from inventory.errors import ObjectMissing
from inventory.last_look import HOLDS_SECONDS
from tests.fakes.clock import FakeClock


class Asking:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return f"AIDA{self.asked}"


def test_acts_at_the_same_moment_ask_once() -> None:
    """Many threads that need the same name get the one answer."""
    names, asking, ready = UserNames(FakeClock()), Asking(), Barrier(8)

    def act(_: int) -> str:
        ready.wait(30)
        return names.user_id("111111111111", "mara", asking)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(act, range(8))) == {"AIDA1"}
    assert asking.asked == 1


def test_an_answer_stands_for_a_moment_only() -> None:
    """A name may be somebody else's later, and is another user's in another account."""
    clock, asking = FakeClock(), Asking()
    names = UserNames(clock)
    assert names.user_id("111111111111", "mara", asking) == "AIDA1"
    clock.sleep(HOLDS_SECONDS)
    assert names.user_id("111111111111", "mara", asking) == "AIDA1"
    assert names.user_id("222222222222", "mara", asking) == "AIDA2"
    clock.sleep(0.1)
    assert names.user_id("111111111111", "mara", asking) == "AIDA3"


def test_what_was_not_answered_is_asked_again() -> None:
    """A failure is nobody's answer, and ends the one that stood before."""
    clock, asking = FakeClock(), Asking()
    names = UserNames(clock)

    def missing() -> str:
        raise ObjectMissing("no such user")

    for _ in range(2):
        with pytest.raises(ObjectMissing):
            names.user_id("111111111111", "mara", missing)
    assert names.user_id("111111111111", "mara", asking) == "AIDA1"


def test_old_answers_are_forgotten() -> None:
    """However many users are acted upon, only the answers of the moment are kept."""
    clock, asking = FakeClock(), Asking()
    names = UserNames(clock)
    for number in range(2000):
        names.user_id("111111111111", f"user-{number}", asking)
        clock.sleep(1)
    assert len(names._answers) < 300
