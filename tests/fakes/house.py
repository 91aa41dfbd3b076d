"""A cycle's house on fakes, with real evidence and a real key: providers, a roster that the test writes, and time."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from inventory.collection import Source
from inventory.model import ArtefactKind, Principal, ProviderName
from inventory.roster.model import AcceptedRoster, Roster, RosterProblem, RosterVerdict
from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.log_key import LogKey
from reconciler.attestation import Attester
from reconciler.core.correlation import CorrelationSettings
from reconciler.core.guard import Limits
from reconciler.core.model import Effect, Mode
from reconciler.core.record import CycleOutcome, CycleRecord
from reconciler.core.waivers import WaiverSet
from reconciler.core.withholding import Protection, Reach
from reconciler.cycle import run_cycle
from reconciler.observation import CycleHouse, CycleRules
from reconciler.ports import PolicyEngine
from reconciler.rereading import Patience
from tests import builders
from tests.builders import NOW, PROVIDER
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import FakeProvider, Watcher
from tests.worlds import starter

ALL = frozenset((kind, effect) for kind in ArtefactKind for effect in (Effect.QUARANTINE, Effect.REVOKE))
POLICIES = starter()
PEOPLE = builders.roster(builders.leaver("L1"), builders.worker("E2"))


@dataclass(kw_only=True)
class Feed:
    """A roster source whose verdict the test writes."""

    roster: Roster = PEOPLE
    held: tuple[RosterProblem, ...] = ()
    refused: bool = False
    """The file cannot be used at all."""
    previous: list[AcceptedRoster | None] = field(default_factory=list)

    def load(self, previous: AcceptedRoster | None) -> RosterVerdict:
        self.previous.append(previous)
        return RosterVerdict(roster=None if self.refused else self.roster, held=self.held)

    def fingerprint(self) -> str:
        return self.roster.digest


def person(name: str, worker_id: str, provider: ProviderName = PROVIDER) -> Principal:
    """Build a person whose employee id is known."""
    return builders.principal(name, employee_ids=(worker_id,), provider=provider)


def provider_of(name: ProviderName = PROVIDER) -> FakeProvider:
    """Build a provider with a leaver and somebody who stays, each with a key."""
    people = [person("lea", "L1", name), person("eve", "E2", name)]
    return FakeProvider(name, [builders.credential(one, provider=name) for one in ("lea", "eve")], people)


class House:
    """A cycle's house on fakes, with real evidence and a real key."""

    engine: PolicyEngine

    def __init__(self, folder: Path, *providers: FakeProvider) -> None:
        self.clock = FakeClock(NOW)
        self.journal = MemoryJournal()
        self.feed = Feed()
        self.providers = {one.name: one for one in (providers or (provider_of(),))}
        self.attester = Attester(
            store=FileEvidenceStore(folder / "evidence"),
            log=FileEvidenceLog(folder / "evidence", LogKey.open(folder / "keys" / "log.pem", "test")),
            signer=KeySigner.open(folder / "keys" / "attestation.pem"),
            instance_id="test",
            random_bytes=os.urandom,
        )
        self.version = "1"
        self.waivers = WaiverSet()
        self.own_names: frozenset[tuple[ProviderName, str]] = frozenset()
        self.engine = FakeEngine()
        self._numbers = count(1)

    def observe_first(self) -> None:
        """Let everything new be seen through one observing cycle."""
        assert self.run(mode=Mode.OBSERVE).outcome is not CycleOutcome.FAILED

    def run(self, *, mode: Mode = Mode.ENFORCE, decide_at: datetime | None = None, **rules: Any) -> CycleRecord:
        """Run one cycle."""
        return run_cycle(self.house(mode, decide_at), self.rules(mode, **rules)).record

    def house(self, mode: Mode, decide_at: datetime | None = None) -> CycleHouse:
        return CycleHouse(
            clock=self.clock,
            boot="one",
            new_cycle_id=lambda: f"00000000-0000-4000-8000-{next(self._numbers):012d}",
            journal=self.journal,
            attester=self.attester,
            engine=self.engine,
            roster=self.feed,
            load_policies=lambda: POLICIES,
            load_waivers=lambda _: self.waivers,
            sources={
                name: Source(provider=name, provider_type="aws_iam", collector=one)
                for name, one in self.providers.items()
            },
            revokers={} if mode is Mode.OBSERVE else self.providers,
            observer=Watcher(),
            own_names=self.own_names,
            decide_at=decide_at,
        )

    def rules(self, mode: Mode, **changes: Any) -> CycleRules:
        reach = Reach(
            provider_type="aws_iam",
            effects=ALL,
            account_contains=True,
            mode=Mode.ENFORCE if mode is Mode.OBSERVE else mode,
        )
        values: dict[str, Any] = {
            "mode": mode,
            "limits": Limits(),
            "protection": Protection(),
            "correlation": CorrelationSettings(),
            "reach": dict.fromkeys(self.providers, reach),
            "one_by_one": frozenset(),
            "version": self.version,
            "config_digest": "sha256:" + "c" * 64,
            "roster_max_age_seconds": 86400,
            "approval_ttl_seconds": 86400,
            "patience": Patience(window_seconds=1),
            "collect_deadline_seconds": 60,
        }
        return CycleRules(**(values | changes))
