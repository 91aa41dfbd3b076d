"""What can be taken away at AWS IAM, and given back.

Contain: keys, SSH keys, certificates and service-specific credentials become inactive; an account gets an inline
policy that denies everything, which also stops sessions already issued to the user. Remove: everything but role
trust, which is never changed automatically, because a trust policy holds others too. Every act first makes sure that
the user name belonged to the planned principal a moment ago, and no act is repeated by the client library.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from botocore.config import Config

from inventory.aws.connection import AwsAccounts, AwsConnection, calling
from inventory.aws.iam import LIVE_READS
from inventory.aws.user_names import UserNames
from inventory.documents.aws_iam import QUARANTINE_POLICY, document_of
from inventory.documents.aws_iam_items import Holder
from inventory.errors import ObjectChanged, ObjectMissing, ProviderError, Unsupported
from inventory.last_look import LastLook
from inventory.model import ArtefactKind, ProviderName
from inventory.provider import Clock, Permission
from reconciler.core.canonical import dumps, plain
from reconciler.core.model import Action, BeforeImage, Effect, OutcomeState, Receipt
from reconciler.ports import Capabilities
from reconciler.revokers.aws_iam_calls import DELETE_POLICY, GIVE_BACK, PUT_POLICY, REMOVE, SUSPEND, Target
from reconciler.revokers.declaration import RevokerType

NAME: Final = "aws_iam"

DELETE_ORDER: Final = (
    ArtefactKind.PASSWORD,
    ArtefactKind.ACCESS_KEY,
    ArtefactKind.SIGNING_CERTIFICATE,
    ArtefactKind.SSH_KEY,
    ArtefactKind.SERVICE_CREDENTIAL,
    ArtefactKind.MFA_DEVICE,
    ArtefactKind.INLINE_POLICY,
    ArtefactKind.ATTACHED_POLICY,
    ArtefactKind.GROUP_MEMBERSHIP,
    ArtefactKind.ACCOUNT,
)
"""The order in which AWS lets a user's belongings be removed; the user itself answers DeleteConflict before its turn.

Source: "Removing an IAM user" in the IAM user guide.
"""

QUARANTINE_DOCUMENT: Final = dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "AccessReconcilerQuarantine", "Effect": "Deny", "Action": "*", "Resource": "*"}],
    }
).decode()
"""Denies everything; an explicit deny beats every allow and reaches sessions that the user already holds."""


class Settings(AwsConnection):
    """The `revoker:` block of an `aws_iam` provider: credentials of its own, never the reader's."""


class AwsIamRevoker:
    """Takes access away at IAM by credentials of its own, each write sent once: 8 items of 8 principals at a time."""

    def __init__(self, name: ProviderName, settings: Settings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        config = Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=8 * 8)
        self._accounts = AwsAccounts(settings, clock, config=config)
        self._names = UserNames(clock)
        self._clock = clock
        self._quarantines: LastLook[str | None] = LastLook(clock)
        """The quarantine policy's document, as the before-image showed it."""

    def identity(self) -> tuple[str, ...]:
        """Ask STS whose credentials ours are: the unique id of an IAM user; nothing for a role.

        Asked of the credentials that roles are entered with too, since they belong to one principal in all accounts.
        """
        user_id = self._accounts.caller().user_id
        return () if user_id is None else (user_id,)

    def before_image(self, action: Action) -> BeforeImage:
        """Read what `undo` would need: a status, a policy document, or the fact itself."""
        target = self._target(action)
        kind = action.item.kind
        facts: dict[str, Any] = {"kind": kind.value, "effect": action.effect.value}
        if kind in SUSPEND and action.effect is Effect.REVOKE:
            facts["enabled"] = plain(getattr(action.item, "enabled", None))
            return _image(facts, restorable=False)
        if kind in SUSPEND:
            facts["enabled"] = _status(target, action)
            return _image(facts, restorable=True)
        if kind is ArtefactKind.ACCOUNT and action.effect is Effect.QUARANTINE:
            asked_at = self._clock.monotonic_seconds()
            found = _policy_document(target, QUARANTINE_POLICY)
            facts["document"] = self._quarantines.keep(action.action_id, found, asked_at)
            return _image(facts, restorable=True)
        if kind is ArtefactKind.INLINE_POLICY:
            facts["document"] = _policy_document(target, target.address["policy_name"])
            return _image(facts, restorable=facts["document"] is not None)
        return _image(facts, restorable=kind in GIVE_BACK)

    def quarantine(self, action: Action) -> Receipt:
        """Suspend: credentials become inactive, an account is denied everything."""
        kind = action.item.kind
        if kind in SUSPEND:
            return self._write(action, partial(_suspend, action=action))
        if kind is ArtefactKind.ACCOUNT:
            return self._write(action, partial(_deny, looked=self._quarantines.take(action.action_id)))
        raise _beyond(action)

    def revoke(self, action: Action) -> Receipt:
        """Remove for good."""
        kind = action.item.kind
        if kind not in REMOVE:
            raise _beyond(action)
        special = {ArtefactKind.MFA_DEVICE: _remove_device, ArtefactKind.ACCOUNT: _delete_user}
        return self._write(action, special.get(kind, REMOVE[kind].on))

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        """Give back what was suspended or removed.

        Raises `Unsupported` when the before-image is not restorable, `ObjectMissing` when the user is gone.
        """
        if not before.restorable:
            raise Unsupported(
                f"{action.item.kind.value} of principal {action.principal.principal_id} cannot be given back",
                advice="AWS does not return a deleted secret: issue a new one",
            )
        facts = json.loads(before.document)
        target = self._target(action)
        if not self._still_there(target, action):
            raise ObjectMissing(f"principal {action.principal.principal_id} no longer exists")
        return _restore(target, action, facts)

    def close(self) -> None:
        """Release connections."""
        self._accounts.close()

    def _target(self, action: Action) -> Target:
        client = self._accounts.reaching(action.scope)
        return Target(client=client, where=action.scope, address=dict(action.item.address))

    def _write(self, action: Action, act: Callable[[Target], str | None]) -> Receipt:
        target = self._target(action)
        if not self._still_there(target, action):
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="the user does not exist")
        try:
            request_id = act(target)
        except ObjectMissing as error:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=str(error))
        if request_id is None:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="it was suspended already")
        return _done(request_id)

    def _still_there(self, target: Target, action: Action) -> bool:
        """Say whether the user exists; a name that now belongs to somebody else stops the act."""
        try:
            found = self._names.user_id(target.where, target.user_name, partial(_user_id, target))
        except ObjectMissing:
            return False
        if found != action.principal.principal_id:
            raise ObjectChanged(
                f"the user name of principal {action.principal.principal_id} now belongs to {found}",
                advice="nothing was done; the next cycle reads again and plans anew",
            )
        return True


def _user_id(target: Target) -> str:
    with calling("GetUser", target.where):
        return str(target.client.get_user(UserName=target.user_name)["User"]["UserId"])


def _beyond(action: Action) -> Unsupported:
    return Unsupported(f"{action.effect.value} of {action.item.kind.value} is not done automatically at AWS IAM")


def _image(facts: Mapping[str, Any], *, restorable: bool) -> BeforeImage:
    return BeforeImage(restorable=restorable, document=dumps(plain(facts)).decode())


def _policy_document(target: Target, policy_name: str) -> str | None:
    """Return an inline policy's document as canonical JSON; None when there is no such policy."""
    try:
        with calling("GetUserPolicy", target.where):
            reply = target.client.get_user_policy(UserName=target.user_name, PolicyName=policy_name)
    except ObjectMissing:
        return None
    return dumps(document_of(reply["PolicyDocument"])).decode()


def _status(target: Target, action: Action) -> bool | None:
    """Return whether a credential is active; None when it does not exist."""
    holder = Holder(
        provider=action.provider,
        scope=action.scope,
        user_id=action.principal.principal_id,
        user_name=target.user_name,
        shared=frozenset(),
    )
    found = LIVE_READS[action.item.kind](target.client, holder)
    return next((item.enabled for item in found if item.access_id == action.item.access_id), None)


def _suspend(target: Target, *, action: Action) -> str | None:
    """Make a credential inactive; None when it is so already."""
    active = _status(target, action)
    if active is None:
        raise ObjectMissing(f"{action.item.access_id} does not exist")
    return SUSPEND[action.item.kind].on(target, Status="Inactive") if active else None


def _deny(target: Target, *, looked: tuple[str | None] | None) -> str | None:
    """Deny a user everything; None when our policy says so already. `looked` is what stood there just now, if known."""
    document = _policy_document(target, QUARANTINE_POLICY) if looked is None else looked[0]
    if document == QUARANTINE_DOCUMENT:
        return None
    return PUT_POLICY.on(target, PolicyName=QUARANTINE_POLICY, PolicyDocument=QUARANTINE_DOCUMENT)


def _remove_device(target: Target) -> str:
    """Deactivate an MFA device and delete it when it is virtual.

    The virtual device is deleted only after our own deactivation: a serial that is not the user's any more may by now
    be somebody else's.
    """
    request_id = REMOVE[ArtefactKind.MFA_DEVICE].on(target)
    serial = target.address["serial_number"]
    if ":mfa/" in serial:
        try:
            with calling("DeleteVirtualMFADevice", target.where):
                target.client.delete_virtual_mfa_device(SerialNumber=serial)
        except ObjectMissing:
            return request_id
    return request_id


def _delete_user(target: Target) -> str:
    """Delete a user; our quarantine policy stands in the way, and is put back when the user cannot be deleted."""
    try:
        DELETE_POLICY.on(target, PolicyName=QUARANTINE_POLICY)
    except ObjectMissing:
        return REMOVE[ArtefactKind.ACCOUNT].on(target)
    try:
        return REMOVE[ArtefactKind.ACCOUNT].on(target)
    except ObjectMissing:
        raise
    except ProviderError:
        PUT_POLICY.on(target, PolicyName=QUARANTINE_POLICY, PolicyDocument=QUARANTINE_DOCUMENT)
        raise


def _restore(target: Target, action: Action, facts: Mapping[str, Any]) -> Receipt:
    kind = action.item.kind
    if kind is ArtefactKind.ACCOUNT:
        return _lift(target, facts["document"])
    if kind in SUSPEND:
        if facts["enabled"] is not True:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="it was inactive before")
        return _done(SUSPEND[kind].on(target, Status="Active"))
    more = {"PolicyDocument": str(facts["document"])} if kind is ArtefactKind.INLINE_POLICY else {}
    return _done(GIVE_BACK[kind].on(target, **more))


def _lift(target: Target, document: str | None) -> Receipt:
    """Lift the quarantine of an account; a policy of that name that was there before comes back."""
    if document is not None:
        return _done(PUT_POLICY.on(target, PolicyName=QUARANTINE_POLICY, PolicyDocument=document))
    try:
        return _done(DELETE_POLICY.on(target, PolicyName=QUARANTINE_POLICY))
    except ObjectMissing as error:
        return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=str(error))


def _done(request_id: str) -> Receipt:
    return Receipt(outcome=OutcomeState.DONE, request_id=request_id)


def _longest_act(settings: Settings) -> float:
    """Return the bound of one act: entering the account, one look, at most two writes; each is tried once."""
    return 4 * (settings.connect_timeout_seconds + settings.read_timeout_seconds)


REVOKER: Final = RevokerType(
    name=NAME,
    settings=Settings,
    build=AwsIamRevoker,
    longest_act_seconds=_longest_act,
    capabilities=Capabilities(
        effects=frozenset(
            {(kind, Effect.QUARANTINE) for kind in (*SUSPEND, ArtefactKind.ACCOUNT)}
            | {(kind, Effect.REVOKE) for kind in REMOVE}
        ),
        account_contains=True,
        revoke_permissions=(
            Permission(name="sts:AssumeRole", purpose="enter the configured accounts"),
            Permission(name="iam:GetUser", purpose="make sure that a name still belongs to the planned principal"),
            Permission(name="iam:GetUserPolicy", purpose="keep an inline policy so that it can be given back"),
            Permission(name="iam:ListAccessKeys", purpose="whether an access key is active"),
            Permission(name="iam:ListSSHPublicKeys", purpose="whether an SSH public key is active"),
            Permission(name="iam:GetSSHPublicKey", purpose="the same"),
            Permission(name="iam:ListSigningCertificates", purpose="whether a signing certificate is active"),
            Permission(name="iam:ListServiceSpecificCredentials", purpose="whether a service credential is active"),
            Permission(name="iam:PutUserPolicy", purpose="quarantine an account; give back an inline policy"),
            Permission(name="iam:DeleteUserPolicy", purpose="lift a quarantine; remove an inline policy"),
            Permission(name="iam:UpdateAccessKey", purpose="switch an access key off and on"),
            Permission(name="iam:DeleteAccessKey", purpose="remove an access key"),
            Permission(name="iam:UpdateSSHPublicKey", purpose="switch an SSH public key off and on"),
            Permission(name="iam:DeleteSSHPublicKey", purpose="remove an SSH public key"),
            Permission(name="iam:UpdateSigningCertificate", purpose="switch a signing certificate off and on"),
            Permission(name="iam:DeleteSigningCertificate", purpose="remove a signing certificate"),
            Permission(name="iam:UpdateServiceSpecificCredential", purpose="switch a service credential off and on"),
            Permission(name="iam:DeleteServiceSpecificCredential", purpose="remove a service credential"),
            Permission(name="iam:DeleteLoginProfile", purpose="remove a console password"),
            Permission(name="iam:DeactivateMFADevice", purpose="take an MFA device from a user"),
            Permission(name="iam:DeleteVirtualMFADevice", purpose="remove a virtual MFA device"),
            Permission(name="iam:DetachUserPolicy", purpose="remove an attached policy"),
            Permission(name="iam:AttachUserPolicy", purpose="give back an attached policy"),
            Permission(name="iam:RemoveUserFromGroup", purpose="remove a group membership"),
            Permission(name="iam:AddUserToGroup", purpose="give back a group membership"),
            Permission(name="iam:DeleteUser", purpose="remove an account"),
        ),
    ),
)
