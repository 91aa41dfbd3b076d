"""The sample company's SCIM 2.0 service: scim2-server on loopback, with a token that only its owner can read."""

import importlib.util
import os
import secrets
import sys
from pathlib import Path
from typing import Final

import httpx

from reconciler.demo.process import RunningServer, ServerCommand, ServerFailed, free_port, start_server

TOKEN_FILE: Final = "scim.token"
_LAUNCHER: Final = """
import pathlib, sys
from scim2_server.testserver.cli import main
sys.argv[1:] = [*sys.argv[2:], "--bearer-token=" + pathlib.Path(sys.argv[1]).read_text().strip()]
main()
"""
"""The server takes its token as an argument only, where every account of the machine could read it. So its entry point
is called in the child, with the token read from the file: the command line shows the file's name."""


def start(directory: Path) -> RunningServer:
    """Start the server with a fresh random token and no data; `details["token_file"]` names the token's file (0600).

    Raises `ServerFailed` when scim2-server is not installed or does not come up.
    """
    if importlib.util.find_spec("scim2_server") is None:
        msg = "scim2-server is not installed: pip install 'access-reconciler[demo]'"
        raise ServerFailed(msg)
    directory.mkdir(parents=True, exist_ok=True)
    token_file = directory / TOKEN_FILE
    token = secrets.token_urlsafe(32)
    _write_private(token_file, token)
    port = free_port()
    url = f"http://127.0.0.1:{port}/v2"
    command = (sys.executable, "-c", _LAUNCHER, str(token_file), "--hostname", "127.0.0.1", "--port", str(port))
    server = ServerCommand(
        name="scim2-server", command=command, url=url, details={"token_file": str(token_file), "url": url}
    )
    return start_server(server, log=directory / "scim.log", ready=lambda: _answers(url, token))


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as sink:
        sink.write(text + "\n")


def _answers(url: str, token: str) -> bool:
    """Say whether our own server is up: another one on the same port would not know the token."""
    try:
        answer = httpx.get(f"{url}/Users", headers={"Authorization": f"Bearer {token}"}, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK
