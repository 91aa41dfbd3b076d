"""Joins what tells of the daemon's cycles: metrics, notifications, traces. Nothing in here decides or acts."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from inventory.model import ProviderName
from inventory.provider import Clock
from reconciler.adapters.notice_file import JsonNoticeFile
from reconciler.adapters.notify import AppriseNotifier
from reconciler.adapters.spans import Spans, TraceTarget, read_headers
from reconciler.core.spooling import Backlog
from reconciler.daemon.health import Health
from reconciler.daemon.metrics import Metrics, Sources
from reconciler.daemon.notifying import Notifications, Patience, Receiver
from reconciler.daemon.signing import SigningDesk
from reconciler.daemon.telling import Telling
from reconciler.daemon.triggers import FileWatch, Timer
from reconciler.daemon.wakeups import Wakeups
from reconciler.daemon.webhook import WebhookServer
from reconciler.settings import Settings
from reconciler.told import Listener
from reconciler.wiring import instance_id, program_version, state_path

_LAST_WORDS_SECONDS = 10.0
"""How long the end of the daemon waits for the messages that are due, such as that of a lost lease."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The parts of the daemon that count for themselves."""

    health: Health
    wakeups: Wakeups
    watch: FileWatch
    timer: Timer
    desk: SigningDesk
    webhooks: Sequence[WebhookServer]
    """Looked into when somebody asks: the webhook opens only when this process has become the one writer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What the daemon tells through, and what a metrics server asks."""

    telling: Telling
    metrics: Metrics


@contextmanager
def open_streams(settings: Settings, clock: Clock, counted: Counted) -> Iterator[Streams]:
    """Build everything that tells of cycles and let go of it at the end; raises `SettingsError`."""
    with ExitStack() as stack:
        spans = _spans(settings, clock, stack)
        notifications = _notifications(settings, clock, stack)
        metrics = Metrics(
            program_version(),
            clock,
            Sources(
                health=counted.health.snapshot,
                wakeups=lambda: {reason.value: taken for reason, taken in counted.wakeups.taken.items()},
                watch_restarts=lambda: counted.watch.restarts,
                timer_troubles=lambda: counted.timer.troubles,
                telling_failures=lambda: telling.failures,
                webhook_calls=lambda: {
                    fate: count for one in counted.webhooks for fate, count in one.counts.calls.items()
                },
                webhook_pauses=lambda: sum(one.counts.pauses for one in counted.webhooks),
                notices=lambda: notifications.counts,
            ),
        )
        counted.desk.tell = lambda backlog: _each_told(backlog, counted.health, notifications)
        telling = Telling(clock, (counted.health,), (metrics, notifications, counted.desk, *spans))
        yield Streams(telling=telling, metrics=metrics)


def _each_told(backlog: Backlog, health: Health, notifications: Notifications) -> None:
    health.signing(backlog)
    notifications.signing(backlog)


def _spans(settings: Settings, clock: Clock, stack: ExitStack) -> tuple[Listener, ...]:
    trace = settings.trace
    if not trace.endpoint:
        return ()
    target = TraceTarget(
        endpoint=trace.endpoint,
        headers=read_headers(trace.headers_file),
        ca_file=trace.ca_file,
        timeout_seconds=trace.timeout_seconds,
    )
    spans = Spans(target, program_version(), instance_id(settings), clock)
    stack.callback(spans.close)
    return (spans,)


def _notifications(settings: Settings, clock: Clock, stack: ExitStack) -> Notifications:
    notify = settings.notify
    receivers = tuple(
        Receiver(
            name=str(one.url_file),
            notifier=AppriseNotifier(one.url_file, notify.send_seconds),
            events=frozenset(one.events),
            include=one.include,
        )
        for one in notify.targets
    )
    patience = Patience(
        quiet_seconds=notify.quiet_seconds,
        repeat_seconds=notify.repeat_hours * 3600,
        incomplete_seconds=notify.incomplete_minutes * 60,
        overdue_seconds=notify.overdue_minutes * 60,
        unsigned_seconds=notify.unsigned_minutes * 60,
    )
    providers = tuple(ProviderName(name) for name in sorted(settings.providers))
    file = JsonNoticeFile(state_path(settings, "notices.json"))
    notifications = Notifications(receivers, providers, patience, file, clock)
    notifications.start()
    stack.callback(notifications.close, _LAST_WORDS_SECONDS)
    return notifications
