"""The page for auditors: its commands, run as they stand there, lead from a state folder to a verified pack."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from reconciler.core.model import Mode
from tests.architecture import tree
from tests.fakes.house import House
from tests.peers import require


def test_the_page_leads_to_a_verified_pack(tmp_path: Path) -> None:
    """Every `sh` block of docs/auditors.md runs in its order, in a folder with a configuration, a key and a head."""
    house = House(tmp_path / "state")
    house.observe_first()
    house.run(mode=Mode.ENFORCE)
    (tmp_path / "access-reconciler.yaml").write_text("roster:\n  path: roster.csv\n")
    shutil.copyfile(tmp_path / "state" / "keys" / "attestation.pub", tmp_path / "signer.pub")
    head = house.attester.store.head()
    assert head is not None
    (tmp_path / "head.txt").write_text(f"{head.sequence}:{head.digest}\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    ours = programs / "access-reconciler"
    ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    ours.chmod(0o755)
    (programs / "python3").symlink_to(sys.executable)
    blocks = re.findall(r"```sh\n(.*?)```", tree.text("docs/auditors.md"), re.DOTALL)
    assert len(blocks) == 5
    path = [str(programs), str(Path(require("openssl")).parent), "/usr/bin", "/bin"]
    done = subprocess.run(
        [require("bash"), "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={"PATH": os.pathsep.join(path), "PYTHONPATH": str(tree.ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "2 attestations, verified" in done.stdout
    assert "opened by:" in done.stdout
    assert done.stdout.rstrip().endswith("Verified OK")
