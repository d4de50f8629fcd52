"""What is known about an image file before its first pixel is written."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import VoxelSize, check_dims

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
"""Types of pixels that OME-TIFF and OME-Zarr share."""


@dataclass(frozen=True)
class Header:
    """Shape, type and metadata of an image file; equal headers mean equal outputs."""

    shape: tuple[int, ...]
    dims: str
    dtype: np.dtype[Any]
    voxel_size_um: VoxelSize
    provenance: Mapping[str, Any]
    channel_names: Sequence[str] | None = None
    z_um: Sequence[float] | None = None
    times_s: Sequence[float] | None = None
    origin_yx_um: tuple[float, float] = (0.0, 0.0)
    """Position of the first pixel."""
    chunk_yx: tuple[int, int] | None = None
    """Height and width of the chunks, in a format that has them; None leaves them to it."""

    def __post_init__(self) -> None:
        """Raise `FluoFocusError` where shape, axes, type and metadata contradict each other."""
        check_dims(self.dims)
        if len(self.shape) != len(self.dims) or min(self.shape) < 1:
            raise FluoFocusError(
                f"An image with the axes {self.dims} cannot have the shape {self.shape}: "
                "give each axis a length of at least one."
            )
        if self.dtype.name not in DTYPES:
            raise FluoFocusError(
                f"Pixels of type {self.dtype} cannot be written: "
                f"convert them to one of {', '.join(DTYPES)}."
            )
        each = (("Z", self.z_um), ("C", self.channel_names), ("T", self.times_s))
        for axis, values in each:
            if values is not None and len(values) != self.sizes.get(axis, 1):
                raise FluoFocusError(
                    f"{len(values)} values for axis {axis} do not fit its "
                    f"{self.sizes.get(axis, 1)} entries: give one for each."
                )

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis."""
        return dict(zip(self.dims, self.shape, strict=True))

    @property
    def planes(self) -> tuple[int, ...]:
        """Shape over the axes before YX."""
        return self.shape[:-2]

    @property
    def frame_interval_s(self) -> float:
        """Mean time from one frame to the next, nan where it is not known."""
        if self.times_s is None or len(self.times_s) < 2:
            return math.nan
        interval_s = (self.times_s[-1] - self.times_s[0]) / (len(self.times_s) - 1)
        return float(interval_s) if interval_s > 0 else math.nan

    @property
    def own_metadata(self) -> dict[str, Any]:
        """What only FluoFocus reads back, stored as JSON in the finished file."""
        metadata: dict[str, Any] = {"provenance": dict(self.provenance)}
        if self.z_um is not None:
            metadata["z_um"] = [float(z) for z in self.z_um]
        if self.times_s is not None:
            metadata["times_s"] = [float(time) for time in self.times_s]
        if any(self.origin_yx_um):
            metadata["origin_yx_um"] = [float(start) for start in self.origin_yx_um]
        return metadata

    def to_json(self) -> str:
        """Return the same text for the same header, in every run."""
        content = {
            "shape": [int(n) for n in self.shape],
            "dims": self.dims,
            "dtype": self.dtype.name,
            "voxel_size_um": [size if math.isfinite(size) else None for size in self.voxel_size_um],
            "channel_names": list(self.channel_names) if self.channel_names is not None else None,
            **self.own_metadata,
        }
        if self.chunk_yx is not None:
            content["chunk_yx"] = list(self.chunk_yx)
        return json.dumps(content, sort_keys=True, allow_nan=False, indent=1)

    def uuid(self) -> str:
        """Return a UUID that depends on the header alone."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.to_json()))
