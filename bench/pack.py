"""What a pack of many cycles costs: exporting it in bounded memory, and verifying it on one core.

    .venv/bin/python -m bench.pack --cycles 1000
    .venv/bin/python -m bench.pack --cycles 1000 --signing sigstore

A chain is attested first, by a key or by the private Sigstore of the demo; each cycle has a leaver, three decisions and
an act. Then the real commands run in processes of their own, held to one core: `export` twice, as the same bytes must
come out, and `verify`. Cycles a second are by CPU seconds, start of the program included, so that a busy machine tells
nearly the same; peak memory is what the kernel noted as the largest resident size (VmHWM). Fails
below 100 cycles a second.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from reconciler.demo.sigstore.instance import PrivateSigstore
from reconciler.demo.sigstore.issuer import WORKLOAD
from tests.keyless import InProcess, keyless_chain, keyless_settings
from tests.record_builders import attested_chain, cycle_record

WANTED = 100
"""Cycles a second that verification must reach on one core, however they were signed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took."""

    cpu: float
    wall: float
    peak_mib: float


def command(*arguments: str | Path, allowed: tuple[int, ...] = (0,)) -> Cost:
    """Run a command of ours on one core and return what it took; end with its output when it fails."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
        program = [sys.executable, "-m", "reconciler", "attestations", *map(str, arguments)]
        os.execv(sys.executable, program)  # noqa: S606 - our own program, in the process that wait4 tells the cost of
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in allowed:
        raise SystemExit(f"{arguments[0]} ended with {code}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)


def chain_by_key(folder: Path, cycles: int) -> list[str | Path]:
    """Attest cycles with a key and return the options by which an auditor trusts it."""
    chain = attested_chain(folder / "evidence", *(cycle_record(sequence=number) for number in range(1, cycles + 1)))
    key = folder / "signer.pub"
    key.write_bytes(chain.key.pem)
    return ["--key", key]


def chain_by_sigstore(folder: Path, cycles: int) -> list[str | Path]:
    """Attest cycles at a private Sigstore and return the options by which an auditor trusts it."""
    with PrivateSigstore(folder / "instance") as instance:
        settings = keyless_settings(instance, folder / "own")
        keyless_chain(folder / "evidence", InProcess(settings, folder / "cache"), cycles)
        trust = instance.write_trust(folder / "trust.json")
        return ["--trust-root", trust, "--identity", WORKLOAD, "--issuer", instance.issuer.url]


def say(name: str, cost: Cost, cycles: int) -> None:
    """Print one line."""
    rate = cycles / cost.cpu
    print(f"{name:8} {cost.cpu:7.2f} s CPU {cost.wall:7.2f} s wall {rate:7.0f} cycles/s {cost.peak_mib:6.0f} MiB peak")


def main() -> None:
    """Attest, export and verify, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--signing", choices=["managed-key", "sigstore"], default="managed-key")
    parser.add_argument("--disclose", default="sample=25")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-pack-") as name:
        folder = Path(name)
        make = chain_by_sigstore if given.signing == "sigstore" else chain_by_key
        whom = make(folder, given.cycles)
        packs = [folder / "one.zip", folder / "two.zip"]
        for out in packs:
            order = ("--disclose", given.disclose, "--seed", "bench", "--out", out)
            cost = command("export", "--pack", folder / "evidence", *whom, *order)
            say("export", cost, given.cycles)
        if len({hashlib.sha256(out.read_bytes()).hexdigest() for out in packs}) != 1:
            raise SystemExit("two exports of the same order differ")
        print(f"pack     {packs[0].stat().st_size / 1024 / 1024:7.2f} MiB")
        cost = command("verify", "--pack", packs[0], *whom)
        say("verify", cost, given.cycles)
        if given.cycles / cost.cpu < WANTED:
            raise SystemExit(f"verified fewer than {WANTED} cycles a second")


if __name__ == "__main__":
    main()
