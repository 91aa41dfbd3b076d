"""A policy folder as it lies there, or as git had it at a revision."""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from reconciler.core.errors import PolicyError

_LONGEST_SECONDS: Final = 60
_MOST_BYTES: Final = 200_000_000
"""Largest folder that is taken out of git; the policies are a quarter of a megabyte."""


@contextmanager
def policy_folder(name: str, folder: Path) -> Iterator[Path]:
    """Give the folder that is named, or `folder` as it was at the git revision that is named, until the end.

    Raises `PolicyError` where there is neither.
    """
    if Path(name).is_dir():
        yield Path(name)
        return
    with git_folder(name, folder) as (place, _):
        yield place


@contextmanager
def git_folder(revision: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder as it was at a git revision, until the end, and the commit; raises `PolicyError`."""
    with tempfile.TemporaryDirectory(prefix="access-reconciler-revision-") as place:
        archive, commit = _archive(revision, folder)
        _extract(archive, Path(place))
        yield Path(place), commit


def uncommitted(folder: Path) -> bool:
    """Say whether a folder lies in a git repository and holds what no commit does."""
    git = shutil.which("git")
    if git is None:
        return False
    base = [git, "-C", str(folder), "-c", "core.fsmonitor=false", "--no-optional-locks"]
    try:
        return bool(_run([*base, "status", "--porcelain", "--untracked-files=all", "--", "."], str(folder), ""))
    except PolicyError:
        return False  # it lies in no repository


def _archive(revision: str, folder: Path) -> tuple[bytes, str]:
    git = shutil.which("git")
    advice = (
        "name a folder, or a revision of the repository that the policy folder lies in; `--folder` says where that is"
    )
    if git is None:
        raise PolicyError(f"{revision}: is no folder, and git is not installed", advice=advice)
    root = folder.resolve()
    base = [git, "-C", str(root if root.is_dir() else root.parent), "-c", "core.fsmonitor=false"]
    top = Path(_run([*base, "rev-parse", "--show-toplevel"], revision, advice).decode().strip())
    commit = _run([*base, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"], revision, advice)
    inside = root.relative_to(top.resolve()).as_posix()
    tree = commit.decode().strip() + ("" if inside == "." else f":{inside}")
    archive = _run([git, "-C", str(top), "archive", "--format=zip", tree], f"{revision}:{inside}", advice)
    return archive, commit.decode().strip()


def _run(command: list[str], what: str, advice: str) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - the path of git; a revision cannot be taken for an option
            command, capture_output=True, timeout=_LONGEST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PolicyError(f"{what}: git did not answer ({type(error).__name__})", advice=advice) from error
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise PolicyError(f"{what}: is no folder, and git does not know it: {reason}", advice=advice)
    return done.stdout


def _extract(archive: bytes, place: Path) -> None:
    with ZipFile(io.BytesIO(archive)) as found:
        if sum(one.file_size for one in found.infolist()) > _MOST_BYTES:
            raise PolicyError(f"the folder is larger than {_MOST_BYTES} bytes there", advice="name the policy folder")
        found.extractall(place)  # never leaves the place, and makes no links
