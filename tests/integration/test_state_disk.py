"""A disk of the state that takes no more: no act without a durable intent, none twice, and all is well once it is back.

The kernel refuses every write of this process (a limit on the size of files), so that journal, evidence and locks meet
what they meet on a disk that is full.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.adapters.attestations import verify
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.lease import FileLease
from reconciler.adapters.sigstore_bundle import VerifyingKey
from reconciler.core.errors import EvidenceError, JournalError, ReconcilerError
from reconciler.core.record import CycleOutcome
from tests.builders import NOW, PROVIDER
from tests.fakes.house import House


class Disk:
    """Takes writes, or takes none."""

    def __init__(self) -> None:
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Refuse every write from now on; root is no exception."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._hard))

    def free(self) -> None:
        """Take writes again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._soft, self._hard))


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Return a disk, which takes writes again when the test is over."""
    made = Disk()
    yield made
    made.free()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house with a real journal, whose only cycle so far observed."""
    made = House(tmp_path)
    with SqlJournal(sqlite_url(tmp_path / "journal.sqlite3")) as journal:
        made.journal = journal  # type: ignore[assignment]  # the fake's place is taken by the real one
        made.observe_first()
        made.clock.sleep(60)
        yield made


@contextmanager
def at(house: House, moment: str, what: Callable[[], None]) -> Iterator[None]:
    """Do something the first time that the provider is called in this way."""
    provider = house.providers[PROVIDER]
    real = getattr(provider, moment)
    done: list[bool] = []

    def called(*args: Any) -> Any:
        answer = real(*args)
        if not done:
            done.append(True)
            what()
        return answer

    setattr(provider, moment, called)
    try:
        yield
    finally:
        setattr(provider, moment, real)
    assert done, f"{moment} was never called"


def whole_again(house: House, disk: Disk, folder: Path) -> None:
    """Let the disk take writes, run on, and hold the outcome to what it would have been without the fault."""
    disk.free()
    house.clock.sleep(60)
    assert house.run().outcome is CycleOutcome.COMPLETE
    house.clock.sleep(60)
    assert house.run().outcome is CycleOutcome.COMPLETE
    provider = house.providers[PROVIDER]
    assert [one for _, one in provider.effects] == ["lea/access_key/1"]
    (entry,) = house.journal.entries()
    assert entry.outcome is not None
    assert house.journal.unsettled() == ()
    report = verify(folder / "evidence", VerifyingKey.from_file(folder / "keys" / "attestation.pub"))
    assert (report.verified, report.gaps, report.problems) == (True, (), ())


@pytest.mark.parametrize(
    ("moment", "acts"), [("collect", 0), ("read_principal", 0), ("before_image", 0), ("revoke", 1)]
)
def test_a_disk_that_fills_in_a_cycle(moment: str, acts: int, house: House, disk: Disk, tmp_path: Path) -> None:
    """Up to the intent nothing is done; after the act its outcome is settled by reading, and it is not done again."""
    provider = house.providers[PROVIDER]
    provider.intent_exists = lambda action_id: house.journal.entry(action_id) is not None
    with at(house, moment, disk.fill), pytest.raises(JournalError) as refused:
        house.run()
    assert refused.value.advice
    assert len(provider.effects) == acts
    whole_again(house, disk, tmp_path)


def test_a_disk_that_is_full_from_the_start(house: House, disk: Disk, tmp_path: Path) -> None:
    """No cycle begins: nothing is read, nothing is done, and each attempt says why."""
    disk.fill()
    for _ in range(3):
        with pytest.raises(JournalError) as refused:
            house.run()
        assert refused.value.advice
    assert house.providers[PROVIDER].reads == 0
    assert house.providers[PROVIDER].effects == []
    whole_again(house, disk, tmp_path)


def test_evidence_that_cannot_be_kept_ends_the_cycle(
    house: House, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full when the cycle is to be attested: it says so, and the next cycle attests it first, with its act."""
    real = type(house.attester).attest

    def attest(*args: Any) -> Any:
        disk.fill()
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(type(house.attester), "attest", attest)
        with pytest.raises(EvidenceError) as refused:
            house.run()
    assert refused.value.advice
    assert len(house.providers[PROVIDER].effects) == 1
    whole_again(house, disk, tmp_path)


def test_a_disk_that_fills_before_the_signature(
    house: House, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full once the cycle is stated: it ended well, its act is told, nobody is asked to sign what could not be kept."""
    real, signed = type(house.attester).sign, []

    def sign(*args: Any) -> Any:
        disk.fill()
        return real(*args)

    # What is logged goes to a file of pytest, which takes as little as any other.
    with monkeypatch.context() as patched, capture_logs():
        patched.setattr(type(house.attester), "sign", sign)
        patched.setattr(type(house.attester.signer), "sign", lambda _, payload: signed.append(payload))
        record = house.run()
    assert record.outcome is CycleOutcome.COMPLETE
    assert "nothing is signed, as its signature could not be stored" in record.errors[-1]
    assert signed == []
    assert house.journal.cycles()[-1].outcome is CycleOutcome.COMPLETE
    disk.free()
    assert [one.sequence for one in house.attester.store.waiting()] == [2]
    house.clock.sleep(3600)
    whole_again(house, disk, tmp_path)


def test_a_lease_on_a_full_disk_is_refused_in_words(disk: Disk, tmp_path: Path) -> None:
    """Where not even the lock can be signed, the daemon does not start, and says what to look at."""
    disk.fill()
    with pytest.raises(ReconcilerError) as refused:
        FileLease(tmp_path / "state", purpose="run", now=NOW)
    assert "cannot take the lease" in str(refused.value)
    assert refused.value.advice
    disk.free()
    FileLease(tmp_path / "state", purpose="run", now=NOW).close()
