"""Populates the sample company's SCIM service: users, groups, and accounts that nobody at HR knows of."""

from pathlib import Path

import httpx

from reconciler.demo.company import CONFUSABLE, LEAVERS, LONG_GONE, NAMESAKE, ORDINARY, OWNER, REHIRED, TWICE, Person
from reconciler.demo.process import Address

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PEOPLE = (*(one for one in LEAVERS if one is not NAMESAKE), REHIRED, TWICE, CONFUSABLE, *ORDINARY)


def client(server: Address) -> httpx.Client:
    """Return a client with the service's token."""
    token = Path(server.details["token_file"]).read_text(encoding="utf-8").strip()
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=20)


def seed_scim(server: Address) -> None:
    """Populate the service through its own protocol."""
    with client(server) as http:
        ids = {person.worker_id: _add_user(http, _user(person)) for person in PEOPLE}
        for number in (1, 2):
            namesake = {"schemas": [USER], "userName": f"alexkim{number}", "displayName": NAMESAKE.name, "active": True}
            _add_user(http, namesake)
        private = {
            "schemas": [USER],
            "userName": "lena.private@mail.example",
            "displayName": LONG_GONE.name,
            "emails": [{"value": "lena.private@mail.example", "type": "home"}],
            "active": True,
        }
        shadow = _add_user(http, private)
        bot = {"schemas": [USER], "userName": "wiki-sync", "userType": "Service", "displayName": "Sync", "active": True}
        _add_user(http, bot)
        _add_group(http, "Everyone", [*ids.values(), shadow])
        _add_group(http, "Design review", [ids[one.worker_id] for one in (LONG_GONE, OWNER, ORDINARY[2], TWICE)])
        _add_group(http, "Incident leads", [ids[LONG_GONE.worker_id], ids[ORDINARY[3].worker_id]])


def _user(person: Person) -> dict[str, object]:
    return {
        "schemas": [USER],
        "userName": person.email,
        "externalId": person.worker_id,
        "displayName": person.name,
        "emails": [{"value": person.email, "type": "work", "primary": True}],
        "userType": "Employee",
        "active": True,
    }


def _add_user(http: httpx.Client, user: dict[str, object]) -> str:
    answer = http.post("/Users", json=user)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _add_group(http: httpx.Client, name: str, members: list[str]) -> None:
    group = {"schemas": [GROUP], "displayName": name, "members": [{"value": member} for member in members]}
    http.post("/Groups", json=group).raise_for_status()
