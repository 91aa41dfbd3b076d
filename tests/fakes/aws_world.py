"""An AWS account on moto, populated through its own API."""

import functools
import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3.session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from inventory.model import ArtefactKind, Principal, ProviderInventory, ProviderName, ReadState
from inventory.providers.aws_iam import AwsIamCollector, Settings
from tests.fakes.clock import FakeClock

KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
SSH_KEY = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7vbqajDRnmQ9PvpTQu0Oq3Z3GfC9nGz3Lq8Ykq0cC2b3V0kQ0m9XH3b1Kq1X8zvQp3o7m"
    "YJfZb1Zl2Jb6m9x0Xv8sYV9Vq0m1Yv1m3Xb6Zl2Jb6m9x0Xv8sYV9Vq0m1Yv1m3Xb6Zl2Jb6m9x0Xv8sYV9Vq0m1Yv1m3Xb6Zw== someone"
)


def trust(*named: str) -> str:
    """Build a trust policy that names principals."""
    statement = {"Effect": "Allow", "Principal": {"AWS": list(named)}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def document(action: str = "s3:GetObject") -> str:
    """Build an inline policy."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def reset(url: str) -> None:
    """Empty a moto server."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=10).close()  # noqa: S310 - our own loopback server


@functools.cache
def certificate() -> str:
    """Make a self-signed certificate, once."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mara")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=3650))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@dataclass(slots=True)
class AwsWorld:
    """Makes users and what they hold; every call goes to the server."""

    url: str
    iam: Any = field(init=False)

    def __post_init__(self) -> None:
        session = boto3.session.Session(region_name="us-east-1", **KEYS)
        self.iam = session.client("iam", endpoint_url=self.url)

    def user(self, name: str, path: str = "/", **tags: str) -> dict[str, Any]:
        """Make a user with tags (underscores become dashes)."""
        listed = [{"Key": key.replace("_", "-"), "Value": value} for key, value in tags.items()]
        made: dict[str, Any] = self.iam.create_user(UserName=name, Path=path, Tags=listed)["User"]
        return made

    def policy(self, name: str) -> str:
        """Make a managed policy."""
        return str(self.iam.create_policy(PolicyName=name, PolicyDocument=document())["Policy"]["Arn"])

    def group(self, name: str, *members: str, admin: bool = False) -> None:
        """Make a group with members."""
        self.iam.create_group(GroupName=name)
        if admin:
            self.iam.attach_group_policy(GroupName=name, PolicyArn=self.policy("AdministratorAccess"))
        for member in members:
            self.iam.add_user_to_group(GroupName=name, UserName=member)

    def full_user(self, name: str = "mara", employee_id: str = "E1") -> dict[str, Any]:
        """Make a user who holds one of everything that moto knows."""
        iam = self.iam
        user = self.user(name, "/people/", employee_id=employee_id)
        iam.create_login_profile(UserName=name, Password="Aa1!" + "x" * 16)
        iam.create_access_key(UserName=name)
        iam.upload_ssh_public_key(UserName=name, SSHPublicKeyBody=SSH_KEY)
        iam.upload_signing_certificate(UserName=name, CertificateBody=certificate())
        serial = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]["SerialNumber"]
        iam.enable_mfa_device(
            UserName=name, SerialNumber=serial, AuthenticationCode1="123456", AuthenticationCode2="234567"
        )
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document())
        iam.attach_user_policy(UserName=name, PolicyArn=self.policy(f"{name}-reads"))
        self.group(f"{name}-team", name)
        iam.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument=trust(user["Arn"]))
        return user


SSC = ArtefactKind.SERVICE_CREDENTIAL
"""The kind that moto cannot list."""

Build = Callable[..., AwsIamCollector]


@contextmanager
def collectors(url: str, directory: Path) -> Iterator[Build]:
    """Give a builder of collectors that never repeat a call, and close them all at the end."""
    secret = directory / "secret"
    secret.write_text("testing\n")
    with ExitStack() as stack:

        def build(**changes: Any) -> AwsIamCollector:
            values: dict[str, Any] = {
                "endpoint_url": url,
                "access_key_id": KEYS["aws_access_key_id"],
                "secret_access_key_file": secret,
                "max_attempts": 1,
                "exclude": (SSC,),
            }
            made = AwsIamCollector(ProviderName("corp-aws"), Settings(**(values | changes)), FakeClock())
            stack.callback(made.close)
            return made

        yield build


def nobody(_: Principal) -> bool:
    """Take interest in nobody."""
    return False


def everybody(_: Principal) -> bool:
    """Take interest in everybody."""
    return True


def states(inventory: ProviderInventory) -> dict[ArtefactKind, ReadState]:
    """Return the state of every kind."""
    return {entry.kind: entry.state for entry in inventory.coverage}
