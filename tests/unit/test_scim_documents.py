"""Reading SCIM payloads as vendors really send them, and proving that pages are a whole."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.documents.scim import (
    ENTERPRISE_SCHEMA,
    Malformed,
    Page,
    User,
    attribute,
    group,
    member_path,
    page,
    patch,
    quoted,
    texts,
    user,
)
from inventory.documents.scim_listing import Doubt, Listing, Parser, Read, read_listing
from inventory.documents.scim_membership import Memberships
from inventory.errors import Denied, Misconfigured, ObjectMissing, Throttled, Unavailable, Unsupported
from inventory.model import ReadState

USERS: Parser[User] = Parser(parse=user, identify=lambda entry: entry.user_id)


def test_a_full_user_is_read() -> None:
    """Every fact that access depends on is taken over."""
    read = user(
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:vendor:x"],
            "id": "42",
            "userName": "alice",
            "name": {"formatted": "Alice Doe"},
            "userType": "Employee",
            "externalId": "E1",
            "active": True,
            "emails": [{"value": "second@x"}, {"value": "first@x", "primary": True}],
            "roles": [{"value": "admin"}],
            "meta": {"created": "2026-01-02T03:04:05+02:00", "version": 'W/"3"'},
            "urn:vendor:x": {"a": 1},
        }
    )
    assert (read.user_id, read.user_name, read.display_name, read.user_type) == ("42", "alice", "Alice Doe", "Employee")
    assert (read.active, read.external_id, read.emails, read.roles) == (True, "E1", ("first@x", "second@x"), ("admin",))
    assert (read.created_at, read.version) == (datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC), 'W/"3"')


@pytest.mark.parametrize(
    ("active", "expected"),
    [(True, True), (False, False), ("True", True), ("false", False), (None, None), ("no", None), (0, None), ([], None)],
)
def test_active_is_never_guessed(active: object, expected: bool | None) -> None:  # noqa: FBT001 - the value under test
    """Only a clear yes or no counts; everything else is unknown, and never disabled."""
    assert user({"id": "1", "active": active}).active is expected
    assert user({"id": "1"}).active is None


def test_vendor_quirks_are_tolerated() -> None:
    """Other cases of names, numbers as ids, plain e-mail lists and broken times do not hide a user."""
    read = user({"ID": 7, "UserName": "bob", "emails": ["b@x", None, 3], "meta": {"created": "yesterday"}, "active": 1})
    assert (read.user_id, read.user_name, read.emails, read.created_at) == ("7", "bob", ("b@x", "3"), None)


@pytest.mark.parametrize("identifier", [None, "", " ", ".", "..", " 1", True, [], {}, "\ud800"])
def test_a_user_without_a_usable_id_is_malformed(identifier: object) -> None:
    """What cannot be addressed cannot be read again or acted upon."""
    with pytest.raises(Malformed):
        user({"id": identifier})


def test_a_version_that_cannot_stand_in_a_header_is_none() -> None:
    """A hostile entity tag does not reach a request."""
    assert user({"id": "1", "meta": {"version": "a\r\nX: y"}}).version == ""
    assert user({"id": "1", "meta": {"version": "ü"}}).version == ""


@pytest.mark.parametrize("members", ["x", {}, [{}], [{"value": ""}], ["x"], [None], [{"display": "a"}]])
def test_an_unreadable_member_makes_the_group_malformed(members: object) -> None:
    """A member that names nobody is not left out in silence."""
    with pytest.raises(Malformed):
        group({"id": "1", "members": members})


def test_members_are_told_from_nested_groups() -> None:
    """Type or reference says that a member is a group."""
    read = group(
        {
            "id": "g",
            "members": [
                {"value": "u1"},
                {"value": "u1"},
                {"value": "g1", "type": "Group"},
                {"value": "g2", "$ref": "https://x/v2/Groups/g2"},
            ],
        }
    )
    assert [(member.value, member.is_group) for member in read.members] == [("u1", False), ("g1", True), ("g2", True)]
    assert read.name == "g"


def test_an_empty_group_says_whether_it_told_its_members() -> None:
    """No attribute is not the same as an empty one."""
    assert group({"id": "g", "members": []}).tells_members
    assert not group({"id": "g"}).tells_members


def test_attributes_are_found_by_path_and_extension() -> None:
    """Settings name attributes as RFC 7644 writes them, in any case."""
    document = {"name": {"formatted": "A"}, ENTERPRISE_SCHEMA: {"employeeNumber": "E7", "manager": {"value": "m"}}}
    assert attribute(document, f"{ENTERPRISE_SCHEMA.upper()}:EMPLOYEENUMBER") == "E7"
    assert attribute(document, f"{ENTERPRISE_SCHEMA}:manager.value") == "m"
    assert attribute(document, "Name.Formatted") == "A"
    assert attribute(document, "name.formatted.deeper") is None
    assert attribute(document, "urn:other:thing") is None
    assert texts(document, "") == ()


@given(st.text())
def test_a_quoted_value_stays_one_value(value: str) -> None:
    """Whatever an id holds, a filter made of it names that id and nothing else."""
    assert json.loads(quoted(value)) == value
    assert json.loads(member_path(value).removeprefix("members[value eq ").removesuffix("]")) == value


def test_a_removal_has_no_value() -> None:
    """RFC 7644 wants a path and no value to remove one member."""
    assert patch("remove", "members")["Operations"] == [{"op": "remove", "path": "members"}]
    assert patch("replace", "active", value=False)["Operations"] == [
        {"op": "replace", "path": "active", "value": False}
    ]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"totalResults": -1, "Resources": []},
        {"totalResults": True, "Resources": []},
        {"totalResults": "many", "Resources": []},
        {"totalResults": 1, "Resources": {}},
        {"totalResults": 1, "Resources": ["x"]},
    ],
)
def test_what_is_no_page_is_malformed(document: dict[str, Any]) -> None:
    """A listing that does not say how many there are proves nothing."""
    with pytest.raises(Malformed):
        page(document)


def test_a_page_may_leave_out_its_empty_list() -> None:
    """RFC 7644 lets `Resources` be absent when there is nothing."""
    assert page({"totalResults": "0"}) == Page(total=0, start=None, resources=())


def listing_of(ids: list[str], *, total: int, cap: int) -> tuple[ReadState, int, int]:
    """Read a listing that pages correctly and claims a total; return state, entries and fetches."""
    fetched = []

    def fetch(start: int) -> dict[str, Any]:
        fetched.append(start)
        return {"totalResults": total, "Resources": [{"id": one} for one in ids[start - 1 : start - 1 + cap]]}

    read = read_listing("Users", Listing(USERS, limit=1000), fetch)
    return read.state, len(read.entries), len(fetched)


@given(size=st.integers(0, 40), cap=st.integers(1, 15), lie=st.integers(-5, 5))
def test_a_listing_is_complete_only_when_the_total_is_true(size: int, cap: int, lie: int) -> None:
    """Every true listing of any page size is complete; a total that is off by anything never is."""
    ids = [f"u{number}" for number in range(size)]
    state, entries, _ = listing_of(ids, total=max(0, size + lie), cap=cap)
    true_total = max(0, size + lie) == size
    assert (state is ReadState.COMPLETE) == true_total
    assert not true_total or entries == size


@given(size=st.integers(1, 40), cap=st.integers(1, 40), missing=st.integers(0, 39))
def test_a_swallowed_entry_is_noticed(size: int, cap: int, missing: int) -> None:
    """One entry that never comes keeps the listing from being complete."""
    ids = [f"u{number}" for number in range(size)]
    del ids[missing % size]
    state, _, _ = listing_of(ids, total=size, cap=cap)
    assert state is ReadState.PARTIAL


def test_a_provider_that_ignores_start_index_is_noticed() -> None:
    """The same page again and again is no listing, even where its total equals the page."""

    def always(total: int) -> Read[User]:
        page_of_two = {"totalResults": total, "Resources": [{"id": "a"}, {"id": "b"}]}
        return read_listing("Users", Listing(USERS, limit=1000), lambda _: page_of_two)

    for read in (always(2), always(4)):
        assert read.state is ReadState.PARTIAL
        assert "twice" in read.reason
        assert len(read.entries) == 2


def test_a_short_last_page_needs_no_further_call() -> None:
    """A page shorter than an earlier one was not cut, so its end needs no proof of its own."""
    ids = [f"u{number}" for number in range(7)]
    assert listing_of(ids, total=7, cap=5) == (ReadState.COMPLETE, 7, 2)
    assert listing_of(ids, total=7, cap=7) == (ReadState.COMPLETE, 7, 2)
    assert listing_of([], total=0, cap=7) == (ReadState.COMPLETE, 0, 1)


def test_a_moving_total_is_a_doubt() -> None:
    """Somebody joined or left while the list was read: what came is not known to be all."""
    listing = Listing(USERS, limit=1000)
    listing.add(Page(total=3, start=1, resources=({"id": "a"},)))
    with pytest.raises(Doubt, match="moved from 3 to 2"):
        listing.add(Page(total=2, start=2, resources=({"id": "b"},)))


def test_an_endless_listing_is_cut() -> None:
    """A provider that never ends cannot fill the memory."""
    read = read_listing(
        "Users", Listing(USERS, limit=50), lambda start: {"totalResults": 10**9, "Resources": [{"id": f"u{start}"}]}
    )
    assert read.state is ReadState.PARTIAL
    assert len(read.entries) == 50


def test_one_unreadable_entry_does_not_hide_the_others() -> None:
    """The rest is read to its end; the whole counts as partial."""
    document = {"totalResults": 3, "Resources": [{"id": "a"}, {}, {"id": "c"}]}
    read = read_listing("Users", Listing(USERS, limit=9, page_capacity=5), lambda _: document)
    assert [entry.user_id for entry in read.entries] == ["a", "c"]
    assert (read.state, read.reason) == (ReadState.PARTIAL, "Users: an entry has no usable id")


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        (Denied("x"), ReadState.DENIED, ReadState.DENIED),
        (Unsupported("x"), ReadState.UNSUPPORTED, ReadState.PARTIAL),
        (ObjectMissing("x"), ReadState.UNSUPPORTED, ReadState.PARTIAL),
        (Unavailable("x"), ReadState.PARTIAL, ReadState.PARTIAL),
        (Throttled("x"), ReadState.PARTIAL, ReadState.PARTIAL),
    ],
)
def test_what_stops_a_listing_becomes_its_state(error: Exception, first: ReadState, later: ReadState) -> None:
    """A refusal, a missing operation and a failure are told apart, on the first page and on later ones."""

    def fail_at(position: int) -> ReadState:
        def fetch(start: int) -> dict[str, Any]:
            if start >= position:
                raise error
            return {"totalResults": 9, "Resources": [{"id": f"u{start}"}]}

        return read_listing("Users", Listing(USERS, limit=99), fetch).state

    assert (fail_at(1), fail_at(3)) == (first, later)


def test_misconfiguration_is_raised() -> None:
    """Where no listing can work, there is no inventory to return."""

    def fetch(_: int) -> dict[str, Any]:
        raise Misconfigured("no token")

    with pytest.raises(Misconfigured):
        read_listing("Users", Listing(USERS, limit=9), fetch)


def test_a_refused_position_beyond_the_end_is_an_end() -> None:
    """Some services answer 400 there instead of an empty page."""

    def fetch(start: int) -> dict[str, Any]:
        if start > 1:
            raise Unsupported("startIndex")
        return {"totalResults": 1, "Resources": [{"id": "a"}]}

    assert read_listing("Users", Listing(USERS, limit=9), fetch).state is ReadState.COMPLETE


def test_memberships_through_other_groups_are_found_once_and_circles_end() -> None:
    """A user in an inner group holds the outer ones through it, however they are nested."""
    groups = [
        group({"id": "inner", "members": [{"value": "u"}, {"value": "v"}]}),
        group({"id": "outer", "members": [{"value": "inner", "type": "Group"}, {"value": "u"}]}),
        group({"id": "round", "members": [{"value": "outer"}]}),
        group({"id": "inner2", "members": [{"value": "round", "type": "Group"}]}),
        group({"id": "outer2", "members": [{"value": "inner2"}]}),
    ]
    groups.append(group({"id": "round", "members": [{"value": "outer"}, {"value": "outer2"}]}))
    memberships = Memberships(groups)
    held = [(one.group.group_id, one.via and one.via.group_id, one.holders) for one in memberships.of("v")]
    assert held == [
        ("inner", None, 2),
        ("outer", "inner", None),
        ("round", "inner", None),
        ("inner2", "inner", None),
        ("outer2", "inner", None),
    ]
    assert memberships.nested
    assert memberships.direct_groups("u") == {"inner", "outer"}
    assert list(memberships.of("nobody")) == []
    assert Memberships([]).someone() is None
