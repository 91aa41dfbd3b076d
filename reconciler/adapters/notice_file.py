"""What receivers were told, kept in a small file of the state folder. Losing it costs messages told twice, no more."""

from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from reconciler.adapters.durable_file import replace_file
from reconciler.core.notices import Memory

log = structlog.get_logger(__name__)

_MEMORY = TypeAdapter(Memory)


class JsonNoticeFile:
    """Implements `reconciler.daemon.notifying.NoticeFile`: written aside, synced and renamed, readable by its owner."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Memory:
        """Return what was kept last; an empty memory, and a line in the log, when it cannot be read."""
        try:
            return _MEMORY.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Memory()
        except (OSError, ValidationError) as error:
            log.warning("notices.forgotten", error=type(error).__name__, advice="people may be told again")
            return Memory()

    def save(self, memory: Memory) -> None:
        """Keep it durably; a disk that is full or read-only is a line in the log."""
        try:
            replace_file(self._path, _MEMORY.dump_json(memory))
        except OSError as error:
            log.warning("notices.not_kept", error=error.strerror, advice="people may be told again after a restart")
