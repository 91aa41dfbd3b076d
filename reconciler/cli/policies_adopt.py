"""`access-reconciler policies adopt`, `bundle` and `revisions`: which policies decide, and how others come to."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.os_account import acting_account
from reconciler.adapters.policy_bundle import Key, signing_key, verification_key, write_bundle
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_store import Attempt, tree_files
from reconciler.cli.display import print_line, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_check import REFUSED
from reconciler.cli.policies_diff import differ
from reconciler.cli.policies_place import find_tools, policy_place
from reconciler.core.canonical import Json, plain
from reconciler.core.errors import SettingsError
from reconciler.policies.adoption import (
    AdoptionRefused,
    Office,
    Source,
    from_bundle,
    from_folder,
    from_git,
)
from reconciler.policies.adoption import (
    adopt as put_in_force,
)
from reconciler.policies.difference_document import difference_digest
from reconciler.policies.examination import examine
from reconciler.policies.standing import bench_of, policy_store
from reconciler.policies.standing import find_tools as tools_of
from reconciler.settings import Settings, load_settings

BUNDLE_SUFFIX: Final = ".tar.gz"

KeyOption = Annotated[
    Path | None, typer.Option("--verification-key", help="Public key (PEM) of a bundle, instead of the setting's.")
]
KeyIdOption = Annotated[
    str, typer.Option("--key-id", help="Id that the signature names; the fingerprint of the key if empty.")
]
DiffDigestOption = Annotated[
    str, typer.Option("--diff-digest", help="Digest that `policies diff` printed: the change that was looked at.")
]
SnapshotOption = Annotated[
    Path | None, typer.Option("--snapshot", help="Recorded snapshot that the difference was made on.")
]


def adopt(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, REPO@REVISION, or a signed bundle.")],
    config: ConfigOption = DEFAULT_CONFIG,
    public_key: KeyOption = None,
    diff_digest: DiffDigestOption = "",
    snapshot: SnapshotOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a revision of the policies in force: a folder, a git revision or a signed bundle, checked and tested first.

    It stays until another one is adopted; adopting the policy folder of the configuration follows that folder again.
    Its first cycle observes, unless it is adopted with the digest of what `policies diff` showed on a snapshot. Works
    beside the running daemon, whose next cycle decides by it. An older revision is adopted in the same way.

    Exit codes: 0 in force; 2 refused, and the last good one stays; 1 it could not be told.

    Example: access-reconciler policies adopt /srv/policies@v1.4
    """
    settings = load_settings(config)
    if bool(diff_digest) != (snapshot is not None):
        raise SettingsError(
            "--diff-digest and --snapshot go together", advice="name the snapshot that the difference was made on"
        )
    office = Office(
        store=policy_store(settings),
        examine=partial(examine, bench_of(settings)) if settings.adoption.examine else None,
        clock=SystemClock(),
        by=_account(),
    )
    try:
        found = _source(source, settings, public_key)
        adopted = put_in_force(found, office, diff_digest, partial(_digest, settings, snapshot, config))
    except AdoptionRefused as error:
        if output is Output.JSON:
            print_json({"adopted": False, "reason": str(error), "in_force": _in_force(settings)})
        else:
            print_line(f"refused: {error}")
            print_line(f"{_in_force(settings) or 'nothing'} stays in force; {error.advice}")
        raise typer.Exit(REFUSED) from error
    if output is Output.JSON:
        print_json({"adopted": True, "warnings": list(found.warnings), **_plain(adopted)})
        return
    for warning in found.warnings:
        print_line(f"warning: {warning}")
    print_line(f"adopted {adopted.digest} from {adopted.source}")
    print_line("decides from the next cycle on" + ("" if diff_digest else ", the first of which observes"))


def _account() -> str:
    account = acting_account()
    return account.login or str(account.uid)


def _source(source: str, settings: Settings, public_key: Path | None) -> Source:
    """Read what is named. A folder or file of that very name comes before the parts of REPO@REVISION."""
    path = Path(source)
    if path.is_dir():
        return from_folder(path, settings.policies)
    if path.is_file() or source.endswith(BUNDLE_SUFFIX):
        return from_bundle(path, _verification_key(settings, public_key), tools_of(settings.engine).opa)
    folder, at, revision = source.rpartition("@")
    if at and revision:
        return from_git(Path(folder), revision)
    return from_folder(path, settings.policies)


def _verification_key(settings: Settings, path: Path | None) -> Key:
    path = path or settings.adoption.verification_key
    if path is None:
        raise SettingsError(
            "no key to verify the bundle by", advice="set adoption.verification_key, or name one: --verification-key"
        )
    return verification_key(path, settings.adoption.verification_key_id)


def _digest(settings: Settings, snapshot: Path | None, config: Path, place: Path) -> str:
    """Return the digest of what a laid out revision changes against what is in force, on a recorded snapshot."""
    if snapshot is None:
        return ""
    store = policy_store(settings)
    now = store.standing().in_force
    base = settings.policies if now is None else store.folder(now.digest)
    return difference_digest(differ(str(base), str(place), snapshot, None, config))


def _in_force(settings: Settings) -> str | None:
    now = policy_store(settings).standing().in_force
    return None if now is None else now.digest


def _plain(value: object) -> dict[str, Json]:
    found = plain(value)
    return found if isinstance(found, dict) else {}


def bundle(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Bundle to write.")],
    private_key: Annotated[Path, typer.Option("--signing-key", help="Private key (PEM, no passphrase) to sign with.")],
    key_id: KeyIdOption = "",
    folder: Annotated[Path | None, typer.Option("--folder", help="Policy folder; else that of the settings.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a policy folder as a signed OPA bundle, with its tests and waivers, for `policies adopt`.

    The signature names the id of the key. Any OPA verifies the bundle too.

    Example: access-reconciler policies bundle policies.tar.gz --signing-key policies.pem
    """
    place = policy_place(folder, config)
    key = signing_key(private_key, key_id)
    with tempfile.TemporaryDirectory(prefix="access-reconciler-tree-") as copy:
        files = tree_files(place.folder)
        for name, text in files:
            (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(copy) / name).write_bytes(text.encode())
        digest = load_policies(Path(copy)).digest
    commit = load_policies(place.folder).git_commit
    write_bundle(files, target, key, find_tools(place).opa, commit or digest)
    if output is Output.JSON:
        print_json({"path": str(target), "digest": digest, "git_commit": commit, "key_id": key.key_id})
        return
    print_line(f"wrote {target}: {digest}, signed by {key.key_id}")


def revisions(config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE) -> None:
    """Say which policies are in force, where they came from, and which revisions were adopted or refused before.

    Example: access-reconciler policies revisions
    """
    standing = policy_store(load_settings(config)).standing()
    if output is Output.JSON:
        print_json(
            {
                "in_force": None if standing.in_force is None else plain(standing.in_force),
                "before": standing.before or None,
                "attempts": [plain(one) for one in reversed(standing.attempts)],
            }
        )
        return
    now = standing.in_force
    if now is None:
        print_line("nothing was adopted yet: the first cycle does")
        raise typer.Exit(OK)
    how = "stays until another one is adopted" if now.pinned else "the folder is followed"
    print_line(f"in force: {now.digest} from {now.source} since {now.at}; {how}")
    columns = ("at", "by", "source", "digest", "what came of it")
    print_table("Revisions", columns, [_row(one) for one in reversed(standing.attempts)])


def _row(one: Attempt) -> tuple[str, ...]:
    outcome = "adopted" if one.accepted else f"refused: {one.reasons[0]}" if one.reasons else "refused"
    return (one.at, one.by, one.source, one.digest or "-", outcome)
