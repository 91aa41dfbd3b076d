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


@contextmanager
def policy_folder(name: str, folder: Path) -> Iterator[Path]:
    """Give the folder that is named, or `folder` as it was at the git revision that is named, until the end.

    Raises `PolicyError` where there is neither.
    """
    if Path(name).is_dir():
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="access-reconciler-revision-") as place:
        _extract(_archive(name, folder), Path(place))
        yield Path(place)


def _archive(revision: str, folder: Path) -> bytes:
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
    return _run([git, "-C", str(top), "archive", "--format=zip", tree], f"{revision}:{inside}", advice)


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
        found.extractall(place)  # never leaves the place, and makes no links
