"""A process of the program inside the simulated company: it assembles a house, lives a cycle, and may die in it."""

import atexit
import functools
import shutil
import tempfile
import uuid
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from inventory.collection import Source
from inventory.model import ArtefactKind, ProviderName
from inventory.roster.csv_file import CsvRosterSettings, CsvRosterSource
from reconciler.adapters.audit_file import JsonLinesStream
from reconciler.adapters.audit_log import AuditTrail
from reconciler.adapters.audit_outbox import AuditOutbox
from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.lease import FileLease
from reconciler.adapters.log_key import LogKey
from reconciler.attestation import Attester
from reconciler.core.correlation import CorrelationSettings
from reconciler.core.guard import Limits
from reconciler.core.model import Effect, Mode
from reconciler.core.record import CycleRecord
from reconciler.core.waivers import WaiverSet
from reconciler.core.withholding import Protection, Reach
from reconciler.cycle import run_cycle
from reconciler.observation import CycleHouse, CycleRules
from reconciler.ports import PolicyEngine
from reconciler.rereading import Patience
from tests.crash.failpoints import FailingJournal, FailingLog, FailingProvider, FailingStore, Failpoints
from tests.fakes.world import Watcher
from tests.simulation.company import AWS, PROTECTED, Company
from tests.simulation.oracle import NaiveEngine

EFFECTS = frozenset(
    {
        (ArtefactKind.ACCOUNT, Effect.QUARANTINE),
        (ArtefactKind.ACCESS_KEY, Effect.QUARANTINE),
        (ArtefactKind.ACCESS_KEY, Effect.REVOKE),
        (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE),
    }
)
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - only throw-away state, and syncs cost nothing there
JOURNAL = "journal.sqlite3"
KEY = Path("keys") / "attestation.pem"
LIMITS = Limits(max_principals=6, max_percent=40, percent_population=10)


@functools.cache
def _model_state() -> Path:
    """Make a state folder with an empty journal and a key once: a copy of it is what a first start would make."""
    state = Path(tempfile.mkdtemp(prefix="simulation-", dir=FAST))
    atexit.register(shutil.rmtree, state, ignore_errors=True)
    SqlJournal(sqlite_url(state / JOURNAL)).close()
    KeySigner.open(state / KEY)
    return state


def furnish(state: Path) -> None:
    """Make the program's folder as its first start does, if there is none."""
    if not state.exists():
        shutil.copytree(_model_state(), state)


class Office:
    """One running daemon: holds the lease and the journal from its start to its end."""

    def __init__(
        self,
        company: Company,
        *,
        version: str = "1",
        limits: Limits = LIMITS,
        engine: PolicyEngine | None = None,
        seed: int = 0,
        lease: bool = True,
    ) -> None:
        """Start; raises `LeaseLost` when another daemon works here. Without `lease` the lock is thought to be lost."""
        self.company = company
        self.version = version
        self.limits = limits
        self.engine = engine or NaiveEngine()
        self.failpoints: Failpoints | None = None
        self._random = Random(seed)  # noqa: S311 - a simulation repeats itself from a seed
        self._stack = ExitStack()
        furnish(company.state)
        if lease:
            self._stack.enter_context(FileLease(company.state, purpose="run", now=company.clock.now()))
        self.journal = self._stack.enter_context(SqlJournal(sqlite_url(company.journal_path)))
        self._signer = KeySigner.open(company.state / KEY)
        self._audit = JsonLinesStream(company.state / "audit.jsonl")
        self._stack.callback(self.engine.close)

    def end(self) -> None:
        """End the process, however it came to that: locks and connections are the kernel's to free."""
        self._stack.close()

    def cycle(self, mode: Mode = Mode.ENFORCE) -> CycleRecord:
        """Live one cycle."""
        return run_cycle(self.house(mode), self.rules(mode)).record

    def house(self, mode: Mode) -> CycleHouse:
        company = self.company
        points = self.failpoints
        vendors: dict[ProviderName, Any] = dict(company.vendors)
        journal: Any = self.journal
        store: Any = FileEvidenceStore(company.state / "evidence")
        key = LogKey.open(company.state / "keys" / "log.pem", "simulation")
        log = FileEvidenceLog(store.root, key)
        if points is not None:
            vendors = {name: FailingProvider(one, points) for name, one in company.vendors.items()}
            journal, store = FailingJournal(journal, points), FailingStore(store.root, points)
            log = FailingLog(store.root, key, points)
        return CycleHouse(
            clock=company.clock,
            boot="simulation",
            new_cycle_id=lambda: str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            journal=journal,
            attester=Attester(
                store=store,
                log=log,
                signer=self._signer,
                instance_id="simulation",
                random_bytes=self._random.randbytes,
            ),
            engine=self.engine,
            roster=CsvRosterSource(CsvRosterSettings(path=company.hr.path), company.clock),
            load_policies=lambda: company.policies,
            load_waivers=self._waivers,
            sources={
                name: Source(provider=name, provider_type="aws_iam", collector=one) for name, one in vendors.items()
            },
            revokers={} if mode is Mode.OBSERVE else vendors,
            observer=Watcher(),
            audit=self._trail(),
        )

    def rules(self, mode: Mode) -> CycleRules:
        reach = Reach(
            provider_type="aws_iam",
            effects=EFFECTS,
            account_contains=True,
            mode=Mode.ENFORCE if mode is Mode.OBSERVE else mode,
        )
        return CycleRules(
            mode=mode,
            limits=self.limits,
            protection=Protection(principals=frozenset({(AWS, PROTECTED)})),
            correlation=CorrelationSettings(),
            reach=dict.fromkeys(self.company.vendors, reach),
            one_by_one=frozenset(self.company.vendors),
            version=self.version,
            config_digest="sha256:" + "c" * 64,
            roster_max_age_seconds=36 * 3600,
            approval_ttl_seconds=24 * 3600,
            patience=Patience(window_seconds=20),
            collect_deadline_seconds=60,
        )

    def _waivers(self, _: datetime) -> WaiverSet:
        return WaiverSet(whole=tuple(self.company.waivers))

    def _trail(self) -> AuditTrail:
        outbox = AuditOutbox(self.journal.database)
        return AuditTrail(outbox=outbox, streams=(self._audit,), clock=self.company.clock)
