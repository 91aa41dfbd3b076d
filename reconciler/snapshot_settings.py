"""Settings of the snapshots that are recorded, so that a change of policies can be tried on days that were."""

from pydantic import BaseModel, ConfigDict, Field


class SnapshotSettings(BaseModel):
    """How many snapshots are recorded, and how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: int = Field(
        default=14, ge=0, le=1000, description="Recorded snapshots kept; the oldest goes for a new one. 0: none are."
    )
    every_hours: float = Field(
        default=24.0, gt=0, description="Shortest time between two, whatever happens at the providers."
    )
    max_megabytes: int = Field(
        default=1024, ge=1, description="Room that all of them may take on the disk; the oldest go when it is short."
    )
