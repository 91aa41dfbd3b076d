"""What LDAP entries are read as."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap.dn import escape_dn_chars

from inventory.documents.ldap import (
    Entry,
    Group,
    GroupGraph,
    generalized_time,
    member_key,
    normal_dn,
    parse_group,
    permanently_locked,
    ssh_key,
    within,
)
from inventory.documents.ldap_coverage import ACCOUNT_KINDS, KINDS, ReadStates
from inventory.errors import Denied, ObjectMissing, Unavailable
from inventory.model import ArtefactKind, ReadState

BLOB = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(range(32))
KEY = "ssh-ed25519 " + base64.b64encode(BLOB).decode()
PRINTED = "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"
"""As `ssh-keygen -lf` of OpenSSH 9.2 prints it."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid=alice,dc=example", "UID=Alice, DC=Example"),
        ("cn=Smith\\, Alice,dc=x", 'cn="smith, alice",dc=X'),
        ("cn=Smith\\, Alice,dc=x", "cn=smith\\2C  alice,dc=x"),
        ("cn=a+uid=b,dc=x", "UID=B+CN=A,dc=x"),
        ("cn=\u00e9,dc=x", "cn=e\u0301,dc=x"),
        ("cn=\ufb01ne,dc=x", "cn=Fine,dc=x"),
    ],
)
def test_two_spellings_of_a_dn_are_one(one: str, other: str) -> None:
    """Case, white space, escapes, Unicode form and the order within an RDN make no difference."""
    assert normal_dn(one) == normal_dn(other)


@pytest.mark.parametrize(
    "other", ["uid=alicia,dc=example", "cn=alice,dc=example", "uid=alice", "uid=alice,dc=example,dc=x"]
)
def test_different_dns_stay_different(other: str) -> None:
    """Value, type and depth count."""
    assert normal_dn(other) != normal_dn("uid=alice,dc=example")


@pytest.mark.parametrize("text", ["alice", "=x", "E1001", "alice@example.com"])
def test_what_is_no_dn_is_refused(text: str) -> None:
    """A worker id or an e-mail is never taken for a DN."""
    with pytest.raises(ValueError, match="not a DN"):
        normal_dn(text)


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text and text.strip() == text))
def test_normal_dns_are_stable(value: str) -> None:
    """Folding a folded DN changes nothing, whatever characters its value has."""
    once = normal_dn(f"cn={escape_dn_chars(value)},dc=example")

    assert normal_dn(once) == once
    assert within(once, normal_dn("dc=example"))


def test_a_subtree_ends_at_a_whole_name() -> None:
    """A DN that merely ends in the same letters does not lie within."""
    assert within("uid=a,ou=people,dc=x", "ou=people,dc=x")
    assert within("ou=people,dc=x", "ou=people,dc=x")
    assert not within("uid=a,ou=otherpeople,dc=x", "people,dc=x")
    assert not within("dc=x", "ou=people,dc=x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260302090000Z", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("202603020900Z", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("2026030209Z", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("2026030209.5Z", datetime(2026, 3, 2, 9, 30, tzinfo=UTC)),
        ("20260302090000.25Z", datetime(2026, 3, 2, 9, 0, 0, 250000, tzinfo=UTC)),
        ("20260302110000+0200", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("20260302033000-0530", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("20260302070000-02", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("000001010000Z", None),
        ("20261302090000Z", None),
        ("20260302090000", None),
        ("", None),
    ],
)
def test_generalized_times_are_read_in_utc(text: str, expected: datetime | None) -> None:
    """Precision and offset vary; what is no time, the year 0 of a lock included, is none."""
    assert generalized_time(text) == expected


@pytest.mark.parametrize(
    "line", [KEY, f"{KEY} alice@laptop", f"  {KEY}\tcomment with words \n", f'from="10.0.0.0/8",no-pty {KEY} c']
)
def test_an_ssh_key_is_known_by_its_fingerprint(line: str) -> None:
    """Comment, white space and options before the key do not change it."""
    assert ssh_key(line.encode()).fingerprint == PRINTED


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"ssh-ed25519",
        b"ssh-ed25519 !!!",
        b"ssh-rsa " + base64.b64encode(BLOB),
        b"ssh-ed25519 " + base64.b64encode(BLOB[:15]),
        b"\xff\xfe\x00",
    ],
)
def test_a_malformed_key_keeps_a_name_of_its_own(line: bytes) -> None:
    """What is no OpenSSH key, or claims another type than its bytes have, has no fingerprint but its own digest."""
    key = ssh_key(line)

    assert key.fingerprint == ""
    assert key.digest != ssh_key(line + b" ").digest


def test_only_the_permanent_lock_locks() -> None:
    """Absence and a lock-out time are no lock."""
    assert permanently_locked(Entry.of("uid=a", {"pwdAccountLockedTime": [b"000001010000Z"]}))
    assert not permanently_locked(Entry.of("uid=a", {"pwdAccountLockedTime": [b"20260302090000Z"]}))
    assert not permanently_locked(Entry.of("uid=a", {}))


def test_membership_values_name_dns_or_logins() -> None:
    """A DN is folded, a login name is left as it stands, and what nobody could search for names nobody."""
    assert member_key("member", b"UID=Alice,DC=x") == "uid=alice,dc=x"
    assert member_key("memberUid", b"Alice") == "Alice"
    assert member_key("uniqueMember", b"uid=alice,dc=x#'01'B") is None
    assert member_key("member", b"alice") is None
    assert member_key("member", b"cn=\xff,dc=x") is None


def _group(name: str, *members: str) -> Group:
    values = [f"cn={member},dc=x".encode() for member in members]
    return parse_group(Entry.of(f"cn={name},dc=x", {"member": values, "entryUUID": [name.encode()]}), "entryUUID")


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=6), max_size=6))
def test_every_group_above_is_found_once(links: dict[str, list[str]]) -> None:
    """Whatever the nesting, circles included, exactly the groups that can be reached are found, the start left out."""
    groups = {name: _group(name, *members) for name, members in links.items()}
    graph = GroupGraph(tuple(groups.values()))

    def reached(start: str) -> set[str]:
        met: set[str] = set()
        todo = [start]
        while todo:
            current = todo.pop()
            parents = {name for name, members in links.items() if current in members} - met
            met |= parents
            todo.extend(parents)
        return met

    for name, group in groups.items():
        found = graph.above([group])
        assert {parent.group_id for parent, _ in found.values()} == reached(name) - {name}
        assert all(through.key in parent.members["member"] for parent, through in found.values())


def test_unreadable_members_are_counted() -> None:
    """A value that names nobody counts as held, and is told apart."""
    entry = Entry.of("cn=g,dc=x", {"member": [b"uid=a,dc=x", b"nonsense"], "memberUid": [b"a"]})

    group = parse_group(entry, "entryUUID")

    assert (group.counts["member"], group.unreadable) == (2, 1)
    assert group.group_id == "cn=g,dc=x"


def test_the_worst_read_of_a_kind_counts() -> None:
    """Partial outweighs denied, a first reason stays, and what the operator left out says so."""
    states = ReadStates((ArtefactKind.SSH_KEY,))
    states.error(ACCOUNT_KINDS, Denied("refused"))
    states.error((ArtefactKind.ACCOUNT,), Unavailable("broke off"))
    states.error((ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP), ObjectMissing("no such base"))

    assert [states.of(kind) for kind in KINDS] == [
        ReadState.DENIED,
        ReadState.PARTIAL,
        ReadState.EXCLUDED,
        ReadState.DENIED,
    ]
    assert states.read().partial == (ArtefactKind.ACCOUNT,)
    assert states.reasons() == ("refused", "broke off", "no such base")
    assert [entry.reason for entry in states.coverage(0, ())][2] == "left out by the operator"
