"""A change of waivers is told on every recording: with whom it touches, or loudly that nobody can see that there."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from inventory.roster.model import WorkerId
from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.core.model import PolicySet, Waiver
from reconciler.policies.deciding import Revision, decide
from reconciler.policies.difference import Difference, compare
from reconciler.policies.difference_document import difference_document
from reconciler.policies.difference_text import markdown
from reconciler.policies.pseudonyms import pseudonymise, pseudonyms
from reconciler.policies.recording import Recording
from reconciler.policies.waiver_changes import waiver_changes, waivers_compared
from tests.builders import principal
from tests.output_schemas import problems
from tests.recordings import recording
from tests.worlds import emit, rule_source, starter, with_modules

WAIVER = replace(recording().waivers[0], rule="live_session", principal_id=principal("bob").principal_id)
"""Lets Bob keep the session that the rule below would end."""
OTHER = replace(WAIVER, waiver_id="W2", principal_id=None, worker_id=WorkerId("E1001"))


def ending_sessions() -> PolicySet:
    """Return the policies with a rule that ends every session."""
    body = emit('item.kind == "session"', effect='"revoke"', code='"live_session"')
    return with_modules(starter(), access__rules__live_session__live_session=rule_source("live_session", body))


@pytest.fixture(scope="module")
def rego() -> Iterator[EmbeddedRego]:
    """Give every test the same in-process engine."""
    engine = EmbeddedRego(deadline_seconds=20)
    yield engine
    engine.close()


def hidden() -> Recording:
    """Return a recording under pseudonyms that holds the waiver."""
    seen = replace(recording(), waivers=(WAIVER,))
    return pseudonymise(seen, pseudonyms(seen, b"k" * 32))


def changed(rego: EmbeddedRego, recorded: Recording, base: tuple[Waiver, ...], head: tuple[Waiver, ...]) -> Difference:
    """Compare two folders that differ in their waivers alone."""
    known = recorded.waivers if recorded.pseudonymised else None
    before, after = (
        decide(recorded, Revision(name=name, policies=ending_sessions(), waivers=waivers), rego)
        for name, waivers in zip(("main", "change"), waivers_compared(base, head, known), strict=True)
    )
    return compare(recorded, before, after, waiver_changes(base, head, known))


def test_a_waiver_that_is_taken_out_shows_under_pseudonyms(rego: EmbeddedRego) -> None:
    """Who loses what by it is told as on the original: the recording knows whose the waiver was."""
    found = changed(rego, hidden(), (WAIVER,), ())
    comment = markdown(found)
    assert "**1 access item of 1 worker newly lost. Within every cap.**" in comment
    assert r"| W1 | removed | live\_session | 2027-03-02 | in the lists below |" in comment
    assert "| `live_session` | withheld before: `waived` |" in comment
    assert "cannot be shown" not in comment
    assert [one.kind.value for one in found.planned] == ["session"]
    assert (found.changes_effects, found.not_shown) == (True, ())


def test_a_waiver_that_is_new_is_loud_under_pseudonyms(rego: EmbeddedRego) -> None:
    """Nobody without the key knows whose it is: the first line says so, and decisions count as changed."""
    found = changed(rego, hidden(), (WAIVER,), (WAIVER, OTHER))
    comment = markdown(found)
    assert (
        "**Nobody's access is seen to be dealt with otherwise. Within every cap. Not shown, for ids are pseudonyms "
        "here: whom 1 changed waiver would touch.**"
    ) in comment
    assert "### Waivers that change: 1\n\n" in comment
    assert r"| W2 | added | live\_session | 2027-03-02 | **not shown** |" in comment
    assert "`inventory export FILE`" in comment
    assert (found.lines, found.planned) == ((), ())
    assert found.changes_effects
    document = json.loads(json.dumps(difference_document(found)))
    assert problems("policies-diff", document) == []
    assert document["changes_effects"]
    assert [(one["waiver_id"], one["turn"], one["shown"]) for one in document["waivers"]] == [("W2", "added", False)]


def test_a_waiver_of_another_scope_is_loud_under_pseudonyms(rego: EmbeddedRego) -> None:
    """Given to somebody else it waives nothing any more for whom it did, and whom it covers now is not shown."""
    found = changed(rego, hidden(), (WAIVER,), (replace(WAIVER, principal_id=principal("ghost").principal_id),))
    assert [(one.turn.value, one.shown) for one in found.waivers] == [("altered", False)]
    assert "1 access item of 1 worker newly lost" in markdown(found)


def test_a_waiver_that_ends_otherwise_shows_under_pseudonyms(rego: EmbeddedRego) -> None:
    """One that a change lets end before the recording waives nothing there after the change."""
    ended = replace(WAIVER, expires_at=hidden().now - timedelta(seconds=1))
    found = changed(rego, hidden(), (WAIVER,), (ended,))
    assert [(one.turn.value, one.shown) for one in found.waivers] == [("altered", True)]
    assert "1 access item of 1 worker newly lost" in markdown(found)


def test_waivers_that_stay_are_not_spoken_of(rego: EmbeddedRego) -> None:
    """Another reason or approver changes nobody's access, and what only the recording has counts on both sides."""
    reworded = replace(WAIVER, reason="Asked again.", approved_by="auditor")
    assert waiver_changes((WAIVER,), (reworded,), None) == ()
    found = changed(rego, hidden(), (), ())
    assert not found.changes_effects
    assert found.base.waivers == found.head.waivers == 1
    assert "Waivers that change" not in markdown(found)


def test_with_names_every_change_shows(rego: EmbeddedRego) -> None:
    """On a recording with names both folders decide by their own waivers, and none is marked as not shown."""
    found = changed(rego, recording(), (), (WAIVER, OTHER))
    assert [(one.waiver_id, one.turn.value, one.shown) for one in found.waivers] == [
        ("W1", "added", True),
        ("W2", "added", True),
    ]
    assert "1 access item of 1 worker newly kept" in markdown(found)
