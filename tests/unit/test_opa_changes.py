"""What is sent of a document that has changed: the changes lead to the wanted document, or the whole is sent."""

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.opa_changes import MOST_CHANGES, changes

if TYPE_CHECKING:
    from reconciler.core.canonical import Json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(("", "a", "2026-11-22")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("a", "b", "c/d", "~")), inner),
    max_leaves=5,
)
NAMES = [f"E{number}" for number in range(MOST_CHANGES + 4)]


def applied(document: Any, listed: Any) -> Any:
    """Return the document after the operations, as RFC 6902 has `replace` work."""
    result = copy.deepcopy(document)
    for operation in (one.operation() for one in listed):
        *above, last = operation["path"].removeprefix("/").split("/")
        place = result
        for name in above:
            place = place[name]
        assert last in place
        place[last] = operation["value"]
    return result


@given(st.data())
def test_the_changes_make_the_wanted_document(data: st.DataObject) -> None:
    """Applied to what is held they give what is wanted, for any values at any of the places."""
    workers: dict[str, Any] = {name: data.draw(VALUES) for name in NAMES}
    held: dict[str, Any] = {"meta": data.draw(VALUES), "workers": workers}
    moved = data.draw(st.lists(st.sampled_from(NAMES), max_size=3))
    wanted: dict[str, Any] = {
        "meta": data.draw(VALUES),
        "workers": workers | {name: data.draw(VALUES) for name in moved},
    }
    listed = changes(held, wanted)
    assert listed is not None
    assert applied(held, listed) == wanted


def test_only_the_worker_who_changed_is_sent() -> None:
    """One of many is one change, whose value is that worker's."""
    workers: dict[str, Json] = {name: {"access_end_at": None} for name in NAMES}
    held: dict[str, Json] = {"meta": {"digest": "a"}, "workers": workers}
    wanted: dict[str, Json] = {"meta": {"digest": "b"}, "workers": {**workers, "E3": {"access_end_at": "2026"}}}
    listed = changes(held, wanted)
    assert listed is not None
    assert [one.place for one in listed] == ["meta", "workers/E3"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"workers": dict.fromkeys(NAMES, 1)},
        {"workers": dict.fromkeys([*NAMES, "E999"], 0)},
        {"workers": dict.fromkeys(NAMES[1:], 0)},
        {"workers": dict.fromkeys(NAMES, 0), "meta": 0},
        {},
    ],
    ids=["many", "a joiner", "one removed", "a part added", "a part removed"],
)
def test_else_the_whole_is_sent(wanted: dict[str, Any]) -> None:
    """Many changes, or another set of names."""
    assert changes({"workers": dict.fromkeys(NAMES, 0)}, wanted) is None


@pytest.mark.parametrize("name", ["a/b", "a~1b", "ä", "a b", "%2e", "", "..", "?x", "#"])
def test_a_name_that_would_have_to_be_escaped_is_never_in_a_path(name: str) -> None:
    """Such a worker's change goes with the whole document."""
    others: dict[str, Json] = dict.fromkeys(NAMES, 0)
    assert changes({"workers": {**others, name: 0}}, {"workers": {**others, name: 1}}) is None
    assert changes({name: {**others}}, {name: {**others, "E1": 1}}) is None
