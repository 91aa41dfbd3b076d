"""The end of a chain as one line, to be kept elsewhere than the chain."""

import re
from dataclasses import dataclass
from typing import Self

from reconciler.core.errors import WrongUsage

_HEAD = re.compile(r"(?P<sequence>[1-9][0-9]{0,15}):(?:sha256:)?(?P<hex>[0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last attestation that somebody knows of: kept elsewhere, it shows when the tail of a chain was cut off."""

    sequence: int
    digest: str
    """`sha256:` and hex of the statement's bytes."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SEQUENCE:DIGEST`, with or without `sha256:`. Raises `EvidenceError`."""
        match = _HEAD.match(text.strip())
        if match is None:
            msg = f"{text.strip()!r} is not SEQUENCE:DIGEST"
            raise WrongUsage(
                msg, advice="take the line that `attestations verify` printed as head, such as 12:sha256:ab…"
            )
        return cls(sequence=int(match["sequence"]), digest="sha256:" + match["hex"])

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"
