"""The coalescing queue: nobody who wakes is lost, and a flood is one token."""

import signal
import threading

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.daemon.wakeups import Reason, Wakeups


class Queue(RuleBasedStateMachine):
    """The queue against the plainest thing that it may be compared with: a set."""

    def __init__(self) -> None:
        super().__init__()
        self.wakeups = Wakeups()
        self.expected: set[Reason] = set()

    @rule(reason=st.sampled_from(Reason), times=st.integers(1, 50))
    def wake(self, reason: Reason, times: int) -> None:
        """Whoever wakes is remembered once."""
        for _ in range(times):
            self.wakeups.wake(reason)
        self.expected.add(reason)

    @rule()
    def take(self) -> None:
        """All that waits is answered at once, and nothing that does not."""
        assert self.wakeups.take(0) == self.expected
        self.expected.clear()

    @invariant()
    def never_more_than_there_are_reasons(self) -> None:
        """The queue is bounded, and knows what waits."""
        assert self.wakeups._tokens.qsize() == len(self.expected)
        assert {reason for reason, waits in self.wakeups.waiting.items() if waits} == self.expected


Queue.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueue = Queue.TestCase


def test_an_empty_queue_gives_up_in_time() -> None:
    """Nobody woke: the wait ends with no reason."""
    assert Wakeups().take(0.01) == frozenset()
    assert Wakeups().take(-5) == frozenset()


def test_a_wait_ends_when_somebody_wakes() -> None:
    """A token that comes during the wait ends it long before its time."""
    wakeups = Wakeups()
    waker = threading.Timer(0.02, wakeups.wake, (Reason.SIGNAL,))
    waker.start()
    assert wakeups.take(30) == {Reason.SIGNAL}
    waker.join()


def test_a_flood_from_many_threads_loses_nobody() -> None:
    """After each waker's last token, one more round of takes has answered every reason, and the queue is empty."""
    wakeups = Wakeups()

    def flood(reason: Reason) -> None:
        for _ in range(2000):
            wakeups.wake(reason)

    wakers = [
        threading.Thread(target=flood, args=(reason,))
        for reason in (Reason.HINT, Reason.TIMER, Reason.SIGNAL, Reason.HINT)
    ]
    for waker in wakers:
        waker.start()
    seen: set[Reason] = set()
    most = 0
    while any(waker.is_alive() for waker in wakers):
        most = max(most, wakeups._tokens.qsize())
        seen |= wakeups.take(0.01)
    seen |= wakeups.take(0)
    assert seen == {Reason.HINT, Reason.TIMER, Reason.SIGNAL}
    assert most <= len(Reason) + len(wakers)
    wakeups.wake(Reason.HINT)
    assert wakeups.take(0) == {Reason.HINT}


def test_a_signal_handler_may_wake_in_the_middle_of_anything() -> None:
    """A handler that wakes while the same thread waits, wakes or takes never waits for itself, and is answered."""
    wakeups = Wakeups()
    before = signal.signal(signal.SIGALRM, lambda *_: wakeups.wake(Reason.SIGNAL))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
        answered = 0
        for _ in range(300):
            wakeups.wake(Reason.TIMER)
            answered += Reason.SIGNAL in wakeups.take(0.001)
            answered += Reason.SIGNAL in wakeups.take(0.001)
        assert answered > 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
