"""From the facts of AWS IAM to principals and access items: pure, and the same for bulk and live reads."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inventory.documents.aws_iam import Conventions, GroupFacts, Raw, ReportRow, RoleTrust, UserFacts, ssh_fingerprint
from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalRead,
    ProviderName,
    ScopeId,
)

MACHINE_KINDS: Final = frozenset(
    {
        ArtefactKind.ACCESS_KEY,
        ArtefactKind.SSH_KEY,
        ArtefactKind.SERVICE_CREDENTIAL,
        ArtefactKind.SIGNING_CERTIFICATE,
    }
)
"""Credentials that others can depend on; passwords and MFA devices belong to one person."""

_KINDS: Final = {kind.value: kind for kind in PrincipalKind}


def kind_of(facts: UserFacts, conventions: Conventions) -> PrincipalKind:
    """Say what stands behind a user: the kind tag, else the path, else a tag that names a worker, else unknown.

    A kind tag that says something else than a kind gives unknown, which is never acted upon.
    """
    tags = dict(facts.tags)
    if conventions.kind_tag in tags:
        said = tags[conventions.kind_tag].strip().lower()
        return _KINDS.get(said, PrincipalKind.UNKNOWN)
    for prefix, kind in conventions.kind_paths:
        if facts.path.startswith(prefix):
            return kind
    if any(tags.get(name) for name in (*conventions.employee_id_tags, *conventions.email_tags)):
        return PrincipalKind.HUMAN
    return PrincipalKind.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whom the items of one user belong to, and which of them others depend on."""

    provider: ProviderName
    scope: ScopeId
    user_id: str
    user_name: str
    shared: frozenset[str]
    """Ids of shared credentials, or `*` for all of `MACHINE_KINDS`."""

    def credential(self, kind: ArtefactKind, local_id: str = "", **facts: Any) -> Credential:  # noqa: ANN401 - passed on
        """Make a credential of this user; `address` adds to the user name."""
        shared = kind in MACHINE_KINDS and bool({"*", local_id} & self.shared)
        address = (("user_name", self.user_name), *facts.pop("address", ()))
        return Credential(
            provider=self.provider,
            scope=self.scope,
            principal_id=PrincipalId(self.user_id),
            access_id=self._access_id(kind, local_id),
            kind=kind,
            **{"address": address, "label": local_id or kind.value, "shared": shared, **facts},
        )

    def grant(self, kind: ArtefactKind, role: str, **facts: Any) -> Grant:  # noqa: ANN401 - passed on
        """Make a grant of this user; `address` adds to the user name, `local_id` defaults to the role."""
        address = (("user_name", self.user_name), *facts.pop("address", ()))
        return Grant(
            provider=self.provider,
            scope=self.scope,
            principal_id=PrincipalId(self.user_id),
            access_id=self._access_id(kind, facts.pop("local_id", role)),
            kind=kind,
            role=role,
            **{"address": address, "resource": self.scope, **facts},
        )

    def _access_id(self, kind: ArtefactKind, local_id: str) -> AccessId:
        return AccessId("/".join(part for part in (self.user_id, kind.value, local_id) if part))


def holder_of(provider: ProviderName, scope: ScopeId, facts: UserFacts, conventions: Conventions) -> Holder:
    """Return the holder of a user's items, with what the shared tag says."""
    said = dict(facts.tags).get(conventions.shared_tag, "").split()
    shared = {"*"} if {one.lower() for one in said} & {"true", "yes", "all"} else set(said)
    return Holder(
        provider=provider,
        scope=scope,
        user_id=facts.user_id,
        user_name=facts.user_name,
        shared=frozenset(shared - {"false", "no"}),
    )


def principal_of(holder: Holder, facts: UserFacts, conventions: Conventions, *, privileged: bool) -> Principal:
    """Make the principal of a user; how it was read is filled in by the collector."""
    tags = dict(facts.tags)
    kind = kind_of(facts, conventions)
    emails = [tags[name] for name in conventions.email_tags if tags.get(name)]
    if "@" in facts.user_name:
        emails.append(facts.user_name)
    owners = [tags[name] for name in conventions.owner_tags if tags.get(name)]
    return Principal(
        provider=holder.provider,
        scope=holder.scope,
        principal_id=PrincipalId(facts.user_id),
        kind=kind,
        address=(("account_id", holder.scope), ("user_name", facts.user_name)),
        display_name=facts.user_name,
        login_names=(facts.user_name,),
        emails=tuple(dict.fromkeys(email.strip().lower() for email in emails)),
        employee_ids=tuple(
            dict.fromkeys(tags[name].strip() for name in conventions.employee_id_tags if tags.get(name))
        ),
        owner_hints=() if kind is PrincipalKind.HUMAN else tuple(dict.fromkeys(owners)),
        enabled=not facts.quarantined,
        privileged=privileged,
        created_at=facts.created_at,
        last_used_at=facts.password_last_used_at,
        read=PrincipalRead(live=False),
    )


def standing_items(
    holder: Holder, facts: UserFacts, groups: Mapping[str, GroupFacts], admin_policies: Collection[str]
) -> Iterator[AccessItem]:
    """Yield what the bulk read knows live: the account itself, memberships, and attached and inline policies."""
    yield holder.credential(
        ArtefactKind.ACCOUNT,
        label="account",
        enabled=not facts.quarantined,
        created_at=facts.created_at,
        last_used_at=facts.password_last_used_at,
        shared=bool(holder.shared),
    )
    for name in facts.groups:
        group = groups.get(name, GroupFacts(name=name, privileged=False, holders=None))
        yield holder.grant(
            ArtefactKind.GROUP_MEMBERSHIP,
            name,
            address=(("group_name", name),),
            privileged=group.privileged,
            holders=group.holders,
        )
    for name, arn in facts.attached:
        yield holder.grant(
            ArtefactKind.ATTACHED_POLICY,
            name,
            local_id=arn,
            address=(("policy_arn", arn),),
            privileged=name in admin_policies,
        )
    for name, everything in facts.inline:
        yield holder.grant(ArtefactKind.INLINE_POLICY, name, address=(("policy_name", name),), privileged=everything)


def trust_items(holder: Holder, facts: UserFacts, roles: Iterable[RoleTrust]) -> Iterator[Grant]:
    """Yield the roles whose trust policy names the user, by ARN or by unique id."""
    for role in roles:
        if facts.arn in role.trusted or facts.user_id in role.trusted:
            yield holder.grant(
                ArtefactKind.ROLE_TRUST, role.name, resource=role.arn, address=(("role_name", role.name),)
            )


def report_items(holder: Holder, row: ReportRow) -> Iterator[Credential]:
    """Yield what the credential report knows: facts without ids, never acted upon."""
    if row.password_enabled:
        yield holder.credential(ArtefactKind.PASSWORD, enabled=True, last_used_at=row.password_last_used_at, live=False)
    for key in row.keys:
        yield holder.credential(
            ArtefactKind.ACCESS_KEY,
            str(key.slot),
            enabled=key.active,
            created_at=key.rotated_at,
            last_used_at=key.last_used_at,
            live=False,
        )
    for slot in row.certificates:
        yield holder.credential(ArtefactKind.SIGNING_CERTIFICATE, str(slot), enabled=True, live=False)
    if row.mfa_active:
        yield holder.credential(ArtefactKind.MFA_DEVICE, "1", enabled=True, live=False)


def service_credential(holder: Holder, raw: Raw) -> Credential:
    """Read a service-specific credential: CodeCommit, Keyspaces, or a long-term Bedrock key, which may expire."""
    local_id = str(raw["ServiceSpecificCredentialId"])
    return holder.credential(
        ArtefactKind.SERVICE_CREDENTIAL,
        local_id,
        label=f"{raw.get('ServiceName', '')} {local_id}".strip(),
        address=(("service_specific_credential_id", local_id),),
        enabled=raw.get("Status") == "Active",
        created_at=raw.get("CreateDate"),
        expires_at=raw.get("ExpirationDate"),
    )


def mfa_device(holder: Holder, raw: Raw) -> Credential:
    """Read an MFA device of ListMFADevices or ListVirtualMFADevices; the seed of the latter is not looked at."""
    serial = str(raw["SerialNumber"])
    return holder.credential(
        ArtefactKind.MFA_DEVICE,
        serial,
        address=(("serial_number", serial),),
        enabled=True,
        created_at=raw.get("EnableDate"),
    )


def password(holder: Holder, raw: Raw) -> Credential:
    """Read a login profile: the console password."""
    return holder.credential(ArtefactKind.PASSWORD, enabled=True, created_at=raw.get("CreateDate"))


def access_key(holder: Holder, raw: Raw) -> Credential:
    """Read an access key of ListAccessKeys."""
    local_id = str(raw["AccessKeyId"])
    return holder.credential(
        ArtefactKind.ACCESS_KEY,
        local_id,
        address=(("access_key_id", local_id),),
        enabled=raw.get("Status") == "Active",
        created_at=raw.get("CreateDate"),
    )


def ssh_key(holder: Holder, raw: Raw) -> Credential:
    """Read an SSH public key of GetSSHPublicKey, with the fingerprint by which other systems know the same key."""
    local_id = str(raw["SSHPublicKeyId"])
    return holder.credential(
        ArtefactKind.SSH_KEY,
        local_id,
        address=(("ssh_public_key_id", local_id),),
        enabled=raw.get("Status") == "Active",
        created_at=raw.get("UploadDate"),
        fingerprint=ssh_fingerprint(str(raw.get("SSHPublicKeyBody", ""))),
    )


def signing_certificate(holder: Holder, raw: Raw) -> Credential:
    """Read an X.509 signing certificate of ListSigningCertificates."""
    local_id = str(raw["CertificateId"])
    return holder.credential(
        ArtefactKind.SIGNING_CERTIFICATE,
        local_id,
        address=(("certificate_id", local_id),),
        enabled=raw.get("Status") == "Active",
        created_at=raw.get("UploadDate"),
    )
