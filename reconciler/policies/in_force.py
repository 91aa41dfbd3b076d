"""Which policies decide now: the last revision that was accepted, and no other.

The policy folder is followed: a revision that appears there is checked and tested, and decides from then on. One that
is refused, cannot be loaded or has not been looked at yet decides nothing; the last good one stays, from the copy in
the state folder. A revision that was adopted from elsewhere stays until another one is adopted.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from inventory.provider import Clock
from reconciler.adapters.os_account import acting_account
from reconciler.adapters.policy_files import PolicyFolder, load_policies
from reconciler.adapters.policy_sources import policy_text
from reconciler.adapters.policy_store import (
    Adopted,
    Attempt,
    Files,
    PolicyStore,
    Standing,
    in_force,
    refused,
    shortened,
    tree_digest,
    tree_files,
)
from reconciler.adapters.waiver_files import waiver_files
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import PolicyError, SettingsError
from reconciler.core.model import PolicySet
from reconciler.core.waivers import WaiverSet

log = structlog.get_logger(__name__)

Examine = Callable[[Path, datetime], tuple[str, ...]]
"""Returns why a policy folder is refused, nothing when it may decide; raises `PolicyError` or `SettingsError`."""
REFUSED: Final = "Policies refused"
"""How the line of a cycle begins that decides by the last good revision because a newer one was refused."""
_AGAIN_SECONDS: Final = 600.0
"""An examination that came to no end is tried again after so long."""
_ADVICE: Final = "run `access-reconciler policies report` on the policy folder; see docs/operations.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How a policy folder is followed."""

    folder: Path
    examine: Examine | None
    """Returns why a revision is refused; None where the settings leave that to whoever writes the folder."""
    max_waiver_days: int
    live: PolicyFolder | None = None
    """The reader of the folder; it may remember waivers that became malformed."""
    shipped: Callable[[], str] = lambda: ""
    """Returns the digest of the policies that came with the program, which were tested with it; empty for none."""
    may_act: bool = True
    """Whether anything is done on their word. Where nothing is, policies may be looked with that cannot be examined."""


@dataclass(slots=True)
class _Aside:
    """Examinations beside the cycles, one at a time."""

    thread: threading.Thread | None = None
    failed: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By tree, why an examination came to no end, and when by the monotonic clock."""


class PoliciesInForce:
    """Implements `load_policies` and `load_waivers` of a cycle. Safe from any thread."""

    def __init__(
        self,
        following: Following,
        store: PolicyStore,
        clock: Clock,
        *,
        beside: Callable[[], None] | None = None,
    ) -> None:
        """With `beside`, new revisions are examined beside the cycles, and it is called when that has ended."""
        self._following = following
        self._store = store
        self._clock = clock
        self._beside = beside
        self._lock = threading.RLock()
        self._live = following.live or PolicyFolder(following.folder, clock, following.max_waiver_days)
        self._kept: dict[str, PolicyFolder] = {}
        self._aside = _Aside()
        self._answered = False
        self._told: tuple[str, str] = ("", "")
        self._given: PolicySet | None = None
        self._waivers_from: tuple[str, bool] = ("", True)
        """Digest of the policies that decide, and whether the folder that is followed holds them now."""
        self._mirrored: object = None
        self.tell: Callable[[str, bool], None] = lambda *_: None
        """Is told which digest decides, and whether a newer revision was refused."""

    def policies(self) -> PolicySet:
        """Return the policies that decide now. Raises `PolicyError` when there are none that may."""
        with self._lock:
            standing = self._store.standing()
            adopted = standing.in_force
            found = self._last_good(adopted) if adopted is not None and adopted.pinned else self._followed(standing)
            self._answered = True
            self.tell(found.digest, bool(found.doubts))
            return found

    def waivers(self, now: datetime) -> WaiverSet:
        """Return the waivers that hold now: those beside the policies that decide.

        While the folder's policies are refused or not yet examined, those in it count beside the kept ones: a waiver
        more takes nothing from anybody.
        """
        with self._lock:
            digest, live = self._waivers_from
            if live:
                found = self._live.waivers(now)  # first: unread, it takes nothing from the copy
                if digest:
                    self._mirror(digest)
                return found
            kept = self._kept_folder(digest).waivers(now)
            standing = self._store.standing().in_force
            if standing is not None and standing.pinned:
                return kept
            beside = self._live.waivers(now)
            known = {one.waiver_id for one in kept.whole}
            more = tuple(one for one in beside.whole if one.waiver_id not in known)
            return WaiverSet(whole=(*kept.whole, *more), refused=(*kept.refused, *beside.refused), held=beside.held)

    def _followed(self, standing: Standing) -> PolicySet:
        adopted = standing.in_force
        try:
            live = self._live.policies()
        except PolicyError as error:
            if adopted is None:
                raise
            return self._instead(adopted, "folder", str(error))
        if adopted is not None and adopted.digest == live.digest:
            self._waivers_from = live.digest, True
            return self._as_adopted(live, adopted, live.git_commit)
        if self._trusted(live.digest):
            return self._accept(live, tree_files(self._following.folder))
        tree = tree_digest(tree_files(self._following.folder))
        if tree in standing.refused:
            return self._refused(adopted, live.digest, standing.refused[tree])
        return self._unknown(live, tree, adopted)

    def _trusted(self, digest: str) -> bool:
        return self._store.holds(digest) or digest == self._following.shipped()

    def _unknown(self, live: PolicySet, tree: str, adopted: Adopted | None) -> PolicySet:
        """Examine a revision that nobody has looked at, here or beside; the last good one decides meanwhile."""
        examine = self._following.examine
        if examine is None:
            return self._accept(live, tree_files(self._following.folder))
        if self._beside is not None and adopted is not None:
            why, at = self._aside.failed.get(tree, ("", 0.0))
            if why and self._clock.monotonic_seconds() < at + _AGAIN_SECONDS:
                return self._instead(adopted, live.digest, why)
            self._begin(live.digest, tree, examine)
            return self._last_good(adopted)
        if self._answered:
            raise PolicyError("the policy folder has changed, and is not examined yet", advice=_ADVICE)
        return self._here(live, adopted, examine)

    def _here(self, live: PolicySet, adopted: Adopted | None, examine: Examine) -> PolicySet:
        try:
            examined, files, why = self._examined(examine)
        except SettingsError as error:
            if not self._following.may_act and adopted is None:
                log.warning("policies.unexamined", digest=live.digest, error=str(error), advice=error.advice)
                self._waivers_from = "", True
                return live
            if adopted is None:
                raise PolicyError(f"the policies cannot be examined: {error}", advice=error.advice) from error
            return self._instead(adopted, live.digest, str(error))
        except PolicyError as error:
            if adopted is None:
                raise
            return self._instead(adopted, live.digest, str(error))
        if why:
            self._refuse(examined.digest, tree_digest(files), why)
            return self._refused(adopted, examined.digest, why)
        return self._accept(examined, files)

    def _examined(self, examine: Examine) -> tuple[PolicySet, Files, tuple[str, ...]]:
        """Examine a copy of the folder, so that what was looked at is what is kept."""
        files = tree_files(self._following.folder)
        with self._store.staged(files) as place:
            policies = load_policies(place)
            why = examine(place, self._clock.now())
        commit = self._live_commit(policies.digest)
        return replace(policies, git_commit=commit), files, shortened(why)

    def _live_commit(self, digest: str) -> str:
        try:
            live = self._live.policies()
        except PolicyError:
            return ""  # it has changed since: the copy is of no commit that is known
        return live.git_commit if live.digest == digest else ""

    def _begin(self, digest: str, tree: str, examine: Examine) -> None:
        if self._aside.thread is not None and self._aside.thread.is_alive():
            return
        log.info("policies.examining", digest=digest)
        self._aside.thread = threading.Thread(
            target=self._look_aside, args=(tree, examine), name="examining", daemon=True
        )
        self._aside.thread.start()

    def _look_aside(self, tree: str, examine: Examine) -> None:
        """Examine the folder beside the cycles; what comes of it stands in the store, or among what failed."""
        try:
            examined, files, why = self._examined(examine)
            with self._lock:
                if why:
                    self._refuse(examined.digest, tree_digest(files), why)
                else:
                    self._store.keep(examined.digest, files)
        except Exception as error:  # noqa: BLE001 - whatever it is: the revision must not decide, and that is told
            known = isinstance(error, PolicyError | SettingsError)
            why_not = str(error) if known else f"{type(error).__name__} while it was examined"
            with self._lock:
                self._aside.failed = {tree: (why_not, self._clock.monotonic_seconds())}
        if self._beside is not None:
            self._beside()

    def _accept(self, policies: PolicySet, files: Files) -> PolicySet:
        """Put a revision of the folder in force, kept for the day that the folder says something else."""
        self._store.keep(policies.digest, files)
        now = rfc3339(self._clock.now())
        source = str(self._following.folder)
        adopted = Adopted(digest=policies.digest, source=source, at=now, git_commit=policies.git_commit)
        attempt = Attempt(at=now, source=source, digest=policies.digest, accepted=True, by=acting_account().login)
        self._store.change(lambda standing: in_force(standing, adopted, attempt))
        log.info("policies.adopted", digest=policies.digest, git_commit=policies.git_commit, source=source)
        self._waivers_from = policies.digest, True
        return self._as_adopted(policies, adopted, policies.git_commit)

    def _refuse(self, digest: str, tree: str, why: tuple[str, ...]) -> None:
        attempt = Attempt(
            at=rfc3339(self._clock.now()),
            source=str(self._following.folder),
            digest=digest,
            accepted=False,
            by=acting_account().login,
            reasons=why,
        )
        self._store.change(lambda standing: refused(standing, tree, attempt))

    def _refused(self, adopted: Adopted | None, digest: str, why: tuple[str, ...]) -> PolicySet:
        told = why[0] if len(why) == 1 else f"{why[0]} (and {len(why) - 1} more)"
        if adopted is None:
            raise PolicyError(f"revision {digest} was refused: {told}", advice=_ADVICE)
        return self._instead(adopted, digest, told)

    def _instead(self, adopted: Adopted, digest: str, why: str) -> PolicySet:
        """Return the last good revision, and say loudly why it stays."""
        if self._told != (digest, why):
            self._told = digest, why
            log.error("policies.refused", refused=digest, reason=why, in_force=adopted.digest, advice=_ADVICE)
        doubt = f"{REFUSED}: {digest}: {why}; {adopted.digest} stays in force"
        return replace(self._last_good(adopted), doubts=(doubt,))

    def _last_good(self, adopted: Adopted) -> PolicySet:
        self._waivers_from = adopted.digest, False
        return self._as_adopted(self._copy(adopted), adopted, adopted.git_commit)

    def _copy(self, adopted: Adopted) -> PolicySet:
        """Return the kept copy of a revision; raises `PolicyError` when it is not what was kept."""
        try:
            kept = self._kept_folder(adopted.digest).policies()
        except PolicyError as error:
            raise PolicyError(f"the kept copy of {adopted.digest}: {error}", advice=_ADVICE) from error
        if kept.digest != adopted.digest:
            raise PolicyError(f"the kept copy of {adopted.digest} was changed: it is {kept.digest}", advice=_ADVICE)
        return kept

    def _kept_folder(self, digest: str) -> PolicyFolder:
        if digest not in self._kept:
            where = self._store.folder(digest)
            self._kept = {digest: PolicyFolder(where, self._clock, self._following.max_waiver_days)}
        return self._kept[digest]

    def _as_adopted(self, policies: PolicySet, adopted: Adopted, commit: str) -> PolicySet:
        """Return policies with where they came from; the same value for the same two, for it is asked for often."""
        found = replace(policies, git_commit=commit, key_id=adopted.key_id, previewed=bool(adopted.diff_digest))
        if self._given is None or self._given != found:
            self._given = found
        return self._given

    def _mirror(self, digest: str) -> None:
        """Let the kept copy have the waivers of the folder: they may be all there is of them one day."""
        folder = self._following.folder
        found = [(file, file.stat()) for file in waiver_files(folder) if file.is_file()]
        stamps = digest, tuple((str(file), one.st_ino, one.st_size, one.st_ctime_ns) for file, one in found)
        if self._mirrored == stamps or not self._store.holds(digest):
            return
        try:
            files = tuple((file.relative_to(folder).as_posix(), policy_text(folder, file)) for file, _ in found)
        except PolicyError as error:
            log.warning("policies.waivers_not_kept", error=str(error), advice=error.advice)
            return
        self._store.keep_waivers(digest, files)
        self._mirrored = stamps
