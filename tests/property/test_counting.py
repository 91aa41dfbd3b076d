"""The numbers of a statement agree with one another, and nobody can shift one unnoticed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.counting import Counts, contradictions

small = st.integers(0, 50)
DECISIONS = ("keep", "review", "quarantine", "revoke", "waived", "undecided")
STATES = ("clean", "violation", "cannotConclude")
ENDED = ("succeeded", "alreadyGone", "failed", "unknown")


@st.composite
def honest(draw: st.DrawFn) -> Counts:
    """Draw the numbers of a cycle that counted right."""
    decisions = {name: draw(small) for name in DECISIONS}
    ended = {name: draw(small) for name in ENDED}
    rest = {name: draw(small) for name in ("skipped", "notAttempted")}
    total, attempted = sum(decisions.values()), sum(ended.values())
    intended = attempted + sum(rest.values())
    leavers = {name: draw(small) for name in STATES}
    judged = sum(leavers.values())
    gone = draw(st.integers(0, ended["succeeded"]))
    return Counts(
        mode="enforce",
        outcome="partial",
        providers_complete=draw(st.booleans()),
        roster_fresh=draw(st.booleans()),
        undecided_principals=draw(small),
        breadth="whole",
        roster_leavers=judged,
        leavers={**leavers, "total": judged, "leafCount": judged},
        decisions={**decisions, "total": total, "leafCount": total},
        actions={
            **ended,
            **rest,
            "attempted": attempted,
            "intended": intended,
            "verifiedGone": gone,
            "leafCount": intended,
        },
    )


@given(honest())
def test_honest_numbers_agree(counts: Counts) -> None:
    """A cycle that counted right contradicts nothing."""
    assert contradictions(counts) == ()


@given(honest(), st.sampled_from([*DECISIONS, "total", "leafCount"]), st.integers(1, 5))
def test_a_shifted_decision_count_is_found(counts: Counts, name: str, by: int) -> None:
    """Changing any one number of the decisions breaks a rule."""
    shifted = {**counts.decisions, name: counts.decisions[name] + by}
    assert contradictions(replace(counts, decisions=shifted))


@given(honest(), st.sampled_from([*STATES, "total", "leafCount"]), st.integers(1, 5))
def test_a_shifted_leaver_count_is_found(counts: Counts, name: str, by: int) -> None:
    """Changing any one number of the leavers breaks a rule: no row of the population is dropped unnoticed."""
    shifted = {**counts.leavers, name: counts.leavers[name] + by}
    assert contradictions(replace(counts, leavers=shifted))


@given(honest(), st.sampled_from(["complete", "held"]), st.integers(1, 5))
def test_a_leaver_of_the_roster_without_a_verdict_is_found(counts: Counts, outcome: str, by: int) -> None:
    """A whole pass that came to its decisions judged every leaver of its roster, and nobody else."""
    fair = replace(counts, outcome=outcome, providers_complete=True, roster_fresh=True, undecided_principals=0)
    fair = replace(fair, actions={}) if outcome == "held" else fair
    assert contradictions(fair) == ()
    assert contradictions(replace(fair, roster_leavers=counts.leavers["total"] + by))
    assert contradictions(replace(fair, roster_leavers=counts.leavers["total"] + by, breadth="leavers")) == ()


@given(
    honest(),
    st.sampled_from([*ENDED, "skipped", "notAttempted", "attempted", "intended", "leafCount"]),
    st.integers(1, 5),
)
def test_a_shifted_action_count_is_found(counts: Counts, name: str, by: int) -> None:
    """Changing any one number of the actions breaks a rule."""
    shifted = {**counts.actions, name: counts.actions[name] + by}
    assert contradictions(replace(counts, actions=shifted))


@given(honest(), st.integers(1, 5))
def test_more_verified_than_made_is_found(counts: Counts, by: int) -> None:
    """No cycle verifies more removals than it made."""
    shifted = {**counts.actions, "verifiedGone": counts.actions["succeeded"] + by}
    assert contradictions(replace(counts, actions=shifted))


@given(honest())
def test_complete_needs_everything(counts: Counts) -> None:
    """`complete` stands only over complete providers, a fresh roster and no undecided principal."""
    whole = counts.providers_complete and counts.roster_fresh and not counts.undecided_principals
    assert bool(contradictions(replace(counts, outcome="complete"))) is not whole
