"""Reading one LDAP account by itself: its entry, the groups that name it, and what we are shown of both.

Everything is asked side by side, under the DN and login names that the account was last known by: its entry, the groups
that name it, and whether what is not shown would be shown to us. Where the entry turns out to be another one, what
depends on its name is asked once more.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from ldap.filter import escape_filter_chars

from inventory.documents.ldap import Entry, GroupGraph, normal_dn, parse_group
from inventory.documents.ldap_accounts import Account, AccountSchema, Joining
from inventory.documents.ldap_coverage import ReadStates
from inventory.errors import ProviderError
from inventory.ldap_client import CONNECTIONS, LdapClient, invisible
from inventory.ldap_visibility import GROUP_CLASSES, Visibility
from inventory.model import ArtefactKind, Principal, ReadState

_FILTER_CHUNK: Final = 50
"""Alternatives in one filter, so that a wide level of nested groups stays a small request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where in the tree accounts and groups are looked for."""

    base_dn: str
    account_bases: tuple[str, ...]
    account_filter: str
    group_bases: tuple[str, ...]
    group_filter: str
    password_policy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is asked while the entry is read."""

    locks: Future[None]
    may_see: dict[str, Future[bool]]
    """By attribute, of the entry under the DN that the account was last known by."""
    naming: Future[list[Entry]] | None
    samples: dict[str, Future[list[Entry]]]
    """By the attribute that holds the members: groups of that class."""

    def settle(self) -> None:
        """Wait for all answers, whatever they are."""
        wait([self.locks])
        wait(self.may_see.values())
        wait([*self.samples.values(), *([] if self.naming is None else [self.naming])])


class SingleReader:
    """Reads single accounts; keeps nothing from one read to the next."""

    def __init__(self, client: LdapClient, visibility: Visibility, schema: AccountSchema, places: Places) -> None:
        self._client = client
        self._visibility = visibility
        self._schema = schema
        self._places = places
        self._pool = ThreadPoolExecutor(max_workers=2 * CONNECTIONS, thread_name_prefix="ldap-single")

    def close(self) -> None:
        """End the reading threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, principal: Principal, states: ReadStates) -> tuple[Entry, Account] | None:
        """Read an account as it is now; None only when the provider positively has none.

        What could not be read is noted in `states`. Raises `inventory.errors.ProviderError` when not even the entry
        could be read.
        """
        dn = dict(principal.address)["dn"]
        asked = self._ask(dn, principal.login_names, states)
        entry = self.current(principal)
        if entry is None:
            asked.settle()
            return None
        asked.locks.result()
        self._attributes(entry, asked.may_see if entry.dn == dn else {}, states)
        graph, ambiguous = GroupGraph(()), False
        try:
            if asked.naming is not None:
                same = (entry.dn, entry.texts(self._schema.login)) == (dn, principal.login_names)
                first = asked.naming.result() if same else self._naming(entry.dn, entry.texts(self._schema.login))
                graph, ambiguous = self._memberships(entry, first)
        except ProviderError as error:
            states.error((ArtefactKind.GROUP_MEMBERSHIP,), error)
        self._classes(asked.samples, self._shown(entry, graph), states)
        return entry, self._account(entry, graph, states, ambiguous=ambiguous)

    def _ask(self, dn: str, logins: tuple[str, ...], states: ReadStates) -> _Asked:
        submit, visibility = self._pool.submit, self._visibility
        groups = ArtefactKind.GROUP_MEMBERSHIP not in states.exclude
        return _Asked(
            naming=submit(self._naming, dn, logins) if groups else None,
            locks=submit(visibility.of_locks, self._places.password_policy, states),
            may_see={
                attribute: submit(self._client.may_see, dn, attribute)
                for kind, attribute in visibility.attributes
                if kind not in states.exclude
            },
            samples={attribute: submit(visibility.samples, name, attribute) for name, attribute in GROUP_CLASSES}
            if groups
            else {},
        )

    def _attributes(self, entry: Entry, asked: dict[str, Future[bool]], states: ReadStates) -> None:
        """Prove that what the entry does not show is not there: by what was asked meanwhile, or asking now."""
        for kind, attribute in self._visibility.attributes:
            answer = asked.get(attribute)
            self._visibility.of_attribute(entry, kind, attribute, states, answer.result if answer else None)

    def _classes(self, asked: dict[str, Future[list[Entry]]], shown: set[str], states: ReadStates) -> None:
        """Look whether any group of a class shows its members, where none of that class names the account."""
        for attribute, samples in asked.items():
            if attribute in shown:
                continue
            try:
                found = samples.result()
            except ProviderError as error:
                states.error((ArtefactKind.GROUP_MEMBERSHIP,), error)
            else:
                self._visibility.of_members(found, states)

    def current(self, principal: Principal) -> Entry | None:
        """Return the entry as it is now, also after a rename; None only when the provider positively has none."""
        address = dict(principal.address)
        entry = self._client.read(address["dn"], self._schema.account_attributes)
        if entry is not None and self._schema.principal_id_of(entry) == principal.principal_id:
            return entry
        base = self._places.base_dn
        if "id" in address:
            attributes = self._schema.account_attributes
            return self._client.read_by_id(base, address["id_attribute"], address["id"], attributes)
        if self._client.read(base, ("objectClass",)) is None:
            raise invisible(base)
        return None

    def _memberships(self, entry: Entry, first: list[Entry]) -> tuple[GroupGraph, bool]:
        """Complete the groups that name an account by those that name these, and doubt login names of others."""
        direct = self._graph({one.dn: one for one in first})
        shared = self._pool.submit(self._shares_login, entry, direct)
        return self._closure(first), shared.result()

    def _account(self, entry: Entry, graph: GroupGraph, states: ReadStates, *, ambiguous: bool) -> Account:
        others = frozenset(uid.casefold() for uid in entry.texts(self._schema.login)) if ambiguous else frozenset()
        if ambiguous:
            reason = "memberUid names this account by a login name that another account has too"
            states.failed((ArtefactKind.GROUP_MEMBERSHIP,), ReadState.UNSUPPORTED, reason)
        joining = Joining(disputed=others, privileged=graph.within_any(self._schema.admin_groups))
        return Account.of(entry, graph, self._schema, joining)

    def _shown(self, entry: Entry, graph: GroupGraph) -> set[str]:
        """Return by which attributes groups name this account, disputed login names included."""
        shown = {one.attribute for one in graph.naming_dn(normal_dn(entry.dn))}
        return shown | {one.attribute for uid in entry.texts(self._schema.login) for one in graph.naming_uid(uid)}

    def _naming(self, dn: str, logins: Iterable[str]) -> list[Entry]:
        """Search the groups that name an account by its DN or a login name."""
        return self._groups_matching([*(f"(memberUid={escape_filter_chars(uid)})" for uid in logins), *_by_dn(dn)])

    def _closure(self, first: list[Entry]) -> GroupGraph:
        """Search the groups that name these groups, until none is new."""
        found = {one.dn: one for one in first}
        dns = list(found)
        while dns:
            terms = [term for dn in dns for term in _by_dn(dn)]
            new = [one for one in self._groups_matching(terms) if one.dn not in found]
            found.update({one.dn: one for one in new})
            dns = [one.dn for one in new]
        return self._graph(found)

    def _graph(self, found: dict[str, Entry]) -> GroupGraph:
        return GroupGraph(tuple(parse_group(found[dn], self._schema.id_attribute) for dn in sorted(found)))

    def _groups_matching(self, terms: list[str]) -> list[Entry]:
        places, attributes = self._places, self._schema.group_attributes
        groups: dict[str, Entry] = {}
        for start in range(0, len(terms), _FILTER_CHUNK):
            text = f"(&{places.group_filter}(|{''.join(terms[start : start + _FILTER_CHUNK])}))"
            found = self._client.search_all(places.group_bases, text, attributes).whole()
            groups.update({one.dn: one for one in found})
        return list(groups.values())

    def _shares_login(self, entry: Entry, graph: GroupGraph) -> bool:
        """Say whether a group names a login name of this account that another account has too."""
        places = self._places
        named = [uid for uid in entry.texts(self._schema.login) if graph.naming_uid(uid)]
        if not named:
            return False
        terms = "".join(f"({self._schema.login}={escape_filter_chars(uid)})" for uid in named)
        text = f"(&{places.account_filter}(|{terms}))"
        found = self._client.search_all(places.account_bases, text, (self._schema.login,)).whole()
        return any(one.dn != entry.dn for one in found)


def _by_dn(dn: str) -> list[str]:
    return [f"({name}={escape_filter_chars(dn)})" for name in ("member", "uniqueMember")]
