"""The files of a policy folder as text: what a person wrote, before anything is made of it.

Nothing is followed out of the folder and nothing is read that is no ordinary file: the folder may be a stranger's.
"""

import os
import stat
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from inventory.regular_files import read_regular
from reconciler.core.errors import PolicyError, PolicyFileError
from reconciler.core.metadata import refusal

MAX_FILE_BYTES = 1_000_000
"""Largest file that is read; a rule is a few kilobytes."""
TEST_SUFFIX = "_test.rego"
_MODULE: Final = ".rego"
_DATA: Final = f"{os.sep}data.json"

Stamps = tuple[tuple[str, int, int, int], ...]
"""Of each file its path, inode, size in bytes, and change time in nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySources:
    """The texts of a policy folder by their paths in it, sorted, and what could not be read."""

    modules: tuple[tuple[str, str], ...]
    """Rego that decides."""
    tests: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, str], ...]
    """Every `data.json`."""
    unreadable: tuple[PolicyFileError, ...] = ()

    @property
    def rego(self) -> tuple[tuple[str, str], ...]:
        """Return modules and tests together."""
        return tuple(sorted((*self.modules, *self.tests)))


def read_sources(root: Path) -> PolicySources:
    """Return the texts of a policy folder. Raises `PolicyError` when there is no such folder."""
    check_folder(root)
    unreadable: list[PolicyFileError] = []
    rego = _texts(root, module_files(root), unreadable)
    data = _texts(root, data_files(root), unreadable)
    return PolicySources(
        modules=tuple(one for one in rego if not one[0].endswith(TEST_SUFFIX)),
        tests=tuple(one for one in rego if one[0].endswith(TEST_SUFFIX)),
        data=tuple(data),
        unreadable=tuple(unreadable),
    )


def check_folder(root: Path) -> None:
    """Raise `PolicyError` when there is no folder at a path, or none that may be looked at."""
    try:
        found = stat.S_ISDIR(root.stat().st_mode)
    except OSError as error:
        reason = f" ({error.strerror})"
    else:
        reason = ""
        if found:
            return
    advice = "name the policy folder; `access-reconciler init` makes one"
    raise PolicyError(f"{root}: no such folder{reason}", advice=advice)


def module_files(root: Path) -> list[Path]:
    """Return every Rego file, tests included, sorted; raises `PolicyError` as `_below` does."""
    return sorted(Path(path) for path in _below(root) if path.endswith(_MODULE))


def data_files(root: Path) -> list[Path]:
    """Return every `data.json` below `access/`, sorted; raises `PolicyError` as `_below` does."""
    return sorted(Path(path) for path in _below(root / "access") if path.endswith(_DATA))


def policy_stamps(root: Path) -> Stamps:
    """Return what tells one version of the folder's modules and data from another; raises as reading them does.

    A file is never changed without its change time. This is asked for before acts, while access waits to be taken
    away: it walks once, and makes no more of a name than it must.
    """
    check_folder(root)
    found = []
    for path in _below(root):
        if path.endswith((_MODULE, _DATA)):
            try:
                facts = os.stat(path)  # noqa: PTH116 - a `Path` for each file costs more than the look itself
            except OSError:
                found.append((path, 0, 0, 0))
            else:
                found.append((path, facts.st_ino, facts.st_size, facts.st_ctime_ns))
    return tuple(sorted(found))


def _below(root: Path) -> Iterator[str]:
    """Yield everything below a folder, what is no file included, for it may stand where one should.

    Links to folders are followed, and a folder that is reached twice is entered once; who reads a file refuses one that
    lies elsewhere. Names that begin with two full stops are passed over, as OPA passes them over: a ConfigMap keeps its
    versions there and leads to the present one by links. Raises `PolicyError` where a folder cannot be looked into:
    rules that are merely out of sight would be rules that find nothing.
    """

    def refuse(error: OSError) -> NoReturn:
        advice = "let this account read every folder of the policies"
        raise PolicyError(f"{error.filename}: the folder cannot be read: {error.strerror}", advice=advice) from error

    entered: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        try:
            found = os.stat(folder)  # noqa: PTH116 - as in `policy_stamps`
        except OSError as error:
            refuse(error)
        if (found.st_dev, found.st_ino) in entered:
            folders.clear()
            continue
        entered.add((found.st_dev, found.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("..") and name != ".git")
        for name in (*folders, *names):
            if not name.startswith(".."):
                yield f"{folder}{os.sep}{name}"


def _texts(root: Path, files: list[Path], unreadable: list[PolicyFileError]) -> list[tuple[str, str]]:
    found = []
    for file in files:
        try:
            found.append((file.relative_to(root).as_posix(), policy_text(root, file)))
        except PolicyFileError as error:
            unreadable.append(error)
    return found


def policy_text(root: Path, file: Path) -> str:
    """Return the text of a file of the folder; raises `PolicyFileError` when it is none, or lies elsewhere."""
    name = file.relative_to(root).as_posix()
    # Not `Path.resolve`, which raises where links lead in a circle.
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
        raise refusal(name, 1, "the file is a link that leads out of the policy folder")
    try:
        found = read_regular(file, MAX_FILE_BYTES)
    except OSError as error:
        raise refusal(name, 1, f"cannot be read: {error.strerror}") from error
    if found.startswith(BOM_UTF8):
        raise refusal(name, 1, "begins with a byte order mark")
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise refusal(name, line, f"cannot be read as UTF-8 text ({type(error).__name__})") from error
