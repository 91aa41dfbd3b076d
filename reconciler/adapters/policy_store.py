"""The policy revisions that were accepted, kept in the state folder, and which of them is in force.

A revision that decided once can decide again, whatever becomes of the folder it came from. Each is a folder of its own
under its digest; one small file says which is in force, and is replaced whole.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from inventory.regular_files import read_regular
from reconciler.adapters.durable_file import make_folder, remove_file, replace_file
from reconciler.adapters.policy_sources import data_files, module_files, policy_text
from reconciler.adapters.waiver_files import waiver_files
from reconciler.core.canonical import digest_of
from reconciler.core.errors import PolicyError

MOST_FILES: Final = 5_000
MOST_BYTES: Final = 50_000_000
"""Largest policy tree that is kept; the library has about 40 files of a quarter of a megabyte together."""
MOST_KEPT: Final = 20
"""So many revisions are kept for going back; the one in force always."""
MOST_ATTEMPTS: Final = 50
"""So many adoptions, refused ones too, are remembered."""
_STANDING: Final = "standing.json"
_MOST_STANDING_BYTES: Final = 4 * 1024 * 1024
_ADVICE: Final = "adopt a revision again with `access-reconciler policies adopt`; see docs/operations.md"

Files = tuple[tuple[str, str], ...]
"""Texts by their paths in the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A revision in force, and where it came from."""

    digest: str
    source: str
    """As the operator named it: the policy folder, a git revision, a bundle."""
    at: str
    git_commit: str = ""
    key_id: str = ""
    diff_digest: str = ""
    """Of the difference by which it was adopted; empty when it has to observe first."""
    pinned: bool = False
    """Whether it stays whatever the policy folder says, until another one is adopted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One adoption that was tried: by whom, of what, and what came of it."""

    at: str
    source: str
    digest: str
    accepted: bool
    by: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is in force, and what was refused."""

    in_force: Adopted | None = None
    before: str = ""
    """Digest of the revision that was in force before."""
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By tree digest, why: a test or waiver that is mended makes another tree of the same policies."""
    attempts: tuple[Attempt, ...] = ()
    """Newest last."""


_FORM: Final = TypeAdapter(Standing)


def tree_files(root: Path) -> Files:
    """Return the texts of a policy folder that are kept: modules, tests, thresholds and waivers.

    Raises `PolicyFileError` for one that is no ordinary text of the folder, `PolicyError` when there are too many.
    """
    files = [*module_files(root), *data_files(root), *waiver_files(root)]
    if len(files) > MOST_FILES:
        raise PolicyError(f"{root}: holds {len(files)} files, more than {MOST_FILES}", advice="name the policy folder")
    found, size = [], 0
    for file in files:
        text = policy_text(root, file)
        size += len(text)
        if size > MOST_BYTES:
            raise PolicyError(f"{root}: is larger than {MOST_BYTES} bytes", advice="name the policy folder")
        found.append((file.relative_to(root).as_posix(), text))
    return tuple(sorted(found))


def tree_digest(files: Files) -> str:
    """Return the digest of everything that is kept of a tree, tests and waivers too."""
    return digest_of([list(one) for one in files])


class PolicyStore:
    """The kept revisions below one folder. Safe for many processes: what changes is changed under a lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: tuple[tuple[int, int, int] | None, Standing] | None = None

    @property
    def standing_file(self) -> Path:
        """Return the file that says what is in force; it is replaced whenever that changes."""
        return self._root / _STANDING

    def folder(self, digest: str) -> Path:
        """Return where a revision is kept, or would be."""
        return self._root / digest.removeprefix("sha256:")

    def holds(self, digest: str) -> bool:
        """Say whether a revision is kept, which means that it was accepted."""
        return self.folder(digest).is_dir()

    def standing(self) -> Standing:
        """Return what is in force; read again only when the file is another one. Raises `PolicyError`."""
        stamp = self._stamp()
        if self._known is None or self._known[0] != stamp:
            self._known = stamp, Standing() if stamp is None else self._read()
        return self._known[1]

    def change(self, change: Callable[[Standing], Standing]) -> Standing:
        """Change what is in force or refused, durably and under a lock, and return it."""
        make_folder(self._root)
        with FileLock(self._root / ".lock"):
            before = Standing() if self._stamp() is None else self._read()
            after = change(before)
            if after != before:
                replace_file(self.standing_file, (json.dumps(asdict(after), indent=1) + "\n").encode())
                self._prune(after)
        return after

    @contextmanager
    def staged(self, files: Files) -> Iterator[Path]:
        """Lay a tree out beside the kept ones, so that what is looked at is what is kept; removed at the end."""
        make_folder(self._root)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".unfinished-") as place:
            for name, text in files:
                _write(Path(place), name, text)
            yield Path(place)

    def keep(self, digest: str, files: Files) -> Path:
        """Keep a revision durably under its digest; one that is kept already stays, with these waivers."""
        make_folder(self._root)
        with FileLock(self._root / ".lock"):
            folder = self.folder(digest)
            if not folder.is_dir():
                place = Path(tempfile.mkdtemp(dir=self._root, prefix=".unfinished-"))
                for name, text in files:
                    _write(place, name, text)
                place.rename(folder)
        self.keep_waivers(digest, files)
        return self.folder(digest)

    def keep_waivers(self, digest: str, files: Files) -> None:
        """Let the kept revision have these waivers: the new ones first, so that nobody is without one meanwhile."""
        folder = self.folder(digest)
        wanted = {name: text for name, text in files if name.startswith("waivers/")}
        for name, text in wanted.items():
            _write(folder, name, text)
        for file in waiver_files(folder):
            if file.relative_to(folder).as_posix() not in wanted:
                remove_file(file)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.standing_file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_ctime_ns

    def _read(self) -> Standing:
        try:
            return _FORM.validate_json(read_regular(self.standing_file, _MOST_STANDING_BYTES))
        except OSError as error:
            raise PolicyError(f"{self.standing_file}: cannot be read: {error.strerror}", advice=_ADVICE) from error
        except ValidationError as error:
            raise PolicyError(f"{self.standing_file}: is damaged", advice=_ADVICE) from error

    def _prune(self, standing: Standing) -> None:
        """Remove the oldest revisions beyond what is kept; never those that were in force last."""
        held = {self.folder(one.digest).name for one in (standing.in_force,) if one} | {
            self.folder(standing.before).name
        }
        kept = [one for one in self._root.iterdir() if one.is_dir() and not one.name.startswith(".")]
        others = sorted((one for one in kept if one.name not in held), key=lambda one: one.stat().st_mtime_ns)
        for folder in others[: max(len(kept) - MOST_KEPT, 0)]:
            shutil.rmtree(folder)


def _write(root: Path, name: str, text: str) -> None:
    file = root / name
    make_folder(file.parent)
    content = text.encode()
    if not file.is_file() or file.read_bytes() != content:
        replace_file(file, content)


def in_force(standing: Standing, adopted: Adopted, attempt: Attempt) -> Standing:
    """Return the standing once a revision was adopted."""
    before = standing.in_force
    changed = before is not None and before.digest != adopted.digest
    return replace(
        standing,
        in_force=adopted,
        before=before.digest if before is not None and changed else standing.before,
        attempts=(*standing.attempts, attempt)[-MOST_ATTEMPTS:],
    )


def earlier(standing: Standing) -> tuple[str, ...]:
    """Return the digests of what is and was in force, the latest first."""
    now = (standing.in_force.digest,) if standing.in_force else ()
    accepted = (one.digest for one in reversed(standing.attempts) if one.accepted)
    known = dict.fromkeys((*now, *accepted, standing.before))
    return tuple(digest for digest in known if digest)


def refused(standing: Standing, tree: str, attempt: Attempt) -> Standing:
    """Return the standing once a tree was refused: what is in force stays."""
    latest = [*standing.refused.items(), (tree, attempt.reasons)][-MOST_ATTEMPTS:]
    return replace(standing, refused=dict(latest), attempts=(*standing.attempts, attempt)[-MOST_ATTEMPTS:])


def shortened(reasons: Sequence[str], most: int = 20) -> tuple[str, ...]:
    """Return the first reasons, and how many there are beyond."""
    rest = len(reasons) - most
    return (*reasons[:most], *([f"and {rest} more"] if rest > 0 else []))
