"""Correlation: which worker a principal belongs to, by which rule, and how surely."""

import pytest

from inventory.model import PrincipalId, PrincipalKind
from inventory.roster.model import Worker, WorkerId
from reconciler.core.correlation import CorrelationSettings, correlate, correlate_one, index_roster
from reconciler.core.model import Correlation, CorrelationState
from tests import builders


def known(principal_changes: dict[str, object], *workers: Worker, **settings: object) -> Correlation:
    """Correlate one principal against a roster of workers."""
    index = index_roster(builders.roster(*workers), CorrelationSettings(**settings))  # type: ignore[arg-type] # real fields
    return correlate_one(builders.principal(**principal_changes), index)  # type: ignore[arg-type] # real fields


ANN = builders.worker("E1", display_name="Ann Lee", usernames=("alee",), emails=("ann.lee@example.com",))


@pytest.mark.parametrize(
    ("says", "rule", "confidence"),
    [
        ({"external_ids": ("E1",)}, "external_id", 100),
        ({"employee_ids": ("E1",)}, "employee_id", 98),
        ({"emails": ("Ann.Lee@Example.com",)}, "work_email", 95),
        ({"login_names": ("alee",)}, "username", 80),
        ({"login_names": ("adm-alee",)}, "username", 80),
        ({"login_names": ("alee-adm",)}, "username", 80),
        ({"display_name": "ANN LEE", "login_names": ()}, "display_name", 40),
    ],
)
def test_each_rule_has_its_confidence(says: dict[str, object], rule: str, confidence: int) -> None:
    """Every kind of evidence ties a principal to its worker with the confidence of its rule."""
    found = known({"login_names": (), **says}, ANN)
    assert (found.state, found.worker_id, found.rule, found.confidence) == (
        CorrelationState.MATCHED, "E1", rule, confidence,
    )  # fmt: skip


def test_the_strongest_evidence_of_one_worker_counts() -> None:
    """Several pieces of evidence for the same worker give one match, by the strongest rule."""
    found = known({"employee_ids": ("E1",), "emails": ("ann.lee@example.com",), "login_names": ("alee",)}, ANN)
    assert (found.rule, found.confidence) == ("employee_id", 98)


def test_the_explicit_map_wins_over_nothing_else_known() -> None:
    """A reviewed fact ties a principal that says nothing of itself."""
    explicit = ((builders.PROVIDER, PrincipalId("alice"), WorkerId("E1")),)
    assert known({"login_names": ()}, ANN, explicit=explicit).rule == "explicit_map"


def test_two_workers_with_strong_evidence_are_disputed() -> None:
    """An employee id of one worker and the e-mail of another make the principal ambiguous."""
    bob = builders.worker("E2", emails=("bob@example.com",))
    found = known({"employee_ids": ("E1",), "emails": ("bob@example.com",)}, ANN, bob)
    assert found.state is CorrelationState.AMBIGUOUS
    assert {match.worker_id for match in found.candidates} == {"E1", "E2"}
    assert found.worker_id is None


@pytest.mark.parametrize(
    "says", [{"external_ids": ("E1",)}, {"employee_ids": ("E1",)}, {"emails": ("e1@example.com",)}]
)
@pytest.mark.parametrize("login", ["bray", "adm-bray"])
def test_a_user_name_of_somebody_else_contradicts_every_id(says: dict[str, object], login: str) -> None:
    """However strong the evidence for one worker is, the user name of another makes the principal ambiguous."""
    bob = builders.worker("E2", usernames=("bray",))
    found = known({**says, "login_names": (login,)}, builders.leaver("E1", emails=("e1@example.com",)), bob)
    assert (found.state, found.worker_id) == (CorrelationState.AMBIGUOUS, None)


def test_a_name_contradicts_nothing() -> None:
    """Another worker's display name does not unsettle whose a principal is."""
    other = builders.worker("E2", display_name="Bob Ray")
    assert known({"employee_ids": ("E1",), "display_name": "Bob Ray", "login_names": ()}, ANN, other).worker_id == "E1"


def test_the_operators_word_settles_a_dispute() -> None:
    """The explicit map decides between identifiers that contradict one another; two such words decide nothing."""
    bob = builders.worker("E2", usernames=("bray",), emails=("bob@example.com",))
    says: dict[str, object] = {"employee_ids": ("E1",), "emails": ("bob@example.com",), "login_names": ("bray",)}
    one = (builders.PROVIDER, PrincipalId("alice"), WorkerId("E1"))
    other = (builders.PROVIDER, PrincipalId("alice"), WorkerId("E2"))
    settled = known(says, ANN, bob, explicit=(one,))
    assert (settled.worker_id, settled.rule, settled.confidence) == ("E1", "explicit_map", 100)
    assert known(says, ANN, bob, explicit=(one, other)).state is CorrelationState.AMBIGUOUS


def test_a_planted_public_key_contradicts_nothing() -> None:
    """Who puts a colleague's public key on the own principal stays known: public keys are for anybody to copy."""
    bob = builders.worker("E2")
    people = (builders.principal("ann", employee_ids=("E1",)), builders.principal("bob", employee_ids=("E2",)))
    items = tuple(builders.credential(name, fingerprint="SHA256:abc") for name in ("ann", "bob"))
    found = correlate(people, items, index_roster(builders.roster(ANN, bob), CorrelationSettings()))
    assert [one.worker_id for one in found] == ["E1", "E2"]


def test_two_workers_of_one_name_are_ambiguous() -> None:
    """A name that two workers share belongs to neither."""
    other = builders.worker("E2", display_name="Ann Lee")
    assert known({"display_name": "Ann Lee", "login_names": ()}, ANN, other).state is CorrelationState.AMBIGUOUS


def test_a_recycled_address_is_evidence_for_both_holders() -> None:
    """An e-mail that two persons hold or held never decides between them."""
    heir = builders.worker("E2", emails=("ann.lee@example.com",), shared_emails=("ann.lee@example.com",))
    former = builders.leaver("E1", emails=("ann.lee@example.com",), shared_emails=("ann.lee@example.com",))
    assert known({"emails": ("ann.lee@example.com",)}, heir, former).state is CorrelationState.AMBIGUOUS


def test_a_former_id_leads_to_the_worker_of_today() -> None:
    """A principal tagged with the id of an earlier employment belongs to the rehired worker."""
    rehired = builders.worker("E9", former_ids=(WorkerId("E1"),))
    assert known({"employee_ids": ("E1",)}, rehired).worker_id == "E9"


@pytest.mark.parametrize("name", ["\u0410nn Lee", "Ann  Lee", "Ann L\u00e9e", "Anne Lee"])
def test_look_alike_names_stay_different(name: str) -> None:
    """Homoglyphs, doubled spaces, accents and near names are not the same name."""
    assert known({"display_name": name, "login_names": ()}, ANN).state is CorrelationState.ORPHAN


def test_leading_zeros_of_an_employee_id_count() -> None:
    """An id is text: `007` is not `7`."""
    assert known({"employee_ids": ("007",), "login_names": ()}, builders.worker("7")).state is CorrelationState.ORPHAN


def test_a_service_account_is_owned_and_never_is_the_worker() -> None:
    """Owner tags, and even a worker's e-mail on a service account, tell ownership and not identity."""
    owned = known({"kind": PrincipalKind.SERVICE, "owner_hints": ("E1",), "login_names": ()}, ANN)
    mailed = known({"kind": PrincipalKind.SERVICE, "emails": ("ann.lee@example.com",), "login_names": ()}, ANN)
    assert (owned.worker_id, owned.identity, owned.confidence) == ("E1", False, 90)
    assert (mailed.worker_id, mailed.identity) == ("E1", False)


def test_a_service_account_is_not_matched_by_name() -> None:
    """User names and display names say nothing about accounts that are no person's."""
    found = known({"kind": PrincipalKind.SERVICE, "login_names": ("alee",), "display_name": "Ann Lee"}, ANN)
    assert found.state is CorrelationState.ORPHAN


def test_the_same_ssh_key_bridges_two_systems() -> None:
    """A key seen on a sure principal ties another principal that holds it, with the confidence of a hint."""
    sure = builders.principal("ann", employee_ids=("E1",))
    odd = builders.principal("odd", login_names=("odd",))
    items = tuple(builders.credential(name, fingerprint="SHA256:abc") for name in ("ann", "odd"))
    index = index_roster(builders.roster(ANN), CorrelationSettings())
    found = {one.principal_id: one for one in correlate((odd, sure), items, index)}
    assert (found[odd.principal_id].rule, found[odd.principal_id].confidence) == ("ssh_fingerprint", 80)
    assert found[sure.principal_id].confidence == 98
