"""Verifying beside a daemon that attests: what was there at the beginning verifies, whatever comes meanwhile."""

from datetime import datetime
from pathlib import Path

import pytest

from reconciler.adapters.attestations import verify
from reconciler.adapters.sigstore_bundle import Refusal, Trusted
from reconciler.adapters.verified_log import VerifiedLog
from tests.record_builders import Chain, attested_chain, cycle_record, verified

CYCLES = 3


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Attest three cycles."""
    return attested_chain(tmp_path / "evidence", *(cycle_record(sequence=one) for one in range(1, CYCLES + 1)))


def another(chain: Chain, *, signed: bool) -> None:
    """Attest the next cycle, as a daemon would; unsigned, its statement and its records are there and wait."""
    sequence = len(chain.store.waiting()) + len(list(chain.folder.glob("*.sigstore.json"))) + 1
    attested_chain(chain.store.root, cycle_record(sequence=sequence))
    if not signed:
        chain.files(sequence)[1].unlink()


class Beside:
    """Trusts the chain's key, and attests another cycle while a signature is checked."""

    def __init__(self, chain: Chain, *, signed: bool, at: int) -> None:
        self._chain = chain
        self._signed = signed
        self._left = at

    @property
    def mode(self) -> str:
        """Return the key's mode."""
        return self._chain.key.mode

    @property
    def signer(self) -> str:
        """Return the key's fingerprint."""
        return self._chain.key.signer

    def refusal(self, content: bytes, payload: bytes) -> Refusal | None:
        """Check, and let the daemon work at the signature that was asked for."""
        self._left -= 1
        if self._left == 0:
            another(self._chain, signed=self._signed)
        return self._chain.key.refusal(content, payload)

    def stamped_at(self, content: bytes) -> datetime | None:
        """Return None: a key alone shows no time."""
        return self._chain.key.stamped_at(content)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("at", range(1, CYCLES + 1))
def test_a_cycle_that_comes_while_others_are_verified_is_no_problem(chain: Chain, at: int, *, signed: bool) -> None:
    """Its records and its checkpoint are in the log already, and its attestation was not there at the beginning."""
    trusted: Trusted = Beside(chain, signed=signed, at=at)
    report = verify(chain.store.root, trusted)
    assert report.problems == ()
    assert (report.verified, report.cycles) == (True, CYCLES)
    assert report.log is not None
    assert report.log.recomputed


def test_a_cycle_that_comes_between_names_and_log_is_no_problem(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is opened after the attestations were listed, and may be longer by then."""
    opened = VerifiedLog.opened

    def later(root: Path, expected: bytes | None, *, demanded: bool) -> object:
        another(chain, signed=True)
        return opened(root, expected, demanded=demanded)

    monkeypatch.setattr(VerifiedLog, "opened", later)
    report = verified(chain)
    assert (report.problems, report.cycles) == ((), CYCLES)


def test_a_cycle_in_the_midst_of_being_attested_is_no_problem(chain: Chain) -> None:
    """A statement was listed, its records reach the log a moment later, its bundle after them: all of it verifies."""
    hashes = chain.store.root / "log" / "leaf-hashes"
    whole, bundle = hashes.read_bytes(), chain.files(CYCLES)[1]
    signature = bundle.read_bytes()
    hashes.write_bytes(whole[: len(whole) * 2 // CYCLES])
    bundle.unlink()

    class Late(Beside):
        def refusal(self, content: bytes, payload: bytes) -> Refusal | None:
            with hashes.open("ab") as end:
                end.write(whole[hashes.stat().st_size :])
            bundle.write_bytes(signature)
            return super().refusal(content, payload)

    report = verify(chain.store.root, Late(chain, signed=True, at=0))
    assert (report.problems, report.cycles) == ((), CYCLES)


def test_a_tail_that_is_cut_off_is_found_beside_a_daemon_too(chain: Chain) -> None:
    """Only attestations after the last excuse what the log has more: an earlier one, put back, does not."""
    kept = {path: path.read_bytes() for path in chain.files(1)}
    for path in (*chain.files(1), *chain.files(CYCLES)):
        path.unlink()

    class Restoring(Beside):
        def refusal(self, content: bytes, payload: bytes) -> Refusal | None:
            for path, was in kept.items():
                path.write_bytes(was)
            return super().refusal(content, payload)

    report = verify(chain.store.root, Restoring(chain, signed=True, at=0))
    assert {"truncated", "missing"} & {problem.code for problem in report.problems}
    assert not report.verified
