"""What LDAP entries say, as pure functions: names, times, keys, locks and the graph of groups."""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Self

import ldap
import ldap.dn

PERMANENT_LOCK = "000001010000Z"
"""Value of pwdAccountLockedTime by which an administrator locks an account for good (slapo-ppolicy(5))."""
LOCK_ATTRIBUTE = "pwdAccountLockedTime"
MEMBER_ATTRIBUTES = ("member", "uniqueMember", "memberUid")
"""Membership by DN (groupOfNames), by DN with optional UID (groupOfUniqueNames), by login name (posixGroup)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as the server sent it."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]
    """Values by attribute name in lower case."""

    @classmethod
    def of(cls, dn: str, attributes: Mapping[str, Iterable[bytes]]) -> Self:
        """Build an entry from what python-ldap hands over."""
        return cls(dn=dn, attributes={name.lower(): tuple(values) for name, values in attributes.items()})

    def values(self, name: str) -> tuple[bytes, ...]:
        """Return the raw values of an attribute, in the order in which they came."""
        return self.attributes.get(name.lower(), ())

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values that are UTF-8 text, without blank ones."""
        decoded = (value.decode("utf-8", errors="replace") for value in self.values(name))
        return tuple(text for text in decoded if text.strip() and "\ufffd" not in text)

    def text(self, name: str) -> str:
        """Return the first text of an attribute, empty when it has none."""
        return next(iter(self.texts(name)), "")

    def has_class(self, *names: str) -> bool:
        """Say whether the entry has one of the object classes."""
        mine = {text.lower() for text in self.texts("objectClass")}
        return any(name.lower() in mine for name in names)


@lru_cache(maxsize=1 << 18)
def normal_dn(dn: str) -> str:
    """Return one spelling for all spellings of a DN, by which two are compared; raises ValueError when it is none.

    Attribute types and values are folded in case, white space and Unicode form, and multi-valued RDNs sorted, as the
    matching rules of naming attributes do (RFC 4517 §4.2.15, RFC 4518). Remembered, because every membership of an account
    spells its DN again: without that, it is a third of the time of an inventory.
    """
    try:
        parsed = ldap.dn.str2dn(dn)
    except ldap.DECODING_ERROR as error:
        msg = "not a DN (RFC 4514)"
        raise ValueError(msg) from error
    rdns = [[(attribute.lower(), _folded(value), 1) for attribute, value, _ in rdn] for rdn in parsed]
    return str(ldap.dn.dn2str([sorted(rdn) for rdn in rdns]))


def _folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold()).split())


def within(dn: str, base: str) -> bool:
    """Say whether a DN is the base or lies under it; both in the form of `normal_dn`."""
    return dn == base or dn.endswith("," + base) or not base


_OPTIONAL_UID = re.compile(rb"#'[01]*'B$")


def member_key(attribute: str, value: bytes) -> str | None:
    """Return what a membership value names: a normal DN, or a login name as it stands; None when it is neither.

    A uniqueMember with a unique identifier behind the DN (RFC 4517 §3.3.21) is neither: OpenLDAP finds it by that very
    identifier only, so a search for the DN would not see it again.
    """
    try:
        text = value.decode("utf-8")
        if attribute.lower() == "memberuid":
            return text
        return None if _OPTIONAL_UID.search(value) else normal_dn(text)
    except ValueError:
        return None


_TIME = re.compile(r"^(\d{4})(\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)?)?(?:[.,](\d+))?(Z|[+-]\d\d(?:\d\d)?)$")


def generalized_time(text: str) -> datetime | None:
    """Return a GeneralizedTime (RFC 4517 §3.3.13) in UTC; None when it is none, such as the year 0 of a lock."""
    matched = _TIME.match(text)
    if matched is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = matched.groups()
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute or 0), int(second or 0), tzinfo=UTC)
    except ValueError:
        return None
    unit = 1 if second else 60 if minute else 3600
    at += timedelta(seconds=float(f"0.{fraction or 0}") * unit)
    if zone == "Z":
        return at
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5] or 0))
    return at - offset if zone[0] == "+" else at + offset


def permanently_locked(entry: Entry) -> bool:
    """Say whether an administrator locked the account; a time-out after wrong passwords ends by itself and is none."""
    return PERMANENT_LOCK in entry.texts(LOCK_ATTRIBUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """One value of an SSH key attribute."""

    digest: str
    """SHA-256 (hex) of the value's bytes: names the value, also when it is no readable key."""
    key_type: str = ""
    fingerprint: str = ""
    """`SHA256:…` as `ssh-keygen -lf` prints it; empty when the value is no OpenSSH public key."""


def ssh_key(value: bytes) -> SshKey:
    """Read one key line; options before the key are skipped, a malformed line keeps its digest only."""
    digest = hashlib.sha256(value).hexdigest()
    words = value.decode("utf-8", errors="replace").split()
    for key_type, encoded in pairwise(words):
        blob = _key_blob(encoded)
        name = key_type.encode("utf-8")
        if blob is not None and blob.startswith(len(name).to_bytes(4, "big") + name) and len(blob) > len(name) + 4:
            printed = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")
            return SshKey(digest=digest, key_type=key_type, fingerprint=f"SHA256:{printed}")
    return SshKey(digest=digest)


def _key_blob(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group entry, with its membership values by what they name."""

    dn: str
    key: str
    """`normal_dn` of the DN."""
    group_id: str
    name: str
    revision: str
    members: Mapping[str, Mapping[str, str]]
    """Attribute to (what the value names to the value as it stands)."""
    counts: Mapping[str, int]
    """Attribute to the number of its values, unreadable ones included."""
    unreadable: int
    """Values that name nobody whom a search could find again."""


def parse_group(entry: Entry, id_attribute: str) -> Group:
    """Read a group entry."""
    members: dict[str, dict[str, str]] = {attribute: {} for attribute in MEMBER_ATTRIBUTES}
    unreadable = 0
    for attribute, named in members.items():
        for value in entry.values(attribute):
            key = member_key(attribute, value)
            if key is None:
                unreadable += 1
            else:
                named[key] = value.decode("utf-8")
    return Group(
        dn=entry.dn,
        key=normal_dn(entry.dn),
        group_id=entry.text(id_attribute) or entry.dn,
        name=entry.text("cn") or entry.dn,
        revision=entry.text("entryCSN"),
        members=members,
        counts={attribute: len(entry.values(attribute)) for attribute in MEMBER_ATTRIBUTES},
        unreadable=unreadable,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One value by which a group names a principal itself."""

    group: Group
    attribute: str
    value: str

    @property
    def holders(self) -> int:
        """Return how many values the attribute has, this one included."""
        return self.group.counts[self.attribute]


@dataclass(frozen=True, slots=True)
class GroupGraph:
    """Groups by what they name, and the groups that hold them."""

    groups: tuple[Group, ...]
    _by_dn: dict[str, list[Membership]] = field(init=False, default_factory=dict)
    _by_uid: dict[str, list[Membership]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for group in self.groups:
            for attribute, named in group.members.items():
                index = self._by_uid if attribute == "memberUid" else self._by_dn
                for key, value in named.items():
                    index.setdefault(key, []).append(Membership(group=group, attribute=attribute, value=value))

    def naming_dn(self, key: str) -> tuple[Membership, ...]:
        """Return the memberships that name a DN, given in the form of `normal_dn`."""
        return tuple(self._by_dn.get(key, ()))

    def naming_uid(self, uid: str) -> tuple[Membership, ...]:
        """Return the memberships that name a login name; exact in case, as the server compares memberUid."""
        return tuple(self._by_uid.get(uid, ()))

    def named_dns(self) -> frozenset[str]:
        """Return every DN that any group names."""
        return frozenset(self._by_dn)

    def named_uids(self) -> frozenset[str]:
        """Return every login name that any group names."""
        return frozenset(self._by_uid)

    def above(self, direct: Iterable[Group]) -> dict[str, tuple[Group, Group]]:
        """Return, by key, each group that holds these only through another, with the group through which it does.

        Breadth first, so the way told is a shortest one; groups that hold each other in a circle are met once.
        """
        seen = {group.key for group in direct}
        level = sorted(direct, key=lambda group: group.key)
        found: dict[str, tuple[Group, Group]] = {}
        while level:
            upper: list[Group] = []
            for group in level:
                for membership in sorted(self.naming_dn(group.key), key=lambda one: one.group.key):
                    parent = membership.group
                    if parent.key not in seen:
                        seen.add(parent.key)
                        found[parent.key] = (parent, group)
                        upper.append(parent)
            level = upper
        return found

    def within_any(self, keys: Iterable[str]) -> frozenset[str]:
        """Return the keys of these groups and of all groups that they hold, at any depth."""
        by_key = {group.key: group for group in self.groups}
        found = set(keys)
        todo = list(found)
        while todo:
            group = by_key.get(todo.pop())
            held = {key for name in ("member", "uniqueMember") for key in group.members[name]} if group else set()
            new = (held & by_key.keys()) - found
            found |= new
            todo.extend(new)
        return frozenset(found)
