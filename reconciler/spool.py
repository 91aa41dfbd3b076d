"""Signs the statements that wait, strictly in their order, and pauses for longer after each failure.

A statement is stored before anything is tried here, so that whatever happens to a signature changes nothing about
what was stated, and nothing about what is done next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from inventory.provider import Clock
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.core.spooling import NO_ATTEMPTS, USUAL_PACE, Attempts, Backlog, Pace, Waiting
from reconciler.evidence_ports import EvidenceStore, Signer

MOST_AT_ONCE: Final = 20
"""Statements signed in one go: more would keep whoever waits for the end of it waiting."""
SIGN_AS_BEFORE: Final = "set signing back as it was, or begin a chain of its own with a new state_dir"
_SIXTEEN_BITS: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    """The statements of one chain that wait, and who signs them."""

    store: EvidenceStore
    signer: Signer
    genesis: str
    """Binds the chain to its installation and to this signer: a statement that names another one is not signed."""
    clock: Clock
    random_bytes: Callable[[int], bytes]
    pace: Pace = USUAL_PACE

    def backlog(self) -> Backlog:
        """Return what waits. Raises `EvidenceError` when the oldest statement cannot be read."""
        return look(self.store, self.pace, self.clock)

    def work(self, most: int | None = None, *, patient: bool = True, wait_seconds: float = 0.0) -> Backlog:
        """Sign what waits, oldest first and `MOST_AT_ONCE` unless `most` says otherwise, and return what still does.

        Nothing is tried while a failure is too recent, unless `patient` is false. Another process that signs is waited
        for. Raises `SigningError` when an attempt fails or rests, and `EvidenceError` when the store takes nothing.
        """
        if not self.store.waiting():
            return Backlog()
        with self.store.signing.alone(wait_seconds):
            waiting = self.store.waiting()
            attempts = self.store.signing.load()
            if patient and waiting:
                self._rest(attempts, waiting)
            for one in waiting[: most or MOST_AT_ONCE]:
                attempts = self._attempt(one, attempts)
            if waiting:
                self.store.signing.keep(NO_ATTEMPTS)
        return self.backlog()

    def _rest(self, attempts: Attempts, waiting: Sequence[Waiting]) -> None:
        until = attempts.rests_until(self.pace, self.clock.now())
        if until is not None:
            msg = f"{_many(len(waiting))}; the next attempt is due at {rfc3339(until)}; the last one: {attempts.error}"
            raise SigningError(msg, advice=attempts.advice)

    def _attempt(self, one: Waiting, attempts: Attempts) -> Attempts:
        memory = self.store.signing
        attempts = attempts.begun(one.sequence, self.clock.now())
        try:
            memory.reserve(attempts)
            self._sign(one)
        except (SigningError, EvidenceError) as error:
            memory.keep(attempts.failed(error, self.pace, self.clock.now(), self._chance()))
            raise
        return attempts

    def _sign(self, one: Waiting) -> None:
        stated = self.store.stated(one)
        mode, named = stated.signing_mode, f"the statement of cycle {one.sequence}"
        if mode != self.signer.mode:
            msg = f"{named} says that it is signed in mode {mode}, not {self.signer.mode}"
            raise SigningError(msg, advice=SIGN_AS_BEFORE)
        if stated.genesis != self.genesis:
            msg = f"{named} is to be signed by another one than {self.signer.identity}"
            raise SigningError(msg, advice=SIGN_AS_BEFORE)
        signed = self.signer.sign(self.store.statement(one))
        self.store.put_bundle(one, signed.bundle)

    def _chance(self) -> float:
        return int.from_bytes(self.random_bytes(2)) / _SIXTEEN_BITS


def look(store: EvidenceStore, pace: Pace, clock: Clock) -> Backlog:
    """Return what waits in a store, without being able to sign it; raises `EvidenceError`."""
    waiting = tuple(store.waiting())
    if not waiting:
        return Backlog()
    attempts = store.signing.load()
    return Backlog(
        waiting=waiting,
        since=store.stated(waiting[0]).finished_at,
        attempts=attempts,
        rests_until=attempts.rests_until(pace, clock.now()),
    )


def behind(backlog: Backlog) -> SigningError | None:
    """Return what to say of statements that are left after those before them were signed; None when none is."""
    if not backlog.waiting:
        return None
    return SigningError(f"{_many(len(backlog.waiting))} yet", advice="nothing is to be done: they are signed next")


def _many(count: int) -> str:
    return "1 statement waits" if count == 1 else f"{count} statements wait"
