"""A provider of the simulated company: answers take time, changes show late, and anything may go wrong.

It keeps its own book of every effect that it really had, and looks each intent up in the journal's file by a
connection of its own at the moment of the call.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from inventory.errors import Denied, Throttled, Unavailable
from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Coverage,
    Grant,
    Principal,
    PrincipalId,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
)
from inventory.provider import Interest
from reconciler.core.model import Action, BeforeImage, Receipt
from tests.builders import inventory
from tests.fakes.clock import FakeClock
from tests.fakes.world import FakeProvider, Fault

OWN = PrincipalId("access-reconciler")
KINDS = (
    ArtefactKind.PRINCIPAL,
    ArtefactKind.ACCOUNT,
    ArtefactKind.ACCESS_KEY,
    ArtefactKind.GROUP_MEMBERSHIP,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effected:
    """One effect that was really had: who lost what, when, under which intent."""

    verb: str
    provider: ProviderName
    principal_id: PrincipalId
    access_id: AccessId
    action_id: str
    at: datetime
    worker_id: str | None
    rule: str
    needs: str
    intended: bool
    """The intent stood in the journal, durable for another connection, when the call came."""
    in_charge: bool
    """Nobody else had taken over when the call came."""
    objections: frozenset[str]
    """What the truth of this moment says against it."""
    fed: bool
    """The feed that lay there was whole and of the right age."""
    last_member: bool
    """Nobody else would have been left in the group."""
    whole: bool
    """The last listing before this call showed everything there was."""


@dataclass(slots=True)
class Weather:
    """What is wrong at a provider now. Times are on the monotonic clock."""

    outage_until: float = 0.0
    denied_until: float = 0.0
    throttles: int = 0
    partial: bool = False
    """The next listing loses a page and says so."""
    truncated: bool = False
    """The next listing loses principals and does not say so."""
    doubled: bool = False
    """The next listing gives one page twice."""
    nameless_until: float = 0.0
    """Does not tell who we are."""
    lag_seconds: float = 0.0
    """For so long a read shows what was before a change."""


class Vendor(FakeProvider):
    """One provider instance with latency, lag and faults; implements `Collector` and `Revoker`."""

    def __init__(
        self,
        name: ProviderName,
        items: Sequence[AccessItem],
        principals: Sequence[Principal],
        *,
        clock: FakeClock,
        journal: Path,
        objections: Callable[[Action], frozenset[str]],
        fed: Callable[[], bool],
        latency_seconds: float = 0.06,
    ) -> None:
        super().__init__(name, items, principals)
        self.weather = Weather()
        self.book: list[Effected] = []
        self.undone: list[tuple[str, bool]] = []
        """Action id of each undo, and whether the journal knew that it had begun."""
        self.whole = True
        self.on_list: Callable[[], None] = lambda: None
        """Called once, after the next listing was taken: what happens while a cycle is under way."""
        self._clock = clock
        self._journal = journal
        self._objections = objections
        self._fed = fed
        self._latency = latency_seconds
        self._late: list[tuple[float, AccessId, AccessItem | None]] = []
        self._owned: dict[PrincipalId, set[AccessId]] = defaultdict(set)
        self._groups: dict[str, set[AccessId]] = defaultdict(set)
        for item in items:
            self._file(item)
        for role in list(self._groups):
            self._recount(role)

    def add(self, principal: Principal, items: Sequence[AccessItem]) -> None:
        """Give somebody an account here."""
        self.principals[principal.principal_id] = principal
        for item in items:
            self.items[item.access_id] = item
            self._file(item)
        for role in {item.role for item in items if isinstance(item, Grant)}:
            self._recount(role)

    def held_by(self, principal_id: PrincipalId) -> list[AccessItem]:
        """Return what a principal truly holds."""
        return [self.items[one] for one in sorted(self._owned[principal_id]) if one in self.items]

    def clear(self) -> None:
        """Let the weather be fine."""
        self.weather = Weather()
        self.faults.clear()

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        self._answer("list")
        principals, items = tuple(self.principals.values()), tuple(self._shown().values())
        weather = self.weather
        whole = not (weather.partial or weather.truncated or weather.doubled)
        kept = principals
        if weather.partial or weather.truncated:
            kept = tuple(one for number, one in enumerate(principals) if number % 3)
            names = {one.principal_id for one in kept}
            items = tuple(one for one in items if one.principal_id in names)
        if weather.doubled:
            kept = (*kept, *kept[: len(kept) // 2])
        state = ReadState.PARTIAL if weather.partial else ReadState.COMPLETE
        weather.partial = weather.truncated = weather.doubled = False
        self.whole = whole
        happening, self.on_list = self.on_list, lambda: None
        happening()
        named = self._clock.monotonic_seconds() >= weather.nameless_until
        return (
            inventory(
                kept,
                items,
                provider=self.name,
                coverage=tuple(Coverage(kind=kind, state=state) for kind in KINDS),
                started_at=self._clock.now(),
                finished_at=self._clock.now(),
                own_principals=(OWN,) if named else (),
                identity_known=named,
            ),
        )

    def read_principal(self, principal: Principal) -> PrincipalReading:
        self._answer("read")
        shown = self._shown()
        coverage = tuple(Coverage(kind=kind, state=ReadState.COMPLETE) for kind in KINDS)
        found = self.principals.get(principal.principal_id)
        mine = [shown[one] for one in sorted(self._owned[principal.principal_id]) if one in shown]
        return PrincipalReading(principal=found, items=tuple(mine), coverage=coverage)

    def before_image(self, action: Action) -> BeforeImage:
        self._answer("before_image")
        return super().before_image(action)

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        self._answer("undo")
        self.undone.append((action.action_id, bool(self._ask("undo_intents", action.action_id))))
        self._remember(action.item.access_id)
        receipt = super().undo(action, before)
        self._recounted(action.item)
        self._switch(action, enabled=True)
        return receipt

    def _act(self, verb: str, action: Action) -> Receipt:
        self._answer(verb)
        intent = self._ask("intents", action.action_id)
        entry = Effected(
            verb=verb,
            provider=self.name,
            principal_id=action.principal.principal_id,
            access_id=action.item.access_id,
            action_id=action.action_id,
            at=self._clock.now(),
            worker_id=action.worker_id,
            rule=action.rule,
            needs=action.needs.value,
            intended=bool(intent),
            in_charge=bool(intent) and intent[0] == intent[1],
            objections=self._objections(action),
            fed=self._fed(),
            last_member=self._is_last(action.item),
            whole=self.whole,
        )
        had = len(self.effects)
        before = self.items.get(action.item.access_id)
        try:
            return super()._act(verb, action)
        finally:
            if len(self.effects) > had:
                self.book.append(entry)
                self._late.append((self._clock.monotonic_seconds(), action.item.access_id, before))
                self._recounted(action.item)
                if verb == "quarantine":
                    self._switch(action, enabled=False)

    def _answer(self, verb: str) -> None:
        """Take the time that an answer takes, and raise what the weather makes of it."""
        self._clock.sleep(self._latency)
        now, weather = self._clock.monotonic_seconds(), self.weather
        if now < weather.outage_until:
            raise Unavailable(f"{self.name} does not answer")
        if now < weather.denied_until:
            raise Denied(f"{self.name} refused the {verb}")
        if weather.throttles > 0:
            weather.throttles -= 1
            raise Throttled(f"{self.name} is busy", retry_after_seconds=2.0)
        if verb in {"list", "read"}:
            self._fault(verb)

    def _shown(self) -> dict[AccessId, AccessItem]:
        """Return the items as a read shows them now: what changed a moment ago is still as it was."""
        now = self._clock.monotonic_seconds()
        self._late = [one for one in self._late if one[0] > now - self.weather.lag_seconds]
        if not self._late:
            return self.items
        shown = dict(self.items)
        for _, access_id, before in reversed(self._late):
            if before is None:
                shown.pop(access_id, None)
            else:
                shown[access_id] = before
        return shown

    def _remember(self, access_id: AccessId) -> None:
        self._late.append((self._clock.monotonic_seconds(), access_id, self.items.get(access_id)))

    def _ask(self, table: str, action_id: str) -> tuple[int, ...]:
        """Look an action up in the journal's file: its epoch and the highest one for an intent, 1 for an undo."""
        columns = "epoch, (select max(epoch) from epochs)" if table == "intents" else "1"
        with closing(sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True)) as connection:
            found = connection.execute(f"select {columns} from {table} where action_id = ?", (action_id,)).fetchone()  # noqa: S608 - two fixed tables
        return tuple(found or ())

    def _file(self, item: AccessItem) -> None:
        self._owned[item.principal_id].add(item.access_id)
        if isinstance(item, Grant):
            self._groups[item.role].add(item.access_id)

    def _is_last(self, item: AccessItem) -> bool:
        return isinstance(item, Grant) and sum(one in self.items for one in self._groups[item.role]) == 1

    def _recounted(self, item: AccessItem) -> None:
        if isinstance(item, Grant):
            self._recount(item.role)

    def _recount(self, role: str) -> None:
        present = [one for one in self._groups[role] if one in self.items]
        for access_id in present:
            held = self.items[access_id]
            if isinstance(held, Grant):
                self.items[access_id] = replace(held, holders=len(present))

    def _switch(self, action: Action, *, enabled: bool) -> None:
        """Follow the account: a principal whose account is suspended is not enabled."""
        if action.item.kind is ArtefactKind.ACCOUNT:
            principal_id = action.principal.principal_id
            self.principals[principal_id] = replace(self.principals[principal_id], enabled=enabled)


def lost_reply() -> Fault:
    """Return the fault of a call that was carried out and whose answer never came."""
    return Fault(error=Unavailable("the answer was cut off"), applied=True)


def no_effect() -> Fault:
    """Return the fault of a call that is confirmed and does nothing."""
    return Fault(ignored=True)
