"""What the picture of 2,000 IAM users costs: list calls counted on the server's side, and peak memory."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from reconciler.demo.moto_server import ACCOUNT_ID
from tests import peers
from tests.fakes.aws_world import document
from tests.fakes.counting_proxy import CountingProxy, paged_bulk

USERS = 2_000
LEAVERS = 20
MEMORY_LIMIT_MB = 200
LIST_CALLS_LIMIT = 10

READ = """
import json, sys
from pathlib import Path
from inventory.model import ArtefactKind, ProviderName
from inventory.providers.aws_iam import AwsIamCollector, Settings
from tests.fakes.clock import FakeClock

def peak_mb():
    # Not ru_maxrss: that of a child starts at its parent's, whatever the child uses itself.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

url, secret, leavers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
settings = Settings(endpoint_url=url, access_key_id="testing", secret_access_key_file=secret,
    exclude=(ArtefactKind.SERVICE_CREDENTIAL,), max_attempts=1)
collector = AwsIamCollector(ProviderName("corp-aws"), settings, FakeClock())
wanted = {f"E{index}" for index in range(leavers)}
(inventory,) = collector.collect(lambda principal: bool(wanted & set(principal.employee_ids)))
collector.close()
print(json.dumps({
    "complete": inventory.complete, "errors": inventory.errors, "api_calls": inventory.api_calls,
    "principals": len(inventory.principals), "live": sum(one.read.live for one in inventory.principals),
    "items": len(inventory.items), "peak_mb": peak_mb(),
}))
"""


@pytest.fixture(scope="module")
def account() -> Iterator[str]:
    """Run moto's server in this process and put 2,000 users into its memory, as its API would one by one."""
    peers.require("moto_server")
    from moto.iam.models import iam_backends  # noqa: PLC0415 - takes a second; this test only
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: PLC0415 - the same

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    iam = iam_backends[ACCOUNT_ID]["aws"]
    for number in range(50):
        iam.create_group(f"group-{number}")
    for number in range(USERS):
        name = f"user-{number}"
        tags = [{"Key": "employee-id", "Value": f"E{number}"}, {"Key": "email", "Value": f"{name}@example.com"}]
        iam.create_user("us-east-1", name, path="/people/", tags=tags)
        iam.create_access_key(name)
        iam.add_user_to_group(f"group-{number % 50}", name)
        iam.put_user_policy(name, "own", document())
        if number % 2 == 0:
            iam.create_login_profile(name, "Aa1!xxxxxxxxxxxx")
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    iam_backends.reset()


@pytest.mark.slow
def test_two_thousand_users_cost_ten_list_calls_and_little_memory(
    account: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The bulk picture takes at most 10 calls, leavers alone are asked for one by one, and 200 MB are enough."""
    secret = tmp_path_factory.mktemp("aws") / "secret"
    secret.write_text("testing")
    with CountingProxy(account, rewrite=paged_bulk()) as proxy:
        command = [sys.executable, "-c", READ, proxy.url, str(secret), str(LEAVERS)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
        assert result.returncode == 0, result.stderr
        counts = proxy.counts()
    told = json.loads(result.stdout)
    sys.stdout.write(f"{told} {dict(counts)}\n")
    per_leaver = {"GetLoginProfile", "ListAccessKeys", "ListMFADevices", "ListSSHPublicKeys", "ListSigningCertificates"}
    assert {action: counts[action] for action in per_leaver} == dict.fromkeys(per_leaver, LEAVERS)
    bulk = {action: count for action, count in counts.items() if action not in per_leaver}
    assert bulk["GetAccountAuthorizationDetails"] == 3
    assert sum(bulk.values()) <= LIST_CALLS_LIMIT
    assert told["api_calls"] == sum(counts.values())
    assert (told["complete"], told["errors"]) == (True, [])
    assert (told["principals"], told["live"]) == (USERS, LEAVERS)
    assert told["peak_mb"] < MEMORY_LIMIT_MB
