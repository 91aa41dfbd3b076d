"""A policy folder with few of the rules of this repository, for tests that ask OPA many times."""

import shutil
from pathlib import Path

from tests.worlds import POLICIES

KEPT = ("break_glass_used", "leaver", "orphan")
"""Together they use all that the shared builders of the policy tests offer, so that coverage stays full."""


def small_policies(folder: Path) -> Path:
    """Copy the policies into a folder, with these rules alone, and return where they lie."""
    policies = Path(shutil.copytree(POLICIES, folder / "policies"))
    for rule in (policies / "access" / "rules").iterdir():
        if rule.name not in KEPT:
            shutil.rmtree(rule)
    return policies
