"""How well each artefact kind of a directory was read: the worst of several reads counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from inventory.errors import Denied, ObjectMissing, ProviderError
from inventory.model import AccessItem, ArtefactKind, Coverage, PrincipalRead, ReadState

KINDS = (ArtefactKind.PRINCIPAL, ArtefactKind.ACCOUNT, ArtefactKind.SSH_KEY, ArtefactKind.GROUP_MEMBERSHIP)
"""What a directory is read for, in the order of reports."""
ACCOUNT_KINDS = KINDS[:3]
"""What stands in the account entries themselves."""


@dataclass(slots=True)
class ReadStates:
    """Collects what went wrong with which kind; a kind that nobody complains of is complete."""

    exclude: tuple[ArtefactKind, ...]
    _reasons: dict[ArtefactKind, tuple[ReadState, str]] = field(default_factory=dict)

    def failed(self, kinds: Iterable[ArtefactKind], state: ReadState, reason: str) -> None:
        """Note why kinds are not complete; partial outweighs every other state, else the first note stays."""
        for kind in kinds:
            known = self._reasons.get(kind)
            if known is None or (known[0] is not ReadState.PARTIAL and state is ReadState.PARTIAL):
                self._reasons[kind] = (state, reason)

    def error(self, kinds: Iterable[ArtefactKind], error: ProviderError) -> None:
        """Note a failed read; a base that is not there counts as refused, since the server does not tell them apart."""
        refused = isinstance(error, Denied | ObjectMissing)
        self.failed(kinds, ReadState.DENIED if refused else ReadState.PARTIAL, str(error))

    def of(self, kind: ArtefactKind) -> ReadState:
        """Return how a kind was read."""
        if kind in self.exclude:
            return ReadState.EXCLUDED
        return self._reasons.get(kind, (ReadState.COMPLETE, ""))[0]

    def read(self) -> PrincipalRead:
        """Return what this means for one principal."""
        return PrincipalRead(
            live=True,
            partial=tuple(kind for kind in KINDS if self.of(kind) is ReadState.PARTIAL),
            gaps=tuple(kind for kind in KINDS if self.of(kind) not in {ReadState.PARTIAL, ReadState.COMPLETE}),
        )

    def coverage(self, principals: int, items: Sequence[AccessItem]) -> tuple[Coverage, ...]:
        """Return one entry a kind, with counts."""
        kinds = [item.kind for item in items]
        counts = {kind: kinds.count(kind) for kind in KINDS} | {ArtefactKind.PRINCIPAL: principals}
        return tuple(
            Coverage(kind=kind, state=self.of(kind), count=counts[kind], reason=self._reason(kind)) for kind in KINDS
        )

    def reasons(self) -> tuple[str, ...]:
        """Return each reason once, those of the operator's own exclusions left out."""
        return tuple(
            dict.fromkeys(self._reason(kind) for kind in KINDS if kind in self._reasons and kind not in self.exclude)
        )

    def _reason(self, kind: ArtefactKind) -> str:
        if kind in self.exclude:
            return "left out by the operator"
        return self._reasons.get(kind, (ReadState.COMPLETE, ""))[1]

    def keep(self, items: Iterable[AccessItem]) -> tuple[AccessItem, ...]:
        """Return the items of the kinds that the operator did not exclude."""
        return tuple(item for item in items if item.kind not in self.exclude)
