"""Reads `waivers/*.yaml` of a policy folder: dated, owned, approved permissions to ignore a finding.

One that is malformed waives nothing and takes no other with it: leavers are dealt with whatever lies in this folder.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from inventory.model import AccessId, PrincipalId, ProviderName
from inventory.roster.model import WorkerId
from reconciler.adapters.policy_sources import policy_text
from reconciler.core.errors import PolicyError, PolicyFileError
from reconciler.core.metadata import Fields, Located, parse_yaml, refusal
from reconciler.core.model import Waiver
from reconciler.core.schemas import WaiverEntry
from reconciler.core.waivers import WaiverSet

MAX_WAIVER_DAYS: Final = 90
"""Longest time a waiver may still run by default: it is renewed by a decision, not by being forgotten."""
_WAIVER_FIELDS: Final = frozenset(WaiverEntry.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverFile:
    """A waiver with the place that it was read from."""

    waiver: Waiver
    path: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadWaivers:
    """Every waiver of a folder: whole, or refused with file and line."""

    whole: tuple[WaiverFile, ...]
    """By id."""
    refused: tuple[PolicyFileError, ...]
    files: tuple[str, ...] = ()
    """Every file that was looked at, relative to the policy folder."""

    def as_set(self) -> WaiverSet:
        """Return them as a cycle takes them."""
        return WaiverSet(
            whole=tuple(one.waiver for one in self.whole), refused=tuple(str(error) for error in self.refused)
        )


def read_waivers(path: Path, now: datetime, max_days: int = MAX_WAIVER_DAYS) -> ReadWaivers:
    """Return the waivers of a policy folder, expired ones included; raises nothing that a file may say.

    Raises `PolicyError` where the folder is there and cannot be looked into: then nobody knows what is waived.
    An expired one is returned so that it can be counted; `Waiver.covers` never lets it waive anything. Refused is one
    that is malformed, runs longer than `max_days` from now, is approved by its owner, is given twice, or names nothing
    narrower than a rule.
    """
    found: dict[str, WaiverFile] = {}
    refused: list[PolicyFileError] = []
    files = waiver_files(path)
    for file in files:
        for one in _of_file(path, file, now, max_days):
            if isinstance(one, PolicyFileError):
                refused.append(one)
            elif one.waiver.waiver_id in found:
                refused.append(refusal(one.path, one.line, f"waiver {one.waiver.waiver_id!r} is given twice"))
            else:
                found[one.waiver.waiver_id] = one
    return ReadWaivers(
        whole=tuple(found[one] for one in sorted(found)),
        refused=tuple(refused),
        files=tuple(file.relative_to(path).as_posix() for file in files),
    )


def waiver_files(root: Path) -> list[Path]:
    """Return the files of waivers of a policy folder, sorted. Raises `PolicyError` where nobody can know them all."""
    folder = root / "waivers"
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PolicyError(
            f"{folder}: the folder cannot be read: {error.strerror}",
            advice="let this account read the waivers: whoever has one there must not lose access for it being unseen",
        ) from error


def load_waivers(path: Path, now: datetime, max_days: int = MAX_WAIVER_DAYS) -> tuple[Waiver, ...]:
    """Return the waivers of a policy folder; raises `PolicyFileError` for the first that is refused."""
    read = read_waivers(path, now, max_days)
    if read.refused:
        raise read.refused[0]
    return read.as_set().whole


def _of_file(root: Path, file: Path, now: datetime, max_days: int) -> Iterator[WaiverFile | PolicyFileError]:
    name = file.relative_to(root).as_posix()
    try:
        outer = Fields.of(parse_yaml(policy_text(root, file), name), name, {"waivers"})
        entries = outer.given.get("waivers")
        if entries is None or not isinstance(entries.value, list):
            raise refusal(name, outer.line, "field 'waivers' must be a list")
    except PolicyFileError as error:
        yield error
        return
    for entry in entries.value:
        try:
            yield WaiverFile(waiver=_waiver(entry, name, now, max_days), path=name, line=entry.line)
        except PolicyFileError as error:
            yield error


def _waiver(entry: Located, name: str, now: datetime, max_days: int) -> Waiver:
    fields = Fields.of(entry, name, _WAIVER_FIELDS)
    access_id, principal_id, worker_id = (
        fields.optional_text(field) for field in ("access_id", "principal_id", "worker_id")
    )
    provider = fields.optional_text("provider")
    if access_id is None and principal_id is None and worker_id is None:
        raise refusal(name, fields.line, "a waiver names an access_id, a principal_id or a worker_id")
    if provider is None and (access_id or principal_id):
        raise refusal(name, fields.line, "an access_id or a principal_id needs its provider")
    waiver = Waiver(
        waiver_id=fields.text("id"),
        rule=fields.text("rule"),
        provider=None if provider is None else ProviderName(provider),
        access_id=None if access_id is None else AccessId(access_id),
        principal_id=None if principal_id is None else PrincipalId(principal_id),
        worker_id=None if worker_id is None else WorkerId(worker_id),
        reason=fields.text("reason"),
        owner=fields.text("owner"),
        approved_by=fields.text("approved_by"),
        expires_at=fields.instant("expires_at"),
    )
    approvers = _accounts(waiver.approved_by)
    if not approvers - _accounts(waiver.owner):
        raise refusal(name, fields.line, "a waiver is approved by somebody else than its owner")
    if approvers <= {one for about in (worker_id, principal_id) if about for one in _accounts(about)}:
        raise refusal(name, fields.line, "a waiver is approved by somebody else than whom it is for")
    latest = now + timedelta(days=max_days)
    if waiver.expires_at > latest:
        line = fields.given["expires_at"].line
        raise refusal(name, line, f"a waiver runs {max_days} days at most from now, until {latest:%Y-%m-%d %H:%M} UTC")
    return waiver


def _accounts(people: str) -> set[str]:
    """Return the names of a list as they are compared."""
    return {_account(one) for one in re.split(r"[,;]", people) if one.strip()}


def _account(person: str) -> str:
    """Return a name as it is compared: `Ana`, `ana`, `Ana B. <ana@example.com>` and `ana+2@example.com` are one."""
    plain = unicodedata.normalize("NFKC", person).casefold()
    address = plain.rpartition("<")[2].partition(">")[0] if "<" in plain else plain.removeprefix("mailto:")
    seen = "".join(char for char in address if not char.isspace() and unicodedata.category(char) != "Cf")
    return seen.removeprefix("@").partition("@")[0].partition("+")[0]
