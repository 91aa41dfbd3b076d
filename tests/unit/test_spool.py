"""The spool: statements are signed in their order, pauses grow with failures, nothing is signed that has no room."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.core.errors import EvidenceError, SigningError, UnverifiedSignature
from reconciler.core.spooling import NO_ATTEMPTS, Attempts, Backlog, StatementState
from reconciler.spool import MOST_AT_ONCE, look
from tests.builders import NOW
from tests.fakes.spool import DOWN, PACE, Office
from tests.record_builders import cycle_id
from tests.simulation.office import FAST


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return three statements that wait."""
    return Office(tmp_path)


def test_what_waits_is_signed_in_its_order(office: Office) -> None:
    """Oldest first, no more than asked for, and what is left is told with its age."""
    office.clock.at = NOW + timedelta(hours=1)
    left = office.spool.work(2)
    assert office.pen.signed == [1, 2]
    assert [one.sequence for one in left.waiting] == [3]
    assert left.since is not None
    assert left.age_seconds(office.clock.now()) == (office.clock.now() - left.since).total_seconds() > 0
    assert office.spool.work() == Backlog()
    assert office.pen.signed == [1, 2, 3]
    assert office.spool.work().age_seconds(NOW) == 0
    assert office.pen.asked == 3


@pytest.fixture
def fast() -> Iterator[Path]:
    """Return a folder in memory: a thousand syncs of a busy disk are no part of what is tested."""
    with tempfile.TemporaryDirectory(prefix="spool-", dir=FAST) as folder:
        yield Path(folder)


def test_five_hundred_statements_are_worked_off_in_bounded_goes(fast: Path) -> None:
    """A long outage is made up for in order, a fixed number in each go, and nothing is left out."""
    office = Office(fast, waiting=500)
    goes = 0
    while office.spool.work().waiting:
        goes += 1
        assert len(office.pen.signed) == goes * MOST_AT_ONCE
    assert goes == 500 / MOST_AT_ONCE - 1
    assert office.pen.signed == list(range(1, 501))


def test_a_failure_stops_the_row_and_rests(office: Office) -> None:
    """Nothing younger is signed past one that fails; until the pause is over nobody is asked, in no process."""
    office.pen.error = DOWN
    with pytest.raises(SigningError, match="cannot be reached"):
        office.spool.work()
    assert office.pen.asked == 1
    for spool in (office.spool, office.another()):
        with pytest.raises(
            SigningError, match=r"3 statements wait; the next attempt is due at .*cannot be reached"
        ) as told:
            spool.work()
        assert told.value.advice == DOWN.advice
    assert office.pen.asked == 1
    assert office.left() == [1, 2, 3]
    assert office.spool.backlog().attempts.error == str(DOWN)
    office.pen.error = None
    office.clock.sleep(10)
    assert office.another().work() == Backlog()
    assert office.spool.store.signing.load() == NO_ATTEMPTS


def test_who_is_impatient_tries_at_once(office: Office) -> None:
    """An operator who has mended the cause does not wait for the pause."""
    office.pen.error = DOWN
    with pytest.raises(SigningError, match="cannot be reached"):
        office.spool.work()
    office.pen.error = None
    assert office.spool.work(patient=False) == Backlog()


@given(failures=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_bound(failures: int, chance: float) -> None:
    """Each pause is between half and the whole of the doubled one, and never longer than the longest."""
    after = Attempts(failures=failures).failed(DOWN, PACE, NOW, chance)
    whole = min(PACE.longest_seconds, PACE.first_seconds * 2.0 ** min(failures, 16))
    assert after.not_before is not None
    pause = (after.not_before - NOW).total_seconds()
    assert whole / 2 <= pause + 1e-6
    assert pause <= whole
    assert after.failures == failures + 1


def test_a_clock_that_was_wrong_holds_nothing_up() -> None:
    """A pause that ends further off than the longest one is no pause; one that is over is none either."""
    late = Attempts(not_before=NOW + timedelta(days=1))
    assert late.rests_until(PACE, NOW) is None
    assert Attempts(not_before=NOW).rests_until(PACE, NOW) is None
    soon = NOW + timedelta(seconds=100)
    assert Attempts(not_before=soon).rests_until(PACE, NOW) == soon


def test_a_signature_that_does_not_verify_is_a_state_of_its_own(office: Office) -> None:
    """The statement whose signature was refused counts as signed and not as verified; the others are spooled."""
    office.pen.error = UnverifiedSignature("not signed: verification: the proof does not hold", advice="see the clocks")
    with pytest.raises(UnverifiedSignature):
        office.spool.work()
    attempts = office.spool.backlog().attempts
    assert [attempts.state_of(number) for number in (1, 2)] == [StatementState.SIGNED, StatementState.SPOOLED]
    office.pen.error = DOWN
    with pytest.raises(SigningError):
        office.spool.work(patient=False)
    assert office.spool.backlog().attempts.state_of(1) is StatementState.SPOOLED


def test_no_statement_is_signed_in_a_mode_that_it_does_not_name(office: Office) -> None:
    """A statement that says it is signed by a key is not signed by an identity, and the other way round."""
    office.pen.mode = "keyless"
    with pytest.raises(SigningError, match="cycle 1 says that it is signed in mode managed-key, not keyless") as told:
        office.spool.work()
    assert told.value.advice
    assert office.pen.asked == 0


def test_no_statement_is_signed_by_another_than_its_chain_names(office: Office) -> None:
    """A key that took the place of the one that began the chain signs nothing of what waits."""
    with pytest.raises(SigningError, match="cycle 1 is to be signed by another one than sha256:pen") as told:
        replace(office.spool, genesis="0" * 64).work()
    assert told.value.advice
    assert office.pen.asked == 0


def test_one_process_signs_at_a_time(office: Office) -> None:
    """While somebody signs, nobody else does; who comes second says so, and finds the work done afterwards."""
    with office.another().store.signing.alone(0), pytest.raises(SigningError, match="another process is signing"):
        office.spool.work()
    assert office.pen.asked == 0
    assert office.spool.work() == Backlog()


def test_nothing_is_signed_that_could_not_be_stored(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes nothing is found out before anybody is asked: no log gets an entry without a bundle."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("reconciler.adapters.spool_file.os.fsync", full)
        patched.setattr("reconciler.adapters.spool_file.replace_file", full)
        with pytest.raises(
            EvidenceError, match="nothing is signed, as its signature could not be stored: No space"
        ) as told:
            office.spool.work()
        assert told.value.advice
        assert office.pen.asked == 0
        with pytest.raises(SigningError, match="next attempt is due"):
            office.spool.work()
    assert not list(office.root.glob("signing.room"))
    office.clock.sleep(10)
    assert office.spool.work() == Backlog()


def test_a_memory_that_cannot_be_read_is_none(office: Office) -> None:
    """A damaged note of earlier attempts holds nothing up, and is replaced."""
    (office.root / "signing.json").write_bytes(b"{ nonsense")
    assert office.spool.store.signing.load() == NO_ATTEMPTS
    assert office.spool.work() == Backlog()
    assert json.loads((office.root / "signing.json").read_bytes())["failures"] == 0


def test_looking_needs_no_signer(office: Office) -> None:
    """What waits can be told without a key or a service; nothing is where nothing was ever stated."""
    assert look(office.spool.store, PACE, office.clock) == office.spool.backlog()
    assert look(FileEvidenceStore(office.root / "empty"), PACE, office.clock) == Backlog()
    assert look(office.spool.store, PACE, office.clock).waiting[0].cycle_id == cycle_id(1)


def test_a_statement_that_vanished_is_named(office: Office) -> None:
    """A statement that cannot be read any more ends the row with its name."""
    spool = replace(office.spool, store=FileEvidenceStore(office.root))
    (path,) = (office.root / "attestations").glob("000001-*.statement.json")
    path.write_bytes(b"{}")
    with pytest.raises(EvidenceError, match="field"):
        spool.work()
    assert office.pen.asked == 0
