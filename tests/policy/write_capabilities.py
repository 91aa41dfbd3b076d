"""Writes `policies/capabilities.json` anew from the OPA that is installed.

Run it after a change of OPA's version: `PYTHONPATH=. python tests/policy/write_capabilities.py`.
"""

import json
import subprocess
from pathlib import Path

from reconciler.core.builtins import allowed_capabilities
from tests import peers

CAPABILITIES = Path(__file__).resolve().parents[2] / "policies" / "capabilities.json"


def written() -> str:
    """Return what the file says for the OPA that is installed."""
    command = [peers.require("opa"), "capabilities", "--current"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return allowed_capabilities(json.loads(done.stdout))


if __name__ == "__main__":
    CAPABILITIES.write_text(written(), encoding="utf-8")
