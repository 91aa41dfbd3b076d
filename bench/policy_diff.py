"""What comparing two revisions of the policies costs, beside one evaluation of the same access items.

    .venv/bin/python -m bench.policy_diff --items 100000

A company is made up: people with an account, a key, a group and a password each, every fiftieth of whom has left, and
keys that were last used up to 99 days ago; with `--all-keys` the changed threshold touches every single one. Both
sides start in the same run, each with a fresh OPA and neither looks for garbage: one evaluation by the repository's
policies, and `policies diff` from the recorded file to the comment, against policies in which a threshold differs.
Several rounds, the medians count. Fails when the comparison takes more than twice the time of the evaluation.
"""

import argparse
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from inventory.model import ArtefactKind
from reconciler.adapters.opa import ManagedOpa
from reconciler.adapters.policy_files import load_policies
from reconciler.cli.exits import DEFAULT_CONFIG
from reconciler.cli.garbage import no_collections
from reconciler.cli.policies_diff import differ
from reconciler.engines import find_opa
from reconciler.evaluation import evaluate
from reconciler.policies.deciding import world_of
from reconciler.policies.difference_text import markdown
from reconciler.policies.recording import Recording, read_recording
from reconciler.policies.shelf import Shelf
from reconciler.settings import EngineSettings
from reconciler.snapshot_settings import SnapshotSettings
from tests.builders import NOW, credential, grant, principal
from tests.recordings import recording
from tests.worlds import correlation, leaver, roster, worker, world

ROOT = Path(__file__).resolve().parent.parent
MOST = 2.0
"""Evaluations that a comparison may take."""
ITEMS_EACH = 4


def company(items: int, *, all_keys: bool) -> Recording:
    """Return a recording of so many access items."""
    names = [f"p{number:06d}" for number in range(items // ITEMS_EACH)]
    workers = [leaver(f"E{name}") if number % 50 == 0 else worker(f"E{name}") for number, name in enumerate(names)]
    held = [
        one
        for number, name in enumerate(names)
        for one in (
            credential(name, ArtefactKind.ACCOUNT),
            replace(credential(name), last_used_at=NOW - timedelta(days=70 if all_keys else number % 100)),
            grant(name, "developers", holders=50),
            credential(name, ArtefactKind.PASSWORD),
        )
    ]
    made = world(
        tuple(map(principal, names)),
        tuple(held),
        tuple(correlation(name, f"E{name}") for name in names),
        roster(*workers),
    )
    return replace(recording(), snapshot=made.snapshot, roster=made.roster, correlations=made.correlations, waivers=())


def changed(folder: Path) -> Path:
    """Return a copy of the policies in which credentials are stale earlier."""
    shutil.copytree(ROOT / "policies", folder)
    data = folder / "access/config/data.json"
    document = json.loads(data.read_text())
    document["stale_credential"]["max_idle_days"] = 30
    data.write_text(json.dumps(document))
    return folder


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def asked() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--all-keys", action="store_true", help="Every key's decision changes.")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Measure both sides and print them."""
    given = asked()
    with tempfile.TemporaryDirectory(prefix="bench-diff-") as name:
        folder = Path(name)
        path = Shelf(folder, SnapshotSettings()).put(company(given.items, all_keys=given.all_keys))
        head, opa = changed(folder / "changed"), find_opa(EngineSettings())
        if path is None or opa is None:
            raise SystemExit("nothing can be measured: OPA is missing, or the disk takes no file")
        recorded, policies = read_recording(path), load_policies(ROOT / "policies")
        print(f"{given.items} access items, recording {path.stat().st_size / 1e6:.1f} MB")

        def one_evaluation() -> None:
            with (
                no_collections(),
                tempfile.TemporaryDirectory() as state,
                closing(ManagedOpa(opa, directory=Path(state))) as engine,
            ):
                evaluate(engine, world_of(recorded, policies, ()))

        def comparison() -> None:
            text = markdown(differ(str(ROOT / "policies"), str(head), path, ROOT / "policies", DEFAULT_CONFIG))
            if "### Newly found" not in text:
                raise SystemExit("the changed threshold changed nothing: this measures something else")

        rounds = [(timed(one_evaluation), timed(comparison)) for _ in range(given.rounds)]
    once, twice = (statistics.median(side) for side in zip(*rounds, strict=True))
    print(f"one evaluation  {once:7.2f} s")
    print(f"policies diff   {twice:7.2f} s")
    ratios = [after / before for before, after in rounds]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"ratio           {twice / once:7.2f}    by round: {', '.join(f'{one:.2f}' for one in ratios)}")
    print(f"peak            {peak:7.0f} MiB of this process")
    if twice / once > MOST:
        raise SystemExit(f"the comparison takes more than {MOST} evaluations")


if __name__ == "__main__":
    main()
