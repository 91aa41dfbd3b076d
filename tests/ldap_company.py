"""A small company in a real directory, for the tests of the LDAP provider and its revoker."""

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ldap
from ldap.dn import escape_dn_chars

from inventory.model import AccessItem, ArtefactKind, Grant, Principal, ProviderInventory, ProviderName
from inventory.providers.ldap import PROVIDER, LdapCollector
from reconciler.core.model import Action, Effect
from reconciler.demo import slapd
from reconciler.demo.process import RunningServer
from reconciler.revokers.ldap import REVOKER, LdapRevoker
from tests import builders, peers
from tests.fakes.clock import FakeClock

CORP = ProviderName("corp-ldap")
KEY_OF_ALICE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@laptop"
"""Key bytes 0…31."""
READER_NONE = f'by dn.exact="{slapd.READER_DN}" none by * break\n'
"""End of an access rule that hides something from the reader alone."""
PASSWORD = "correct horse battery staple"


def ldif(dn: str, **attributes: Any) -> str:
    """Return one LDIF record; values may be text, bytes, or lists of them, and are all sent in base64."""
    lists = {name: values if isinstance(values, list | tuple) else [values] for name, values in attributes.items()}
    lines = [f"{name}:: {_b64(value)}" for name, values in lists.items() for value in values]
    return "\n".join([f"dn:: {_b64(dn)}", *lines]) + "\n\n"


def _b64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def person_dn(uid: str) -> str:
    """Return the DN of a person."""
    return f"uid={escape_dn_chars(uid)},{slapd.PEOPLE_DN}"


def group_dn(name: str) -> str:
    """Return the DN of a group."""
    return f"cn={escape_dn_chars(name)},{slapd.GROUPS_DN}"


def person(name: str, employee: str | None = None, /, **more: Any) -> str:
    """Return a person who can bind with PASSWORD, and whose host account is of the same name."""
    values: dict[str, Any] = {
        "objectClass": ["inetOrgPerson", "ldapPublicKey"],
        "uid": name,
        "cn": name.title(),
        "sn": name,
        "mail": f"{name}@Example.com".replace(" ", ""),
        "userPassword": PASSWORD,
    }
    employed = {} if employee is None else {"employeeNumber": employee}
    return ldif(person_dn(name), **(values | employed | more))


def service(uid: str, **more: Any) -> str:
    """Return a service account."""
    return ldif(f"uid={uid},{slapd.SERVICES_DN}", objectClass="account", uid=uid, **more)


def names(name: str, *members: str) -> str:
    """Return a groupOfNames."""
    return ldif(group_dn(name), objectClass="groupOfNames", cn=name, member=list(members))


def unique(name: str, *members: str) -> str:
    """Return a groupOfUniqueNames."""
    return ldif(group_dn(name), objectClass="groupOfUniqueNames", cn=name, uniqueMember=list(members))


def posix(name: str, number: int, *members: str) -> str:
    """Return a posixGroup."""
    return ldif(group_dn(name), objectClass="posixGroup", cn=name, gidNumber=str(number), memberUid=list(members))


ALICE, BOB, CAROL = person_dn("alice"), person_dn("bob"), person_dn("carol")
COMPANY = (
    person("alice", "E1", sshPublicKey=[KEY_OF_ALICE, "no key at all"])
    + person("bob", "E2", manager=ALICE)
    + person("carol")
    + service("backup", seeAlso=ALICE)
    + names("developers", ALICE, BOB)
    + names("staff", group_dn("developers"), CAROL)
    + names("admins", group_dn("staff"))
    + names("lonely", ALICE)
    + unique("approvers", ALICE, BOB)
    + posix("wheel", 100, "alice", "bob", "gone")
)


@dataclass(frozen=True, slots=True)
class Company:
    """A running directory and those who look at it."""

    server: RunningServer

    def collector(self, **changes: Any) -> LdapCollector:
        """Return a collector that binds as the reader."""
        details = self.server.details
        values = {
            "uri": self.server.url,
            "bind_dn": details["reader_dn"],
            "password_file": details["reader_password_file"],
            "base_dn": slapd.BASE_DN,
            "account_bases": (slapd.PEOPLE_DN,),
            "service_bases": (slapd.SERVICES_DN,),
            "group_bases": (slapd.GROUPS_DN,),
            "admin_groups": (group_dn("admins"),),
            "own_dns": (slapd.REVOKER_DN,),
            "password_policy": slapd.POLICY_DN,
        }
        collector = PROVIDER.build(CORP, PROVIDER.settings.model_validate(values | changes), FakeClock())
        assert isinstance(collector, LdapCollector)
        return collector

    def revoker(self, **changes: Any) -> LdapRevoker:
        """Return a revoker that binds as itself."""
        details = self.server.details
        values = {
            "uri": self.server.url,
            "bind_dn": details["revoker_dn"],
            "password_file": details["revoker_password_file"],
            "base_dn": slapd.BASE_DN,
        }
        revoker = REVOKER.build(CORP, REVOKER.settings.model_validate(values | changes), FakeClock())
        assert isinstance(revoker, LdapRevoker)
        return revoker

    def bound(self, name: str) -> Any:
        """Return a plain connection bound as admin, reader or revoker."""
        password = Path(self.server.details[f"{name}_password_file"]).read_text()
        connection = ldap.initialize(self.server.url)
        connection.simple_bind_s(self.server.details[f"{name}_dn"], password)
        return connection

    def may_bind(self, dn: str) -> bool:
        """Say whether somebody with PASSWORD gets in."""
        connection = ldap.initialize(self.server.url)
        try:
            connection.simple_bind_s(dn, PASSWORD)
        except ldap.INVALID_CREDENTIALS:
            return False
        connection.unbind_s()
        return True

    def dump(self) -> dict[str, dict[str, list[bytes]]]:
        """Return every person, service and group with all attributes; our own binds, which move by use, left out."""
        rows = self.bound("admin").search_s(slapd.BASE_DN, ldap.SCOPE_SUBTREE, "(objectClass=*)", ["*", "+"])
        return {dn: attributes for dn, attributes in rows if "access-reconciler" not in dn}

    def inventory(self, **changes: Any) -> ProviderInventory:
        """Return what a collector reads when everybody is of interest."""
        (found,) = self.collector(**changes).collect(lambda _: True)
        return found


@contextmanager
def company(seed: str = COMPANY, **options: Any) -> Iterator[Company]:
    """Run a directory with these entries in a folder that slapd's own account can reach."""
    peers.require("slapd")
    folder = Path(tempfile.mkdtemp(prefix="access-reconciler-slapd-"))
    folder.chmod(0o755)
    try:
        with slapd.start(folder / "ldap", replace(slapd.Options(), seed=seed, **options)) as server:
            yield Company(server)
    finally:
        shutil.rmtree(folder)


def principal_of(inventory: ProviderInventory, dn: str) -> Principal:
    """Return the principal of a DN."""
    return next(one for one in inventory.principals if dict(one.address)["dn"].lower() == dn.lower())


def items_of(inventory: ProviderInventory, dn: str) -> tuple[AccessItem, ...]:
    """Return the items of the principal of a DN."""
    owner = principal_of(inventory, dn)
    return tuple(item for item in inventory.items if item.principal_id == owner.principal_id)


def action(inventory: ProviderInventory, dn: str, kind: ArtefactKind, part: str = "", **changes: Any) -> Action:
    """Return the planned revocation of an item of a kind, chosen by a text that its address holds."""
    item = next(
        one
        for one in items_of(inventory, dn)
        if one.kind is kind and (not part or any(part in value for _, value in (*one.address, ("", one.access_id))))
    )
    effect = changes.pop("effect", Effect.REVOKE)
    return builders.action(principal_of(inventory, dn), item, effect, provider_type="ldap", **changes)


def grants_of(inventory: ProviderInventory, dn: str) -> dict[tuple[str, str], Grant]:
    """Return the grants of the principal of a DN by group name and way of membership."""
    grants = [item for item in items_of(inventory, dn) if isinstance(item, Grant)]
    return {(grant.role, grant.access_id.rsplit("/", 1)[1]): grant for grant in grants}


def many(count: int) -> str:
    """Return that many people, p0 and up."""
    return "".join(person(f"p{number}", f"E{number}") for number in range(count))


def lock_of_alice(corp: Company) -> Action:
    """Return the planned lock of Alice."""
    return action(corp.inventory(), ALICE, ArtefactKind.ACCOUNT, effect=Effect.QUARANTINE)


def membership_of_alice(corp: Company, part: str) -> Action:
    """Return the planned removal of a membership of Alice."""
    return action(corp.inventory(), ALICE, ArtefactKind.GROUP_MEMBERSHIP, part)


def values_of(corp: Company, dn: str, attribute: str) -> list[bytes]:
    """Return an attribute's values as the administrator sees them."""
    ((_, attributes),) = corp.bound("admin").search_s(dn, ldap.SCOPE_BASE, attrlist=[attribute])
    return list(attributes.get(attribute, []))


def key_of_alice(corp: Company, *, readable: bool) -> Action:
    """Return the planned removal of Alice's key, or of her value that is none."""
    inventory = corp.inventory()
    keys = [item for item in items_of(inventory, ALICE) if item.kind is ArtefactKind.SSH_KEY]
    (chosen,) = [item for item in keys if bool(getattr(item, "fingerprint", "")) is readable]
    return action(inventory, ALICE, ArtefactKind.SSH_KEY, chosen.access_id)
