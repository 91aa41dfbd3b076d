"""What the picture of an AWS account costs: our collector beside one call a user and kind, on the same account.

    .venv/bin/python bench/iam_inventory.py --users 500 2000

Both sides run in processes of their own against the same server, in turns, three pairs a size. API calls are counted at
the client's wire, processor time and peak memory are the whole process's. Times against an emulator say nothing about
AWS: read the ratios of calls and processor time. The peer reads what most scripts read (keys, login profile, MFA
devices, SSH keys, groups, attached and inline policies of every user); ours reads the same kinds, live only for
leavers and for users nobody is known to own.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from moto.iam.models import iam_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from reconciler.demo.moto_server import ACCOUNT_ID

LEAVER_PERCENT = 5
PAIRS = 3

MEASURE = """
import json, sys, time
from pathlib import Path

def report(calls):
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"calls": calls, "cpu_seconds": time.process_time(), "peak_mb": peak}))

url, secret, leavers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
"""

PEER = """
import boto3
calls = 0
def count(**_):
    global calls
    calls += 1
session = boto3.Session(aws_access_key_id="bench", aws_secret_access_key="bench", region_name="us-east-1")
iam = session.client("iam", endpoint_url=url)
iam.meta.events.register("before-send.iam", count)
found = 0
for page in iam.get_paginator("list_users").paginate():
    for user in page["Users"]:
        name = user["UserName"]
        keys = iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
        try:
            iam.get_login_profile(UserName=name)
        except iam.exceptions.NoSuchEntityException:
            pass
        for read in (iam.list_mfa_devices, iam.list_ssh_public_keys, iam.list_groups_for_user,
                     iam.list_attached_user_policies, iam.list_user_policies):
            read(UserName=name)
        found += len(keys)
report(calls)
"""

OURS = """
from inventory.model import ArtefactKind, ProviderName
from inventory.providers.aws_iam import AwsIamCollector, Settings
from reconciler.adapters.clock import SystemClock
settings = Settings(endpoint_url=url, access_key_id="bench", secret_access_key_file=secret,
                    exclude=(ArtefactKind.SERVICE_CREDENTIAL,))
collector = AwsIamCollector(ProviderName("bench"), settings, SystemClock())
wanted = {f"E{number}" for number in range(leavers)}
(inventory,) = collector.collect(lambda principal: bool(wanted & set(principal.employee_ids)))
collector.close()
assert inventory.complete, inventory.errors
assert sum(one.read.live for one in inventory.principals) == leavers
report(inventory.api_calls)
"""


def seed(users: int) -> None:
    """Fill the server's memory with users as the API would make them."""
    iam_backends.reset()
    iam = iam_backends[ACCOUNT_ID]["aws"]
    for number in range(50):
        iam.create_group(f"group-{number}")
    for number in range(users):
        name = f"user-{number}"
        iam.create_user("us-east-1", name, path="/", tags=[{"Key": "employee-id", "Value": f"E{number}"}])
        iam.create_access_key(name)
        iam.add_user_to_group(f"group-{number % 50}", name)
        if number % 2 == 0:
            iam.create_login_profile(name, "Aa1!xxxxxxxxxxxx")


def run(script: str, url: str, secret: Path, leavers: int) -> dict[str, float]:
    """Run one side in a process of its own and return what it cost."""
    command = [sys.executable, "-c", MEASURE + script, url, str(secret), str(leavers)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout))


def compare(users: int, url: str, secret: Path) -> None:
    """Print medians and ratios for one size."""
    seed(users)
    leavers = users * LEAVER_PERCENT // 100
    ours, peer = [], []
    for _ in range(PAIRS):
        ours.append(run(OURS, url, secret, leavers))
        peer.append(run(PEER, url, secret, leavers))
    for what in ("calls", "cpu_seconds", "peak_mb"):
        left = statistics.median(one[what] for one in ours)
        right = statistics.median(one[what] for one in peer)
        print(f"{users:>6} users  {what:<12} ours {left:>9.1f}   peer {right:>9.1f}   peer/ours {right / left:>6.1f}x")


def main() -> None:
    """Run all sizes against one server on loopback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[500])
    sizes = parser.parse_args().users
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text("bench")
        for users in sizes:
            compare(users, f"http://{host}:{port}", secret)
    server.stop()


if __name__ == "__main__":
    main()
