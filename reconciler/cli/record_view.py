"""A cycle's record for people: who loses what and why, what waits for a human, and what the guard said.

Ids say nothing to a reader, so principals go by their login name and items by kind and label. Those names come from
the snapshot, which no attestation holds. Nothing is wider than 100 columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    ProviderName,
    Snapshot,
)
from reconciler.attestation import Attested
from reconciler.cli.display import print_entry, print_heading, print_line
from reconciler.cli.documents import action_counts
from reconciler.cli.policy_change_view import show_change
from reconciler.core.model import Action, ActionResult, Finding, HoldCode
from reconciler.core.record import CycleRecord, LeaverState

_KINDS_OF_IDS = (
    ArtefactKind.ACCESS_KEY,
    ArtefactKind.SSH_KEY,
    ArtefactKind.SIGNING_CERTIFICATE,
    ArtefactKind.SERVICE_CREDENTIAL,
)
_LONG_WORD = 20
MOST_ARMED = 5
"""So many of those who leave next are shown."""
"""From this length a word of a key's label is shortened: access key ids of AWS have 20 characters."""

TO_DO: Final[Mapping[str, tuple[str, ...]]] = {
    "Decide whose it is": (
        "orphan_name_only",
        "ambiguous",
        "not_identity",
        "confidence",
        "leaver_ambiguous",
        "leaver_possible_rehire",
        "leaver_due_in_doubt",
        "contractor_ended_in_doubt",
    ),
    "Rotate it and hand it over": (
        *("shared_credential", "not_personal"),
        *("leaver_shared_credential", "leaver_break_glass", "leaver_due_shared_credential", "leaver_due_break_glass"),
        *("owner_left_credential", "owner_left_of_several"),
    ),
    "Settle what stays of this account first": ("account_needed",),
    "Name another member or administrator first": (
        *("last_member", "last_admins", "leaver_last_member", "leaver_due_last_member"),
    ),
    "Name an owner": (
        *("owner_left", "leaver_due_owned"),
        *("unowned_service_account", "unowned_service_account_privileged"),
    ),
    "Say what kind of principal it is": ("leaver_unknown_kind", "orphan_unknown_kind"),
    "Decide whether it may stay": (
        *("orphan", "stale_credential", "stale_credential_never_used", "dormant", "contractor_ended"),
        *("mover", "mover_date_unknown"),
    ),
    "Mend what could not be read or decided, and run again": (
        *("scope_incomplete", "not_whole", "undecided", "unknown_item", "last_member_unknown"),
    ),
    "Take it away by hand": ("no_capability", "leaver_key_elsewhere"),
    "Find out who changed the tag, and say whose it is": ("drift", "drift_leaver"),
    "Register a second factor, or take the rights away": (
        *("privileged_without_mfa", "privileged_without_mfa_no_password"),
    ),
    "Take one of the two away": ("separation_of_duties", "separation_of_duties_across"),
    "Give it an end, a sponsor, or fewer rights": (
        *("external_collaborator_no_end", "external_collaborator_no_sponsor", "external_collaborator_privileged"),
    ),
    "Account for it, and rotate what was used": ("break_glass_used", "break_glass_used_now"),
    "Repair the file of its waiver, or remove it: until then it waits, for one grace": ("waiver_unread",),
    "Raise the provider's mode once its plans are right": ("observe_mode",),
    "Nothing: it goes with something else, or is suspended already": (
        *("indirect", "already_contained", "contained_with_account"),
    ),
    "Nothing yet: its rule is not in effect, or its day has not come": (
        *("not_in_effect", "leaver_due", "external_collaborator"),
    ),
    "Nothing: it is kept on purpose": ("own_principal", "break_glass", "protected", "waived"),
}
"""What a human is asked to do, by the code of what was withheld or of what a rule gave to review."""
_BY_CODE = {code: task for task, codes in TO_DO.items() for code in codes}
_OTHER = "Look at it, as its rule says"


class Names:
    """What people call the principals and access items of a cycle."""

    def __init__(self, record: CycleRecord, snapshot: Snapshot | None) -> None:
        planned = [*(record.plan.actions if record.plan else ()), *(one.action for one in record.results)]
        principals = [one.principal for one in planned] + ([] if snapshot is None else [*snapshot.principals()])
        items = [one.item for one in planned] + ([] if snapshot is None else [*snapshot.items()])
        self._principals = {(one.provider, one.principal_id): principal_name(one) for one in principals}
        self._items = {(one.provider, one.access_id): item_label(one) for one in items}

    def principal(self, provider: ProviderName, principal_id: PrincipalId) -> str:
        """Return the name of a principal; its id when it is not known here."""
        return self._principals.get((provider, principal_id), principal_id)

    def item(self, provider: ProviderName, access_id: AccessId) -> str:
        """Return kind and label of an access item; its id when it is not known here."""
        return self._items.get((provider, access_id), access_id)


def principal_name(principal: Principal) -> str:
    """Return what people call a principal: its login name, else its display name, else its id."""
    return next(iter(principal.login_names), "") or principal.display_name or principal.principal_id


def item_label(item: AccessItem) -> str:
    """Return kind and name of an access item, such as `access_key AKIA…1234` or `group_membership engineering`."""
    match item:
        case Grant():
            return f"{item.kind.value} {item.role}"
        case Credential() if item.kind in _KINDS_OF_IDS and item.label not in ("", item.kind.value):
            return f"{item.kind.value} {' '.join(map(_shortened, item.label.split()))}"
        case _:
            return item.kind.value


def _shortened(word: str) -> str:
    prefix, colon, rest = word.rpartition(":")
    return word if len(word) < _LONG_WORD else f"{prefix}{colon}{rest[:4]}…{rest[-4:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One access item in a list; those with the same subject and reason stand below one another."""

    subject: str
    reason: str
    cells: tuple[str, ...]


def show_record(attested: Attested, *, verified: bool) -> None:
    """Print a cycle for people: plan or results, what waits for a human, the guard's word, and the attestation."""
    record = attested.record
    names = Names(record, attested.snapshot)
    print_line(f"cycle {record.sequence} ({record.mode.value}): {record.outcome.value}")
    for error in record.errors:
        print_line(f"  ! {error}")
    _show_items(record, names)
    _show_human(record, names)
    _show_coming(record)
    _show_guard(record)
    if record.policy_change is not None:
        show_change(record.policy_change, names.principal, names.item)
    counts = ", ".join(f"{name} {count}" for name, count in action_counts(record).items())
    print_line(f"actions: {counts}")
    _show_leavers(record)
    print_line(f"attestation: {attested.path} ({'chain verified' if verified else 'NOT VERIFIED'})")


def _show_items(record: CycleRecord, names: Names) -> None:
    if record.results:
        _show("Actions", [_done(result, names) for result in record.results])
    elif record.plan and record.plan.actions:
        _show("Plan", [_planned(action, names) for action in record.plan.actions])


def _planned(action: Action, names: Names) -> _Entry:
    return _Entry(
        subject=_subject(action.provider, names.principal(action.provider, action.principal.principal_id), action),
        reason=f"{action.rule}: {action.reason}",
        cells=(action.effect.value, item_label(action.item)),
    )


def _done(result: ActionResult, names: Names) -> _Entry:
    entry = _planned(result.action, names)
    seconds = None if result.verified_at is None else (result.verified_at - result.decided_at).total_seconds()
    outcome = result.outcome.value + (f": {result.detail}" if result.detail else "")
    seen = "" if result.verification is None else f"read again: {result.verification.value}"
    taken = "" if seconds is None else f"{seconds:.2f} s"
    return _Entry(subject=entry.subject, reason=entry.reason, cells=(*entry.cells, outcome, seen, taken))


def _subject(provider: str, name: str, about: Action | Finding) -> str:
    return f"{provider}  {name}" + (f"  worker {about.worker_id}" if about.worker_id else "")


def _show_human(record: CycleRecord, names: Names) -> None:
    if record.plan is None:
        return
    waiting = [(one.code, one.finding, one.message) for one in record.plan.withheld if one.finding.applies_from is None]
    waiting += [(finding.code, finding, finding.reason) for finding in record.plan.reviews]
    by_task: dict[str, list[_Entry]] = {}
    for code, finding, message in waiting:
        who = names.principal(finding.provider, finding.principal_id)
        entry = _Entry(
            subject=_subject(finding.provider, who, finding),
            reason=f"{finding.rule}: {message}" if code == finding.code else f"{finding.rule}, {code}: {message}",
            cells=(names.item(finding.provider, finding.access_id),),
        )
        by_task.setdefault(_BY_CODE.get(code, _OTHER), []).append(entry)
    for task in (*TO_DO, _OTHER):
        if task in by_task:
            _show(f"For a human · {task}", by_task[task])


def _show_coming(record: CycleRecord) -> None:
    """Say what rules will ask for that are not in effect yet: in numbers, for it may be everything at once."""
    for one in record.will_apply:
        asked = ", ".join(f"{effect.value} {count}" for effect, count in one.by_effect)
        print_line(
            f"will apply: rule {one.rule} from {one.effective_on:%Y-%m-%d %H:%M} UTC, {one.findings} findings on "
            f"{one.principals} principals ({asked}); nothing is done about them before"
        )


def _show(title: str, entries: Sequence[_Entry]) -> None:
    print_heading(f"{title} ({len(entries)})")
    for (subject, reason), cells in _grouped(entries).items():
        print_entry(subject, reason, cells)


def _grouped(entries: Iterable[_Entry]) -> Mapping[tuple[str, str], list[tuple[str, ...]]]:
    groups: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for entry in entries:
        groups.setdefault((entry.subject, entry.reason), []).append(entry.cells)
    return groups


def _show_guard(record: CycleRecord) -> None:
    for reason in record.guard.hold_reasons:
        print_line(f"held: {reason.message}")
    # That an older approval waits for another plan bars nobody from approving this one.
    standing = [one for one in record.guard.hold_reasons if one.code is not HoldCode.APPROVAL_MOVED]
    if standing and record.plan and all(one.code.releasable for one in standing):
        print_line(f"to release exactly this plan: access-reconciler approve {record.plan.digest}")
    if record.guard.approval is not None:
        given = (record.guard.approval, *record.guard.approval.beside)
        print_line(f"released by the approval of {' and '.join(one.approved_by for one in given)}")


def _show_leavers(record: CycleRecord) -> None:
    clean = sum(one.state is LeaverState.CLEAN for one in record.leavers)
    print_line(f"leavers: {len(record.leavers)}, of whom clean {clean}")
    for one in record.leavers:
        if one.state is not LeaverState.CLEAN:
            missing = f"; not known: {', '.join(one.missing)}" if one.missing else ""
            print_line(f"  {one.worker_id}: {one.state.value}, {one.remaining} access items left{missing}")
    for coming in record.armed[:MOST_ARMED]:
        known = f"{coming.principals} principals with {coming.items} access items are known"
        print_line(f"  next: {coming.worker_id} at {coming.access_end_at:%Y-%m-%d %H:%M} UTC; {known}")
    if len(record.armed) > MOST_ARMED:
        print_line(f"  and {len(record.armed) - MOST_ARMED} more; --output json names all")
