"""A collector that remembers what the bulk reads told gives what a fresh one gives, whatever has changed since."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from inventory.model import ProviderInventory
from inventory.providers.aws_iam import AwsIamCollector
from tests.builders import NOW
from tests.fakes.aws_world import AwsWorld, Build, document, nobody, trust

Change = Callable[[], Any]
"""Changes the account."""


def picture(collector: AwsIamCollector) -> ProviderInventory:
    """Read everything, without the times and calls of this reading."""
    (inventory,) = collector.collect(nobody)
    return replace(inventory, started_at=NOW, finished_at=NOW, api_calls=0)


def test_every_change_is_seen_by_a_collector_that_remembers(world: AwsWorld, collector: Build) -> None:
    """Tags, groups and what these give, policies, trusted roles, names, users who come and go: each is noticed."""
    iam: Any = world.iam
    mara = world.full_user("mara", "E1")
    world.user("joan", employee_id="E2")
    world.user("gone")
    world.group("staff", "mara", "joan")
    remembering = collector()
    changes: list[Change] = [
        lambda: iam.tag_user(UserName="joan", Tags=[{"Key": "employee-id", "Value": "E9"}]),
        lambda: iam.put_group_policy(GroupName="staff", PolicyName="all", PolicyDocument=document("*")),
        lambda: iam.remove_user_from_group(GroupName="staff", UserName="mara"),
        lambda: iam.put_user_policy(UserName="joan", PolicyName="reports", PolicyDocument=document()),
        lambda: iam.create_role(RoleName="night", AssumeRolePolicyDocument=trust(mara["Arn"])),
        lambda: iam.update_user(UserName="joan", NewUserName="joanna"),
        lambda: iam.delete_user(UserName="gone"),
        lambda: world.user("new", employee_id="E3"),
    ]
    seen = [picture(remembering)]
    assert picture(remembering) == seen[0]
    for change in changes:
        change()
        seen.append(picture(remembering))
        assert seen[-1] == picture(collector())
        assert seen[-1] != seen[-2]
