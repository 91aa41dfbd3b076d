"""An AWS emulator in a process of its own, filled with users as the API would make them.

    python bench/many_aws_users.py PORT USERS LEAVERS

The first users are the leavers: each has a password, an access key, an SSH key, an inline policy and a membership.
"""

import json
import logging
import signal
import sys

from moto.iam.models import iam_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from reconciler.demo.company import ssh_key
from reconciler.demo.moto_server import ACCOUNT_ID

GROUP_SIZE = 50
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
)


def seed(users: int, leavers: int) -> None:
    """Fill the server's memory."""
    iam = iam_backends[ACCOUNT_ID]["aws"]
    for number in range(users // GROUP_SIZE + 1):
        iam.create_group(f"group-{number}")
    for number in range(users):
        name = f"user-{number}"
        iam.create_user("us-east-1", name, path="/", tags=[{"Key": "employee-id", "Value": f"E{number}"}])
        iam.create_access_key(name)
        iam.create_login_profile(name, "Aa1!xxxxxxxxxxxx")
        iam.add_user_to_group(f"group-{number % (users // GROUP_SIZE + 1)}", name)
        if number < leavers:
            iam.upload_ssh_public_key(name, ssh_key(name))
            iam.put_user_policy(name, "reports", POLICY)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    seed(int(sys.argv[2]), int(sys.argv[3]))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop()
