"""The real servers that the contract suite runs each provider against. A provider joins by one entry in `WORLDS`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from reconciler.demo import moto_server, scim_server, slapd
from tests import ldap_company, peers
from tests.fakes.aws_world import KEYS, AwsWorld, reset
from tests.fakes.counting_proxy import CountingProxy
from tests.fakes.service_credentials import ServiceCredentials

if TYPE_CHECKING:
    from reconciler.demo.process import RunningServer


class World(Protocol):
    """One provider's server, with a leaver who holds something of every kind, and a colleague who shares some of it.

    The leaver is nowhere the last member, and no item of the leaver is shared with anybody.
    """

    provider_type: str
    leaver: str
    """A login name."""
    colleague: str
    """A login name."""
    signed_in_as: str
    """What the server calls whom the revoker signs in as, known once started; empty where that is nobody it lists."""

    def start(self, directory: Path) -> None:
        """Start the server and seed it; skips when the server is not installed."""

    def reader_settings(self) -> Mapping[str, Any]:
        """Return the `reader:` block of a configuration for this server."""

    def revoker_settings(self) -> Mapping[str, Any]:
        """Return the `revoker:` block of a configuration for this server."""

    def stop(self) -> None:
        """End the server."""


class ScimWorld:
    """scim2-server with three people in two groups."""

    provider_type = "scim"
    leaver = "leah@example.com"
    colleague = "carl@example.com"
    signed_in_as = ""

    def __init__(self) -> None:
        self._server: RunningServer | None = None

    def start(self, directory: Path) -> None:
        """Start scim2-server and create users, then groups, through its own protocol."""
        peers.require("scim2-server")
        self._server = scim_server.start(directory)
        token = Path(self._server.details["token_file"]).read_text().strip()
        with httpx.Client(
            base_url=self._server.url + "/", headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as client:
            ids = [
                self._user(client, name, number) for number, name in enumerate((self.leaver, self.colleague, "third"))
            ]
            for group in ("engineering", "on-call"):
                members = [{"value": one} for one in ids]
                _create(client, "Groups", {"displayName": group, "members": members})

    def _user(self, client: httpx.Client, name: str, number: int) -> str:
        return _create(client, "Users", {"userName": name, "externalId": f"E{number}", "active": True})

    def reader_settings(self) -> Mapping[str, Any]:
        """Return where the server is and that its token belongs to no user."""
        return {**self.revoker_settings(), "service_token": True}

    def revoker_settings(self) -> Mapping[str, Any]:
        """Return where the server is."""
        assert self._server is not None, "the world has not been started"
        return {"url": self._server.url, "token_file": self._server.details["token_file"]}

    def stop(self) -> None:
        """End scim2-server."""
        if self._server is not None:
            self._server.stop()


def _create(client: httpx.Client, kind: str, values: Mapping[str, Any]) -> str:
    document = {"schemas": [f"urn:ietf:params:scim:schemas:core:2.0:{kind.removesuffix('s')}"], **values}
    answer = client.post(kind, json=document, headers={"Content-Type": "application/scim+json"})
    answer.raise_for_status()
    return str(answer.json()["id"])


class AwsIamWorld:
    """moto with two people in one group, behind a proxy that adds the service-specific credentials moto lacks."""

    provider_type = "aws_iam"
    leaver = "leah"
    colleague = "carl"
    signed_in_as = ""

    def __init__(self) -> None:
        self._server: RunningServer | None = None
        self._key: Mapping[str, str] = {}
        self._proxy: CountingProxy | None = None
        self._secret = self._own_secret = Path()

    def start(self, directory: Path) -> None:
        """Start moto and give both people one of everything, through its own API."""
        peers.require("moto_server")
        self._server = moto_server.start(directory, managed_policies=False)
        reset(self._server.url)
        world, credentials = AwsWorld(self._server.url), ServiceCredentials()
        self._secret = directory / "aws-secret"
        self._secret.write_text(KEYS["aws_secret_access_key"])
        self.signed_in_as = world.user("reaper", "/service/")["UserId"]
        self._key = world.iam.create_access_key(UserName="reaper")["AccessKey"]
        self._own_secret = directory / "revoker-secret"
        self._own_secret.write_text(self._key["SecretAccessKey"])
        for number, name in enumerate((self.leaver, self.colleague)):
            world.full_user(name, f"E{number}")
            credentials.create(name)
        world.iam.add_user_to_group(GroupName=f"{self.leaver}-team", UserName=self.colleague)
        self._proxy = CountingProxy(self._server.url, fault=credentials).__enter__()

    def reader_settings(self) -> Mapping[str, Any]:
        """Return where the server is and a key that belongs to no user."""
        return {**self._connection(KEYS["aws_access_key_id"], self._secret), "max_attempts": 1}

    def revoker_settings(self) -> Mapping[str, Any]:
        """Return where the server is and the key of a user who is there to revoke."""
        return self._connection(self._key["AccessKeyId"], self._own_secret)

    def _connection(self, key_id: str, secret: Path) -> Mapping[str, Any]:
        assert self._proxy is not None, "the world has not been started"
        return {"endpoint_url": self._proxy.url, "access_key_id": key_id, "secret_access_key_file": str(secret)}

    def stop(self) -> None:
        """End the proxy, then moto."""
        if self._proxy is not None:
            self._proxy.__exit__()
        if self._server is not None:
            self._server.stop()


class LdapWorld:
    """slapd with three people who share a group of each class; its revoker may delete accounts."""

    provider_type = "ldap"
    leaver = "leah"
    colleague = "carl"
    signed_in_as = slapd.REVOKER_DN

    def __init__(self) -> None:
        self._server: RunningServer | None = None

    def start(self, directory: Path) -> None:
        """Start slapd with people and groups loaded."""
        peers.require("slapd")
        people = (self.leaver, self.colleague, "third")
        dns = [ldap_company.person_dn(name) for name in people]
        seed = "".join(
            ldap_company.person(name, f"E{number}", sshPublicKey=f"key of {name}") for number, name in enumerate(people)
        )
        seed += ldap_company.names("engineering", *dns) + ldap_company.unique("on-call", *dns)
        seed += ldap_company.posix("wheel", 100, *people)
        self._server = slapd.start(directory, slapd.Options(seed=seed, may_delete=True))

    def reader_settings(self) -> Mapping[str, Any]:
        """Return where the server is, who the reader is, and where accounts and groups are."""
        return {
            **self._connection("reader"),
            "account_bases": (slapd.PEOPLE_DN,),
            "group_bases": (slapd.GROUPS_DN,),
            "password_policy": slapd.POLICY_DN,
        }

    def revoker_settings(self) -> Mapping[str, Any]:
        """Return where the server is and who the revoker is."""
        return self._connection("revoker")

    def _connection(self, name: str) -> Mapping[str, Any]:
        assert self._server is not None, "the world has not been started"
        details = self._server.details
        return {
            "uri": self._server.url,
            "bind_dn": details[f"{name}_dn"],
            "password_file": details[f"{name}_password_file"],
            "base_dn": slapd.BASE_DN,
        }

    def stop(self) -> None:
        """End slapd."""
        if self._server is not None:
            self._server.stop()


WORLDS: tuple[Callable[[], World], ...] = (AwsIamWorld, LdapWorld, ScimWorld)
"""Makers, so that every test starts a fresh server with fresh data."""
