"""The writing operations of IAM that a revoker uses, each with what it takes from an item's address."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inventory.aws.connection import calling
from inventory.model import ArtefactKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The item of an action, addressed."""

    client: Any
    """boto3's IAM client, which has no types."""
    where: str
    address: Mapping[str, str]

    @property
    def user_name(self) -> str:
        """Return the name that the item's holder is addressed by."""
        return self.address["user_name"]


@dataclass(frozen=True, slots=True)
class Call:
    """One writing operation: its method, its AWS name, and which part of the address it takes as which parameter."""

    method: str
    operation: str
    parameter: str = ""
    part: str = ""

    def on(self, target: Target, **more: str) -> str:
        """Make the call on the target and return the request id. Raises `inventory.errors.ProviderError`."""
        request = {"UserName": target.user_name, **more}
        if self.parameter:
            request[self.parameter] = target.address[self.part]
        with calling(self.operation, target.where):
            reply: Mapping[str, Any] = getattr(target.client, self.method)(**request)
        return str(reply.get("ResponseMetadata", {}).get("RequestId", ""))


SUSPEND: Final[Mapping[ArtefactKind, Call]] = {
    ArtefactKind.ACCESS_KEY: Call("update_access_key", "UpdateAccessKey", "AccessKeyId", "access_key_id"),
    ArtefactKind.SSH_KEY: Call("update_ssh_public_key", "UpdateSSHPublicKey", "SSHPublicKeyId", "ssh_public_key_id"),
    ArtefactKind.SIGNING_CERTIFICATE: Call(
        "update_signing_certificate", "UpdateSigningCertificate", "CertificateId", "certificate_id"
    ),
    ArtefactKind.SERVICE_CREDENTIAL: Call(
        "update_service_specific_credential",
        "UpdateServiceSpecificCredential",
        "ServiceSpecificCredentialId",
        "service_specific_credential_id",
    ),
}
"""Calls that switch a credential off and on by `Status`."""

REMOVE: Final[Mapping[ArtefactKind, Call]] = {
    ArtefactKind.PASSWORD: Call("delete_login_profile", "DeleteLoginProfile"),
    ArtefactKind.ACCESS_KEY: Call("delete_access_key", "DeleteAccessKey", "AccessKeyId", "access_key_id"),
    ArtefactKind.SIGNING_CERTIFICATE: Call(
        "delete_signing_certificate", "DeleteSigningCertificate", "CertificateId", "certificate_id"
    ),
    ArtefactKind.SSH_KEY: Call("delete_ssh_public_key", "DeleteSSHPublicKey", "SSHPublicKeyId", "ssh_public_key_id"),
    ArtefactKind.SERVICE_CREDENTIAL: Call(
        "delete_service_specific_credential",
        "DeleteServiceSpecificCredential",
        "ServiceSpecificCredentialId",
        "service_specific_credential_id",
    ),
    ArtefactKind.MFA_DEVICE: Call("deactivate_mfa_device", "DeactivateMFADevice", "SerialNumber", "serial_number"),
    ArtefactKind.INLINE_POLICY: Call("delete_user_policy", "DeleteUserPolicy", "PolicyName", "policy_name"),
    ArtefactKind.ATTACHED_POLICY: Call("detach_user_policy", "DetachUserPolicy", "PolicyArn", "policy_arn"),
    ArtefactKind.GROUP_MEMBERSHIP: Call("remove_user_from_group", "RemoveUserFromGroup", "GroupName", "group_name"),
    ArtefactKind.ACCOUNT: Call("delete_user", "DeleteUser"),
}
"""Calls that remove an item for good."""

PUT_POLICY: Final = Call("put_user_policy", "PutUserPolicy")
DELETE_POLICY: Final = Call("delete_user_policy", "DeleteUserPolicy")

GIVE_BACK: Final[Mapping[ArtefactKind, Call]] = {
    ArtefactKind.INLINE_POLICY: Call("put_user_policy", "PutUserPolicy", "PolicyName", "policy_name"),
    ArtefactKind.ATTACHED_POLICY: Call("attach_user_policy", "AttachUserPolicy", "PolicyArn", "policy_arn"),
    ArtefactKind.GROUP_MEMBERSHIP: Call("add_user_to_group", "AddUserToGroup", "GroupName", "group_name"),
}
"""Calls that give back what was removed; a deleted key's, password's or device's secret is lost."""
