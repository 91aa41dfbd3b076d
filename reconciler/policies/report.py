"""What a pull request on policies comes to: checked, tested, and compared with what stands, in one value."""

from dataclasses import dataclass
from enum import StrEnum

from reconciler.policies.check import CheckReport
from reconciler.policies.difference import Difference
from reconciler.policies.testing import TestReport


class Verdict(StrEnum):
    """Whether policies may decide."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """They were looked at, and are not fit to decide."""
    FAILED = "failed"
    """Something could not be looked at, so nobody can say."""


class Part(StrEnum):
    """What is looked at, by the command that does it alone."""

    CHECK = "check"
    TEST = "test"
    DIFF = "diff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A part that could not be looked at, why, and what to do."""

    part: Part
    message: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The parts that were looked at; None where one could not be, or, of the comparison, was not asked for."""

    folder: str
    check: CheckReport | None
    tests: TestReport | None
    difference: Difference | None
    troubles: tuple[Trouble, ...]

    @property
    def verdict(self) -> Verdict:
        """Say whether the policies may decide: a refusal stands whatever else could not be looked at."""
        if (self.check is not None and self.check.refused) or (self.tests is not None and not self.tests.whole):
            return Verdict.REFUSED
        return Verdict.FAILED if self.troubles else Verdict.ACCEPTED

    @property
    def changes_effects(self) -> bool | None:
        """Say whether anybody's access is decided or dealt with otherwise; None where that was not compared."""
        return None if self.difference is None else self.difference.changes_effects
