"""What the readers of all formats hand over, and how it becomes a stack."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import UNKNOWN_VOXEL_UM, VoxelSize, make_stack
from fluofocus.units import AXES

OWN_NAMESPACE = "urn:fluofocus:stack"
"""Namespace of the OME-XML annotation that holds FluoFocus's own metadata as JSON."""

OWN_KEY = "fluofocus"
"""Key of the same metadata among the attributes of an OME-Zarr."""

PLANE_CHUNKS = ["Y", "X"]
"""What bioio's readers shall read at once: one plane (their default is a focus stack)."""

UM_PER_UNIT = {
    "pm": 1e-6,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "\u03bcm": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
}
"""Lower-case names of units of length in image files (µ may be either of two characters)."""


SECONDS_PER_UNIT = {
    "ns": 1e-9,
    "nanosecond": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
"""Lower-case names of units of time in image files."""


@dataclass(frozen=True)
class Contents:
    """An image as its file describes it: pixels with named axes, metadata in µm and seconds."""

    pixels: xr.DataArray
    voxel_size_um: VoxelSize = UNKNOWN_VOXEL_UM
    origin_um: VoxelSize = (0.0, 0.0, 0.0)
    channel_names: Sequence[str] | None = None
    times_s: Sequence[float] | None = None
    """When each frame was recorded."""

    images: int = 1
    """How many images the file holds, of which this is the first."""

    own_metadata: Mapping[str, Any] = field(default_factory=dict)
    """What FluoFocus itself wrote into the file: ``provenance``, ``z_um`` and ``times_s``."""


def bioio_reader(plugin: str, path: Path, **options: Any) -> Any:
    """Return the bioio reader of one plugin, imported only now because that takes a second."""
    return importlib.import_module(plugin).Reader(path, **options)


def um_per_unit(unit: object) -> float:
    """Return how many µm a unit named in a file has, nan if it is not a known length."""
    return UM_PER_UNIT.get(str(unit).strip().lower(), math.nan)


def seconds_per_unit(unit: object) -> float:
    """Return how many seconds a unit named in a file has, nan if it is not a known time."""
    return SECONDS_PER_UNIT.get(str(unit).strip().lower(), math.nan)


def even_times_s(frames: int, interval_s: float) -> list[float] | None:
    """Return times from zero on; None for one frame, or where the interval is not a time."""
    if frames < 2 or not (math.isfinite(interval_s) and interval_s > 0):
        return None
    return [frame * interval_s for frame in range(frames)]


def stack_from_contents(
    contents: Contents,
    name: str,
    *,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
) -> xr.DataArray:
    """Check what was read, drop axes of length one, and label it.

    Raises
    ------
    FluoFocusError
        If the image has colours, unknown axes, no pixels, or values that are not real numbers.
    """
    pixels = _in_known_axes(contents.pixels, name)
    z, y, x = contents.voxel_size_um
    sizes = contents.pixels.sizes
    z_um, names = contents.own_metadata.get("z_um"), contents.channel_names
    first_z_um, *first_yx_um = contents.origin_um
    first_y_um, first_x_um = contents.own_metadata.get("origin_yx_um", first_yx_um)
    if z_step_um is not None or (z_um is not None and len(z_um) != sizes.get("Z", 1)):
        z_um = None
    if names is not None and len(names) != sizes.get("C", 1):
        names = None
    times_s = contents.own_metadata.get("times_s", contents.times_s)
    if times_s is not None and len(times_s) != sizes.get("T", 1):
        times_s = None
    return make_stack(
        pixels.data,
        "".join(str(dim) for dim in pixels.dims),
        (z_step_um or z, pixel_size_um or y, pixel_size_um or x),
        provenance=contents.own_metadata.get("provenance"),
        name=name,
        z_um=z_um,
        origin_um=(first_z_um, first_y_um, first_x_um),
        channel_names=names,
        times_s=times_s,
    )


def _in_known_axes(pixels: xr.DataArray, name: str) -> xr.DataArray:
    kept = [dim for dim in pixels.dims if dim in ("Y", "X") or pixels.sizes[dim] != 1]
    pixels = pixels.squeeze(set(pixels.dims) - set(kept), drop=True)
    if "S" in kept:
        raise FluoFocusError(
            f"{name} is a colour picture ({pixels.sizes['S']} samples per pixel): "
            "save the channel you need as a grey-scale image."
        )
    if alien := [str(dim) for dim in kept if str(dim) not in AXES]:
        raise FluoFocusError(
            f"{name} has axes that FluoFocus does not know ({', '.join(alien)}): "
            f"save one image of it with axes out of {AXES}."
        )
    if not {"Y", "X"} <= set(kept) or pixels.size == 0:
        raise FluoFocusError(f"{name} holds no image: its shape is {tuple(pixels.shape)}.")
    if pixels.dtype.kind not in "buif":
        raise FluoFocusError(
            f"{name} holds values of type {pixels.dtype}: save it as integers or real numbers."
        )
    return pixels.transpose(*(axis for axis in AXES if axis in kept))
