"""Whose principal is this: ties principals to workers, with the rule and how sure it is.

Certain or no action: what a rule is worth stands in its confidence, and planning acts only from 90 % (quarantine) and
98 % (revoke). Identifiers that point to different workers make a principal ambiguous, however strong one of them is,
and an ambiguous one is never acted upon: only the operator's explicit map decides between them. An e-mail address or
user name that two persons of the roster hold or held is evidence for both, so never for one. The same public key and
names contradict nothing: anybody can put a public key or a name where it does not belong.

Every comparison is exact after Unicode NFC and lower-casing: look-alike letters stay different letters.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from inventory.model import AccessItem, Credential, Principal, PrincipalId, PrincipalKind, ProviderName
from inventory.roster.model import Roster, WorkerId
from reconciler.core.memory import EXPLICIT, SURE_FROM
from reconciler.core.model import Correlation, CorrelationState, Match

CONFIDENCE: Mapping[str, int] = {
    EXPLICIT: 100,
    "external_id": 100,
    "employee_id": 98,
    "work_email": 95,
    "owner_tag": 90,
    "username": 80,
    "ssh_fingerprint": 80,
    "display_name": 40,
}
"""What each rule is worth, in percent, strongest first."""

IDENTIFIERS = frozenset({EXPLICIT, "external_id", "employee_id", "work_email", "owner_tag", "username"})
"""Rules whose evidence for another worker makes a principal ambiguous."""

_PERSONAL_KINDS = (PrincipalKind.HUMAN, PrincipalKind.EXTERNAL, PrincipalKind.UNKNOWN)
"""Kinds that may *be* a worker; every other kind is at most owned by one."""

PrincipalKey = tuple[ProviderName, PrincipalId]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationSettings:
    """What the operator knows beyond the rules."""

    explicit: tuple[tuple[ProviderName, PrincipalId, WorkerId], ...] = ()
    """Reviewed facts: this principal is this worker."""
    username_patterns: tuple[str, ...] = (r"^(?:a|adm|admin)-(?P<uid>.+)$", r"^(?P<uid>.+)-(?:a|adm|admin)$")
    """Regular expressions with a group `uid`: how a worker's second account is named after the first."""


@dataclass(frozen=True, slots=True)
class RosterIndex:
    """A roster, laid out so that every rule is one look-up."""

    by_id: Mapping[str, WorkerId]
    by_email: Mapping[str, tuple[WorkerId, ...]]
    by_username: Mapping[str, tuple[WorkerId, ...]]
    by_name: Mapping[str, tuple[WorkerId, ...]]
    explicit: Mapping[PrincipalKey, tuple[WorkerId, ...]]
    patterns: tuple[re.Pattern[str], ...]


def folded(text: str) -> str:
    """Return text as correlation compares it: NFC, lower case, without surrounding white space.

    Full case folding would go further and make one mailbox of `strasse` and `straße`.
    """
    if text.isascii():
        return text.lower().strip()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()).strip()


def index_roster(roster: Roster, settings: CorrelationSettings) -> RosterIndex:
    """Lay a roster out for look-ups."""
    by_id: dict[str, WorkerId] = {}
    emails, usernames, names = _Holders(), _Holders(), _Holders()
    explicit: dict[PrincipalKey, set[WorkerId]] = defaultdict(set)
    for provider, principal_id, mapped in settings.explicit:
        explicit[provider, principal_id].add(mapped)
    for worker in roster.workers:
        for known_id in (worker.worker_id, *worker.former_ids):
            by_id[known_id.strip()] = worker.worker_id
        emails.add((*worker.emails, *worker.shared_emails), worker.worker_id)
        usernames.add(worker.usernames, worker.worker_id)
        names.add((worker.display_name,), worker.worker_id)
    return RosterIndex(
        by_id=by_id,
        by_email=emails.holders,
        by_username=usernames.holders,
        by_name=names.holders,
        explicit={key: tuple(sorted(workers)) for key, workers in explicit.items()},
        patterns=tuple(re.compile(pattern) for pattern in settings.username_patterns),
    )


class _Holders:
    """Who holds a text. Nearly every text has one holder, so that no set is made before there is a second one."""

    def __init__(self) -> None:
        self._only: dict[str, tuple[WorkerId, ...]] = {}
        self._several: dict[str, set[WorkerId]] = {}

    def add(self, texts: Iterable[str], holder: WorkerId) -> None:
        """Note a holder of texts; blank ones are nobody's."""
        for text in texts:
            key = folded(text)
            if key and self._only.setdefault(key, (holder,)) != (holder,):
                self._several.setdefault(key, set(self._only[key])).add(holder)

    @property
    def holders(self) -> Mapping[str, tuple[WorkerId, ...]]:
        """Return the holders of each text, folded; sorted."""
        return self._only | {key: tuple(sorted(those)) for key, those in self._several.items()}


def correlate(
    principals: Iterable[Principal], items: Iterable[AccessItem], index: RosterIndex
) -> tuple[Correlation, ...]:
    """Correlate every principal, one answer an id; the result is sorted and independent of the order of its input."""
    listed: dict[PrincipalKey, list[Principal]] = defaultdict(list)
    for one in principals:
        listed[one.provider, one.principal_id].append(one)
    first = {key: _correlate_listed(those, index) for key, those in listed.items()}
    bridges = _ssh_bridges(items, first)
    return tuple(
        _correlate_listed(those, index, bridges[key]) if key in bridges else first[key]
        for key, those in sorted(listed.items())
    )


def _correlate_listed(those: list[Principal], index: RosterIndex, bridges: tuple[Match, ...] = ()) -> Correlation:
    """Correlate what is listed under one id. Listed more than once, nobody knows which of them an act would meet."""
    found = [correlate_one(one, index, bridges) for one in those]
    if len(found) == 1:
        return found[0]
    candidates = sorted(
        {match for one in found for match in one.candidates},
        key=lambda match: (-match.confidence, match.worker_id, match.rule, match.identity),
    )
    return Correlation(
        provider=found[0].provider,
        principal_id=found[0].principal_id,
        state=CorrelationState.AMBIGUOUS,
        candidates=tuple(candidates),
    )


def correlate_one(principal: Principal, index: RosterIndex, bridges: Iterable[Match] = ()) -> Correlation:
    """Correlate one principal by what it says of itself, plus matches that come from elsewhere."""
    best: dict[WorkerId, Match] = {}
    personal = principal.kind in _PERSONAL_KINDS
    for found in (*_matches(principal, index), *bridges):
        match = found if personal else replace(found, identity=False)
        known = best.get(match.worker_id)
        if known is None or _strength(match) > _strength(known):
            best[match.worker_id] = match
    ranked = tuple(sorted(best.values(), key=lambda match: (-match.confidence, match.worker_id)))
    return _verdict(principal, ranked)


def _strength(match: Match) -> tuple[int, bool, bool]:
    return (match.confidence, match.identity, match.rule in IDENTIFIERS)


def _verdict(principal: Principal, ranked: tuple[Match, ...]) -> Correlation:
    provider, principal_id = principal.provider, principal.principal_id
    if not ranked:
        return Correlation(provider=provider, principal_id=principal_id, state=CorrelationState.ORPHAN)
    top, *others = ranked
    if any(one.rule in IDENTIFIERS or one.confidence == top.confidence for one in others):
        return Correlation(
            provider=provider, principal_id=principal_id, state=CorrelationState.AMBIGUOUS, candidates=ranked
        )
    return Correlation(
        provider=provider,
        principal_id=principal_id,
        state=CorrelationState.MATCHED,
        worker_id=top.worker_id,
        rule=top.rule,
        confidence=top.confidence,
        identity=top.identity,
        candidates=ranked,
    )


def _matches(principal: Principal, index: RosterIndex) -> Iterator[Match]:
    said = index.explicit.get((principal.provider, principal.principal_id), ())
    yield from (_match(mapped, EXPLICIT) for mapped in said)
    if said:
        return
    yield from _by_ids("external_id", principal.external_ids, index)
    yield from _by_ids("employee_id", principal.employee_ids, index)
    yield from _by_text("work_email", principal.emails, index.by_email)
    if principal.kind is not PrincipalKind.HUMAN:
        yield from _by_owner(principal, index)
    if principal.kind in _PERSONAL_KINDS:
        yield from _by_text("username", _usernames(principal, index), index.by_username)
        yield from _by_text("display_name", (principal.display_name,), index.by_name)


def _match(worker_id: WorkerId, rule: str, *, identity: bool = True) -> Match:
    return Match(worker_id=worker_id, rule=rule, confidence=CONFIDENCE[rule], identity=identity)


def _by_ids(rule: str, ids: Iterable[str], index: RosterIndex) -> Iterator[Match]:
    for one in ids:
        worker_id = index.by_id.get(one.strip())
        if worker_id is not None:
            yield _match(worker_id, rule)


def _by_text(rule: str, texts: Iterable[str], table: Mapping[str, tuple[WorkerId, ...]]) -> Iterator[Match]:
    for text in texts:
        for worker_id in table.get(folded(text), ()):
            yield _match(worker_id, rule)


def _by_owner(principal: Principal, index: RosterIndex) -> Iterator[Match]:
    for hint in principal.owner_hints:
        by_id = index.by_id.get(hint.strip())
        owners = (by_id,) if by_id is not None else index.by_email.get(folded(hint), ())
        for worker_id in owners:
            yield _match(worker_id, "owner_tag", identity=False)


def _usernames(principal: Principal, index: RosterIndex) -> Iterator[str]:
    for login in principal.login_names:
        yield login
        for pattern in index.patterns:
            found = pattern.match(folded(login))
            if found:
                yield found.group("uid")


def _ssh_bridges(
    items: Iterable[AccessItem], first: Mapping[PrincipalKey, Correlation]
) -> Mapping[PrincipalKey, tuple[Match, ...]]:
    """Carry a sure identity over to other principals that hold the same public key."""
    holders: dict[str, set[PrincipalKey]] = defaultdict(set)
    for item in items:
        if isinstance(item, Credential) and item.fingerprint:
            holders[item.fingerprint].add((item.provider, item.principal_id))
    bridges: dict[PrincipalKey, set[WorkerId]] = defaultdict(set)
    for keys in holders.values():
        sure = {
            known.worker_id
            for key in keys
            if (known := first.get(key)) and known.worker_id and known.identity and known.confidence >= SURE_FROM
        }
        for key in keys:
            bridges[key] |= sure
    return {
        key: tuple(_match(worker_id, "ssh_fingerprint") for worker_id in sorted(workers))
        for key, workers in bridges.items()
    }
