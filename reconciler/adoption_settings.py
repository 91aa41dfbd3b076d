"""Settings of how a new revision of the policies comes into force."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class AdoptionSettings(BaseModel):
    """What a revision of the policies has to pass before it decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examine: bool = Field(
        default=True,
        description="Run `policies check` and `policies test` on a new revision here, for which `opa` must be on this "
        "machine. `false`: whoever writes the policy folder answers for it.",
    )
    deadline_seconds: float = Field(
        default=600.0,
        gt=0,
        description="A check and test that takes longer is ended, and its revision not adopted. The first cycle of a "
        "revision may take as long to show what it changes.",
    )
    verification_key: Path | None = Field(
        default=None, description="Public key (PEM) that signed bundles are verified by, with `policies adopt`."
    )
    verification_key_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._:-]{0,128}$",
        description="Id that a bundle's signature must name; the fingerprint of the key if empty.",
    )

    def anchored(self, folder: Path) -> Self:
        """Return these settings with paths relative to a folder."""
        key = self.verification_key
        return self.model_copy(update={"verification_key": None if key is None else folder / key})
