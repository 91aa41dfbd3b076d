"""Making a recording of what a cycle sees, and proving that pseudonyms changed no decision."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from reconciler.core.errors import PolicyError
from reconciler.core.model import Finding
from reconciler.observation import CycleRules, Picture
from reconciler.policies.deciding import Revision, decide
from reconciler.policies.difference import planned_effects
from reconciler.policies.pseudonyms import Pseudonyms, pseudonymise, pseudonyms
from reconciler.policies.recording import Recording
from reconciler.policies.shelf import Shelf
from reconciler.ports import Journal, PolicyEngine


def recording_of(picture: Picture, rules: CycleRules, journal: Journal) -> Recording:
    """Return the recording of what was seen, with how far the guard would let a plan go."""
    world = picture.world
    window = timedelta(seconds=rules.limits.window_seconds)
    return Recording(
        now=world.now,
        pseudonymised=False,
        snapshot=world.snapshot,
        roster=world.roster,
        correlations=world.correlations,
        memory=world.memory,
        waivers=world.waivers,
        reach=dict(rules.reach),
        protection=picture.planning.protection,
        limits=rules.limits,
        touched=tuple(journal.touched_since(world.now - window)),
    )


def keeper(shelf: Shelf, journal: Journal) -> Callable[[Picture, CycleRules], None]:
    """Return what records a snapshot of a cycle where the shelf is due for one; it raises OSError."""

    def keep(picture: Picture, rules: CycleRules) -> None:
        if shelf.due(picture.world.now):
            shelf.put(recording_of(picture, rules, journal))

    return keep


def anonymous(recording: Recording, picture: Picture, engine: PolicyEngine, key: bytes) -> Recording:
    """Return the recording under pseudonyms. Raises `PolicyError` where a policy would decide otherwise on them."""
    names = pseudonyms(recording, key)
    hidden = pseudonymise(recording, names)
    side = decide(hidden, Revision(name="", policies=picture.world.policies, waivers=hidden.waivers), engine)
    planned = {
        (provider, names.items.name(item)): effect for (provider, item), effect in planned_effects(picture.plan).items()
    }
    same = _decided(picture.evaluation.findings, names) == _decided(side.evaluation.findings, None)
    if not same or planned != planned_effects(side.plan):
        raise PolicyError(
            "a rule decides otherwise under pseudonyms: it looks at an id, a resource or a scope by its text",
            advice="export without --pseudonymise, or let the rule look at roles, kinds and departments",
        )
    return hidden


def _decided(findings: Iterable[Finding], names: Pseudonyms | None) -> list[tuple[str, ...]]:
    """Return decisions in a form that can be compared, those of the original under their pseudonyms."""
    return sorted(
        (
            one.provider,
            one.principal_id if names is None else names.principal(one.principal_id),
            one.access_id if names is None else names.item(one.access_id),
            one.rule,
            one.code,
            one.effect.value,
            str(one.applies_from),
        )
        for one in findings
    )
