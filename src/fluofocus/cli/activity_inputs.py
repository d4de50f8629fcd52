"""The recordings that ``fluofocus neurons activity`` reads: two channels, and the frames' times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.errors import FluoFocusError

if TYPE_CHECKING:
    import xarray as xr

    from fluofocus.units import AnyArray


def open_channels(
    files: Sequence[str], channels: Sequence[int | None], pixel_um: float | None, z_um: float | None
) -> list[xr.DataArray]:
    """Open the red and the green channel, as time-lapses ``(T, Y, X)`` or ``(T, Z, Y, X)``."""
    from fluofocus.io import read_stack

    stacks = [read_stack(file, pixel_size_um=pixel_um, z_step_um=z_um) for file in files]
    if len(stacks) == 1:
        if stacks[0].sizes.get("C", 1) < 2:
            raise FluoFocusError(
                f"{files[0]} has one channel only: give the green channel's file after it."
            )
        stacks, channels = stacks * 2, [i if c is None else c for i, c in enumerate(channels)]
        if channels[0] == channels[1]:
            raise FluoFocusError(f"--red and --green are both channel {channels[0]}: give two.")
    return [
        _time_lapse(stack, name, channel)
        for stack, name, channel in zip(stacks, ("red", "green"), channels, strict=True)
    ]


def _time_lapse(stack: xr.DataArray, name: str, channel: int | None) -> xr.DataArray:
    count = stack.sizes.get("C", 1)
    if count > 1 and channel is None:
        raise FluoFocusError(f"{stack.name} has {count} channels: say which one with --{name}.")
    if (channel or 0) >= count:
        raise FluoFocusError(
            f"{stack.name} has no channel {channel}: --{name} is a number from 0 to {count - 1}."
        )
    if "T" not in stack.dims:
        axes = ", ".join(f"{axis} ({size})" for axis, size in stack.sizes.items())
        raise FluoFocusError(
            f"{stack.name} is no time-lapse, its axes are {axes}: give one with an axis T, as "
            "OME-TIFF, ImageJ TIFF and OME-Zarr name it."
        )
    return stack.isel(C=channel or 0) if "C" in stack.dims else stack


def frames_of(lapse: xr.DataArray) -> AnyArray:
    """Load a time-lapse as ``(T, Z, Y, X)``."""
    values = np.asarray(lapse.values)
    return values if "Z" in lapse.dims else values[:, None]


def frame_times_s(lapse: xr.DataArray, rate_hz: float | None, file: Path | None) -> AnyArray | None:
    """Return the time of each frame from a rate, a file or the recording; None if unknown."""
    from fluofocus.io.stack import known_times_s

    if rate_hz is not None and file is not None:
        raise FluoFocusError("Give either --frame-rate or --times.")
    if rate_hz is not None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise FluoFocusError(f"--frame-rate must be above zero, not {rate_hz:g}.")
        return np.arange(lapse.sizes["T"]) / rate_hz
    if file is None:
        times = known_times_s(lapse)
        return None if times is None else np.array(times)
    try:
        return np.array([float(line) for line in file.read_text(encoding="utf-8").split()])
    except ValueError as error:
        raise FluoFocusError(
            f"{file} does not hold one number of seconds per line: {error}."
        ) from error
