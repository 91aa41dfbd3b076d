"""Adopting a revision of the policies by hand: from a folder, from git, or from a signed bundle.

What was read is laid out in the state folder, checked and tested there, and kept: nothing that changes at its source
afterwards changes what decides.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from inventory.provider import Clock
from reconciler.adapters.policy_bundle import Key, read_bundle
from reconciler.adapters.policy_files import DRIVER, load_policies
from reconciler.adapters.policy_store import (
    Adopted,
    Attempt,
    Files,
    PolicyStore,
    in_force,
    refused,
    shortened,
    tree_digest,
    tree_files,
)
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import PolicyError, ReconcilerError
from reconciler.core.model import PolicySet
from reconciler.policies.in_force import Examine
from reconciler.policies.revisions import git_folder, uncommitted

log = structlog.get_logger(__name__)


class AdoptionRefused(ReconcilerError):
    """A revision may not decide; the one in force stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A policy tree as it was read, and where from."""

    name: str
    files: Files
    git_commit: str = ""
    key_id: str = ""
    pinned: bool = True
    """Whether the policy folder is not followed from then on."""
    warnings: tuple[str, ...] = ()


def from_folder(folder: Path, followed: Path) -> Source:
    """Read a folder. The one that the settings name is followed from then on; any other is a revision of its own."""
    if not folder.is_dir():
        raise PolicyError(f"{folder}: no such folder", advice="name a folder, REPO@REVISION or a bundle")
    dirty = uncommitted(folder)
    warnings = (f"{folder} holds changes that no commit does: the revision is known by its digest alone",)
    return Source(
        name=str(folder),
        files=tree_files(folder),
        git_commit=load_policies(folder).git_commit,
        pinned=folder.resolve() != followed.resolve(),
        warnings=warnings if dirty else (),
    )


def from_git(folder: Path, revision: str) -> Source:
    """Read a policy folder, or that of a repository, as it was at a git revision."""
    with git_folder(revision, folder) as (found, commit):
        below = found / "policies"
        root = below if not (found / DRIVER).exists() and (below / DRIVER).exists() else found
        return Source(name=f"{folder}@{revision}", files=tree_files(root), git_commit=commit)


def from_bundle(path: Path, key: Key, opa: Path) -> Source:
    """Read a bundle whose signature is right; raises `AdoptionRefused` for any other."""
    try:
        files = read_bundle(path, key, opa)
    except PolicyError as error:
        log.error("policies.refused", source=str(path), reason=str(error))  # noqa: TRY400 - no defect: no traceback
        raise AdoptionRefused(str(error), advice=error.advice) from error
    return Source(name=str(path), files=files, key_id=key.key_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What adopting works with."""

    store: PolicyStore
    examine: Examine | None
    clock: Clock
    by: str
    """The account that adopts."""


Preview = Callable[[Path], str]
"""Returns the digest of what a laid out revision changes, against the one in force."""


def adopt(source: Source, office: Office, diff_digest: str, preview: Preview) -> Adopted:
    """Put a revision in force, durably.

    With a `diff_digest` it need not observe first, for somebody has looked at what it changes; the difference is worked
    out anew and must be that one. Raises `AdoptionRefused` where it must not decide, `PolicyError` where that cannot be
    told.
    """
    with office.store.staged(source.files) as place:
        policies = _fit(source, office, place)
        if diff_digest:
            found = preview(place)
            if found != diff_digest:
                reason = f"the difference is {found}, not {diff_digest}"
                _note(source, office, policies.digest, (reason,), remember=False)
                raise AdoptionRefused(
                    f"{source.name}: {reason}",
                    advice="look at `policies diff` again: revisions or snapshot are not those that were looked at",
                )
    office.store.keep(policies.digest, source.files)
    now = rfc3339(office.clock.now())
    adopted = Adopted(
        digest=policies.digest,
        source=source.name,
        at=now,
        git_commit=source.git_commit,
        key_id=source.key_id,
        diff_digest=diff_digest,
        pinned=source.pinned,
    )
    attempt = Attempt(at=now, source=source.name, digest=policies.digest, accepted=True, by=office.by)
    office.store.change(lambda standing: in_force(standing, adopted, attempt))
    log.info("policies.adopted", digest=policies.digest, source=source.name, git_commit=source.git_commit)
    return adopted


def _fit(source: Source, office: Office, place: Path) -> PolicySet:
    """Return the policies of a laid out tree that may decide."""
    try:
        policies = load_policies(place)
    except PolicyError as error:
        _note(source, office, "", (str(error),), remember=False)
        raise AdoptionRefused(f"{source.name}: {error}", advice=error.advice) from error
    if office.examine is None or office.store.holds(policies.digest):
        return policies
    why = shortened(office.examine(place, office.clock.now()))
    if why:
        _note(source, office, policies.digest, why, remember=True)
        raise AdoptionRefused(f"{source.name}: " + "; ".join(why), advice="`policies report` says how to mend each")
    return policies


def _note(source: Source, office: Office, digest: str, why: tuple[str, ...], *, remember: bool) -> None:
    """Remember who tried, and, of a tree that was examined, what was wrong with it."""
    attempt = Attempt(
        at=rfc3339(office.clock.now()),
        source=source.name,
        digest=digest,
        accepted=False,
        by=office.by,
        reasons=why,
    )
    tree = tree_digest(source.files)
    if remember:
        office.store.change(lambda standing: refused(standing, tree, attempt))
    else:
        office.store.change(lambda standing: replace(standing, attempts=(*standing.attempts, attempt)))
    log.error("policies.refused", refused=digest, source=source.name, reason=why[0])
