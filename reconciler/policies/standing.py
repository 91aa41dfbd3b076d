"""Joins settings with what knows which policies are in force, for cycles and commands."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Final

from inventory.provider import Clock
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_store import PolicyStore
from reconciler.adapters.regal import find_regal
from reconciler.core.errors import SettingsError
from reconciler.core.model import Mode
from reconciler.engines import find_opa, policy_folder
from reconciler.policies.check import Tools
from reconciler.policies.examination import Bench, examine
from reconciler.policies.in_force import Following, PoliciesInForce
from reconciler.settings import EngineSettings, Settings

FOLDER: Final = "policies"
"""Below the state folder, where accepted revisions are kept."""


def starter_policies() -> Path:
    """Return the policies that came with the program: inside the wheel, or the repository's own in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "starter" / "policies"
    return packaged if packaged.is_dir() else package.parent / "policies"


def policy_store(settings: Settings) -> PolicyStore:
    """Return the store of accepted revisions; nothing is made before one is kept."""
    return PolicyStore(settings.state_dir / FOLDER)


def find_tools(engine: EngineSettings) -> Tools:
    """Return what policies are checked with. Raises `SettingsError` without OPA: nothing else knows Rego as well."""
    opa = find_opa(engine)
    if opa is None:
        raise SettingsError(
            "`opa` was not found on PATH or in .tools/bin", advice="install OPA 1.21.3 or later: it checks and tests"
        )
    capabilities = (starter_policies() / "capabilities.json").read_text(encoding="utf-8")
    return Tools(opa=opa, regal=find_regal(), capabilities=capabilities)


def bench_of(settings: Settings) -> Bench:
    """Return what revisions are examined with."""
    return Bench(
        tools=lambda: find_tools(settings.engine),
        max_waiver_days=settings.waiver_max_days,
        deadline_seconds=settings.adoption.deadline_seconds,
    )


def policies_in_force(
    settings: Settings, mode: Mode, clock: Clock, beside: Callable[[], None] | None = None, *, keep: bool = True
) -> PoliciesInForce:
    """Return which policies decide; with `beside`, new revisions are examined beside the cycles.

    One who only looks (`keep` is False) leaves no memory of the waivers.
    """
    following = Following(
        folder=settings.policies,
        examine=partial(examine, bench_of(settings)) if settings.adoption.examine else None,
        max_waiver_days=settings.waiver_max_days,
        live=policy_folder(settings, clock, keep=keep),
        shipped=cache(lambda: shipped_digest(settings.policies)),
        may_act=mode is not Mode.OBSERVE,
    )
    return PoliciesInForce(following, policy_store(settings), clock, beside=beside)


def shipped_digest(folder: Path) -> str:
    """Return the digest of the policies that came with the program; empty where that very folder is followed.

    They were checked and tested before they were shipped. In a checkout they may be the folder itself: then whoever
    edits them would have them believed for being equal to themselves.
    """
    shipped = starter_policies()
    return "" if shipped.resolve() == folder.resolve() else load_policies(shipped).digest
