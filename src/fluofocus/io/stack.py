"""The `Stack`: an `xarray.DataArray` with axes out of TCZYX and coordinates in µm.

A stack carries

* dimensions named by single capital letters, always in the order TCZYX;
* coordinates ``Z``, ``Y``, ``X`` in µm, for each axis whose spacing is known, ``T`` in
  seconds where the times are known, and the channel names as coordinate ``C``; a single plane
  keeps its position as a scalar ``Z``, a single frame its time as a scalar ``T``;
* ``attrs["voxel_size_um"]`` (z, y, x), nan where unknown;
* ``attrs["provenance"]``, a JSON-able record of how the stack was made.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dask.base import is_dask_collection

from fluofocus.errors import FluoFocusError
from fluofocus.units import AXES, AnyArray

SPATIAL_AXES = "ZYX"
UNKNOWN_VOXEL_UM = (math.nan, math.nan, math.nan)

VoxelSize = tuple[float, float, float]


def make_stack(
    data: Any,
    dims: str,
    voxel_size_um: VoxelSize | None,
    *,
    provenance: Mapping[str, Any] | None = None,
    name: str | None = None,
    z_um: Sequence[float] | None = None,
    origin_um: VoxelSize = (0.0, 0.0, 0.0),
    channel_names: Sequence[str] | None = None,
    times_s: Sequence[float] | None = None,
) -> xr.DataArray:
    """Label an array with its axes, voxel size and provenance.

    Parameters
    ----------
    data
        NumPy or dask array with one dimension for each letter of `dims`.
    dims
        Letters out of TCZYX, in this order, ending in YX.
    voxel_size_um
        (z, y, x) in µm; nan, or None for all three, where unknown.
    provenance
        A JSON-able record of how the data was made.
    name
        What error messages call the stack, usually the name of its file.
    z_um
        Position of each plane in µm, instead of the even spacing and origin in z; or
        the position of the one plane of a stack without axis Z.
    origin_um
        (z, y, x) of the first voxel in µm.
    channel_names
        One name per channel.
    times_s
        When each frame was recorded, or the one frame of a stack without axis T.

    Raises
    ------
    FluoFocusError
        If axes, shape or sizes are not valid or contradict each other.
    """
    check_dims(dims)
    if len(dims) != data.ndim:
        raise FluoFocusError(
            f"An array of {data.ndim} dimensions cannot have the axes {dims}: "
            "name one axis for each dimension."
        )
    voxel = check_voxel_size(voxel_size_um)
    sizes = dict(zip(dims, data.shape, strict=True))
    coordinates: dict[Hashable, Any] = {}
    for axis, spacing, origin in zip(SPATIAL_AXES, voxel, origin_um, strict=True):
        if axis in sizes and math.isfinite(spacing):
            coordinates[axis] = _micrometres(axis, origin + spacing * np.arange(sizes[axis]))
    if z_um is not None:
        coordinates["Z"] = _micrometres("Z", _one_per_entry("Z", z_um, sizes, np.float64))
    if channel_names is not None:
        names = _one_per_entry("C", channel_names, sizes, np.str_)
        coordinates["C"] = xr.Variable("C" if "C" in sizes else (), names)
    if times_s is not None:
        times = _one_per_entry("T", times_s, sizes, np.float64)
        coordinates["T"] = xr.Variable("T" if "T" in sizes else (), times, attrs={"units": "s"})
    attributes = {"voxel_size_um": voxel, "provenance": dict(provenance or {})}
    stack = xr.DataArray(data, dims=tuple(dims), coords=coordinates, attrs=attributes, name=name)
    stack.attrs["voxel_size_um"] = known_voxel_size_um(stack)
    return stack


def voxel_size_um(stack: xr.DataArray) -> VoxelSize:
    """Return the voxel size (z, y, x) in µm; z is nan for a single plane of unknown step.

    Raises
    ------
    FluoFocusError
        If the pixel size, or the step between several planes, is not known.
    """
    z, y, x = known_voxel_size_um(stack)
    label = stack.name or "the image"
    if not (math.isfinite(y) and math.isfinite(x)):
        raise FluoFocusError(
            f"The pixel size of {label} is not stated in it: "
            "give it in µm with --pixel-size (in Python: pixel_size_um=...)."
        )
    if not math.isfinite(z) and stack.sizes.get("Z", 1) > 1:
        raise FluoFocusError(
            f"The distance between the planes of {label} is not stated in it: "
            "give it in µm with --z-step (in Python: z_step_um=...)."
        )
    return z, y, x


def loaded(pixels: Any) -> AnyArray:
    """Return pixels in memory, read by threads of this process whatever Dask's default is.

    Raises
    ------
    FluoFocusError
        If they cannot be read; each format and each compression has errors of its own.
    """
    if is_dask_collection(pixels):
        try:
            pixels = pixels.compute(scheduler="threads")
        except (FluoFocusError, MemoryError):
            raise
        except Exception as error:
            raise FluoFocusError(
                f"The pixels cannot be read ({type(error).__name__}: {error}): "
                "the file is damaged or out of reach: copy or export it again."
            ) from error
    return np.asarray(pixels)


def origin_um(stack: xr.DataArray) -> VoxelSize:
    """Return the position (z, y, x) of the first voxel in µm, zero where none is stated."""
    z, y, x = (
        float(np.ravel(stack.coords[axis].values)[0]) if axis in stack.coords else 0.0
        for axis in SPATIAL_AXES
    )
    return z, y, x


def known_times_s(stack: xr.DataArray) -> list[float] | None:
    """Return when each frame was recorded, in seconds; None where that is not known."""
    if "T" not in stack.coords or stack.coords["T"].attrs.get("units") != "s":
        return None
    return [float(time) for time in np.ravel(stack.coords["T"].values)]


def known_voxel_size_um(stack: xr.DataArray) -> VoxelSize:
    """Return the voxel size (z, y, x) in µm, nan for what is not known.

    Coordinates come before the attribute, so that the answer stays right for a stack
    that was sliced; unevenly spaced planes give their mean distance.
    """
    stated = stack.attrs.get("voxel_size_um", UNKNOWN_VOXEL_UM)
    z, y, x = (
        _spacing_um(stack, axis, float(value))
        for axis, value in zip(SPATIAL_AXES, stated, strict=True)
    )
    return z, y, x


def check_dims(dims: str) -> None:
    """Raise `FluoFocusError` unless `dims` are letters of TCZYX in order, ending in YX."""
    if not dims.endswith("YX") or dims != "".join(axis for axis in AXES if axis in dims):
        raise FluoFocusError(
            f"The axes {dims!r} cannot be used: give letters out of {AXES}, in this order, "
            "ending in YX."
        )


def check_counts(image: xr.DataArray) -> None:
    """Raise `FluoFocusError` unless an image or stack has the axes and values of a recording."""
    check_dims("".join(str(dim) for dim in image.dims))
    if image.size == 0:
        raise FluoFocusError(f"The image has no pixels: its shape is {image.shape}.")
    if image.dtype.kind not in "uif":
        raise FluoFocusError(
            f"The image holds values of type {image.dtype}: give the camera's counts, "
            "integers or real numbers."
        )


def check_is_no_name(image: object) -> None:
    """Raise `FluoFocusError` where an image is asked for and its file's name is given."""
    if isinstance(image, str | Path):
        raise FluoFocusError(
            f"{str(image)!r} is a name, not an image: read it first with fluofocus.read_stack."
        )


def check_pixel_size(pixel_size_um: float | None) -> None:
    """Raise `FluoFocusError` unless a pixel size is possible, or not given."""
    if pixel_size_um is not None and not (pixel_size_um > 0 and math.isfinite(pixel_size_um)):
        raise FluoFocusError(
            f"A pixel size of {pixel_size_um} µm is not possible: give one above 0."
        )


def check_voxel_size(voxel: VoxelSize | None) -> VoxelSize:
    """Return the voxel size as three floats; raise `FluoFocusError` unless positive or nan."""
    if voxel is None:
        return UNKNOWN_VOXEL_UM
    z, y, x = (float(size) for size in voxel)
    if any(math.isinf(size) or size <= 0 for size in (z, y, x)):
        raise FluoFocusError(
            f"A voxel of {z:g} x {y:g} x {x:g} µm (z, y, x) is not possible: "
            "sizes must be above zero."
        )
    return z, y, x


def _spacing_um(stack: xr.DataArray, axis: str, stated: float) -> float:
    if axis not in stack.coords or stack.coords[axis].size < 2:
        return stated
    positions = stack.coords[axis].values
    measured = abs(float(positions[-1]) - float(positions[0])) / (positions.size - 1)
    return stated if math.isclose(stated, measured, rel_tol=1e-6) else measured


def _micrometres(axis: str, positions: np.ndarray[Any, Any]) -> xr.Variable:
    return xr.Variable(axis if positions.ndim else (), positions, attrs={"units": "µm"})


def _one_per_entry(
    axis: str, values: Sequence[Any], sizes: Mapping[str, int], dtype: type[np.generic]
) -> np.ndarray[Any, Any]:
    array = np.asarray(values, dtype)
    if array.shape != (sizes.get(axis, 1),):
        raise FluoFocusError(
            f"{array.size} values for axis {axis} do not fit its {sizes.get(axis, 1)} entries: "
            "give one for each."
        )
    return array if axis in sizes else array.reshape(())
