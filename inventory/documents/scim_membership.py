"""Who is in which SCIM group, directly or through another group.

Read from the groups: a user's own `groups` attribute is a courtesy that many services leave out or cache.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from inventory.documents.scim import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A group that a user is in."""

    group: Group
    via: Group | None = None
    """The group that the user is directly in, when this one is held through it."""
    holders: int | None = None
    """Users that are directly in it; None for a group held through another one."""


class Memberships:
    """The memberships that a set of groups tells."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._groups = {group.group_id: group for group in groups}
        self._of_user: dict[str, list[Group]] = defaultdict(list)
        self._around: dict[str, list[Group]] = defaultdict(list)
        self._holders: dict[str, int] = {}
        for group in self._groups.values():
            self._add(group)

    def _add(self, group: Group) -> None:
        users = 0
        for member in group.members:
            if member.is_group or member.value in self._groups:
                self._around[member.value].append(group)
            else:
                self._of_user[member.value].append(group)
                users += 1
        self._holders[group.group_id] = users

    @property
    def nested(self) -> bool:
        """Say whether any group is in another one."""
        return bool(self._around)

    def someone(self) -> str | None:
        """Return a user that is in at least one group, or None when nobody is."""
        return next(iter(self._of_user), None)

    def direct_groups(self, user_id: str) -> frozenset[str]:
        """Return the ids of the groups that a user is directly in."""
        return frozenset(group.group_id for group in self._of_user.get(user_id, ()))

    def of(self, user_id: str) -> Iterator[Held]:
        """Yield the groups of a user: each direct one, and for each of those the groups around it, once."""
        for group in self._of_user.get(user_id, ()):
            yield Held(group=group, holders=self._holders[group.group_id])
            for outer in self._outer(group):
                yield Held(group=outer, via=group)

    def _outer(self, group: Group) -> Iterator[Group]:
        """Yield the groups around a group at any distance; groups may contain each other in a circle."""
        seen = {group.group_id}
        waiting = list(self._around.get(group.group_id, ()))
        while waiting:
            outer = waiting.pop(0)
            if outer.group_id not in seen:
                seen.add(outer.group_id)
                waiting.extend(self._around.get(outer.group_id, ()))
                yield outer
