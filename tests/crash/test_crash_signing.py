"""A process may die at any step from statement to stored bundle: nothing is lost, and nothing is stated twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.attestations import verify
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.core.record import CycleOutcome
from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.evidence_ports import Signer
from tests.builders import PROVIDER
from tests.crash.failpoints import Crash, FailingJournal, FailingSigner, FailingStore, Failpoints
from tests.fakes.house import House
from tests.keyless import InProcess, keyless_settings, trusting

STATED = "after file .statement.json"
"""From here on the cycle is recorded for good."""
STEPS = (
    "before file .statement.json",
    STATED,
    "before finish_cycle",
    "after finish_cycle",
    "before reserve",
    "after reserve",
    "before sign",
    "after sign",
    "before file .sigstore.json",
    "after file .sigstore.json",
    "before keep",
    "after keep",
)


class DeathAt(Failpoints):
    """Kills the process the first time that it comes to a step of this name."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step = step

    def hit(self, name: str) -> None:
        super().hit(name)
        if name == self._step:
            raise Crash(name)


class Bureau:
    """A house that signs, and the processes that come and go in it."""

    def __init__(self, folder: Path, signer: Signer | None = None) -> None:
        self.folder = folder
        self.house = House(folder)
        self.signer: Any = signer or self.house.attester.signer
        self.house.attester = replace(self.house.attester, signer=self.signer)
        self.house.observe_first()
        self.journal = self.house.journal

    def live(self, step: str = "") -> Failpoints:
        """Run one cycle in a process that dies at a step, where one is given."""
        points = DeathAt(step)
        failing: Any = FailingJournal(self.journal, points)
        signer: Any = FailingSigner(self.signer, points)
        self.house.journal = failing
        store = FailingStore(self.folder / "evidence", points)
        self.house.attester = replace(self.house.attester, store=store, signer=signer)
        try:
            self.house.run()
        except Crash:
            pass
        finally:
            self.house.journal = self.journal
        self.house.clock.sleep(60)
        return points

    @property
    def store(self) -> FileEvidenceStore:
        """Return the store as a process that is no longer there left it."""
        return FileEvidenceStore(self.folder / "evidence")

    @property
    def effects(self) -> list[str]:
        """Return what was taken away."""
        return [one for _, one in self.house.providers[PROVIDER].effects]


@pytest.mark.parametrize("step", STEPS)
def test_dying_at_a_step_of_attesting_loses_nothing(step: str, tmp_path: Path) -> None:
    """The next start signs what was stated; a cycle that was stated was not interrupted, and is not stated again."""
    bureau = Bureau(tmp_path)
    passed = bureau.live(step).passed
    assert passed[-1] == step
    stated = STATED in passed
    (path,) = (tmp_path / "evidence" / "attestations").glob("000002-*.statement.json") if stated else (None,)
    before = path.read_bytes() if path else b""
    bureau.live()
    assert [one.outcome for one in bureau.journal.cycles()][1] is (
        CycleOutcome.COMPLETE if stated else CycleOutcome.FAILED
    )
    assert not path or path.read_bytes() == before
    assert bureau.effects == ["lea/access_key/1"]
    assert bureau.store.waiting() == ()
    report = verify(bureau.store.root, bureau.signer.verifying_key, journal=bureau.journal.cycles())
    assert (report.verified, report.cycles, report.problems) == (True, 3, ())


def test_the_steps_are_those_of_a_cycle(tmp_path: Path) -> None:
    """The list above is the order in which a cycle goes from its statement to its bundle, and leaves none out."""
    passed = Bureau(tmp_path).live().passed
    assert tuple(passed[passed.index(STEPS[0]) :]) == STEPS


def test_dying_again_and_again_while_signing_ends_the_same(tmp_path: Path) -> None:
    """Each start dies while it signs: statements pile up in order, and the first one that lives signs them all."""
    bureau = Bureau(tmp_path)
    for _ in range(4):
        bureau.live("before sign")
    assert [one.sequence for one in bureau.store.waiting()] == [2, 3, 4, 5]
    assert {one.outcome for one in bureau.journal.cycles()} == {CycleOutcome.COMPLETE}
    bureau.live()
    assert verify(bureau.store.root, bureau.signer.verifying_key, journal=bureau.journal.cycles()).cycles == 6


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[PrivateSigstore]:
    """Return a private instance of Sigstore."""
    with PrivateSigstore(tmp_path / "instance") as made:
        yield made


def test_dying_between_log_entry_and_bundle_signs_again(instance: PrivateSigstore, tmp_path: Path) -> None:
    """The log holds an entry whose bundle is lost: the same statement is signed anew, with an entry of its own."""
    signer = InProcess(keyless_settings(instance, tmp_path / "own"), tmp_path / "cache")
    bureau = Bureau(tmp_path / "house", signer)
    before = instance.rekor.size
    bureau.live("after sign")
    assert instance.rekor.size == before + 1
    assert [one.sequence for one in bureau.store.waiting()] == [2]
    assert bureau.store.signing.load().sequence == 2
    bureau.live()
    assert instance.rekor.size == before + 3
    assert bureau.store.waiting() == ()
    report = verify(bureau.store.root, trusting(instance, tmp_path / "root.json"), journal=bureau.journal.cycles())
    assert (report.verified, report.cycles) == (True, 3)
    assert bureau.effects == ["lea/access_key/1"]
