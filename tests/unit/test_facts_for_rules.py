"""Facts that rules need and no item tells alone: second factors, mail of the house, what is held elsewhere, moves."""

import json
from dataclasses import replace
from typing import Any

import pytest

from inventory.model import (
    ArtefactKind,
    Coverage,
    Extent,
    PrincipalKind,
    PrincipalRead,
    ProviderName,
    ReadState,
)
from inventory.roster.model import WorkerId
from reconciler.core.canonical import dumps
from reconciler.core.document import EvaluationWorld, Unit, units, worker_document
from reconciler.core.entitlements import named_in
from tests.builders import NOW, WHOLE, credential, grant, inventory, principal, roster, snapshot, worker
from tests.worlds import correlation, starter, world

LDAP = ProviderName("corp-ldap")
DEVICES = Coverage(kind=ArtefactKind.MFA_DEVICE, state=ReadState.COMPLETE)
BULK = PrincipalRead(live=False)


def documents(sample: EvaluationWorld) -> list[dict[str, Any]]:
    """Return what is told of each principal, in order."""
    return [dict(unit.document) for unit in units(sample) if isinstance(unit, Unit)]


def second_factor(coverage: tuple[Coverage, ...], *items: Any, read: PrincipalRead = WHOLE) -> object:
    """Return what is told of alice's second factor."""
    listed = inventory((principal(read=read),), items, coverage=coverage)
    sample = replace(world((), (), (correlation("alice", "E1"),), roster(worker("E1"))), snapshot=snapshot(listed))
    return documents(sample)[0]["principal"]["mfa"]


@pytest.mark.parametrize(
    ("coverage", "read", "expected"),
    [
        ((), WHOLE, None),
        ((replace(DEVICES, state=ReadState.PARTIAL),), WHOLE, None),
        ((replace(DEVICES, state=ReadState.UNSUPPORTED),), WHOLE, None),
        ((DEVICES,), WHOLE, False),
        ((DEVICES,), BULK, False),
        ((replace(DEVICES, extent=Extent.OF_INTEREST),), WHOLE, False),
        ((replace(DEVICES, extent=Extent.OF_INTEREST),), BULK, None),
        ((DEVICES,), PrincipalRead(live=True, partial=(ArtefactKind.MFA_DEVICE,)), None),
        ((DEVICES,), PrincipalRead(live=True, gaps=(ArtefactKind.MFA_DEVICE,)), None),
    ],
)
def test_no_device_seen_is_no_second_factor_only_where_all_were_read(
    coverage: tuple[Coverage, ...], read: PrincipalRead, expected: object
) -> None:
    """Unknown is not none: a kind that was not read whole, of everybody or of this one, says nothing."""
    assert second_factor(coverage, read=read) is expected


def test_a_device_that_is_not_disabled_is_a_second_factor() -> None:
    """It counts even where the kind was not read whole; a disabled one counts as none."""
    device = credential(kind=ArtefactKind.MFA_DEVICE)
    assert second_factor((), device) is True
    assert second_factor((DEVICES,), replace(device, enabled=None)) is True
    assert second_factor((DEVICES,), replace(device, enabled=False)) is False


def with_config(sample: EvaluationWorld, **sections: dict[str, Any]) -> EvaluationWorld:
    """Give a world other thresholds."""
    data = json.loads(starter().data)
    for name, changes in sections.items():
        data["access"]["config"][name] |= changes
    return replace(sample, policies=replace(sample.policies, data=dumps(data).decode()))


@pytest.mark.parametrize(
    ("domains", "emails", "expected"),
    [
        ([], ("ann@example.com",), None),
        (["Example.com"], (), None),
        (["Example.com"], ("ann@EXAMPLE.com",), True),
        (["example.com"], ("ann@gmail.example", "ann@example.com"), True),
        (["example.com"], ("ann@sub.example.com",), False),
        (["example.com"], ("ann@notexample.com",), False),
    ],
)
def test_mail_of_the_house(domains: list[str], emails: tuple[str, ...], expected: object) -> None:
    """One address at a home domain is enough; without domains or addresses nothing is known."""
    sample = world((principal(emails=emails),), (), (correlation("alice", "E1"),), roster(worker("E1")))
    told = documents(with_config(sample, external_collaborator={"home_domains": domains}))
    assert told[0]["principal"]["home_mail"] is expected


CONFLICTS = {"pay": {"approve": "two pairs of eyes", "corp-ldap:audit": "auditors do not pay"}}


def two_accounts(**changes: Any) -> EvaluationWorld:
    """Build a worker with an AWS user that may pay and an LDAP entry with other rights."""
    here = inventory((principal("alice"),), (grant("alice", "pay"),))
    entry = principal("a1", provider=LDAP, **changes)
    held = (grant("a1", "approve", provider=LDAP), grant("a1", "audit", provider=LDAP), grant("a1", "x", provider=LDAP))
    there = inventory((entry,), held, provider=LDAP, provider_type="ldap")
    matched = (correlation("alice", "E1"), correlation("a1", "E1", provider=LDAP))
    return replace(world((), (), matched, roster(worker("E1"), worker("E2"))), snapshot=snapshot(here, there))


def elsewhere(sample: EvaluationWorld, **sections: Any) -> list[list[str]]:
    """Return what each principal's worker is told to hold elsewhere."""
    return [one["held_elsewhere"] for one in documents(with_config(sample, **sections))]


def test_what_the_same_worker_holds_elsewhere_is_told() -> None:
    """Only what the thresholds name, by role or with the provider, and never what the principal holds itself."""
    conflicts = {"separation_of_duties": {"conflicts": CONFLICTS}}
    assert elsewhere(two_accounts(), **conflicts) == [["approve", "corp-ldap:audit"], []]
    assert elsewhere(two_accounts()) == [[], []]


def test_only_what_surely_is_the_worker_counts() -> None:
    """A machine, a principal that is only owned, and one of somebody else hold nothing for the worker."""
    conflicts = {"separation_of_duties": {"conflicts": CONFLICTS}}
    assert elsewhere(two_accounts(kind=PrincipalKind.SERVICE), **conflicts) == [[], []]
    base = two_accounts()
    for changes in ({"identity": False}, {"worker_id": WorkerId("E2")}):
        other = replace(base, correlations=(base.correlations[0], replace(base.correlations[1], **changes)))
        assert elsewhere(other, **conflicts) == [[], []]


def test_policies_without_these_sections_name_nothing() -> None:
    """A policy set of one's own need not have the rules that look at these facts."""
    named = named_in('{"access":{"config":{"schema":"access.config/v1"}}}')
    assert (named.conflicting, named.home_domains) == (frozenset(), frozenset())


def test_a_move_is_told_when_hr_tells_it() -> None:
    """Former teams and the day of the move go to the rules; without them both are plainly unknown."""
    told = worker_document(worker(department="Sales", former_departments=("Support",), department_since=NOW))
    assert (told["department"], told["former_departments"]) == ("Sales", ["Support"])
    assert told["department_since"] == "2026-03-02T09:00:00.000000Z"
    assert worker_document(worker())["department_since"] is None
