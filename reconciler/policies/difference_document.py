"""A difference as one JSON document, and its digest, by which a revision is adopted.

The schema is `reconciler/schemas/policies-diff.schema.json`; fields may be added, never renamed.
"""

from collections import Counter

from reconciler.core.canonical import Json, digest_of_plain, plain
from reconciler.policies.deciding import Side
from reconciler.policies.difference import KEEP, Difference, Line, Turn, caps, silent_rules


def difference_document(difference: Difference) -> dict[str, Json]:
    """Return what `policies diff --output json` prints."""
    told = _told(difference)
    return {**told, "digest": _digest(difference, told)}


def difference_digest(difference: Difference) -> str:
    """Return the digest of what changes, of the two revisions and of the world that they were decided on.

    Whoever adopts a revision by it says: this very change is the one I have looked at.
    """
    return _digest(difference, _told(difference))


def _digest(difference: Difference, told: dict[str, Json]) -> str:
    sides = {"base": _unnamed(told["base"]), "head": _unnamed(told["head"])}
    world: Json = [
        [one.provider, one.scope, plain(one.finished_at), len(one.principals), len(one.items)]
        for one in difference.recording.snapshot.inventories
    ]
    return digest_of_plain({**told, **sides, "world": world, "roster": difference.recording.roster.digest})


def _unnamed(side: Json) -> Json:
    """Leave out how a side was called: a branch and a commit may be the same revision."""
    return {key: value for key, value in side.items() if key != "name"} if isinstance(side, dict) else side


def _told(difference: Difference) -> dict[str, Json]:
    counts = Counter(line.turn for line in difference.lines)
    return {
        "changes_effects": difference.changes_effects,
        "as_of": plain(difference.recording.now),
        "pseudonymised": difference.recording.pseudonymised,
        "principals": sum(1 for _ in difference.recording.snapshot.principals()),
        "access_items": sum(1 for _ in difference.recording.snapshot.items()),
        "counts": {**{turn.value: counts[turn] for turn in Turn}, **_outcomes(difference)},
        "by_rule": _by_rule(difference),
        "lines": [{**_plain(line), "turn": line.turn.value} for line in difference.lines],
        "planned": [plain(one) for one in difference.planned],
        "base": _side(difference.base),
        "head": _side(difference.head),
        "caps": [plain(one) for one in caps(difference)],
        "waivers": [plain(one) for one in difference.waivers],
    }


def _outcomes(difference: Difference) -> dict[str, Json]:
    """Count the access items that the plan deals with otherwise."""
    lost = sum(one.before == KEEP for one in difference.planned)
    kept = sum(one.after == KEEP for one in difference.planned)
    return {"newly_lost": lost, "newly_kept": kept, "lost_otherwise": len(difference.planned) - lost - kept}


def _by_rule(difference: Difference) -> list[Json]:
    """Count the decisions that change, by rule and effects."""
    rules = Counter((one.rule, one.before, one.after) for one in difference.lines)
    return [
        {"rule": rule, "before": before, "after": after, "count": count}
        for (rule, before, after), count in sorted(rules.items())
    ]


def _plain(line: Line) -> dict[str, Json]:
    found = plain(line)
    return found if isinstance(found, dict) else {}


def _side(side: Side) -> dict[str, Json]:
    effects = Counter(action.effect.value for action in side.plan.actions)
    return {
        "name": side.name,
        "digest": side.policies.digest,
        "rules": [rule.rule_id for rule in side.policies.rules],
        "never_matched": list(silent_rules(side)),
        "findings": len(side.evaluation.findings),
        "undecided": len(side.evaluation.unknown),
        "waivers": side.waivers,
        "actions": {effect: effects[effect] for effect in sorted(effects)},
        "withheld": len(side.plan.withheld),
        "holds": [{"code": one.code.value, "provider": one.provider, "message": one.message} for one in side.holds],
    }
