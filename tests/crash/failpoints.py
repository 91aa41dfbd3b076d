"""Places where a process may die: before and after each journal write, around each call to a provider."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inventory.model import Principal, PrincipalReading, ProviderInventory
from inventory.provider import Interest
from reconciler.adapters.attestation_names import BUNDLE_SUFFIX, STATEMENT_SUFFIX
from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.log_key import LogKey
from reconciler.adapters.spool_file import SpoolFile
from reconciler.core.canonical import dumps, sha256_hex
from reconciler.core.errors import JournalError
from reconciler.core.model import (
    Action,
    BeforeImage,
    CycleId,
    Mode,
    OutcomeState,
    Receipt,
)
from reconciler.core.record import CycleOutcome
from reconciler.core.running_log import LogSection
from reconciler.core.spooling import Attempts
from reconciler.evidence_ports import SignedStatement, Signer
from reconciler.execution import Crew, execute
from reconciler.ports import Journal
from reconciler.recovery import recover
from tests.fakes.clock import FakeClock
from tests.fakes.world import FakeProvider, Watcher, approve, plan_of, proposals

WRITES = (
    "take_over",
    "begin_cycle",
    "record_plan",
    "record_intent",
    "record_outcome",
    "record_verification",
    "use_approval",
    "record_undo_intent",
    "record_undo",
    "remember_observed",
    "remember_roster",
    "finish_cycle",
)


class Crash(BaseException):
    """The process is gone: nothing that it would still do happens."""


class Failpoints:
    """Counts the places that a process passes, and kills it at one of them."""

    def __init__(self, at: int = 0) -> None:
        self.passed: list[str] = []
        self._at = at
        self._lock = threading.Lock()

    def hit(self, name: str) -> None:
        """Pass a place; from the fatal one on, every thread dies at its next place."""
        with self._lock:
            self.passed.append(name)
            if self._at and len(self.passed) >= self._at:
                raise Crash(name)


class FailingJournal:
    """A journal whose process may die before and after each write."""

    def __init__(self, journal: Journal, failpoints: Failpoints) -> None:
        self._journal = journal
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        wrapped: Callable[..., Any] = getattr(self._journal, name)
        if name not in WRITES:
            return wrapped

        def write(*args: Any) -> Any:
            self._failpoints.hit(f"before {name}")
            value = wrapped(*args)
            self._failpoints.hit(f"after {name}")
            return value

        return write


class FailingProvider:
    """A provider whose caller may die before a call, and after its effect but before its answer."""

    def __init__(self, provider: FakeProvider, failpoints: Failpoints) -> None:
        self._provider = provider
        self._failpoints = failpoints

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        self._failpoints.hit("before collect")
        return self._provider.collect(interest)

    def read_principal(self, owner: Principal) -> PrincipalReading:
        self._failpoints.hit("before read")
        return self._provider.read_principal(owner)

    def before_image(self, action: Action) -> BeforeImage:
        return self._provider.before_image(action)

    def quarantine(self, action: Action) -> Receipt:
        return self._act(self._provider.quarantine, action)

    def revoke(self, action: Action) -> Receipt:
        return self._act(self._provider.revoke, action)

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        self._failpoints.hit("before undo")
        receipt = self._provider.undo(action, before)
        self._failpoints.hit("after undo")
        return receipt

    def identity(self) -> tuple[str, ...]:
        return self._provider.identity()

    def close(self) -> None:
        self._provider.close()

    def _act(self, act: Callable[[Action], Receipt], action: Action) -> Receipt:
        self._failpoints.hit("before call")
        receipt = act(action)
        self._failpoints.hit("after call")
        return receipt


class FailingMemory(SpoolFile):
    """A memory of attempts to sign whose process may die before and after each thing that it writes."""

    def __init__(self, root: Path, failpoints: Failpoints) -> None:
        super().__init__(root)
        self._failpoints = failpoints

    def reserve(self, attempts: Attempts) -> None:
        self._failpoints.hit("before reserve")
        super().reserve(attempts)
        self._failpoints.hit("after reserve")

    def keep(self, attempts: Attempts) -> None:
        self._failpoints.hit("before keep")
        super().keep(attempts)
        self._failpoints.hit("after keep")


class FailingSigner:
    """A signer whose process may die before it is asked, and once everything but its answer is done."""

    def __init__(self, signer: Signer, failpoints: Failpoints) -> None:
        self._signer = signer
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signer, name)

    def sign(self, payload: bytes) -> SignedStatement:
        self._failpoints.hit("before sign")
        signed = self._signer.sign(payload)
        self._failpoints.hit("after sign")
        return signed


class FailingStore(FileEvidenceStore):
    """An evidence store whose process may die before and after each file that it makes."""

    def __init__(self, root: Path, failpoints: Failpoints) -> None:
        super().__init__(root)
        self._failpoints = failpoints
        self._signing = FailingMemory(root, failpoints)

    def _create(self, path: Path, content: bytes) -> None:
        kind = next((one for one in (STATEMENT_SUFFIX, BUNDLE_SUFFIX, ".key") if path.name.endswith(one)), "evidence")
        self._failpoints.hit(f"before file {kind}")
        super()._create(path, content)
        self._failpoints.hit(f"after file {kind}")


class FailingLog(FileEvidenceLog):
    """A log whose process may die before, amid and after what it adds, and around its checkpoint."""

    def __init__(self, root: Path, key: LogKey, failpoints: Failpoints) -> None:
        super().__init__(root, key)
        self._failpoints = failpoints

    def _write(self, content: bytes, start: int) -> None:
        self._failpoints.hit("before leaf hashes")
        for part, place in ((content[:7], start), (content[7:], start + 7)):
            super()._write(part, place)
            self._failpoints.hit("after leaf hashes")

    def _checkpoint(self, stem: str, section: LogSection) -> None:
        super()._checkpoint(stem, section)
        self._failpoints.hit("after checkpoint")


def live(providers: Sequence[FakeProvider], journal: Journal, failpoints: Failpoints, clock: FakeClock) -> None:
    """Live a whole process: take over, settle what is open, and run one cycle over the world as it is."""
    watched: Any = FailingJournal(journal, failpoints)
    hands: Any = {provider.name: FailingProvider(provider, failpoints) for provider in providers}
    epoch = watched.take_over(clock.now())
    recover(watched, hands, clock)
    cycle_id = f"cycle-{len(journal.cycles()) + 1}"
    wanted = [action for provider in providers for action in proposals(provider)]
    plan = plan_of(*wanted, cycle_id=cycle_id, created_at=clock.now())
    watched.begin_cycle(CycleId(cycle_id), Mode.ENFORCE, clock.now())
    approved = approve(plan)
    watched.record_plan(plan, (), approved.expires_at)
    crew = Crew(
        journal=watched,
        clock=clock,
        epoch=epoch,
        collectors=hands,
        revokers=hands,
        still_planned=lambda _: "",
        observer=Watcher(),
        max_parallel_principals=1,
        max_parallel_actions=1,
    )
    execute(approved, crew)
    watched.finish_cycle(CycleId(cycle_id), CycleOutcome.COMPLETE, "sha256:" + sha256_hex(dumps(cycle_id)), clock.now())


def die_at(at: int, providers: Sequence[FakeProvider], journal: Journal, clock: FakeClock) -> Failpoints:
    """Live a process that dies at its n-th place; a process that has fewer places just ends."""
    failpoints = Failpoints(at)
    try:
        live(providers, journal, failpoints, clock)
    except Crash:
        pass
    except JournalError as error:
        raise AssertionError(f"a crash must not look like a journal failure: {error}") from error
    return failpoints


def check_end(
    providers: Sequence[FakeProvider], journal: Journal, effects: Sequence[Sequence[tuple[str, str]]]
) -> None:
    """Assert the end that every history must reach: each effect once, every intent ended, nothing left open."""
    for provider, expected in zip(providers, effects, strict=True):
        assert sorted(provider.effects) == sorted(expected)
        assert proposals(provider) == ()
    entries = journal.entries()
    assert all(entry.outcome is not None for entry in entries)
    assert journal.unsettled() == ()
    done = [entry.intent.action.item.access_id for entry in entries if entry.outcome is OutcomeState.DONE]
    assert sorted(done) == sorted(access_id for expected in effects for _, access_id in expected)
    assert [entry.sequence for entry in journal.cycles()] == list(range(1, len(journal.cycles()) + 1))
