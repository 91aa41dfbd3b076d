"""What really stands in the servers, asked of them directly and not through the reconciler's own collectors.

Used to show that nobody but the leavers was touched: the dumps before and after are compared entry by entry.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.core.canonical import digest_of
from reconciler.demo.process import Address
from reconciler.demo.seed_aws import client as aws_client
from reconciler.demo.seed_scim import client as scim_client

Dump = dict[str, str]
"""`server/principal` to the digest of everything the server tells of that principal."""

_VOLATILE = ("pwdLastSuccess", "authTimestamp")
_PAGE = 100


def dump_aws(server: Address) -> Dump:
    """Dump every IAM user: tags, keys, password, devices, memberships and policies."""
    iam = aws_client(server.url)
    return {
        f"aws/{user['UserName']}": digest_of(_aws_user(iam, user["UserName"])) for user in iam.list_users()["Users"]
    }


def _aws_user(iam: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - boto3 makes its clients at run time
    try:
        login = str(iam.get_login_profile(UserName=name)["LoginProfile"]["CreateDate"])
    except iam.exceptions.NoSuchEntityException:
        login = ""
    keys = iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
    return {
        "tags": sorted(f"{tag['Key']}={tag['Value']}" for tag in iam.list_user_tags(UserName=name)["Tags"]),
        "login": login,
        "keys": sorted(f"{key['AccessKeyId']} {key['Status']}" for key in keys),
        "ssh": sorted(key["SSHPublicKeyId"] for key in iam.list_ssh_public_keys(UserName=name)["SSHPublicKeys"]),
        "mfa": sorted(device["SerialNumber"] for device in iam.list_mfa_devices(UserName=name)["MFADevices"]),
        "groups": sorted(group["GroupName"] for group in iam.list_groups_for_user(UserName=name)["Groups"]),
        "inline": sorted(iam.list_user_policies(UserName=name)["PolicyNames"]),
        "attached": sorted(
            policy["PolicyArn"] for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]
        ),
    }


def dump_scim(server: Address) -> Dump:
    """Dump every SCIM user with the groups that name it."""
    with scim_client(server) as http:
        users = list(_pages(http, "/Users"))
        groups = list(_pages(http, "/Groups"))
    dump = {}
    for user in users:
        user.pop("meta", None)
        member_of = sorted(
            group["displayName"]
            for group in groups
            if any(member["value"] == user["id"] for member in group.get("members", ()))
        )
        user.pop("groups", None)
        dump[f"scim/{user['userName']}"] = digest_of({"user": user, "groups": member_of})
    return dump


def _pages(http: Any, path: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - an HTTP client of the seeding door
    start = 1
    while True:
        answer = http.get(path, params={"startIndex": start, "count": _PAGE})
        answer.raise_for_status()
        resources = answer.json().get("Resources", [])
        yield from resources
        start += len(resources)
        if not resources or start > answer.json()["totalResults"]:
            return


def dump_ldap(server: Address) -> Dump:
    """Dump every account of the directory with the groups that name it."""
    import ldap  # noqa: PLC0415 - an optional library

    from reconciler.demo.slapd import BASE_DN  # noqa: PLC0415 - needs the optional library

    connection = ldap.initialize(server.url)
    password = Path(server.details["admin_password_file"]).read_text(encoding="utf-8").strip()
    connection.simple_bind_s(server.details["admin_dn"], password)
    wanted = ["*", "pwdAccountLockedTime"]
    accounts = connection.search_s(BASE_DN, ldap.SCOPE_SUBTREE, "(uid=*)", wanted)
    groups = connection.search_s(BASE_DN, ldap.SCOPE_SUBTREE, "(|(objectClass=groupOfNames)(objectClass=posixGroup))")
    connection.unbind_s()
    return {f"ldap/{dn}": digest_of(_ldap_entry(dn, entry, groups)) for dn, entry in accounts}


def _ldap_entry(dn: str, entry: dict[str, list[bytes]], groups: list[tuple[str, dict[str, list[bytes]]]]) -> object:
    uid = entry["uid"][0]
    member_of = sorted(
        group for group, held in groups if dn.encode() in held.get("member", ()) or uid in held.get("memberUid", ())
    )
    attributes = {
        name: sorted(value.hex() for value in values) for name, values in entry.items() if name not in _VOLATILE
    }
    return {"attributes": attributes, "groups": member_of}
