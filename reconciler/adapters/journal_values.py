"""The journal's values as canonical JSON, and back into the very same frozen values.

>>> load_instant("2026-03-02T09:00:00.000000Z")
datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.timezone.utc)
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from inventory.model import Credential, Grant, Session
from inventory.roster.model import AcceptedRoster
from reconciler.core.canonical import dumps
from reconciler.core.errors import JournalError
from reconciler.core.model import Action, Approval, BeforeImage, HoldCode, HoldReason, Plan, PlanDigest

_ADVICE: Final = "restore the journal from a backup (docs/journal.md); do not edit it"


def _item_type(value: object) -> str:
    """Tell the type of a stored access item by a field that only it has: every field is always written."""
    if not isinstance(value, dict):
        return type(value).__name__.lower()
    if "role" in value:
        return "grant"
    return "credential" if "fingerprint" in value else "session"


_Item = Annotated[
    Annotated[Credential, Tag("credential")] | Annotated[Grant, Tag("grant")] | Annotated[Session, Tag("session")],
    Discriminator(_item_type),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredAction(Action):
    """An action whose item is told apart by its fields; a session alone would pass for a credential."""

    item: _Item


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredPlan(Plan):
    actions: tuple[_StoredAction, ...]


_ACTION: Final = TypeAdapter(_StoredAction)
_PLAN: Final = TypeAdapter(_StoredPlan)
_BEFORE: Final = TypeAdapter(BeforeImage)
_HOLDS: Final = TypeAdapter(tuple[HoldReason, ...])
_CODES: Final = TypeAdapter(tuple[HoldCode, ...])
_ROSTER: Final = TypeAdapter(AcceptedRoster)


def document(value: object) -> str:
    """Return the canonical JSON of a value; raises `JournalError` when it has none."""
    try:
        return dumps(value).decode("utf-8")
    except ValueError as error:
        msg = f"{type(value).__name__} cannot be written down: {error}"
        raise JournalError(msg, advice="this is a defect in the value's origin: report it") from error


def load_action(text: str) -> Action:
    """Return the action that a document holds."""
    try:
        return _plain_action(_ACTION.validate_json(text, strict=True))
    except ValidationError as error:
        raise _unreadable("action", error) from error


def load_plan(text: str) -> Plan:
    """Return the plan that a document holds."""
    try:
        stored = _PLAN.validate_json(text, strict=True)
    except ValidationError as error:
        raise _unreadable("plan", error) from error
    values = {field.name: getattr(stored, field.name) for field in fields(Plan)}
    return Plan(**(values | {"actions": tuple(_plain_action(action) for action in stored.actions)}))


def _plain_action(stored: _StoredAction) -> Action:
    return Action(**{field.name: getattr(stored, field.name) for field in fields(Action)})


def load_before(text: str) -> BeforeImage:
    """Return the before-image that a document holds."""
    try:
        return _BEFORE.validate_json(text, strict=True)
    except ValidationError as error:
        raise _unreadable("before-image", error) from error


def load_holds(text: str) -> tuple[HoldReason, ...]:
    """Return the hold reasons that a document holds."""
    try:
        return _HOLDS.validate_json(text, strict=True)
    except ValidationError as error:
        raise _unreadable("list of hold reasons", error) from error


def load_codes(text: str) -> tuple[HoldCode, ...]:
    """Return the hold codes that a document holds."""
    try:
        return _CODES.validate_json(text, strict=True)
    except ValidationError as error:
        raise _unreadable("list of hold codes", error) from error


def load_approval(row: Any) -> Approval:  # noqa: ANN401 - a row of the database, whose library has other doors
    """Return the approval that a row holds."""
    return Approval(
        plan_digest=PlanDigest(row.plan_digest),
        approved_by=row.approved_by,
        approved_at=load_instant(row.approved_at),
        expires_at=load_instant(row.expires_at),
        lifts=load_codes(row.lifts),
        uid=row.uid,
        login=row.login or "",
    )


def load_roster(text: str) -> AcceptedRoster:
    """Return the roster facts that a document holds."""
    try:
        return _ROSTER.validate_json(text, strict=True)
    except ValidationError as error:
        raise _unreadable("roster", error) from error


def load_instant(text: str) -> datetime:
    """Return an instant in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def without_nul(text: str) -> str:
    """Return the text without what PostgreSQL cannot hold; inside the JSON documents it is escaped anyway."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _unreadable(what: str, error: ValidationError) -> JournalError:
    """Name the fields that do not fit, never their values: those may be personal."""
    places = (".".join(str(part) for part in entry["loc"]) for entry in error.errors())
    return JournalError(f"a stored {what} does not have its form at {', '.join(places)}", advice=_ADVICE)
