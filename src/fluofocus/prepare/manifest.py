"""The record of a prepared dataset: which fields and regions it has, and how they came about."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fluofocus.io.stack import VoxelSize
from fluofocus.prepare.config import PrepareConfig

FORMAT_VERSION: Literal[1] = 1

Split = Literal["training", "validation"]


class RegionRecord(BaseModel):
    """A region and its planes, in the field as it came.

    ``z_um`` are the heights of the input's planes and ``target_z_um`` those of the target's,
    both from the same zero point, so that their differences are distances to refocus by.
    ``planes_background`` and ``planes_scale`` are what `normalisation_from_image` says of the
    whole plane of each input, in the dataset's own scale.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    split: Split
    top_px: int
    left_px: int
    signal_share: float
    first_plane: int
    middle_plane: int
    z_um: list[float]
    target_z_um: list[float]
    planes_background: list[float]
    planes_scale: list[float]


class RejectedRegion(BaseModel):
    """A region that was left out, and why."""

    model_config = ConfigDict(extra="forbid")

    top_px: int
    left_px: int
    reason: str


class ScanRecord(BaseModel):
    """How one focus scan of a field was brought into shape.

    Motions are relative to the middle plane; there are none where planes were not aligned.
    ``background_counts`` and ``scale_counts`` made 0 and 1 of it.
    """

    model_config = ConfigDict(extra="forbid")

    source: str
    shape: list[int]
    dtype: str
    voxel_size_um: VoxelSize
    provenance: dict[str, Any]
    shift_px: list[tuple[float, float]]
    rotation_rad: list[float]
    jumps: list[int]
    hot_pixels: int = 0
    background_counts: float
    scale_counts: float


class RegistrationRecord(BaseModel):
    """How a target field was brought onto its input field."""

    model_config = ConfigDict(extra="forbid")

    method: str
    matrix: list[list[float]]
    residual_px: float
    is_reversed: bool
    zero_point_um: float
    target_zero_point_um: float


class FieldRecord(BaseModel):
    """One field of view; ``refused`` says why it is left out."""

    model_config = ConfigDict(extra="forbid")

    name: str
    refused: str | None = None
    input: ScanRecord | None = None
    target: ScanRecord | None = None
    registration: RegistrationRecord | None = None
    regions: list[RegionRecord] = []
    rejected: list[RejectedRegion] = []


class Manifest(BaseModel):
    """All that a dataset says about itself."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    software: str
    created: str
    config: PrepareConfig
    has_targets: bool
    pixel_size_um: float
    fields: list[FieldRecord]

    def regions(self, split: Split) -> list[RegionRecord]:
        """Return the regions of one split."""
        return [
            region for field in self.fields for region in field.regions if region.split == split
        ]
