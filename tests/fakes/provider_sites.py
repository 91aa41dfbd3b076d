"""Real servers with people who each hold a little of everything, as the tests of faults need them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ldap

from reconciler.demo import moto_server, scim_server, slapd
from reconciler.demo.dump import Dump, dump_aws, dump_ldap, dump_scim
from reconciler.demo.process import RunningServer
from reconciler.demo.seed_scim import client as scim_client
from tests import ldap_company, peers
from tests.fakes.aws_world import KEYS, AwsWorld, reset
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.fault_wires import Call

READ_SECONDS = 1.0
"""How long a client of ours waits for a reply here."""


class Site(Protocol):
    """One provider's real server with people."""

    name: str

    @property
    def server(self) -> RunningServer:
        """Return the running server."""

    def start(self, directory: Path, people: tuple[str, ...]) -> RunningServer:
        """Start the server and give every one an account, a way to sign in and a group they share."""

    def blocks(self, url: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the settings of reader and revoker when the server is at an address."""

    def proxy(self) -> FaultProxy:
        """Return a proxy before the server."""

    def writes(self, call: Call) -> bool:
        """Say whether a request changes something."""

    def marks(self, person: str) -> tuple[bytes, ...]:
        """Return what names a person in a request."""

    def dump(self) -> Dump:
        """Ask the server itself for everybody."""

    def held(self, person: str) -> set[str]:
        """Ask the server itself which kinds of access a person can still use."""


class AwsSite:
    """moto: users with a password, a key and a group."""

    name = "aws_iam"

    def __init__(self) -> None:
        self._server: RunningServer | None = None
        self._secret = Path()

    @property
    def server(self) -> RunningServer:
        """Return the running server."""
        assert self._server is not None
        return self._server

    def start(self, directory: Path, people: tuple[str, ...]) -> RunningServer:
        """Start and populate moto."""
        peers.require("moto_server")
        self._server = moto_server.start(directory, managed_policies=False)
        reset(self.server.url)
        world = AwsWorld(self.server.url)
        self._secret = directory / "secret"
        self._secret.write_text(KEYS["aws_secret_access_key"])
        for number, person in enumerate(people):
            world.user(person, employee_id=f"E{number}")
            world.iam.create_login_profile(UserName=person, Password="Aa1!" + "x" * 16)
            world.iam.create_access_key(UserName=person)
        world.group("team", *people)
        return self.server

    def blocks(self, url: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the settings of reader and revoker."""
        connection = {
            "endpoint_url": url,
            "access_key_id": KEYS["aws_access_key_id"],
            "secret_access_key_file": str(self._secret),
            "connect_timeout_seconds": READ_SECONDS,
            "read_timeout_seconds": READ_SECONDS,
        }
        return {**connection, "max_attempts": 1, "exclude": ["service_credential"]}, connection

    def proxy(self) -> FaultProxy:
        """Return a proxy before moto."""
        return FaultProxy.http(self.server.url)

    def writes(self, call: Call) -> bool:
        """Say whether an action changes something."""
        return not call.body.startswith((b"Action=Get", b"Action=List", b"Action=GenerateCredentialReport"))

    def marks(self, person: str) -> tuple[bytes, ...]:
        """Return what names a user."""
        return (f"UserName={person}&".encode(), f"UserName={person}".encode())

    def held(self, person: str) -> set[str]:
        """Ask moto which kinds of access a user can still use."""
        iam = AwsWorld(self.server.url).iam
        if person not in {user["UserName"] for user in iam.list_users()["Users"]}:
            return set()
        held = set()
        if any(one["Status"] == "Active" for one in iam.list_access_keys(UserName=person)["AccessKeyMetadata"]):
            held.add("access_key")
        if iam.list_groups_for_user(UserName=person)["Groups"]:
            held.add("group_membership")
        try:
            iam.get_login_profile(UserName=person)
        except iam.exceptions.NoSuchEntityException:
            return held
        return held | {"password"}

    def dump(self) -> Dump:
        """Ask moto for everybody."""
        return {key.partition("/")[2]: value for key, value in dump_aws(self.server.address).items()}


class ScimSite:
    """scim2-server: users in one group."""

    name = "scim"

    def __init__(self) -> None:
        self._server: RunningServer | None = None
        self._ids: dict[str, str] = {}

    @property
    def server(self) -> RunningServer:
        """Return the running server."""
        assert self._server is not None
        return self._server

    def start(self, directory: Path, people: tuple[str, ...]) -> RunningServer:
        """Start and populate scim2-server."""
        peers.require("scim2-server")
        self._server = scim_server.start(directory)
        enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
        core = "urn:ietf:params:scim:schemas:core:2.0:"
        with scim_client(self.server.address) as client:
            for number, person in enumerate(people):
                document = {
                    "schemas": [core + "User", enterprise],
                    "userName": person,
                    "userType": "Employee",
                    "active": True,
                    enterprise: {"employeeNumber": f"E{number}"},
                }
                self._ids[person] = str(self._made(client, "/Users", document))
            members = [{"value": one} for one in self._ids.values()]
            self._made(client, "/Groups", {"schemas": [core + "Group"], "displayName": "team", "members": members})
        return self.server

    @staticmethod
    def _made(client: Any, path: str, document: Mapping[str, Any]) -> Any:
        answer = client.post(path, json=document)
        answer.raise_for_status()
        return answer.json()["id"]

    def blocks(self, url: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the settings of reader and revoker."""
        connection = {
            "url": url,
            "token_file": self.server.details["token_file"],
            "connect_timeout_seconds": READ_SECONDS,
            "read_timeout_seconds": READ_SECONDS,
            "deadline_seconds": 3 * READ_SECONDS,
        }
        return {**connection, "max_attempts": 1, "service_token": True, "page_size": 5}, connection

    def proxy(self) -> FaultProxy:
        """Return a proxy before scim2-server."""
        return FaultProxy.http(self.server.url)

    def writes(self, call: Call) -> bool:
        """Say whether a request changes something."""
        return call.verb != "GET"

    def marks(self, person: str) -> tuple[bytes, ...]:
        """Return what names a user."""
        return (self._ids[person].encode(),)

    def held(self, person: str) -> set[str]:
        """Ask scim2-server whether a user is active, and in the group."""
        with scim_client(self.server.address) as client:
            user = client.get(f"/Users/{self._ids[person]}")
            (group,) = client.get("/Groups").json()["Resources"]
        active = user.is_success and user.json()["active"]
        member = self._ids[person] in {one["value"] for one in group["members"]}
        return {kind for kind, there in (("account", active), ("group_membership", member)) if there}

    def dump(self) -> Dump:
        """Ask scim2-server for everybody."""
        return {key.partition("/")[2]: value for key, value in dump_scim(self.server.address).items()}


class LdapSite:
    """slapd: people with an SSH key, in one group; the revoker may delete accounts."""

    name = "ldap"

    def __init__(self) -> None:
        self._server: RunningServer | None = None

    @property
    def server(self) -> RunningServer:
        """Return the running server."""
        assert self._server is not None
        return self._server

    def start(self, directory: Path, people: tuple[str, ...]) -> RunningServer:
        """Start slapd with everybody loaded."""
        peers.require("slapd")
        seed = "".join(
            ldap_company.person(name, f"E{number}", sshPublicKey=f"key of {name}") for number, name in enumerate(people)
        )
        seed += ldap_company.names("team", *(ldap_company.person_dn(name) for name in people))
        self._server = slapd.start(directory, slapd.Options(seed=seed, may_delete=True))
        return self.server

    def blocks(self, url: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the settings of reader and revoker."""

        def connection(name: str) -> Mapping[str, Any]:
            return {
                "uri": url,
                "bind_dn": self.server.details[f"{name}_dn"],
                "password_file": self.server.details[f"{name}_password_file"],
                "base_dn": slapd.BASE_DN,
                "timeout_seconds": READ_SECONDS,
            }

        bases = {"account_bases": [slapd.PEOPLE_DN], "group_bases": [slapd.GROUPS_DN]}
        return {**connection("reader"), **bases, "password_policy": slapd.POLICY_DN, "page_size": 5}, connection(
            "revoker"
        )

    def proxy(self) -> FaultProxy:
        """Return a proxy before slapd."""
        return FaultProxy.ldap(self.server.url)

    def writes(self, call: Call) -> bool:
        """Say whether an operation changes something."""
        return call.verb in {"modify", "delete", "add", "rename"}

    def marks(self, person: str) -> tuple[bytes, ...]:
        """Return what names a person."""
        return (f"uid={person},".encode(),)

    def held(self, person: str) -> set[str]:
        """Ask slapd whether an account can be used, for its keys, and who is in the group."""
        connection = ldap.initialize(self.server.url)
        password = Path(self.server.details["admin_password_file"]).read_text().strip()
        connection.simple_bind_s(self.server.details["admin_dn"], password)
        wanted = ["pwdAccountLockedTime", "sshPublicKey"]
        found = connection.search_s(slapd.PEOPLE_DN, ldap.SCOPE_SUBTREE, f"(uid={person})", wanted)
        groups = connection.search_s(slapd.GROUPS_DN, ldap.SCOPE_SUBTREE, f"(member={ldap_company.person_dn(person)})")
        connection.unbind_s()
        entry = found[0][1] if found else {"pwdAccountLockedTime": []}
        checks = {
            "account": "pwdAccountLockedTime" not in entry,
            "ssh_key": "sshPublicKey" in entry,
            "group_membership": bool(groups),
        }
        return {kind for kind, there in checks.items() if there}

    def dump(self) -> Dump:
        """Ask slapd for everybody."""
        whole = dump_ldap(self.server.address)
        return {key.partition("uid=")[2].partition(",")[0]: value for key, value in whole.items()}
