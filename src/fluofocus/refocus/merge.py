"""Virtual stacks of one field, made from several input planes, merged into one."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack, voxel_size_um
from fluofocus.refocus.outputs import ERROR

SAME_UM = 1e-3
"""Planes and pixels closer than this are at the same position."""

Positions = npt.NDArray[np.float64]


def merge_stacks(stacks: Sequence[xr.DataArray], input_z_um: Sequence[float]) -> xr.DataArray:
    """Merge virtual stacks of one field by the maximum of each voxel.

    As in Wu et al. (2019), Table 1, where two stacks, from input planes 4 µm apart, are
    merged and more neurons found. Each stack counts z from its own input plane; here they
    are brought to a common z, and the planes kept that all stacks have.

    Parameters
    ----------
    stacks : sequence of DataArray (…, Z, Y, X)
        Two or more, with coordinates in µm, as `fluofocus.refocus` returns them.
    input_z_um : sequence of float
        Position of the input plane that each was made from, such as its place in the focus
        scan.

    Returns
    -------
    DataArray
        Axes as those of the stacks, ``Z`` absolute. Lazy if the stacks are.

    Raises
    ------
    FluoFocusError
        If there are fewer than two stacks, or they differ in axes, shape, pixels, place or
        channels, hold expected errors, or have no z in common.
    """
    _check_count(stacks, input_z_um)
    first = stacks[0]
    for number, stack in enumerate(stacks, start=1):
        _check_form(stack, number)
        _check_like(stack, first, number)
    positions = [
        _rising(stack, number) + input_z
        for number, (stack, input_z) in enumerate(zip(stacks, input_z_um, strict=True), start=1)
    ]
    common = _common(positions)
    parts = [
        stack.isel(Z=[int(np.abs(z_um - z).argmin()) for z in common]).data
        for stack, z_um in zip(stacks, positions, strict=True)
    ]
    merged = parts[0]
    for part in parts[1:]:
        merged = np.maximum(merged, part)
    return _labelled(merged, common, stacks, input_z_um)


def _check_count(stacks: Sequence[xr.DataArray], input_z_um: Sequence[float]) -> None:
    if len(stacks) < 2 or len(stacks) != len(input_z_um):
        raise FluoFocusError(
            f"{len(stacks)} virtual stacks and {len(input_z_um)} positions of input planes cannot "
            "be merged: give two or more stacks, and one position for each."
        )
    if not np.isfinite(np.asarray(input_z_um, float)).all():
        raise FluoFocusError("The positions of the input planes must be finite numbers of µm.")


def _check_form(stack: xr.DataArray, number: int) -> None:
    """Refuse what is no virtual stack."""
    if stack.dims[-3:] != ("Z", "Y", "X") or "Z" not in stack.coords:
        raise FluoFocusError(
            f"Virtual stack {number} has axes {', '.join(map(str, stack.dims))}: merge stacks "
            "with axes ending in Z, Y, X, and positions of their planes."
        )
    if any(name.endswith(ERROR) for name in _channels(stack)):
        raise FluoFocusError(
            f"Virtual stack {number} holds expected errors, whose maximum says nothing: refocus "
            "without --uncertainty (uncertainty=False) to merge."
        )


def _check_like(stack: xr.DataArray, first: xr.DataArray, number: int) -> None:
    """Refuse a stack that differs from the first in more than its planes."""
    _check_grid(stack, first, number)
    names, expected = (", ".join(_channels(each)) or "without names" for each in (stack, first))
    if names != expected:
        raise FluoFocusError(
            f"The channels of virtual stack {number} are {names}, those of the first {expected}: "
            "merge the same channels."
        )


def _check_grid(stack: xr.DataArray, first: xr.DataArray, number: int) -> None:
    """Refuse other axes, shapes, pixels or places."""
    sizes, expected = (
        {dim: size for dim, size in each.sizes.items() if dim != "Z"} for each in (stack, first)
    )
    if stack.dims != first.dims or sizes != expected:
        raise FluoFocusError(
            f"Virtual stack {number} is {_form(sizes)}, the first {_form(expected)}: merge stacks "
            "of the same field."
        )
    pixels, expected_pixels = (voxel_size_um(each)[1:] for each in (stack, first))
    if not np.allclose(pixels, expected_pixels, rtol=SAME_UM, atol=0):
        raise FluoFocusError(
            f"The pixels of virtual stack {number} are {pixels[0]:g} x {pixels[1]:g} µm, those of "
            f"the first {expected_pixels[0]:g} x {expected_pixels[1]:g} µm: merge stacks with the "
            "same pixels."
        )
    for axis in ("Y", "X"):
        if axis in stack.coords and axis in first.coords:
            apart = float(np.abs(stack.coords[axis].values - first.coords[axis].values).max())
            if apart > SAME_UM:
                raise FluoFocusError(
                    f"Virtual stack {number} lies {apart:g} µm from the first along {axis}: merge "
                    "stacks of the same field."
                )


def _form(sizes: dict[Any, int]) -> str:
    return " x ".join(f"{size} ({dim})" for dim, size in sizes.items())


def _channels(stack: xr.DataArray) -> list[str]:
    return [str(name) for name in np.ravel(stack.coords["C"].values)] if "C" in stack.coords else []


def _rising(stack: xr.DataArray, number: int) -> Positions:
    z_um = np.asarray(stack.coords["Z"].values, float)
    if not np.isfinite(z_um).all() or (np.diff(z_um) <= SAME_UM).any():
        raise FluoFocusError(
            f"The planes of virtual stack {number} must have different positions, from low to high."
        )
    return z_um


def _common(positions: Sequence[Positions]) -> Positions:
    """Return the positions of the first stack that all others have too."""
    common = positions[0]
    for others in positions[1:]:
        common = common[np.abs(common[:, None] - others).min(axis=1) <= SAME_UM]
    if not len(common):
        spans = " and ".join(f"{z_um[0]:g} to {z_um[-1]:g}" for z_um in positions)
        raise FluoFocusError(
            f"The virtual stacks, at {spans} µm, have no plane in common: refocus onto planes that "
            "coincide, counting from each input plane's own position."
        )
    return common


def _labelled(
    merged: Any, z_um: Positions, stacks: Sequence[xr.DataArray], input_z_um: Sequence[float]
) -> xr.DataArray:
    first = stacks[0]
    _, pixel_y_um, pixel_x_um = voxel_size_um(first)
    step_um = float(z_um[-1] - z_um[0]) / (len(z_um) - 1) if len(z_um) > 1 else float("nan")
    record = {
        "software": f"fluofocus {importlib.metadata.version('fluofocus')}",
        "merged": "maximum",
        "input_z_um": [float(z) for z in input_z_um],
        "stacks": [dict(stack.attrs.get("provenance", {})) for stack in stacks],
    }
    result = make_stack(
        merged,
        "".join(map(str, first.dims)),
        (step_um, pixel_y_um, pixel_x_um),
        provenance=record,
        name=None if first.name is None else str(first.name),
        z_um=[float(z) for z in z_um],
        channel_names=_channels(first) or None,
    )
    kept = {axis: first.coords[axis] for axis in "TYX" if axis in first.coords}
    return result.assign_coords(kept)
