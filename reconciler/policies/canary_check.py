"""The two made-up workers of every cycle, asked about before the merge: policies that fail them would decide nothing.

A cycle fails whole where the leaver keeps the key or the one who stays loses it. What leads there is found here, where
a reviewer sees it: a threshold that lets leavers keep everything, a rule that is gone, a rule that is too wide.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from inventory.model import Snapshot
from inventory.roster.model import Roster
from reconciler.adapters.opa_tool import OpaTool
from reconciler.core.canaries import STAYS, canary_units, canary_workers, check_canaries
from reconciler.core.document import EvaluationWorld, Unit, nanoseconds
from reconciler.core.errors import PolicyError
from reconciler.core.model import CycleId, Effect, PolicySet
from reconciler.core.schemas import FindingDocument
from reconciler.policies.probes import TOGETHER_SECONDS, findings_query, place_of
from reconciler.policies.problems import Problem

_WIDE: Final = "narrow it: nothing is taken from somebody who stays but for a reason that the rule names"
_KEPT: Final = "see that rule `leaver` is there, and that its effects in access/config/data.json are more than review"


def canary_problems(
    tool: OpaTool, policies: PolicySet, now: datetime, modules: Sequence[tuple[str, str]]
) -> Iterator[Problem]:
    """Yield why a cycle under these policies would fail at its two made-up workers, by the rule that is too wide."""
    nobody = Roster(source="check", as_of=now, fetched_at=now, digest="", rows=0, workers=())
    world = EvaluationWorld(
        cycle_id=CycleId("check"),
        now=now,
        snapshot=Snapshot(taken_at=now, inventories=()),
        correlations=(),
        roster=nobody,
        policies=policies,
        waivers=(),
    )
    units = canary_units(world)
    found = _asked(tool, policies, world, units)
    try:
        check_canaries(found, units)
    except PolicyError as error:
        wide = {
            one.rule
            for unit in units
            for one in found[unit.key]
            if unit.worker_id == STAYS and one.effect.rank > Effect.REVIEW.rank
        }
        for rule in (one for one in policies.rules if one.rule_id in wide):
            path, line = place_of(rule, modules, '"effect"')
            told = f"rule {rule.rule_id} asks to take the access key of a made-up worker who has not left"
            yield Problem(path=path, line=line, code="canary", message=told, advice=_WIDE)
        if not wide:
            leaver = next((rule for rule in policies.rules if rule.rule_id == "leaver"), None)
            path, line = place_of(leaver, modules, '"effect"') if leaver else (".", 1)
            yield Problem(path=path, line=line, code="canary", message=str(error), advice=_KEPT)


def _asked(
    tool: OpaTool, policies: PolicySet, world: EvaluationWorld, units: Sequence[Unit]
) -> Mapping[str, tuple[FindingDocument, ...]]:
    """Return what every rule says of each unit. Raises `PolicyError` where OPA gives no answer."""
    now_ns = nanoseconds(world.now)
    document = {
        "inputs": [{"unit": unit.document, "now_ns": now_ns} for unit in units],
        "workers": canary_workers(world.roster, world.now),
    }
    names = [rule.rule_id for rule in policies.rules]
    answers, failed = tool.evaluate(findings_query(names), document, TOGETHER_SECONDS)
    if failed is not None:
        raise PolicyError(f"the made-up workers could not be asked about: {failed.message}", advice="run it again")
    return {unit.key: tuple(_findings(answers, position)) for position, unit in enumerate(units)}


def _findings(answers: Mapping[str, Sequence[Sequence[Any]]], position: int) -> Iterator[FindingDocument]:
    for rule, of_units in answers.items():
        yield from (FindingDocument.model_validate({**one, "rule": rule}) for one in of_units[position])
