"""Settings of waivers, beside the longest time that one may run."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

LONGEST_GRACE_SECONDS: Final = 24 * 3600.0
"""Most that acts may wait for a file that cannot be read: a leaver's access is kept no longer by a slip of the pen."""


class WaiverSettings(BaseModel):
    """What happens when a file of waivers cannot be read any more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    malformed_grace_seconds: float = Field(
        default=3600.0,
        ge=0,
        le=LONGEST_GRACE_SECONDS,
        description="Acts on what a file of waivers covered wait this long after it became malformed; 0: not at all.",
    )
