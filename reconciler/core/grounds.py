"""What the policies were asked about a principal, and what they answered: kept so that anybody can ask again.

Only principals with a finding are kept, each as canonical bytes as soon as it is decided. With its unit goes what a
rule can reach from there: the workers that the unit or a worker names, and the waivers about it (docs/policies.md).
That makes one decision repeatable without the roster, and lets one be shown without the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from inventory.model import PrincipalId, ProviderName, ScopeId
from inventory.roster.model import WorkerId
from reconciler.core.canonical import Json, dumps, rfc3339

MOST_BYTES: Final = 64 * 1024 * 1024
"""What a cycle keeps at most: about 40,000 principals with a finding. Beyond it, decisions are on record alone."""

Place = tuple[ProviderName, ScopeId, PrincipalId]
"""Where a principal is listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What the decisions of one cycle rest on."""

    common: Mapping[str, Json] | None = None
    """What all evaluations of the cycle had in common; None when there was none."""
    asked: Mapping[Place, bytes] = field(default_factory=dict)
    """Canonical JSON of what was asked and answered, of principals with a finding."""
    leavers: Mapping[WorkerId, Json] = field(default_factory=dict)
    """What rules were told of each worker who had left."""


NO_GROUNDS: Final = Grounds()


@dataclass(slots=True)
class GroundsKeeper:
    """Gathers the grounds of one evaluation; filled by the evaluate stage, read when the cycle is attested."""

    most_bytes: int = MOST_BYTES
    _common: dict[str, Json] | None = None
    _leavers: dict[WorkerId, Json] = field(default_factory=dict)
    _workers: Mapping[str, Json] = field(default_factory=dict)
    _waivers: Mapping[str, Json] = field(default_factory=dict)
    _asked: dict[Place, bytes] = field(default_factory=dict)
    _size: int = 0

    def begin(self, now: datetime, roster: Mapping[str, Json], waivers: Mapping[str, Json]) -> None:
        """Take note of the instant and the documents that every request of the evaluation rests on."""
        at = rfc3339(now)
        self._workers, self._waivers = _object(roster.get("workers")), _object(waivers.get("items"))
        self._leavers = {WorkerId(name): told for name, told in self._workers.items() if _ended(told, at)}
        self._common = {
            "evaluatedAt": at,
            "roster": dict(_object(roster.get("meta"))),
            "waivers": dict(_object(waivers.get("meta"))),
        }

    def keep(self, place: Place, key: str, unit: Mapping[str, Json], findings: list[Json]) -> None:
        """Keep one principal with its findings; beyond the bound it is left out, and its decisions say so."""
        content = dumps(
            {
                "key": key,
                "unit": unit,
                "workers": reached(unit, self._workers),
                "waivers": _about(place, unit, self._waivers),
                "findings": findings,
            }
        )
        if self._size + len(content) <= self.most_bytes:
            self._asked[place] = content
            self._size += len(content)

    def end(self) -> None:
        """Let go of the documents: a cycle may act for long after it has decided."""
        self._workers, self._waivers = {}, {}

    def grounds(self) -> Grounds:
        """Return what was kept."""
        return Grounds(common=self._common, asked=self._asked, leavers=self._leavers)


def reached(unit: Mapping[str, Json], workers: Mapping[str, Json]) -> dict[str, Json]:
    """Return the workers that a rule can reach from a unit: those that it names, and their managers."""
    near = _named(_names(unit), workers)
    managers = [name for worker in near.values() if isinstance(name := _object(worker).get("manager"), str)]
    return near | _named(managers, workers)


def _names(unit: Mapping[str, Json]) -> list[str]:
    """Return every worker id that a unit names."""
    said = [unit.get("worker_id"), *_list(unit.get("candidates")), *_list(_object(unit.get("principal")).get("was"))]
    for item in _object(unit.get("access")).values():
        said += _list(_object(item).get("key_of"))
    return [name for name in said if isinstance(name, str)]


def _named(names: Iterable[str], workers: Mapping[str, Json]) -> dict[str, Json]:
    return {name: workers[name] for name in names if name in workers}


def _about(place: Place, unit: Mapping[str, Json], waivers: Mapping[str, Json]) -> dict[str, Json]:
    """Return the waivers that name the principal, one of its access items, or a worker that the unit names."""
    provider, _, principal_id = place
    access = _object(unit.get("access"))
    workers = set(_names(unit))

    def about(waiver: Mapping[str, Json]) -> bool:
        here = waiver.get("provider") == provider
        return (
            waiver.get("worker_id") in workers
            or (here and waiver.get("principal_id") == principal_id)
            or (here and waiver.get("access_id") in access)
        )

    return {name: waiver for name, waiver in waivers.items() if about(_object(waiver))}


def _ended(worker: Json, now: str) -> bool:
    """Say whether a worker's access had ended; both instants have the one canonical form, so text compares."""
    end = _object(worker).get("access_end_at")
    return isinstance(end, str) and end <= now


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
