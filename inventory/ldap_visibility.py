"""Proof that what a directory does not show is not there, rather than kept from our reader.

A search leaves out in silence every entry, attribute and match that access rules hide. Two things tell: classes that
demand a member (RFC 4519 §3.5, §3.6) and show none, and the `compare` operation, which is refused openly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from inventory.documents.ldap import LOCK_ATTRIBUTE, Entry
from inventory.documents.ldap_coverage import KINDS, ReadStates
from inventory.errors import ProviderError
from inventory.ldap_client import LdapClient
from inventory.model import ArtefactKind, ReadState

GROUP_CLASSES = (("groupOfNames", "member"), ("groupOfUniqueNames", "uniqueMember"), ("posixGroup", "memberUid"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Asks the server what our identity may look at, and notes what it may not."""

    client: LdapClient
    ssh_key: str
    """The attribute of SSH keys."""
    group_bases: tuple[str, ...]
    group_filter: str

    def of_locks(self, policy: str | None, states: ReadStates) -> None:
        """Note when locks have no effect: OpenLDAP looks at them only where the policy says `pwdLockout: TRUE`."""
        if policy is None:
            return
        try:
            entry = self.client.read(policy, ("pwdLockout",))
        except ProviderError as error:
            states.error((ArtefactKind.ACCOUNT,), error)
            return
        if entry is None or not entry.values("pwdLockout"):
            reason = f"pwdLockout of the password policy {policy} is not shown to the reader, or not set"
            states.failed((ArtefactKind.ACCOUNT,), ReadState.DENIED, reason)
        elif entry.text("pwdLockout") != "TRUE":
            reason = f"locks have no effect: pwdLockout of the password policy {policy} is not TRUE"
            states.failed((ArtefactKind.ACCOUNT,), ReadState.UNSUPPORTED, reason)

    @property
    def attributes(self) -> tuple[tuple[ArtefactKind, str], ...]:
        """Return the attributes of an account that may be there and not shown, with the kinds they tell of."""
        return (ArtefactKind.ACCOUNT, LOCK_ATTRIBUTE), (ArtefactKind.SSH_KEY, self.ssh_key)

    def of_account(self, entry: Entry, states: ReadStates) -> None:
        """Prove that what an entry does not show is not there, rather than kept from us."""
        for kind, attribute in self.attributes:
            self.of_attribute(entry, kind, attribute, states)

    def of_attribute(
        self,
        entry: Entry,
        kind: ArtefactKind,
        attribute: str,
        states: ReadStates,
        asked: Callable[[], bool] | None = None,
    ) -> None:
        """Prove the same of one attribute; `asked` gives the answer of `LdapClient.may_see`, where there is one."""
        if kind in states.exclude or entry.values(attribute):
            return
        if not _or_noted(asked or partial(self.client.may_see, entry.dn, attribute), states):
            states.failed((kind,), ReadState.DENIED, f"{attribute} is not shown to the reader")

    def of_members(self, groups: Sequence[Entry], states: ReadStates) -> None:
        """Note groups whose members we are not shown: two classes demand some, the third is asked by `compare`."""
        for name, attribute in GROUP_CLASSES:
            entries = [entry for entry in groups if entry.has_class(name)]
            empty = [entry for entry in entries if not entry.values(attribute)]
            if name == "posixGroup":
                sample = empty[:1] if len(empty) == len(entries) else []
                asked = ((entry, partial(self.client.may_see, entry.dn, attribute)) for entry in sample)
                empty = [entry for entry, may_see in asked if not _or_noted(may_see, states)]
            if empty:
                reason = f"{attribute} of {len(empty)} group(s), such as {empty[0].dn}, is not shown to the reader"
                states.failed((ArtefactKind.GROUP_MEMBERSHIP,), ReadState.DENIED, reason)

    def samples(self, name: str, attribute: str) -> list[Entry]:
        """Return one group of a class from under each base that has any, with what it shows of its members."""
        text = f"(&{self.group_filter}(objectClass={name}))"
        found = (self.client.first(base, text, ("objectClass", attribute)) for base in self.group_bases)
        return [sample for sample in found if sample is not None]


def _or_noted(may_see: Callable[[], bool], states: ReadStates) -> bool:
    """Return the answer; where none came, that is noted of every kind and stands for no refusal."""
    try:
        return may_see()
    except ProviderError as error:
        states.error(KINDS, error)
        return True
