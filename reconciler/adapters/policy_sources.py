"""The files of a policy folder as text: what a person wrote, before anything is made of it.

Nothing is followed out of the folder and nothing is read that is no ordinary file: the folder may be a stranger's.
"""

from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path

from inventory.regular_files import read_regular
from reconciler.core.errors import PolicyError, PolicyFileError
from reconciler.core.metadata import refusal

MAX_FILE_BYTES = 1_000_000
"""Largest file that is read; a rule is a few kilobytes."""
TEST_SUFFIX = "_test.rego"


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
    if not root.is_dir():
        raise PolicyError(
            f"{root}: no such folder", advice="name the policy folder; `access-reconciler init` makes one"
        )
    unreadable: list[PolicyFileError] = []
    rego = _texts(root, module_files(root), unreadable)
    data = _texts(root, data_files(root), unreadable)
    return PolicySources(
        modules=tuple(one for one in rego if not one[0].endswith(TEST_SUFFIX)),
        tests=tuple(one for one in rego if one[0].endswith(TEST_SUFFIX)),
        data=tuple(data),
        unreadable=tuple(unreadable),
    )


def module_files(root: Path) -> list[Path]:
    """Return every Rego file, tests included, sorted."""
    return sorted(root.rglob("*.rego"))


def data_files(root: Path) -> list[Path]:
    """Return every `data.json` below `access/`, sorted.

    As a pattern, for a plain name would pass over a link that leads nowhere, and with it what the link stood for.
    """
    return sorted((root / "access").rglob("data.jso[n]"))


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
    if not file.resolve().is_relative_to(root.resolve()):
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
