"""A policy folder as it lies there, or as git had it at a revision."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.core.errors import PolicyError

_LONGEST_SECONDS: Final = 60
_MOST_BYTES: Final = 200_000_000
"""Largest folder that is taken out of git; the policies are a quarter of a megabyte."""
_ADVICE: Final = (
    "name a folder, or a revision of the repository that the policy folder lies in; `--folder` says where that is"
)
_ENTRY: Final = re.compile(rb"\d+ blob (?P<id>[0-9a-f]+) +(?P<size>\d+)\t(?P<path>.+)", re.DOTALL)
"""A file in the answer of `git ls-tree -l` (git-scm.com, git-ls-tree: Output format)."""
_OTHER_REPOSITORY: Final = b"160000 commit "
"""What a submodule begins with there: an empty folder."""
_FETCH: Final = "fetch the whole repository; `git fsck` names what is missing"


@contextmanager
def policy_folder(name: str, folder: Path) -> Iterator[Path]:
    """Give the folder that is named, or `folder` as it was at the git revision that is named, until the end.

    Raises `PolicyError` where there is neither.
    """
    if not name:
        raise PolicyError("a revision without a name was asked for", advice=_ADVICE)
    if Path(name).is_dir():
        yield Path(name)
        return
    with git_folder(name, folder) as (place, _):
        yield place


@contextmanager
def git_folder(revision: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder as it was at a git revision, until the end, and the commit; raises `PolicyError`.

    Every file, byte for byte as it was committed. `git archive` leaves out and rewrites files as `.gitattributes` says:
    a rule could be taken out of what is adopted, which a pull request on a checkout would not show.
    """
    with tempfile.TemporaryDirectory(prefix="access-reconciler-revision-") as place:
        git, commit, inside = _located(revision, folder)
        _write(Path(place), git, f"{commit}:{inside}", f"{revision}:{inside or '.'}")
        yield Path(place), commit


def uncommitted(folder: Path) -> bool:
    """Say whether a folder lies in a git repository and holds what no commit does."""
    git = shutil.which("git")
    if git is None:
        return False
    base = [git, "-C", str(folder), "-c", "core.fsmonitor=false", "--no-optional-locks"]
    try:
        return bool(_run([*base, "status", "--porcelain", "--untracked-files=all", "--", "."], str(folder)))
    except PolicyError:
        return False  # it lies in no repository


def _located(revision: str, folder: Path) -> tuple[list[str], str, str]:
    """Return how to call git there, the commit that is meant, and where in its tree the folder lies."""
    git = shutil.which("git")
    if git is None:
        raise PolicyError(f"{revision}: is no folder, and git is not installed", advice=_ADVICE)
    root = folder.resolve()
    base = [git, "-c", "core.fsmonitor=false", "-C", str(root if root.is_dir() else root.parent)]
    top = Path(_run([*base, "rev-parse", "--show-toplevel"], revision).decode().strip())
    commit = _run([*base, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"], revision)
    inside = root.relative_to(top.resolve()).as_posix()
    return [*base[:-1], str(top)], commit.decode().strip(), "" if inside == "." else inside


def _write(place: Path, git: list[str], tree: str, what: str) -> None:
    """Write every file of a tree; a link becomes a file that says where it leads."""
    listed = _run([*git, "ls-tree", "-r", "-z", "-l", "--full-tree", tree], what).split(b"\0")
    told = [one for one in listed if one and not one.startswith(_OTHER_REPOSITORY)]
    files = [found for found in map(_ENTRY.fullmatch, told) if found]
    if len(files) < len(told):
        raise PolicyError(f"{what}: not all of it is in this repository", advice=_FETCH)
    if sum(int(one["size"]) for one in files) > _MOST_BYTES:
        raise PolicyError(f"{what}: is larger than {_MOST_BYTES} bytes", advice="name the policy folder")
    contents = _run([*git, "cat-file", "--batch"], what, b"".join(one["id"] + b"\n" for one in files))
    start = 0
    for one in files:
        begin = contents.index(b"\n", start) + 1
        end = begin + int(one["size"])
        if contents[start:begin] != b"%s blob %s\n" % (one["id"], one["size"]):
            raise PolicyError(f"{what}: not all of it is in this repository", advice=_FETCH)
        file = place / one["path"].decode(errors="surrogateescape")
        if not file.resolve().is_relative_to(place.resolve()):
            raise PolicyError(f"{what}: names a file that lies outside of it", advice="look at who made that commit")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[begin:end])
        start = end + 1


def _run(command: list[str], what: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - the path of git; a revision cannot be taken for an option
            command, input=given, capture_output=True, timeout=_LONGEST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PolicyError(f"{what}: git did not answer ({type(error).__name__})", advice=_ADVICE) from error
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise PolicyError(f"{what}: is no folder, and git does not know it: {reason}", advice=_ADVICE)
    return done.stdout
