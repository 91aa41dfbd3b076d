"""`access-reconciler inventory`: what the providers hold, recorded."""

import os
import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.cli.cycle import QuietOption
from reconciler.cli.display import StderrProgress, print_line
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import SettingsError
from reconciler.core.model import CycleId, Mode
from reconciler.observation import Notes, look
from reconciler.policies.export import anonymous, recording_of
from reconciler.policies.recording import Recording, to_bytes
from reconciler.settings import Settings, load_settings
from reconciler.wiring import Assembly, assemble, state_path

app: Final = typer.Typer(name="inventory", help="Record what the providers hold.", no_args_is_help=True)

_KEY_BYTES: Final = 32


@app.callback()
def inventory() -> None:
    """Record what the providers hold."""


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="File to write; must not be there yet.")],
    pseudonymise: Annotated[  # noqa: FBT002 - a command-line flag
        bool, typer.Option("--pseudonymise", help="Leave out personal data; decisions stay the same.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Output.TABLE,
    quiet: QuietOption = False,  # noqa: FBT002 - a command-line flag
) -> None:
    """Record roster and inventory of this instant, read as `plan` reads them, for `policies diff`.

    With --pseudonymise, ids become pseudonyms under a key in the state folder, names and free text go, and the policies
    are asked again: the file is only written when every decision is the same.

    Example: access-reconciler inventory export snapshot.json --pseudonymise
    """
    settings = load_settings(config)
    with assemble(settings, Mode.OBSERVE, StderrProgress(quiet=quiet), purpose=None) as assembly:
        recording = _record(assembly, _key(settings) if pseudonymise else None)
    content = to_bytes(recording)
    _write_new(file, content)
    document = {
        "file": str(file),
        "pseudonymised": recording.pseudonymised,
        "as_of": recording.now.isoformat(),
        "complete": recording.snapshot.complete,
        "workers": len(recording.roster.workers),
        "principals": sum(1 for _ in recording.snapshot.principals()),
        "access_items": sum(1 for _ in recording.snapshot.items()),
        "digest": f"sha256:{sha256_hex(content)}",
    }
    if output is Output.JSON:
        print_json(document)
        return
    print_line(
        f"wrote {file}: {document['access_items']} access items of {document['principals']} principals, "
        f"{'under pseudonyms' if recording.pseudonymised else 'with personal data: keep it as you keep the roster'}"
    )


def _record(assembly: Assembly, key: bytes | None) -> Recording:
    house = assembly.house
    now = house.clock.now()
    notes = Notes(cycle_id=CycleId("export"), sequence=0, started_at=now, latest=now, decide_at=now)
    picture = look(notes, house, assembly.rules)
    recording = recording_of(picture, assembly.rules, house.journal)
    return recording if key is None else anonymous(recording, picture, house.engine, key)


def _key(settings: Settings) -> bytes:
    """Return the key of pseudonyms, made on first use: the same ids have the same pseudonyms in every recording."""
    path = state_path(settings, "keys") / "pseudonyms.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _write_new(path, secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise SettingsError(f"{path}: is no key of {_KEY_BYTES} bytes", advice="remove it; a new one is made")
    return key


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all; one that is there is left alone."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(partial, path)
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already", advice="name another file, or remove it") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}", advice="see its folder and mode") from error
    finally:
        partial.unlink(missing_ok=True)
