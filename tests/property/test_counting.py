"""The numbers of a statement agree with one another, and nobody can shift one unnoticed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.counting import Counts, contradictions

small = st.integers(0, 50)
DECISIONS = ("keep", "review", "quarantine", "revoke", "waived", "undecided")
ENDED = ("succeeded", "alreadyGone", "failed", "unknown")


@st.composite
def honest(draw: st.DrawFn) -> Counts:
    """Draw the numbers of a cycle that counted right."""
    decisions = {name: draw(small) for name in DECISIONS}
    ended = {name: draw(small) for name in ENDED}
    rest = {name: draw(small) for name in ("skipped", "notAttempted")}
    total, attempted = sum(decisions.values()), sum(ended.values())
    intended = attempted + sum(rest.values())
    gone = draw(st.integers(0, ended["succeeded"]))
    return Counts(
        mode="enforce",
        outcome="partial",
        providers_complete=draw(st.booleans()),
        roster_fresh=draw(st.booleans()),
        undecided_principals=draw(small),
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
