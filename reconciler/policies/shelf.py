"""The recorded snapshots of this installation: one now and then, so that policies can be tried on days that were.

They lie in `snapshots` of the state folder, readable by its owner alone: each holds the roster and every account of its
instant, as the journal and the evidence beside them do. The oldest go when there are too many.
"""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from reconciler.adapters.durable_file import create_file, make_folder, remove_files
from reconciler.core.errors import PolicyError
from reconciler.policies.recording import Recording, to_bytes
from reconciler.snapshot_settings import SnapshotSettings

FOLDER: Final = "snapshots"
"""Name of the folder within the state folder."""
SUFFIX: Final = ".json.gz"
_STEM: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"\d{8}T\d{6}Z\.json\.gz")
_LEVEL: Final = 1
"""Compression of gzip: a fifteenth of the size at a fraction of what making the JSON costs."""
_BYTES_IN_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where recorded snapshots stand."""

    folder: Path
    settings: SnapshotSettings

    def due(self, now: datetime) -> bool:
        """Say whether a snapshot of now is to be recorded.

        One that is dated later than now is of a clock that was ahead: it holds nothing up.
        """
        if self.settings.keep == 0:
            return False
        earlier = [taken for taken in map(taken_at, self.recorded()) if taken <= now]
        return not earlier or now - max(earlier) >= timedelta(hours=self.settings.every_hours)

    def put(self, recording: Recording) -> Path | None:
        """Record a snapshot durably and let the oldest go; None when one of the same second is there.

        Raises OSError when it cannot be written; what is there stays as it is.
        """
        make_folder(self.folder)
        path = self.folder / f"{recording.now.astimezone(UTC).strftime(_STEM)}{SUFFIX}"
        if path.exists():
            return None
        create_file(path, gzip.compress(to_bytes(recording), _LEVEL, mtime=0))
        remove_files(self._too_many())
        return path

    def recorded(self) -> tuple[Path, ...]:
        """Return the recorded snapshots, newest first. Raises OSError when the folder cannot be read."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True))

    def newest(self, count: int) -> tuple[Path, ...]:
        """Return up to so many of the newest, oldest first. Raises `PolicyError` when there is none at all."""
        found = self.recorded()
        if not found:
            raise PolicyError(
                f"no snapshot is recorded in {self.folder}",
                advice="the daemon records one a day (`snapshots.keep`); or give --snapshot FILE of `inventory export`",
            )
        return tuple(reversed(found[:count]))

    def _too_many(self) -> Iterator[Path]:
        room = self.settings.max_megabytes * _BYTES_IN_MEGABYTE
        for number, path in enumerate(self.recorded()):
            room -= path.stat().st_size
            if number > 0 and (number >= self.settings.keep or room < 0):
                yield path


def taken_at(path: Path) -> datetime:
    """Return the instant of a recorded snapshot by its name. Raises ValueError when that is no such name."""
    return datetime.strptime(path.name.removesuffix(SUFFIX), _STEM).replace(tzinfo=UTC)
