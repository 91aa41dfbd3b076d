"""The reading calls to IAM: bulk reads of an account, and live reads of one user, artefact kind by artefact kind.

GetAccountAuthorizationDetails holds users, groups, policies and trust policies; it does not hold passwords, access
keys, MFA devices, SSH keys, service-specific credentials or certificates. Those are asked of each user who matters.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

from botocore.client import BaseClient

from inventory.aws.connection import calling, pages
from inventory.documents import aws_iam as documents
from inventory.documents import aws_iam_items as items
from inventory.documents.aws_iam import GroupFacts, Raw, ReportRow, RoleTrust, UserFacts
from inventory.documents.aws_iam_items import Holder
from inventory.errors import ObjectMissing, ProviderError, Unavailable
from inventory.model import ArtefactKind, Credential
from inventory.provider import Clock

PAGE_SIZE: Final = 1000
"""The most items that IAM gives in one page."""
_REPORT_POLL_SECONDS: Final = 1.0


class Mapper(Protocol):
    """Calls a function on each value, in order of the values; `map`, or that of a pool of threads."""

    def __call__(self, call: Callable[[Callable[[], Any]], Any], over: Iterable[Callable[[], Any]], /) -> Iterator[Any]:
        """Return the results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What the bulk read of one account gave, as far as it came."""

    users: tuple[UserFacts, ...]
    groups: Mapping[str, GroupFacts]
    roles: tuple[RoleTrust, ...]
    failure: ProviderError | None
    """Why the read ended early; None when it is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A credential report."""

    rows: Mapping[str, ReportRow]
    """By user ARN."""
    generated_at: datetime


def read_bulk(client: BaseClient, where: str, admin_policies: Collection[str]) -> Bulk:
    """Read users, groups and roles of an account; a failure part of the way keeps what was read before it."""
    users: list[UserFacts] = []
    groups: dict[str, GroupFacts] = {}
    roles: list[RoleTrust] = []
    failure: ProviderError | None = None
    try:
        for page in pages(
            client.get_account_authorization_details,
            "GetAccountAuthorizationDetails",
            where,
            Filter=["User", "Group", "Role"],
            MaxItems=PAGE_SIZE,
        ):
            users.extend(documents.user_facts(detail) for detail in page.get("UserDetailList", ()))
            roles.extend(documents.role_trust(detail) for detail in page.get("RoleDetailList", ()))
            for detail in page.get("GroupDetailList", ()):
                group = documents.group_facts(detail, admin_policies)
                groups[group.name] = group
    except ProviderError as error:
        failure = error
    if failure is None:
        holders = Counter(name for user in users for name in user.groups)
        groups = {name: replace(group, holders=holders[name]) for name, group in groups.items()}
    return Bulk(users=tuple(users), groups=groups, roles=tuple(role for role in roles if role.trusted), failure=failure)


def read_report(client: BaseClient, where: str, clock: Clock, wait_seconds: float) -> Report:
    """Ask once for a credential report and wait a little for it; AWS makes a new one every four hours at most.

    Raises `inventory.errors.ProviderError`: `Unavailable` when it is not ready in time.
    """
    with calling("GenerateCredentialReport", where):
        client.generate_credential_report()
    until = clock.monotonic_seconds() + wait_seconds
    while True:
        try:
            with calling("GetCredentialReport", where):
                reply = client.get_credential_report()
        except Unavailable:
            if clock.monotonic_seconds() >= until:
                raise
            clock.sleep(_REPORT_POLL_SECONDS)
            continue
        return _report(where, reply)


def _report(where: str, reply: Raw) -> Report:
    try:
        rows = documents.report_rows(bytes(reply["Content"]))
    except ValueError as error:
        raise Unavailable(f"the credential report of {where} cannot be read: {error}") from error
    return Report(rows=rows, generated_at=reply["GeneratedTime"])


def read_all_service_credentials(client: BaseClient, where: str) -> dict[str, list[Raw]]:
    """Return the service-specific credentials of a whole account, by user name."""
    found: dict[str, list[Raw]] = defaultdict(list)
    operation = "ListServiceSpecificCredentials"
    for page in pages(client.list_service_specific_credentials, operation, where, AllUsers=True, MaxItems=PAGE_SIZE):
        for raw in page.get("ServiceSpecificCredentials", ()):
            found[str(raw["UserName"])].append(raw)
    return dict(found)


def read_virtual_devices(client: BaseClient, where: str) -> dict[str, list[Raw]]:
    """Return the assigned virtual MFA devices of a whole account, by unique user id, without their seeds."""
    found: dict[str, list[Raw]] = defaultdict(list)
    operation = "ListVirtualMFADevices"
    for page in pages(
        client.list_virtual_mfa_devices, operation, where, AssignmentStatus="Assigned", MaxItems=PAGE_SIZE
    ):
        for raw in page.get("VirtualMFADevices", ()):
            if raw.get("User"):
                device = {"SerialNumber": raw["SerialNumber"], "EnableDate": raw.get("EnableDate")}
                found[str(raw["User"]["UserId"])].append(device)
    return dict(found)


def find_user(client: BaseClient, where: str, *, user_id: str, user_name: str) -> Raw | None:
    """Return a user by unique id; None when IAM knows nobody of that id.

    The name may have been given to somebody else, or the user renamed: then the id is looked for among all users,
    because a name that is not found is no proof that the principal is gone.
    """
    user = _get_user(client, where, user_name)
    if user is not None and user["UserId"] == user_id:
        return user
    for page in pages(client.list_users, "ListUsers", where, MaxItems=PAGE_SIZE):
        for listed in page.get("Users", ()):
            if listed["UserId"] == user_id:
                return _get_user(client, where, str(listed["UserName"]))
    return None


def _get_user(client: BaseClient, where: str, user_name: str) -> Raw | None:
    try:
        with calling("GetUser", where):
            reply: Mapping[str, Raw] = client.get_user(UserName=user_name)
    except ObjectMissing:
        return None
    return reply["User"]


def read_groups(
    client: BaseClient, where: str, user_name: str, admin_policies: Collection[str], each: Mapper
) -> list[GroupFacts]:
    """Return the groups of a user, each with its number of members and whether it gives administrator rights."""
    names = [
        str(group["GroupName"])
        for page in pages(client.list_groups_for_user, "ListGroupsForUser", where, UserName=user_name)
        for group in page["Groups"]
    ]
    tasks = [partial(read, client, where, name) for name in names for read in _OF_A_GROUP]
    found = list(each(_answer, tasks))
    width = len(_OF_A_GROUP)
    return [
        documents.group_facts(
            {"GroupName": name, "AttachedManagedPolicies": attached, "GroupPolicyList": inline}, admin_policies, holders
        )
        for name, (holders, attached, inline) in zip(
            names, (found[at : at + width] for at in range(0, len(found), width)), strict=True
        )
    ]


def _answer(task: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the task gives
    return task()


def _members(client: BaseClient, where: str, name: str) -> int:
    return sum(
        len(page["Users"]) for page in pages(client.get_group, "GetGroup", where, GroupName=name, MaxItems=PAGE_SIZE)
    )


def _attached_to_group(client: BaseClient, where: str, name: str) -> list[Raw]:
    return [
        policy
        for page in pages(client.list_attached_group_policies, "ListAttachedGroupPolicies", where, GroupName=name)
        for policy in page["AttachedPolicies"]
    ]


def _inline_of_group(client: BaseClient, where: str, name: str) -> list[Raw]:
    return [
        _inline(client.get_group_policy, "GetGroupPolicy", where, GroupName=name, PolicyName=policy)
        for page in pages(client.list_group_policies, "ListGroupPolicies", where, GroupName=name)
        for policy in page["PolicyNames"]
    ]


_OF_A_GROUP: Final[tuple[Callable[[BaseClient, str, str], Any], ...]] = (
    _members,
    _attached_to_group,
    _inline_of_group,
)
"""What is asked of each group of a user."""


def read_attached_policies(client: BaseClient, where: str, user_name: str) -> list[Raw]:
    """Return the managed policies attached to a user."""
    operation = "ListAttachedUserPolicies"
    return [
        policy
        for page in pages(client.list_attached_user_policies, operation, where, UserName=user_name)
        for policy in page["AttachedPolicies"]
    ]


def read_inline_policies(client: BaseClient, where: str, user_name: str, each: Mapper) -> list[Raw]:
    """Return the inline policies of a user with their documents.

    The one that quarantines an account is asked for beside the list that may name it, since reading an account again
    waits for it. It counts only when the list names it.
    """
    get = partial(_inline, client.get_user_policy, "GetUserPolicy", where, UserName=user_name)

    def listed() -> list[str]:
        found = pages(client.list_user_policies, "ListUserPolicies", where, UserName=user_name)
        return [name for page in found for name in page["PolicyNames"]]

    def quarantine() -> Raw | None:
        try:
            return get(PolicyName=documents.QUARANTINE_POLICY)
        except ProviderError:
            return None  # mostly there is none; where the list names one, it is asked for again

    names, early = each(_answer, (listed, quarantine))
    known: dict[str, Raw] = {} if early is None else {documents.QUARANTINE_POLICY: early}
    missing = [name for name in names if name not in known]
    known |= zip(missing, each(_answer, [partial(get, PolicyName=name) for name in missing]), strict=True)
    return [known[name] for name in names]


def _inline(call: Callable[..., Raw], operation: str, where: str, **request: str) -> Raw:
    with calling(operation, where):
        reply = call(**request)
    return {"PolicyName": request["PolicyName"], "PolicyDocument": reply.get("PolicyDocument")}


def read_roles(client: BaseClient, where: str) -> list[RoleTrust]:
    """Return the roles of an account that trust somebody by name."""
    trusts = [
        documents.role_trust(role)
        for page in pages(client.list_roles, "ListRoles", where, MaxItems=PAGE_SIZE)
        for role in page["Roles"]
    ]
    return [role for role in trusts if role.trusted]


def last_used(client: BaseClient, where: str, access_key_id: str) -> datetime | None:
    """Return when an access key was last used; None for never."""
    with calling("GetAccessKeyLastUsed", where):
        reply = client.get_access_key_last_used(AccessKeyId=access_key_id)
    used: datetime | None = reply["AccessKeyLastUsed"].get("LastUsedDate")
    return used


Reading = Callable[[BaseClient, Holder], tuple[Credential, ...]]


def _passwords(client: BaseClient, holder: Holder) -> tuple[Credential, ...]:
    try:
        with calling("GetLoginProfile", holder.scope):
            reply = client.get_login_profile(UserName=holder.user_name)
    except ObjectMissing:
        return ()
    return (items.password(holder, reply["LoginProfile"]),)


def _access_keys(client: BaseClient, holder: Holder) -> tuple[Credential, ...]:
    found = _of_user(client.list_access_keys, "ListAccessKeys", holder, "AccessKeyMetadata")
    return tuple(items.access_key(holder, raw) for raw in found)


def _mfa_devices(client: BaseClient, holder: Holder) -> tuple[Credential, ...]:
    found = _of_user(client.list_mfa_devices, "ListMFADevices", holder, "MFADevices")
    return tuple(items.mfa_device(holder, raw) for raw in found)


def _signing_certificates(client: BaseClient, holder: Holder) -> tuple[Credential, ...]:
    found = _of_user(client.list_signing_certificates, "ListSigningCertificates", holder, "Certificates")
    return tuple(items.signing_certificate(holder, raw) for raw in found)


def _service_credentials(client: BaseClient, holder: Holder) -> tuple[Credential, ...]:
    operation = "ListServiceSpecificCredentials"
    found = _of_user(client.list_service_specific_credentials, operation, holder, "ServiceSpecificCredentials")
    return tuple(items.service_credential(holder, raw) for raw in found)


def _ssh_keys(client: BaseClient, holder: Holder) -> tuple[Credential, ...]:
    keys: list[Credential] = []
    for raw in _of_user(client.list_ssh_public_keys, "ListSSHPublicKeys", holder, "SSHPublicKeys"):
        with calling("GetSSHPublicKey", holder.scope):
            reply = client.get_ssh_public_key(
                UserName=holder.user_name, SSHPublicKeyId=raw["SSHPublicKeyId"], Encoding="SSH"
            )
        keys.append(items.ssh_key(holder, reply["SSHPublicKey"]))
    return tuple(keys)


def _of_user(call: Callable[..., Mapping[str, Any]], operation: str, holder: Holder, field: str) -> Iterator[Raw]:
    for page in pages(call, operation, holder.scope, UserName=holder.user_name):
        yield from page.get(field, ())


LIVE_READS: Final[Mapping[ArtefactKind, Reading]] = {
    ArtefactKind.PASSWORD: _passwords,
    ArtefactKind.ACCESS_KEY: _access_keys,
    ArtefactKind.SSH_KEY: _ssh_keys,
    ArtefactKind.SERVICE_CREDENTIAL: _service_credentials,
    ArtefactKind.SIGNING_CERTIFICATE: _signing_certificates,
    ArtefactKind.MFA_DEVICE: _mfa_devices,
}
"""How each kind of credential of one user is read live; a user without any gives nothing, a failure raises."""
