"""A policy engine in a few lines of Python, for tests of the stage around it."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError, Undecided
from reconciler.core.model import EngineInfo, PolicySet

Decide = Callable[[str, dict[str, Any]], list[dict[str, Any]]]
"""Says what is found on one unit, by its key and document; raises what an engine would raise."""


def leaver_only(key: str, unit: dict[str, Any]) -> list[dict[str, Any]]:
    """Find the access of everybody whose worker is called a leaver by id: `canary:left` and ids that begin with L."""
    if not str(unit["worker_id"]).startswith(("canary:left", "L")):
        return []
    return [found(access_id) for access_id in unit["access"]]


def found(access_id: str, **changes: Any) -> dict[str, Any]:
    """Return one finding as a rule would emit it."""
    values = {"rule": "leaver", "access_id": access_id, "code": "leaver", "severity": "critical", "effect": "revoke"}
    return values | {"reason": "access ended"} | changes


class FakeEngine:
    """Implements `ports.PolicyEngine`; the canaries are answered by `leaver_only`, the rest as told."""

    def __init__(self, decide: Decide = leaver_only) -> None:
        self.decide = decide
        self.requests: list[list[str]] = []
        """Keys of the units of each request, canaries included."""
        self.down = False
        self.revision = ""
        self._documents: Mapping[str, Any] = {}
        self._rules: list[str] = []
        self._lock = Lock()

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        self._documents = documents
        self._rules = [rule.rule_id for rule in policies.rules]
        self.revision = self.revision or policies.digest
        return self.info()

    def evaluate(self, request: Mapping[str, Any]) -> Mapping[str, Json]:
        units = request["units"]
        with self._lock:
            self.requests.append(list(units))
        if self.down:
            raise PolicyError("nobody answers")
        decide = leaver_only if request["request_id"].endswith("/canaries") else self.decide
        return {
            "schema": "access.decision/v1",
            "cycle_id": request["cycle_id"],
            "request_id": request["request_id"],
            "now_ns": request["now_ns"],
            "roster": self._documents["roster"]["meta"],
            "waivers": self._documents["waivers"]["meta"],
            "config": "access.config/v1",
            "rules": list[Json](self._rules),
            "evaluated": {key: len(unit["access"]) for key, unit in units.items()},
            "findings": {key: list[Json](decide(key, unit)) for key, unit in units.items()},
        }

    def info(self) -> EngineInfo:
        return EngineInfo(name="fake", version="1", revision=self.revision)

    def close(self) -> None:
        self.down = True


def failing_on(*names: str) -> Decide:
    """Make an engine that has no answer as soon as one of these principals is in the request."""

    def decide(key: str, unit: dict[str, Any]) -> list[dict[str, Any]]:
        if key.rpartition("|")[2] in names:
            raise Undecided("the policies failed: access/rules/x/x.rego:7")
        return leaver_only(key, unit)

    return decide
