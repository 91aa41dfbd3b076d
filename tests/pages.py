"""Pages whose commands are run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.architecture import tree
from tests.peers import require


def blocks(page: str) -> list[str]:
    """Return the `sh` blocks of a page, in their order."""
    return re.findall(r"```sh\n(.*?)```", tree.text(page), re.DOTALL)


def follow(page: str, folder: Path, *programs: str) -> subprocess.CompletedProcess[str]:
    """Run the `sh` blocks of a page as one script in a folder, with our command, Python and these programs on PATH."""
    place = folder / "bin"
    place.mkdir()
    ours = place / "access-reconciler"
    ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    ours.chmod(0o755)
    (place / "python3").symlink_to(sys.executable)
    path = [str(place), *(str(Path(require(one)).parent) for one in programs), "/usr/bin", "/bin"]
    return subprocess.run(
        [require("bash"), "-euo", "pipefail", "-c", "\n".join(blocks(page))],
        cwd=folder,
        env={"PATH": os.pathsep.join(path), "PYTHONPATH": str(tree.ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
