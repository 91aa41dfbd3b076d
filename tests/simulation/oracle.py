"""A policy engine in a few lines of Python that says what the rules about leavers and orphans say.

It is the majority's engine here because the real one starts a process each cycle; a sample of the histories runs on
the real policies in the real in-process engine instead.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.core.canonical import Json
from reconciler.core.model import EngineInfo, PolicySet
from tests.fakes.engine import FakeEngine, found

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NaiveEngine(FakeEngine):
    """Implements `ports.PolicyEngine`: leavers lose what they hold, orphans are what the configuration says."""

    def __init__(self) -> None:
        super().__init__(self._decide)
        self._now = _EPOCH
        self._orphan_effect = "review"

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        self.requests.clear()
        self.revision = policies.digest
        self._orphan_effect = "quarantine" if '"orphan":{"effect":"quarantine"' in policies.data else "review"
        return super().load(policies, documents)

    def evaluate(self, request: Mapping[str, Any]) -> Mapping[str, Json]:
        self._now = _EPOCH + timedelta(microseconds=request["now_ns"] // 1000)
        return super().evaluate(request)

    def _decide(self, key: str, unit: dict[str, Any]) -> list[dict[str, Any]]:
        if unit["correlation"]["state"] == "orphan":
            return self._orphan(unit)
        worker = self._documents["roster"]["workers"].get(unit["worker_id"])
        if worker is None or worker["access_end_at"] is None:
            return []
        if datetime.fromisoformat(worker["access_end_at"]) > self._now:
            return []
        doubt = (
            unit["principal"]["kind"] not in {"human", "external"}
            or not unit["correlation"]["identity"]
            or worker["possible_rehire"]
        )
        return [
            found(access_id, effect=self._effect(item, doubt=doubt))
            for access_id, item in unit["access"].items()
            if not (item["kind"] == "account" and item["enabled"] is False)
        ]

    @staticmethod
    def _effect(item: dict[str, Any], *, doubt: bool) -> str:
        if doubt or (item["kind"] == "group_membership" and item["holders"] == 1):
            return "review"
        return "quarantine" if item["kind"] == "account" else "revoke"

    def _orphan(self, unit: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            found(access_id, rule="orphan", code="orphan", severity="high", effect=self._orphan_effect)
            for access_id, item in unit["access"].items()
            if item["kind"] == "account" and item["enabled"] is not False
        ]
