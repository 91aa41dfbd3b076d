"""The page for auditors: its commands, run as they stand there, lead from a state folder to a verified pack."""

import shutil
from pathlib import Path

from reconciler.core.model import Mode
from tests.fakes.house import House
from tests.pages import blocks, follow


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
    assert len(blocks("docs/auditors.md")) == 5
    done = follow("docs/auditors.md", tmp_path, "openssl")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "2 attestations, verified" in done.stdout
    assert "opened by:" in done.stdout
    assert done.stdout.rstrip().endswith("Verified OK")
