"""The demo itself: three cycles over the sample company, and what came of them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconciler.core.canonical import Json
from reconciler.core.errors import SettingsError
from reconciler.demo.company import COLUMNS, LEAVERS, LONG_GONE, ORDINARY, STAYERS, Person
from reconciler.demo.signing import Signing
from reconciler.demo.stage import Stage, close_stage, dump_all, open_stage

MARKER = ".access-reconciler-demo"
CONFIGURATION = "access-reconciler.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A sample company that is ready to run."""

    directory: Path
    configuration: Path
    stage: Stage
    engine: str


def prepare(
    directory: Path, policies: Path, engine: str, say: Callable[[str], None], signing: Signing = Signing.KEY
) -> Prepared:
    """Set the company up in a folder: servers, roster, policies and configuration. What an earlier demo left goes."""
    clear(directory)
    stage = open_stage(directory, say, signing)
    for name, reason in stage.left_out.items():
        say(f"{name} is left out: {reason}")
    if engine == "embedded":
        say("the policy engine is the in-process one (regorus): OPA was not found")
    shutil.copytree(policies, directory / "policies")
    configuration = directory / CONFIGURATION
    configuration.write_text(_configuration(stage, engine), encoding="utf-8")
    return Prepared(directory=directory, configuration=configuration, stage=stage, engine=engine)


def clear(directory: Path) -> None:
    """End an earlier demo in this folder and empty it; a folder that is not a demo's is left alone."""
    directory.mkdir(parents=True, exist_ok=True)
    marker = directory / MARKER
    if any(directory.iterdir()) and not marker.exists():
        raise SettingsError(f"{directory} is not empty and not a demo's folder", advice="choose another --dir")
    close_stage(directory)
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    marker.write_text("This folder belongs to `access-reconciler demo`, which empties it at every start.\n")


def _configuration(stage: Stage, engine: str) -> str:
    document: dict[str, Any] = {
        "state_dir": "state",
        "policies": "policies",
        "roster": {"path": "roster.csv", "columns": COLUMNS, "default_timezone": "Europe/Berlin"},
        "engine": {"kind": "embedded", "allow_enforce": True} if engine == "embedded" else {"kind": "managed"},
        "providers": stage.providers,
        "protected": {"principals": [{"provider": "corp-aws", "principal": "emergency-admin"}]},
        "verification": {"window_seconds": 20},
    }
    if stage.signing:
        document["signing"] = stage.signing
    head = "# The sample company's configuration, written by `access-reconciler demo`.\n"
    return head + yaml.safe_dump(document, sort_keys=False)


def untouched(stage: Stage) -> dict[str, Json]:
    """Ask the servers directly and compare with what they held before: who was changed, and who was not."""
    after = dump_all(stage.addresses)
    changed = sorted(name for name in {*stage.before, *after} if stage.before.get(name) != after.get(name))
    wrong = [name for name in changed if not any(_names(name, person) for person in LEAVERS)]
    return {"principals": len(after), "changed": list(changed), "unexpected": list(wrong)}


def _names(entry: str, person: Person) -> bool:
    _, _, name = entry.partition("/")
    login = name.split(",")[0].removeprefix("uid=")
    return login in (person.username, person.email, f"a-{LONG_GONE.username}")


def people() -> str:
    """Return who is who in the sample company, for the reader of the demo."""
    told = [f"  {person.worker_id}  {person.name}: {person.story}" for person in (*LEAVERS, *STAYERS)]
    return "\n".join([*told, f"  and {len(ORDINARY)} colleagues without a story"])
