"""Populates the sample company's OpenLDAP: people, a second account, service accounts, groups and SSH keys."""

import base64
import hashlib

import ldap
import ldap.modlist

from reconciler.demo.company import CONFUSABLE, LEAVERS, LONG_GONE, NAMESAKE, ORDINARY, OWNER, REHIRED, TWICE, Person
from reconciler.demo.company import ssh_key as make_ssh_key
from reconciler.demo.process import Address
from reconciler.demo.slapd import BASE_DN, GROUPS_DN, PEOPLE_DN, SERVICES_DN

PEOPLE = (*(one for one in LEAVERS if one is not NAMESAKE), REHIRED, TWICE, CONFUSABLE, *ORDINARY)
SHARED_KEY = "release-signing"


def password_of(person: Person) -> str:
    """Return the sample password of a person, so that a bind can be tried before and after."""
    return f"sample-{person.worker_id}"


def seed_ldap(server: Address) -> None:
    """Populate the directory as its administrator."""
    connection = ldap.initialize(server.url)
    with open(server.details["admin_password_file"], encoding="utf-8") as source:  # noqa: PTH123 - one line
        connection.simple_bind_s(server.details["admin_dn"], source.read().strip())
    for person in PEOPLE:
        _add_person(connection, person)
    _add_stories(connection)
    _add_groups(connection)
    connection.unbind_s()


def dn_of(username: str) -> str:
    """Return the DN of a person's entry."""
    return f"uid={username},{PEOPLE_DN}"


def _add(connection: "ldap.ldapobject.LDAPObject", dn: str, entry: dict[str, list[str]]) -> None:
    encoded = {name: [value.encode() for value in values] for name, values in entry.items()}
    connection.add_s(dn, ldap.modlist.addModlist(encoded))


def _ssha(password: str) -> str:
    salt = hashlib.sha256(password.encode()).digest()[:8]
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def _person_entry(person: Person, uid: str) -> dict[str, list[str]]:
    return {
        "objectClass": ["inetOrgPerson", "ldapPublicKey"],
        "uid": [uid],
        "cn": [person.name],
        "sn": [person.name.split()[-1]],
        "mail": [person.email],
        "employeeNumber": [person.worker_id],
        "userPassword": [_ssha(password_of(person))],
        "sshPublicKey": [make_ssh_key(f"{uid}@laptop")],
    }


def _add_person(connection: "ldap.ldapobject.LDAPObject", person: Person) -> None:
    entry = _person_entry(person, person.username)
    if person is OWNER:
        entry["sshPublicKey"].append(make_ssh_key(SHARED_KEY))
    _add(connection, dn_of(person.username), entry)


def _add_stories(connection: "ldap.ldapobject.LDAPObject") -> None:
    shadow = f"a-{LONG_GONE.username}"
    _add(connection, dn_of(shadow), _person_entry(LONG_GONE, shadow))
    for name, owner in (("ci-runner", OWNER), ("nightly-backup", ORDINARY[1])):
        entry = {
            "objectClass": ["account", "simpleSecurityObject", "ldapPublicKey"],
            "uid": [name],
            "userPassword": [_ssha(name)],
            "seeAlso": [dn_of(owner.username)],
            "sshPublicKey": [make_ssh_key(SHARED_KEY if name == "ci-runner" else name)],
        }
        _add(connection, f"uid={name},{SERVICES_DN}", entry)


def _add_groups(connection: "ldap.ldapobject.LDAPObject") -> None:
    everybody = [dn_of(person.username) for person in PEOPLE]
    groups = {
        "engineering": everybody,
        "vpn": [*everybody, dn_of(f"a-{LONG_GONE.username}")],
        "release-managers": [dn_of(OWNER.username)],
    }
    for name, members in groups.items():
        _add(connection, f"cn={name},{GROUPS_DN}", {"objectClass": ["groupOfNames"], "cn": [name], "member": members})
    hosts = {
        "objectClass": ["posixGroup"],
        "cn": ["build-hosts"],
        "gidNumber": ["5000"],
        "memberUid": [person.username for person in (LONG_GONE, OWNER, *ORDINARY[:6])],
    }
    _add(connection, f"cn=build-hosts,{GROUPS_DN}", hosts)


def reader_block(server: Address) -> dict[str, object]:
    """Return the `reader:` settings for this server."""
    return {
        "uri": server.url,
        "bind_dn": server.details["reader_dn"],
        "password_file": server.details["reader_password_file"],
        "base_dn": BASE_DN,
        "account_bases": [PEOPLE_DN, SERVICES_DN],
        "service_bases": [SERVICES_DN],
        "group_bases": [GROUPS_DN],
        "own_dns": [server.details["revoker_dn"]],
        "password_policy": server.details["policy_dn"],
    }


def revoker_block(server: Address) -> dict[str, object]:
    """Return the `revoker:` settings for this server."""
    return {
        "uri": server.url,
        "bind_dn": server.details["revoker_dn"],
        "password_file": server.details["revoker_password_file"],
        "base_dn": BASE_DN,
    }
