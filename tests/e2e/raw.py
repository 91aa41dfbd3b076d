"""What the servers hold, asked in their own protocols and shown as bytes, by none of the program's own code."""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import ldap
from botocore.config import Config

Dump = dict[str, bytes]
"""`server/kind/name` to everything that the server says of that object."""

_OF_OUR_OWN = (b"uid=access-reconciler", b"cn=access-reconciler")
_LOGINS = {"pwdLastSuccess", "authTimestamp", "pwdFailureTime"}
"""What the server itself writes when somebody logs in, or fails to: the tests do both."""
_BASE = "dc=example,dc=com"


def iam(server: Mapping[str, str]) -> Any:
    """Return a client of the AWS server."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return session.client("iam", endpoint_url=server["url"], config=Config(proxies={}))


def scim(server: Mapping[str, str], path: str) -> Any:
    """Get a document of the SCIM server."""
    token = Path(server["token_file"]).read_text().strip()
    request = urllib.request.Request(server["url"] + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own loopback server
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return json.loads(answer.read())


def directory(server: Mapping[str, str]) -> Any:
    """Return a connection to the directory, bound as its administrator."""
    connection = ldap.initialize(server["url"])
    connection.simple_bind_s(server["admin_dn"], Path(server["admin_password_file"]).read_text().strip())
    return connection


def binds(server: Mapping[str, str], dn: str, password: str) -> bool:
    """Say whether somebody can log in to the directory."""
    connection = ldap.initialize(server["url"])
    try:
        connection.simple_bind_s(dn, password)
    except ldap.INVALID_CREDENTIALS:
        return False
    connection.unbind_s()
    return True


def dump(servers: Mapping[str, Mapping[str, str]]) -> Dump:
    """Ask every server for everything."""
    return dict((*_aws(servers["corp-aws"]), *_scim(servers["wiki"]), *_ldap(servers["corp-ldap"])))


def _shown(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, default=str).encode()


def _aws(server: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    client = iam(server)
    for user in client.list_users()["Users"]:
        yield f"aws/user/{user['UserName']}", _shown(aws_user(client, user["UserName"]))
    for group in client.list_groups()["Groups"]:
        members = [one["UserName"] for one in client.get_group(GroupName=group["GroupName"])["Users"]]
        policies = client.list_attached_group_policies(GroupName=group["GroupName"])["AttachedPolicies"]
        yield f"aws/group/{group['GroupName']}", _shown({"group": group, "members": members, "policies": policies})


def aws_user(client: Any, name: str) -> dict[str, Any]:
    """Return everything that IAM says of one user."""
    try:
        login = client.get_login_profile(UserName=name)["LoginProfile"]
    except client.exceptions.NoSuchEntityException:
        login = None
    inline = client.list_user_policies(UserName=name)["PolicyNames"]
    user = client.get_user(UserName=name)["User"]
    user.pop("PasswordLastUsed", None)
    return {
        "user": user,
        "login": login,
        "keys": client.list_access_keys(UserName=name)["AccessKeyMetadata"],
        "ssh": client.list_ssh_public_keys(UserName=name)["SSHPublicKeys"],
        "certificates": client.list_signing_certificates(UserName=name)["Certificates"],
        "mfa": client.list_mfa_devices(UserName=name)["MFADevices"],
        "groups": [group["GroupName"] for group in client.list_groups_for_user(UserName=name)["Groups"]],
        "attached": client.list_attached_user_policies(UserName=name)["AttachedPolicies"],
        "inline": {one: client.get_user_policy(UserName=name, PolicyName=one)["PolicyDocument"] for one in inline},
    }


def _scim(server: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for kind, name in (("Users", "userName"), ("Groups", "displayName")):
        for one in scim_all(server, kind):
            yield f"scim/{kind}/{one[name]}", _shown(one)


def scim_all(server: Mapping[str, str], kind: str) -> list[Any]:
    """Return all users or groups of the SCIM server."""
    found: list[Any] = []
    while True:
        page = scim(server, f"/{kind}?startIndex={len(found) + 1}&count=50")
        found += page.get("Resources", [])
        if len(found) >= page["totalResults"]:
            return found


def _ldap(server: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for dn, entry in ldap_all(server).items():
        yield f"ldap/{dn}", _shown({name: [one.hex() for one in values] for name, values in sorted(entry.items())})


def ldap_all(server: Mapping[str, str]) -> dict[str, dict[str, list[bytes]]]:
    """Return every entry of the directory, operational attributes included."""
    connection = directory(server)
    found = connection.search_s(_BASE, ldap.SCOPE_SUBTREE, "(objectClass=*)", ["*", "+"])
    connection.unbind_s()
    return {
        dn: {name: values for name, values in entry.items() if name not in _LOGINS}
        for dn, entry in found
        if not dn.encode().startswith(_OF_OUR_OWN)
    }


def changed(before: Dump, after: Dump) -> set[str]:
    """Return what is not byte for byte as it was."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
