"""What is wrong with waivers, and the list of them that people read."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from reconciler.adapters.waiver_files import ReadWaivers, WaiverFile
from reconciler.core.canonical import Json, plain
from reconciler.core.model import Rule
from reconciler.core.waivers import waiver_facts
from reconciler.policies.problems import Level, Problem, from_error

WARNED: Final = timedelta(days=14)
"""A waiver that ends within this time is a warning: what it keeps would be dealt with from then on."""
_RENEW: Final = "take it out, or have it approved anew with a later expires_at"


def waiver_problems(
    waivers: ReadWaivers, rules: Sequence[Rule], now: datetime, providers: Collection[str] | None = None
) -> Iterator[Problem]:
    """Yield each waiver that waives nothing: malformed, expired, or about no rule; as a warning, one that ends soon.

    So is one about a provider instance that is not configured, where a configuration says which there are.
    """
    for error in waivers.refused:
        yield from_error(error, "waiver", "correct it: until then it waives nothing; waivers/README.md has the fields")
    known = {rule.rule_id for rule in rules}
    for one in waivers.whole:
        name, left = one.waiver.waiver_id, one.waiver.expires_at - now
        if one.waiver.rule not in known and known:
            advice = f"known are {', '.join(sorted(known))}"
            yield _problem(one, Level.ERROR, f"waiver {name} is about no rule: {one.waiver.rule}", advice)
        if providers is not None and one.waiver.provider not in {None, *providers}:
            told = f"waiver {name} is about no provider of the configuration: {one.waiver.provider}"
            yield _problem(one, Level.WARNING, told, f"known are {', '.join(sorted(providers)) or 'none'}")
        if left <= timedelta(0):
            yield _problem(one, Level.ERROR, f"waiver {name} expired on {_day(one)} and waives nothing", _RENEW)
        elif left <= WARNED:
            yield _problem(one, Level.WARNING, f"waiver {name} ends on {_day(one)}", _RENEW)


def _day(one: WaiverFile) -> str:
    return f"{one.waiver.expires_at:%Y-%m-%d %H:%M} UTC"


def _problem(one: WaiverFile, level: Level, message: str, advice: str) -> Problem:
    return Problem(path=one.path, line=one.line, code="waiver", level=level, message=message, advice=advice)


def waivers_list(waivers: ReadWaivers, now: datetime) -> dict[str, Json]:
    """Return every waiver, the numbers that an attestation states of them, and what was refused."""
    facts = waiver_facts(waivers.as_set(), now)
    return {
        "in_force": facts.in_force,
        "expiring_within_30_days": facts.expiring_soon,
        "digest": facts.digest,
        "waivers": [_entry(one, now) for one in waivers.whole],
        "refused": [{"path": one.path, "line": one.line, "message": one.problem} for one in waivers.refused],
    }


def _entry(one: WaiverFile, now: datetime) -> dict[str, Json]:
    waiver, left = one.waiver, one.waiver.expires_at - now
    return {
        "id": waiver.waiver_id,
        "state": "in_force" if left > timedelta(0) else "expired",
        "rule": waiver.rule,
        "provider": waiver.provider,
        "principal_id": waiver.principal_id,
        "access_id": waiver.access_id,
        "worker_id": waiver.worker_id,
        "reason": waiver.reason,
        "owner": waiver.owner,
        "approved_by": waiver.approved_by,
        "expires_at": plain(waiver.expires_at),
        "days_left": max(0, left.days),
        "path": one.path,
        "line": one.line,
    }
