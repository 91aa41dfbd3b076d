"""The documents an engine is told: complete, exact, and without personal data."""

import json
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest

from inventory.model import AccessId, Session
from inventory.roster.model import WorkerId
from reconciler.core.canonical import dumps
from reconciler.core.document import (
    Unit,
    access_document,
    batches,
    nanoseconds,
    request,
    roster_document,
    units,
    waivers_document,
    worker_document,
)
from reconciler.core.model import Waiver
from reconciler.core.schemas import published_schemas
from tests.builders import NOW, PROVIDER, SCOPE, credential, grant, leaver, principal, roster, worker
from tests.worlds import company, correlation, world


def test_the_request_fits_its_published_schema() -> None:
    """What is sent is what `policies/schemas/input.schema.json` promises to rule authors."""
    sample = company()
    sent = request(sample.cycle_id, "0", NOW, [unit for unit in units(sample) if isinstance(unit, Unit)])
    jsonschema.validate(json.loads(json.dumps(sent)), json.loads(published_schemas()["input.schema.json"]))


def test_every_type_of_item_has_the_same_keys() -> None:
    """A rule meets null, never an undefined key, whatever the type."""
    session = Session(
        provider=PROVIDER, scope=SCOPE, principal_id=principal().principal_id, access_id=AccessId("s"), address=()
    )
    documents = [access_document(item) for item in (credential(), grant(), session)]
    assert [document["type"] for document in documents] == ["credential", "grant", "session"]
    assert len({frozenset(document) for document in documents}) == 1
    assert documents[1]["holders"] == 5
    assert documents[0]["holders"] is None
    assert documents[2]["shared"] is None


def test_nothing_personal_is_sent() -> None:
    """Names, e-mails, logins and labels stay here: rules decide on facts."""
    secret = "Zdenka"
    somebody = principal(
        "id-1", display_name=secret, login_names=(secret,), emails=(f"{secret}@x.example",), owner_hints=(secret,)
    )
    item = credential("id-1", label=secret, fingerprint=secret)
    person = leaver(display_name=secret, emails=(f"{secret}@x.example",), usernames=(secret,))
    sample = world((somebody,), (item,), (correlation("id-1", "E1001"),), roster(person))
    sent = request(sample.cycle_id, "0", NOW, [unit for unit in units(sample) if isinstance(unit, Unit)])
    assert secret not in json.dumps([sent, roster_document(sample.roster)])


def test_a_worker_says_when_access_ends_and_by_which_rule() -> None:
    """The instant is UTC with microseconds; what is unknown is null."""
    tokyo = timezone(timedelta(hours=9))
    person = leaver(access_end_at=datetime(2026, 3, 1, 0, 0, tzinfo=tokyo), possible_rehire_of=(WorkerId("E7"),))
    document = worker_document(person)
    assert document["access_end_at"] == "2026-02-28T15:00:00.000000Z"
    assert document["possible_rehire"] is True
    assert worker_document(worker()) == {
        "status": "active",
        "kind": "employee",
        "access_end_at": None,
        "access_end_rule": None,
        "manager": None,
        "department": None,
        "department_since": None,
        "former_departments": [],
        "possible_rehire": False,
    }


def test_the_roster_is_known_by_its_digest() -> None:
    """`data.roster.meta` carries the digest of the feed, and the document has a canonical form."""
    document = roster_document(roster(leaver(), worker("E2")))
    assert document["meta"] == {
        "digest": "sha256:" + "a" * 64,
        "as_of": "2026-03-02T08:00:00.000000Z",
        "count": 2,
        "source": "csv:roster.csv",
    }
    assert dumps(document)


def waiver(name: str, days: int) -> Waiver:
    """Build a waiver that runs out in some days."""
    return Waiver(
        waiver_id=name,
        rule="leaver",
        worker_id=WorkerId("E1"),
        reason="swap",
        owner="a",
        approved_by="b",
        expires_at=NOW + timedelta(days=days),
    )


def test_waivers_are_counted_and_digested() -> None:
    """Expired waivers stay in the record, are not counted as in force, and order does not matter."""
    both = (waiver("W1", 3), waiver("W2", 0))
    meta = waivers_document(both, NOW)["meta"]
    assert isinstance(meta, dict)
    assert (meta["count"], meta["in_force"]) == (2, 1)
    assert waivers_document(both[::-1], NOW) == waivers_document(both, NOW)
    assert waivers_document(both[:1], NOW)["meta"] != meta


def test_a_request_never_splits_a_principal() -> None:
    """A principal with more items than a request may hold goes alone and whole."""
    names = {"a": 3, "b": 700, "c": 499, "d": 1, "e": 1}
    people = tuple(principal(name) for name in names)
    items = tuple(
        credential(name, access_id=f"{name}/{number}") for name, count in names.items() for number in range(count)
    )
    matched = tuple(correlation(name) for name in names)
    ready = [unit for unit in units(world(people, items, matched, roster())) if isinstance(unit, Unit)]
    sizes = [[len(unit.items) for unit in batch] for batch in batches(ready)]
    assert sizes == [[3], [700], [499, 1], [1]]


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(2026, 3, 2, 9, 0, 0, 1, tzinfo=UTC), 1772442000000001000),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1000),
        (datetime(2026, 3, 2, 18, 0, tzinfo=timezone(timedelta(hours=9))), 1772442000000000000),
    ],
)
def test_nanoseconds_are_exact(instant: datetime, expected: int) -> None:
    """No float is involved."""
    assert nanoseconds(instant) == expected


def test_nanoseconds_need_a_zone() -> None:
    """An instant without a zone is refused."""
    with pytest.raises(ValueError, match="zone"):
        nanoseconds(datetime(2026, 3, 2))  # noqa: DTZ001 - that is the point
