"""What new revisions of the policies changed, kept in the state folder as their first cycles saw it.

One file for each revision, readable by its owner alone: it names workers, principals and access items.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from inventory.regular_files import read_regular
from reconciler.adapters.durable_file import make_folder, remove_files, replace_file
from reconciler.core.errors import PolicyError
from reconciler.core.model import CycleId
from reconciler.core.record import ChangeState, PolicyChange

MOST_KEPT: Final = 20
"""So many of the newest are kept, as many as there are revisions to go back to."""
_MOST_BYTES: Final = 16 * 1024 * 1024
_SUFFIX: Final = ".json"
_WAITS: Final = ".waits"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A change as it is written."""

    state: ChangeState
    before: str
    after: str
    cycle_id: str
    at: datetime
    reason: str
    difference: dict[str, JsonValue] | None
    lines_left_out: int
    planned_left_out: int


_FORM: Final = TypeAdapter(_File)


class PolicyChanges:
    """The kept changes below one folder; nothing is made before one is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, change: PolicyChange) -> None:
        """Keep a change durably in the place of an earlier one of its revision. Raises OSError."""
        make_folder(self._root)
        path, waits = self._path(change.after, _SUFFIX), self._path(change.after, _WAITS)
        replace_file(path, _FORM.dump_json(_FORM.validate_python(asdict(change))))
        if change.state is ChangeState.POSTPONED:
            replace_file(waits, b"")
        else:
            remove_files((waits,))
        newest = sorted(self._root.glob(f"*{_SUFFIX}"), key=lambda one: one.stat().st_mtime_ns, reverse=True)
        remove_files(old for one in newest[MOST_KEPT:] for old in (one, one.with_suffix(_WAITS)))

    def waits(self, digest: str) -> bool:
        """Say whether the comparison of a revision was put off. Cheap, for every cycle asks."""
        return self._path(digest, _WAITS).exists()

    def of(self, digest: str) -> PolicyChange | None:
        """Return what a revision changed; None where nothing was compared. Raises `PolicyError`."""
        path = self._path(digest, _SUFFIX)
        try:
            file = _FORM.validate_json(read_regular(path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PolicyError(f"{path}: cannot be read: {error.strerror}", advice="check its owner and mode") from error
        except ValidationError:
            # Without the cause: it quotes the file.
            raise PolicyError(f"{path}: is damaged", advice="remove it: it only shows, and decides nothing") from None
        return PolicyChange(
            state=file.state,
            before=file.before,
            after=file.after,
            cycle_id=CycleId(file.cycle_id),
            at=file.at,
            reason=file.reason,
            difference=file.difference,
            lines_left_out=file.lines_left_out,
            planned_left_out=file.planned_left_out,
        )

    def _path(self, digest: str, suffix: str) -> Path:
        return self._root / f"{digest.removeprefix('sha256:')}{suffix}"
