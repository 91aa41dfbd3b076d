"""Made-up worlds in which every rule of the library has something to say, and its limits are met to the microsecond."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from hypothesis import strategies as st

from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Coverage,
    Extent,
    Principal,
    PrincipalId,
    PrincipalKind,
    ProviderInventory,
    ReadState,
    Session,
)
from inventory.roster.model import EmploymentStatus, Worker, WorkerId, WorkerKind
from reconciler.core.canonical import dumps
from reconciler.core.document import EvaluationWorld
from reconciler.core.memory import Memory, person_name
from reconciler.core.metadata import policy_digest
from reconciler.core.model import Correlation, CorrelationState, Match, PolicySet
from tests.builders import NOW, PROVIDER, SCOPE, credential, grant, inventory, principal, roster, snapshot, worker
from tests.worlds import correlation, starter, world

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def telling() -> PolicySet:
    """Return the policies with thresholds under which every rule of the library has something to say."""
    data = json.loads(starter().data)
    config = data["access"]["config"]
    config["contractor_ended"]["item_effect"] = "quarantine"
    config["separation_of_duties"]["conflicts"] = {"1": {"2": "one"}, "corp-aws:3": {"4": "other", "5": "third"}}
    config["mover"]["teams"] = {"A": ["1", "corp-aws:2", "6"], "B": ["6", "7"]}
    config["external_collaborator"]["home_domains"] = ["example.com"]
    config["providers"] = {"corp-aws": {"dormant": {"max_idle_days": 80}, "break_glass_used": {"window_days": 1}}}
    text = dumps(data).decode()
    return replace(starter(), data=text, digest=policy_digest(starter().modules, text))


POLICIES = telling()
"""What the generated worlds are decided by."""
_PAST = (1, 30, 80, 90, 110)
"""Days of the limits that look back: emergency access, grace, idle principals (and their grace), idle credentials."""
_EDGES = (
    *(timedelta(0), TICK, -TICK, 14 * DAY, 14 * DAY + TICK, 90 * DAY),
    *(edge for days in _PAST for edge in (-days * DAY, -days * DAY - TICK)),
)
RULES = ("employee_id", "display_name")
MOVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    *(("", ()), ("A", ()), ("C", ("A",)), ("B", ("C",))),
    *(("B", ("A",)), ("B", ("A",)), ("A", ("B",)), ("A", ("A", "B"))),
)
"""The department of a worker, and the former ones."""
WORKER_IDS = ("E1", "E2", "E3")


def worlds() -> st.SearchStrategy[EvaluationWorld]:
    """Draw worlds, each from a seed of its own.

    Hypothesis draws the same few values again and again, by which a rule with six conditions is hardly ever reached.
    """
    return st.integers(0, 2**64 - 1).map(world_of)


def world_of(seed: int) -> EvaluationWorld:
    """Return the world of a seed, always the same."""
    return _Chance(Random(seed)).world()  # noqa: S311 - nothing here is secret


class _Chance:
    """Makes up a world."""

    def __init__(self, random: Random) -> None:
        self._pick = random.choice
        self._random = random

    def world(self) -> EvaluationWorld:
        """Make up a few workers and principals, and what earlier cycles took the principals for."""
        names = [f"p{number}" for number in range(self._random.randint(1, 30))]
        people: list[Principal] = []
        items: list[AccessItem] = []
        for name in names:
            idle = self._pick([False, False, True])
            people.append(self._principal(name, idle=idle))
            items += self._items(name, idle=idle)
        was = [(person_name(one), self._pick([None, None, *WORKER_IDS])) for one in people]
        return world(
            tuple(people),
            tuple(items),
            tuple(self._correlation(name) for name in names),
            roster(*map(self._worker, WORKER_IDS)),
            policies=POLICIES,
            snapshot=snapshot(self._covered(inventory(tuple(people), tuple(items)))),
            memory=Memory(persons=frozenset((name, WorkerId(one)) for name, one in was if one)),
        )

    def _instant(self, *, idle: bool = False) -> datetime | None:
        """Pick an instant at a limit or just beyond it, or none; of what is idle, one that is long ago."""
        return self._pick([None, *(NOW + edge for edge in _EDGES if not idle or edge <= -80 * DAY)])

    def _worker(self, worker_id: str) -> Worker:
        department, former = self._pick(MOVES)
        return worker(
            worker_id,
            access_end_at=self._pick([None, self._instant(), self._instant(), NOW + 14 * DAY]),
            access_end_rule=self._pick(["last_day_inclusive:UTC", "contract_end_inclusive:UTC"]),
            status=self._pick(list(EmploymentStatus)),
            kind=self._pick(list(WorkerKind)),
            manager_id=self._pick([None, WorkerId("E1")]),
            department=department,
            former_departments=former,
            department_since=self._pick([None, self._instant(), self._instant()]),
            possible_rehire_of=self._pick([(), (), (WorkerId("E9"),)]),
        )

    def _principal(self, name: str, *, idle: bool) -> Principal:
        return principal(
            name,
            kind=self._pick([*PrincipalKind, PrincipalKind.HUMAN, PrincipalKind.HUMAN]),
            privileged=self._pick([True, False]),
            last_used_at=self._instant(idle=idle),
            enabled=self._pick([True, False, None]),
            emails=self._pick([(), ("ann@example.com",), ("ann@elsewhere.example",)]),
        )

    def _items(self, name: str, *, idle: bool) -> list[AccessItem]:
        kinds = (self._credential, self._credential, self._grant, self._grant, self._session)
        made = [self._pick(kinds)(name, number, idle=idle) for number in range(self._random.randint(0, 5))]
        return list({one.access_id: one for one in made}.values())

    def _credential(self, name: str, number: int, *, idle: bool) -> AccessItem:
        return credential(
            name,
            self._pick([ArtefactKind.ACCOUNT, ArtefactKind.ACCESS_KEY, ArtefactKind.MFA_DEVICE, ArtefactKind.PASSWORD]),
            access_id=f"{name}/{number}",
            enabled=self._pick([True, True, False, None]),
            shared=self._pick([True, False, False]),
            fingerprint=self._pick(["", "", "SHA256:a", "SHA256:b"]),
            created_at=self._instant(idle=idle),
            last_used_at=self._instant(idle=idle),
        )

    def _grant(self, name: str, _: int, *, idle: bool) -> AccessItem:
        del idle  # nothing tells when a grant was used
        return grant(
            name,
            str(self._random.randint(1, 7)),
            kind=self._pick([ArtefactKind.GROUP_MEMBERSHIP, ArtefactKind.ATTACHED_POLICY]),
            direct=self._pick([True, True, False]),
            holders=self._pick([None, 1, 2]),
        )

    def _session(self, name: str, number: int, *, idle: bool) -> AccessItem:
        return Session(
            provider=PROVIDER,
            scope=SCOPE,
            principal_id=PrincipalId(name),
            access_id=AccessId(f"{name}/s{number}"),
            address=(),
            last_used_at=self._instant(idle=idle),
            expires_at=self._instant(),
        )

    def _correlation(self, name: str) -> Correlation:
        """Pick whose a principal is: surely or perhaps somebody's, one of two, or nobody's."""
        candidates = self._random.sample(WORKER_IDS, 2)
        state = self._pick([*CorrelationState, CorrelationState.MATCHED])
        if state is CorrelationState.MATCHED:
            identity = self._pick([True, True, False])
            return correlation(name, candidates[0], identity=identity, rule=self._pick(RULES))
        if state is CorrelationState.ORPHAN:
            return correlation(name)
        both = (Match(worker_id=WorkerId(one), rule="username", confidence=80, identity=True) for one in candidates)
        return correlation(name, state=state, candidates=tuple(both))

    def _covered(self, bare: ProviderInventory) -> ProviderInventory:
        """Say whether second factors were read: of everybody, of some, or not at all."""
        seen = [one for one in bare.coverage if one.kind is not ArtefactKind.MFA_DEVICE]
        extent = self._pick([None, *Extent])
        if extent is not None:
            seen.append(Coverage(kind=ArtefactKind.MFA_DEVICE, state=ReadState.COMPLETE, extent=extent))
        return replace(bare, coverage=tuple(seen))
