"""Starts moto's AWS API on loopback: the AWS of the demo and of the tests."""

import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

from reconciler.demo.process import RunningServer, ServerCommand, ServerFailed, free_port, start_server

ACCOUNT_ID = "123456789012"
"""The account that moto serves to credentials it does not know."""


def start(directory: Path, *, managed_policies: bool = True) -> RunningServer:
    """Start a moto server that logs into a folder; raises `ServerFailed` when it is not installed or does not answer.

    AWS's managed policies are loaded, so that AdministratorAccess and its like can be attached; that takes a second or
    two, in the first call to an account. The data lives in the server's memory and ends with it.
    """
    executable = _executable()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ServerCommand(
        name="moto",
        command=(executable, "-H", "127.0.0.1", "-p", str(port)),
        url=url,
        environment={"MOTO_IAM_LOAD_MANAGED_POLICIES": "true" if managed_policies else "false"},
        details={"account_id": ACCOUNT_ID, "region": "us-east-1"},
    )
    return start_server(command, log=directory / "moto.log", ready=lambda: _answers(url))


def _executable() -> str:
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))  # our locked one goes first
    found = shutil.which("moto_server", path=os.pathsep.join(places))
    if found is None:
        raise ServerFailed("moto_server is not installed: install the extra 'demo'")
    return found


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=2):  # noqa: S310 - our own loopback server
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
