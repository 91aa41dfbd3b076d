"""Populates the sample company's AWS account through the IAM API: people, service users, keys, groups and policies."""

import json
from pathlib import Path
from typing import Any

import boto3

from reconciler.demo.company import CONFUSABLE, LEAVERS, LONG_GONE, NAMESAKE, ORDINARY, OWNER, REHIRED, TWICE, Person
from reconciler.demo.company import ssh_key as make_ssh_key
from reconciler.demo.private_file import write_private
from reconciler.demo.process import Address

READER, REVOKER = "access-reconciler-reader", "access-reconciler-revoker"
PEOPLE = (*(one for one in LEAVERS if one is not NAMESAKE), REHIRED, TWICE, CONFUSABLE, *ORDINARY[:14])
"""Who has an IAM user: the stories and some colleagues."""


def client(url: str) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    """Return an IAM client for the local server."""
    session = boto3.Session(aws_access_key_id="seeding", aws_secret_access_key="seeding", region_name="us-east-1")
    return session.client("iam", endpoint_url=url)


def seed_aws(server: Address, directory: Path) -> dict[str, str]:
    """Populate the account and return what the reader and the revoker sign in with."""
    iam = client(server.url)
    credentials = {}
    for name in (READER, REVOKER):
        iam.create_user(UserName=name, Path="/service/", Tags=[{"Key": "owner", "Value": ORDINARY[0].worker_id}])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        credentials[name] = key["AccessKeyId"]
        write_private(directory / f"{name}.secret", key["SecretAccessKey"])
    reports = _groups_and_policies(iam)
    for person in PEOPLE:
        _person(iam, person)
    _stories(iam, reports)
    return credentials


def _groups_and_policies(iam: Any) -> str:  # noqa: ANN401 - see client
    for group in ("admins", "developers", "data"):
        iam.create_group(GroupName=group)
    iam.attach_group_policy(GroupName="admins", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    return str(iam.create_policy(PolicyName="ReadReports", PolicyDocument=_allow("s3:GetObject"))["Policy"]["Arn"])


def _allow(action: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _person(iam: Any, person: Person) -> None:  # noqa: ANN401 - see client
    name = person.username
    tags = [{"Key": "employee-id", "Value": person.worker_id}, {"Key": "email", "Value": person.email}]
    iam.create_user(UserName=name, Tags=tags)
    iam.create_access_key(UserName=name)
    iam.create_login_profile(UserName=name, Password=f"Sample-{person.worker_id}-pass!")
    iam.add_user_to_group(GroupName="developers", UserName=name)
    if person.admin:
        iam.add_user_to_group(GroupName="admins", UserName=name)


def _stories(iam: Any, reports: str) -> None:  # noqa: ANN401 - see client
    gone = LONG_GONE.username
    iam.create_access_key(UserName=gone)
    iam.upload_ssh_public_key(UserName=gone, SSHPublicKeyBody=make_ssh_key("lena-codecommit"))
    iam.put_user_policy(UserName=gone, PolicyName="debug-prod", PolicyDocument=_allow("ec2:*"))
    iam.attach_user_policy(UserName=gone, PolicyArn=reports)
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=gone)["VirtualMFADevice"]["SerialNumber"]
    iam.enable_mfa_device(
        UserName=gone, SerialNumber=device, AuthenticationCode1="123456", AuthenticationCode2="654321"
    )
    iam.create_user(
        UserName="deploy-bot",
        Path="/service/",
        Tags=[{"Key": "owner", "Value": OWNER.worker_id}, {"Key": "access-reconciler:shared", "Value": "true"}],
    )
    iam.create_access_key(UserName="deploy-bot")
    iam.create_user(UserName="emergency-admin", Path="/break-glass/")
    iam.create_login_profile(UserName="emergency-admin", Password="Sample-break-glass-1!")
    iam.create_user(UserName="old-import-job", Path="/service/")
    iam.create_access_key(UserName="old-import-job")
