"""The stage of the demo: a process of its own that starts the servers, populates them, and ends them again.

It runs beside the demo so that the servers can still be asked when the demo is over. It ends when a file named `stop`
appears in its folder, when its lifetime is over, or on SIGTERM; it is never looked for by name.
"""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from reconciler.demo import moto_server, scim_server
from reconciler.demo.company import write_roster
from reconciler.demo.dump import Dump, dump_aws, dump_ldap, dump_scim
from reconciler.demo.process import Address, RunningServer, ServerFailed
from reconciler.demo.seed_aws import READER, REVOKER, seed_aws
from reconciler.demo.seed_scim import seed_scim
from reconciler.demo.signing import Signing, start_sigstore

SERVERS_FILE = "servers.json"
STOP_FILE = "stop"
LIFETIME_SECONDS = 3600.0
_START_SECONDS = 120.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The running servers, as `servers.json` tells them."""

    providers: dict[str, dict[str, Any]]
    """Provider blocks of the configuration, by instance name."""
    addresses: dict[str, dict[str, str]]
    left_out: dict[str, str]
    """Providers that are not there, with the reason."""
    before: Dump
    """What the servers held once they were populated."""
    signing: dict[str, Any]
    """Block of the configuration; empty where a key signs, which needs no server."""


def open_stage(directory: Path, say: Callable[[str], None], signing: Signing = Signing.KEY) -> Stage:
    """Start the servers of a folder in the background and return what they offer; raises `ServerFailed`."""
    close_stage(directory)
    log = directory / "stage.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler.demo.stage", str(directory), signing.value],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    also = ", and a private Sigstore" if signing is Signing.SIGSTORE else ""
    say(f"starting AWS (moto), OpenLDAP and SCIM servers on loopback, and populating them{also}")
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if (directory / SERVERS_FILE).exists():
            return _read(directory)
        if process.poll() is not None:
            break
        time.sleep(_POLL_SECONDS)
    tail = log.read_text(errors="replace")[-2000:]
    raise ServerFailed(f"the servers of the demo did not start:\n{tail}")


def close_stage(directory: Path) -> bool:
    """Ask the servers of a folder to end, and wait for it; return whether there were any."""
    servers = directory / SERVERS_FILE
    if not servers.exists():
        return False
    (directory / STOP_FILE).touch()
    until = time.monotonic() + 15
    while servers.exists() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    (directory / STOP_FILE).unlink(missing_ok=True)
    servers.unlink(missing_ok=True)
    return True


def _read(directory: Path) -> Stage:
    document = json.loads((directory / SERVERS_FILE).read_text(encoding="utf-8"))
    return Stage(
        providers=document["providers"],
        addresses=document["addresses"],
        left_out=document["left_out"],
        before=document["before"],
        signing=document["signing"],
    )


def keep_stage(directory: Path, signing: Signing, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
    """Start and populate the servers, tell of them, and keep them until they are no longer wanted."""
    secrets = directory / "secrets"
    secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    stopping = _stop_on_sigterm()
    with ExitStack() as stack:
        document = _start_all(directory, secrets, stack)
        document["signing"] = _start_signing(directory, secrets, signing, stack)
        write_roster(directory / "roster.csv", datetime.now(UTC))
        document["before"] = dump_all(document["addresses"])
        _tell(directory, document)
        until = time.monotonic() + lifetime_seconds
        while not (stopping or (directory / STOP_FILE).exists() or time.monotonic() > until):
            time.sleep(_POLL_SECONDS)
    (directory / SERVERS_FILE).unlink(missing_ok=True)


def _stop_on_sigterm() -> list[int]:
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    signal.signal(signal.SIGTERM, note)
    return received


def _tell(directory: Path, document: dict[str, Any]) -> None:
    unfinished = directory / (SERVERS_FILE + ".new")
    unfinished.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(directory / SERVERS_FILE)


def _start_all(directory: Path, secrets: Path, stack: ExitStack) -> dict[str, Any]:
    folder = directory / "servers"
    for name in ("aws", "scim", "ldap"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    providers: dict[str, Any] = {}
    addresses: dict[str, dict[str, str]] = {}
    left_out: dict[str, str] = {}
    aws = stack.enter_context(moto_server.start(folder / "aws"))
    providers["corp-aws"] = _aws_blocks(aws, secrets)
    addresses["corp-aws"] = {"url": aws.url, **aws.details}
    scim = stack.enter_context(scim_server.start(folder / "scim"))
    seed_scim(scim.address)
    providers["wiki"] = _scim_blocks(scim)
    addresses["wiki"] = {"url": scim.url, **scim.details}
    ldap = _start_ldap(folder / "ldap", stack)
    if isinstance(ldap, str):
        left_out["corp-ldap"] = ldap
    else:
        providers["corp-ldap"] = _ldap_blocks(ldap)
        addresses["corp-ldap"] = {"url": ldap.url, **ldap.details}
    return {"providers": providers, "addresses": addresses, "left_out": left_out}


def _start_signing(directory: Path, secrets: Path, signing: Signing, stack: ExitStack) -> dict[str, Any]:
    return start_sigstore(directory / "sigstore", secrets, stack) if signing is Signing.SIGSTORE else {}


def dump_all(addresses: dict[str, dict[str, str]]) -> Dump:
    """Ask every server what it holds."""
    dump: Dump = {}
    for name, details in addresses.items():
        address = Address(url=details["url"], details=details)
        dump |= _dumper(name)(address)
    return dump


def _dumper(name: str) -> Callable[[Address], Dump]:
    return {"corp-aws": dump_aws, "wiki": dump_scim, "corp-ldap": dump_ldap}[name]


def _start_ldap(folder: Path, stack: ExitStack) -> RunningServer | str:
    """Start and populate OpenLDAP, or return why it cannot take part here."""
    if importlib.util.find_spec("ldap") is None:
        return "python-ldap is not installed"
    from reconciler.demo import slapd  # noqa: PLC0415 - needs the optional library
    from reconciler.demo.seed_ldap import seed_ldap  # noqa: PLC0415 - the same

    try:
        server = stack.enter_context(slapd.start(folder))
    except ServerFailed as error:
        return str(error)
    seed_ldap(server.address)
    return server


def _aws_blocks(server: RunningServer, secrets: Path) -> dict[str, Any]:
    keys = seed_aws(server.address, secrets)

    def block(name: str) -> dict[str, Any]:
        return {
            "endpoint_url": server.url,
            "access_key_id": keys[name],
            "secret_access_key_file": str(secrets / f"{name}.secret"),
        }

    # The emulator has no API for service-specific credentials: left out by name, and stated in every attestation.
    reader = {**block(READER), "exclude": ["service_credential"], "own_user_names": [REVOKER]}
    return {"type": "aws_iam", "mode": "enforce", "reader": reader, "revoker": block(REVOKER)}


def _scim_blocks(server: RunningServer) -> dict[str, Any]:
    client = {"url": server.url, "token_file": server.details["token_file"]}
    # One token for both: this server knows no rights. A real service gives the reader a token that cannot write.
    return {"type": "scim", "mode": "enforce", "reader": {**client, "service_token": True}, "revoker": dict(client)}


def _ldap_blocks(server: RunningServer) -> dict[str, Any]:
    from reconciler.demo.seed_ldap import reader_block, revoker_block  # noqa: PLC0415 - needs the optional library

    return {
        "type": "ldap",
        "mode": "enforce",
        "reader": reader_block(server.address),
        "revoker": revoker_block(server.address),
    }


if __name__ == "__main__":
    keep_stage(Path(sys.argv[1]), Signing(sys.argv[2]))
