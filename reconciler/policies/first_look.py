"""What a new revision of the policies changes, shown in its first cycle: compared with the one that decided before.

On what that very cycle has read, at its instant, and by the code of `policies diff`. Once for each revision, after all
that the cycle decided and did: nothing of it depends on the comparison, and one that fails is told and fails nothing.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from inventory.provider import Clock
from reconciler.adapters.policy_changes import PolicyChanges
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_store import PolicyStore, earlier
from reconciler.core.canonical import Json
from reconciler.core.errors import JournalError, LeaseLost, PolicyError, ReconcilerError, Superseded
from reconciler.core.model import PolicySet
from reconciler.core.planning import make_plan
from reconciler.core.record import ChangeState, PolicyChange
from reconciler.engines import engine_beside
from reconciler.evaluation import evaluate
from reconciler.observation import CycleRules, Occasion, Picture
from reconciler.policies.deciding import weighed
from reconciler.policies.difference import Difference, compare
from reconciler.policies.difference_document import difference_document
from reconciler.policies.export import recording_of
from reconciler.policies.standing import policy_store
from reconciler.ports import Journal, Observer, PolicyEngine, Progress
from reconciler.settings import Settings

log = structlog.get_logger(__name__)

FOLDER: Final = "policy-changes"
"""Below the state folder, where the changes are kept."""
MOST_LINES: Final = 200
"""Entries of a list that are kept and shown, as in a comment on a pull request; the others are counted."""
_POSTPONED: Final = "a leaver could not wait; the next whole pass compares"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """Compares a new revision with the one that decided before, in its first whole cycle."""

    store: PolicyStore
    changes: PolicyChanges
    journal: Journal
    clock: Clock
    observer: Observer
    open_engine: Callable[[], AbstractContextManager[PolicyEngine]]
    """Opens an engine of its own: the one that decides keeps its policies."""
    deadline_seconds: float

    def __call__(self, picture: Picture, rules: CycleRules, occasion: Occasion) -> PolicyChange | None:
        """Return what the revision of a cycle changes; None where it is not new, or nothing decided before it.

        Stops when something urgent waits. Raises `JournalError` or `LeaseLost`, and nothing else.
        """
        after = picture.world.policies.digest
        if not occasion.new and not self.changes.waits(after):
            return None
        if not self.journal.all_observed("policy") - {after}:
            return None
        change = self._looked(picture, rules, occasion.urgent)
        try:
            self.changes.put(change)
        except OSError as error:
            why = f"it could not be kept: {error.strerror or type(error).__name__}"
            change = replace(change, reason="; ".join(filter(None, (change.reason, why))))
        _log(change)
        return change

    def _looked(self, picture: Picture, rules: CycleRules, urgent: Callable[[], bool]) -> PolicyChange:
        world = picture.world
        change = PolicyChange(
            state=ChangeState.FAILED,
            before="",
            after=world.policies.digest,
            cycle_id=world.cycle_id,
            at=self.clock.now(),
        )
        try:
            base = self._base(change.after)
            change = replace(change, before=base.digest)
            self.observer.progress(Progress(stage="compare", message=f"with the policies before, {base.digest}"))
            found = self._compared(picture, rules, base, partial(self._go_on, urgent, self._until()))
        except (JournalError, LeaseLost):
            raise
        except Superseded:
            return replace(change, state=ChangeState.POSTPONED, reason=_POSTPONED)
        except Exception as error:  # noqa: BLE001 - whatever it is: it only would have shown something, and that is told
            return replace(change, reason=_reason(error))
        document, lines_left_out, planned_left_out = _cut(difference_document(found))
        return replace(
            change,
            state=ChangeState.COMPARED,
            difference=document,
            lines_left_out=lines_left_out,
            planned_left_out=planned_left_out,
        )

    def _base(self, after: str) -> PolicySet:
        """Return the revision by which a whole cycle decided last before this one."""
        seen = (one for one in earlier(self.store.standing()) if one != after and self.journal.observed("policy", one))
        digest = next(seen, "")
        if not digest or not self.store.holds(digest):
            raise PolicyError(
                "no copy is kept of the policies that decided before", advice="compare with `policies diff`"
            )
        found = load_policies(self.store.folder(digest))
        if found.digest != digest:
            raise PolicyError(f"the kept copy of {digest} was changed: it is {found.digest}", advice="adopt it again")
        return found

    def _compared(self, picture: Picture, rules: CycleRules, base: PolicySet, go_on: Callable[[], None]) -> Difference:
        go_on()
        recording = recording_of(picture, rules, self.journal)
        with self.open_engine() as engine:
            evaluation = evaluate(engine, replace(picture.world, policies=base), go_on)
        planning = replace(
            picture.planning,
            findings=evaluation.findings,
            undecided=frozenset(evaluation.unknown),
            policy_digest=base.digest,
        )
        before = weighed(recording, base, evaluation, make_plan(planning))
        return compare(recording, before, weighed(recording, picture.world.policies, picture.evaluation, picture.plan))

    def _until(self) -> float:
        return self.clock.monotonic_seconds() + self.deadline_seconds

    def _go_on(self, urgent: Callable[[], bool], until: float) -> None:
        if urgent():
            raise Superseded(_POSTPONED)
        if self.clock.monotonic_seconds() > until:
            raise PolicyError(
                f"it took longer than {self.deadline_seconds:g} seconds", advice="compare with `policies diff`"
            )


def _reason(error: Exception) -> str:
    if not isinstance(error, ReconcilerError):
        return f"{type(error).__name__} while the revisions were compared"  # its text may quote anything
    return f"{error}; {error.advice}" if error.advice else str(error)


def _cut(document: dict[str, Json]) -> tuple[dict[str, Json], int, int]:
    """Return a difference with the beginnings of its lists, and how many entries each has beyond."""
    lines, planned = document["lines"], document["planned"]
    if not isinstance(lines, list) or not isinstance(planned, list):
        msg = "a difference without its lists"
        raise TypeError(msg)
    short = {**document, "lines": lines[:MOST_LINES], "planned": planned[:MOST_LINES]}
    return short, max(len(lines) - MOST_LINES, 0), max(len(planned) - MOST_LINES, 0)


def _log(change: PolicyChange) -> None:
    """Tell in numbers: whom it is about stands in the cycle's answer and in the state folder."""
    facts = {"before": change.before, "after": change.after, "cycle_id": change.cycle_id}
    if change.state is ChangeState.COMPARED:
        log.info("policies.compared", **facts, **change.counts)
    if change.reason:
        log.error("policies.not_compared", **facts, state=change.state.value, reason=change.reason)


def first_look(settings: Settings, journal: Journal, clock: Clock, observer: Observer) -> FirstLook:
    """Return what shows the change that a new revision makes, under the settings."""
    return FirstLook(
        store=policy_store(settings),
        changes=policy_changes(settings),
        journal=journal,
        clock=clock,
        observer=observer,
        open_engine=partial(engine_beside, settings),
        deadline_seconds=settings.adoption.deadline_seconds,
    )


def policy_changes(settings: Settings) -> PolicyChanges:
    """Return the kept changes of an installation."""
    return PolicyChanges(settings.state_dir / FOLDER)
