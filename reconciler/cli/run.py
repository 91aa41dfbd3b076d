"""`access-reconciler run`: the daemon. Joins the loop with its triggers, probes and signals, and ends the process."""

import gc
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import typer

from inventory.model import ProviderName
from inventory.provider import Clock
from inventory.roster.envelope import SIDECAR_SUFFIX
from reconciler.adapters.clock import SystemClock
from reconciler.cli.cycle import ModeOption
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, OK, ConfigOption
from reconciler.cli.garbage import OBJECTS_BETWEEN_COLLECTIONS
from reconciler.cli.streams import Counted, open_streams
from reconciler.core.errors import SettingsError
from reconciler.core.model import Mode
from reconciler.daemon.handing_over import TrailDesk
from reconciler.daemon.health import Health, Silence
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.notify_socket import NotifySocket
from reconciler.daemon.passes import Passes, Workshop
from reconciler.daemon.probes import HealthServer
from reconciler.daemon.service import Ended, Pace, Service, ServiceHouse
from reconciler.daemon.signing import SigningDesk
from reconciler.daemon.standby import Standby, watched
from reconciler.daemon.supervisor import Supervisor
from reconciler.daemon.telling import Telling, ToldPasses
from reconciler.daemon.triggers import FileWatch, Timer
from reconciler.daemon.wakeups import Reason, Wakeups
from reconciler.daemon.watched_files import digest_of_files
from reconciler.daemon.webhook import Door, WebhookServer
from reconciler.daemon.webhook_messages import Gate, Remembered, Secrets
from reconciler.environment import log_level, notify_address
from reconciler.evidence_ports import EvidenceLog, EvidenceStore
from reconciler.logs import configure_logs
from reconciler.policies.in_force import PoliciesInForce
from reconciler.policies.standing import policies_in_force
from reconciler.ports import Lease
from reconciler.settings import Settings, WebhookSettings, load_settings, secret_files
from reconciler.wiring import assemble, build_attester, cycle_mode, open_sources, open_store, takeover_wait
from reconciler.writer import hold_lease, open_journal, wait_out

_CLOSE_SECONDS = 5.0
"""Connections that take longer to close are left to the end of the process."""
_LEFT_BEHIND = ("reading", "closing", "signing", "examining")
"""Threads that may still wait for somebody when the daemon ends; they hold nothing that matters."""
_SWITCH_SECONDS = 0.0005
"""How soon a thread that computes lets another one on: a leavers' pass must not wait for an inventory's parsing."""
_GRACE_SECONDS = 60.0
"""An inventory ends itself at its deadline; only one that is this much later counts as hung."""


def run(config: ConfigOption = DEFAULT_CONFIG, mode: ModeOption = None) -> None:
    """Keep watch: a cycle at the start, at an interval, at each change of roster or policies, at an access end.

    Holds the lease as long as it runs, so one daemon works at a time; with `daemon.standby` a second one waits and
    takes over. SIGHUP looks again now, SIGTERM and SIGINT let the running cycle finish and end. Health is told on
    loopback and to systemd; logs go to stderr as JSON lines.

    Exit codes: 0 ended as asked; 1 error: the lease is held by another process or lost, or draining took too long.

    Example: access-reconciler run --config access-reconciler.yaml
    """
    settings = load_settings(config)
    configure_logs(log_level("info"))
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(*OBJECTS_BETWEEN_COLLECTIONS)
    ended = keep_watch(settings, mode or Mode.ENFORCE)
    code = OK if ended is Ended.DRAINED else ERROR
    if ended is Ended.OVERDUE or any(thread.name.startswith(_LEFT_BEHIND) for thread in threading.enumerate()):
        # A hung call cannot be ended from within, and an orderly exit would wait for its thread. Ending like this is as
        # safe as being killed: the journal says what was under way, and the next start settles it by reading.
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)


def keep_watch(settings: Settings, ceiling: Mode) -> Ended:
    """Run the daemon in this process, whose main thread this must be, until it ends."""
    _check(settings)
    clock = SystemClock()
    with ExitStack() as stack:
        health = _health(settings, clock)
        lease = None if settings.daemon.standby else _held(settings, clock, stack)
        wakeups = Wakeups()
        watch = stack.enter_context(_watching(settings, wakeups))
        timer = stack.enter_context(_ticking(settings, wakeups))
        store = open_store(settings)  # one for all: it knows what was stored before without listing it
        desk = SigningDesk(lambda: replace(build_attester(settings), store=store).spool(clock), clock)
        webhooks: list[WebhookServer] = []
        counted = Counted(health, wakeups, watch, timer, desk, webhooks)
        streams = stack.enter_context(open_streams(settings, clock, counted))
        if settings.daemon.health_port:
            stack.enter_context(_probes(settings.daemon.health_port, health, streams.metrics))
        standby = Standby(health)
        stack.enter_context(_signals(standby.stop, lambda: None))
        lease = _become_writer(settings, lease, standby, clock, stack)
        if lease is None:
            return Ended.DRAINED
        stack.enter_context(desk.at_work())
        stack.enter_context(watched(lease, lambda: wakeups.wake(Reason.LEASE)))
        webhooks += _webhooks(settings, wakeups, clock, stack)
        policies = policies_in_force(
            settings, cycle_mode(settings, ceiling), clock, lambda: wakeups.wake(Reason.CHANGE)
        )
        policies.tell = health.policies
        lasting = _Lasting(lease=lease, store=store, policies=policies)
        workshops = _Workshops(settings, ceiling, streams.telling, health, lasting)
        house = ServiceHouse(
            passes=stack.enter_context(_passes(workshops, wakeups)),
            wakeups=wakeups,
            watch=watch,
            arm=timer.arm,
            health=health,
            clock=clock,
            chance=lambda: secrets.randbelow(1000) / 1000,
        )
        supervisor = Supervisor(Service(house, _pace(settings)), health, clock, settings.daemon.drain_seconds)
        stack.enter_context(_signals(supervisor.stop, lambda: wakeups.wake(Reason.SIGNAL)))
        return Ended.DRAINED if standby.stopped else supervisor.run()


def _held(settings: Settings, clock: Clock, stack: ExitStack) -> Lease:
    lease = hold_lease(settings, "run", clock)
    stack.callback(lease.close)
    return lease


def _become_writer(
    settings: Settings, lease: Lease | None, standby: Standby, clock: Clock, stack: ExitStack
) -> Lease | None:
    """Stand by for a lease that is not ours yet, and wait out what its last holder may be doing; None: told to end."""
    lease = lease or standby.wait_for(lambda: _held(settings, clock, stack))
    if lease is None:
        return None
    with open_journal(settings, lease) as journal:
        going_on = wait_out(journal, lease, clock, takeover_wait(settings), standby.pause)
    return lease if going_on else None


def _check(settings: Settings) -> None:
    if settings.daemon.cycle_seconds <= settings.collect_deadline_seconds:
        raise SettingsError(
            "daemon.cycle_seconds is not above collect_deadline_seconds: a slow inventory would count as a hung cycle",
            advice="raise the one, or lower the other",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lasting:
    """What is one for the life of the daemon."""

    lease: Lease
    store: EvidenceStore
    policies: PoliciesInForce


class _Workshops:
    """Opens workshops under a lease that is held for the daemon's life."""

    def __init__(
        self,
        settings: Settings,
        ceiling: Mode,
        telling: Telling,
        health: Health,
        lasting: _Lasting,
    ) -> None:
        self._settings = settings
        self._store = lasting.store
        self._log: EvidenceLog | None = None
        """Of the first workshop: what it has recomputed holds for the process, and grows with the history."""
        self._ceiling = ceiling
        self.telling = telling
        self._health = health
        self._lease = lasting.lease
        self._secrets = ""
        self._policies = lasting.policies

    @contextmanager
    def open(self) -> Iterator[Workshop]:
        """Build everything anew."""
        self._secrets = self._digest()
        with (
            open_sources(self._settings, SystemClock()) as quick,
            assemble(self._settings, self._ceiling, self.telling, purpose=None, lease=self._lease) as made,
        ):
            self._health.assembled()
            trail = TrailDesk(made.house.audit)
            self._log = self._log or made.house.attester.log
            attester = replace(made.house.attester, store=self._store, log=self._log, at_once=False)  # see SigningDesk
            with trail.at_work():
                house = replace(
                    made.house,
                    attester=attester,
                    audit=trail,
                    load_policies=self._policies.policies,
                    load_waivers=self._policies.waivers,
                )
                yield Workshop(house=house, rules=made.rules, quick=quick)

    def outdated(self) -> bool:
        """Say whether a secret file is another one now."""
        return self._digest() != self._secrets

    def check(self) -> None:
        """Raise `LeaseLost` when the lease is not ours any more."""
        self._lease.check()

    def _digest(self) -> str:
        return digest_of_files(secret_files(self._settings), ())


@contextmanager
def _passes(workshops: _Workshops, wakeups: Wakeups) -> Iterator[ToldPasses]:
    passes = Passes(workshops, lambda: wakeups.wake(Reason.READ))
    passes.waiting = wakeups.pressing
    passes.tell = workshops.telling.cycle_ended
    try:
        yield ToldPasses(passes, workshops.telling)
    finally:
        # A reading left behind holds connections, and closing would wait for it: the end of the process will not.
        closing = threading.Thread(target=passes.close, name="closing", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def _health(settings: Settings, clock: Clock) -> Health:
    supervisor = NotifySocket(notify_address())

    def notify(facts: Mapping[str, str]) -> None:
        supervisor.tell(**facts)

    daemon = settings.daemon
    silence = Silence(
        stages={"collect": settings.collect_deadline_seconds + _GRACE_SECONDS},
        stage_seconds=daemon.stage_seconds,
        cycle_seconds=daemon.cycle_seconds,
    )
    return Health(clock, tuple(ProviderName(name) for name in sorted(settings.providers)), silence, notify)


def _probes(port: int, health: Health, metrics: Metrics) -> HealthServer:
    try:
        return HealthServer(port, health.snapshot, {"/metrics": metrics.page})
    except OSError as error:
        raise SettingsError(
            f"daemon.health_port: cannot listen on loopback port {port}: {error.strerror}",
            advice="choose a free port, or 0 for none",
        ) from error


def webhook_of(settings: WebhookSettings, wakeups: Wakeups, clock: Clock) -> WebhookServer:
    """Open the webhook; raises `SettingsError` when a secret is unusable or the address cannot be had."""
    gate = Gate(Secrets(settings.secret_files, clock), Remembered(clock))
    door = Door(
        bind=settings.bind,
        port=settings.port,
        path=settings.path,
        max_bytes=settings.max_bytes,
        gap_seconds=settings.gap_seconds,
    )
    try:
        return WebhookServer(door, gate.judge, lambda: wakeups.wake(Reason.WEBHOOK))
    except OSError as error:
        raise SettingsError(
            f"daemon.webhook: cannot listen on {settings.bind} port {settings.port}: {error.strerror}",
            advice="choose an address of this machine and a free port, or leave the block out",
        ) from error


def _webhooks(settings: Settings, wakeups: Wakeups, clock: Clock, stack: ExitStack) -> tuple[WebhookServer, ...]:
    """Open the webhook where the settings ask for one."""
    wanted = settings.daemon.webhook
    return () if wanted is None else (stack.enter_context(webhook_of(wanted, wakeups, clock)),)


def _pace(settings: Settings) -> Pace:
    daemon = settings.daemon
    return Pace(
        poll_seconds=daemon.poll_seconds,
        first_retry_seconds=daemon.first_retry_seconds,
        longest_retry_seconds=daemon.interval_seconds,
    )


@contextmanager
def _watching(settings: Settings, wakeups: Wakeups) -> Iterator[FileWatch]:
    roster = settings.roster.path
    beside = roster.with_name(f"{roster.name}{SIDECAR_SUFFIX}")
    watch = FileWatch((roster, beside), (settings.policies,), wakeups.wake)
    try:
        watch.start()
        yield watch
    finally:
        watch.close()


@contextmanager
def _ticking(settings: Settings, wakeups: Wakeups) -> Iterator[Timer]:
    timer = Timer(
        lambda: wakeups.wake(Reason.TIMER),
        lambda: wakeups.wake(Reason.INSTANT),
        interval_seconds=settings.daemon.interval_seconds,
        jitter_seconds=settings.daemon.jitter_seconds,
    )
    try:
        timer.start()
        yield timer
    finally:
        timer.close()


@contextmanager
def _signals(stop: Callable[[], None], look_again: Callable[[], None]) -> Iterator[None]:
    """Follow SIGHUP, SIGTERM and SIGINT; what the handlers call takes no lock, for they may interrupt one another."""
    handlers: dict[int, Callable[..., None]] = {
        signal.SIGHUP: lambda *_: look_again(),
        signal.SIGTERM: lambda *_: stop(),
        signal.SIGINT: lambda *_: stop(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
