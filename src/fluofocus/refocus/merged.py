"""Several planes of a focus scan, each refocused alone, and their virtual stacks merged."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.data.grid import Resample
from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack, voxel_size_um
from fluofocus.models.bundle import Model, load_model
from fluofocus.models.footprint import FLOAT_BYTES, GIB
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.engine import refocus
from fluofocus.refocus.merge import SAME_UM
from fluofocus.refocus.request import as_images, find_targets, input_positions_um
from fluofocus.refocus.work import Progress

Positions = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def refocus_merged(
    image: xr.DataArray,
    model: str | Path | Model,
    *,
    z_um: Sequence[float] | None,
    plane: Sequence[int],
    pixel_size_um: float | None = None,
    microscope: Microscope | None = None,
    allow_extrapolation: bool = False,
    resample: Resample = "auto",
    ensemble: bool = False,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Progress | None = None,
) -> xr.DataArray:
    """Refocus each of several planes alone; merge the virtual stacks by each voxel's maximum.

    As in Wu et al. (2019), Table 1. Each input plane is refocused onto the target planes
    within the range that the model was trained for. Where several reach, the larger value
    is taken, elsewhere that of the one that does.

    Parameters
    ----------
    image
        A stack with an axis Z.
    model
        Name of a shipped model, a model file, or a loaded model.
    z_um
        Distances in µm of the target planes from the first input plane, from low to high.
    plane
        Two or more planes of the stack, from 0.
    allow_extrapolation
        Whether planes that no input plane reaches are computed, from the nearest one.

    The others are those of `fluofocus.refocus.engine.refocus`.

    Returns
    -------
    DataArray
        float32 in memory, in the counts of the input; its Z counts as that of ``image`` does.

    Raises
    ------
    FluoFocusError
        If there are fewer than two input planes, the result does not fit into the budget, or
        anything else asked for is not possible.
    """
    bundle = model if isinstance(model, Model) else load_model(model)
    inputs, targets_um = _checked(image, plane, z_um, pixel_size_um)
    positions_um = input_positions_um(inputs)
    memory_gb -= _held_gb(inputs, targets_um, memory_gb)
    uses = [_reached(targets_um, positions_um, index, bundle) for index in range(len(plane))]
    stacks = []
    for index, use in enumerate(uses):
        if not use.any():
            raise FluoFocusError(
                f"Plane {plane[index]} of the input reaches none of the target planes: leave it "
                "out, or ask for planes closer to it."
            )
        stack = refocus(
            inputs.isel(Z=[index]),
            bundle,
            z_um=(targets_um[use] - positions_um[index]).tolist(),
            pixel_size_um=pixel_size_um,
            microscope=microscope,
            allow_extrapolation=allow_extrapolation,
            resample=resample,
            ensemble=ensemble,
            memory_gb=memory_gb,
            device=device,
            progress=None if progress is None else _part_of(progress, index, len(plane)),
        )
        stack.attrs["provenance"]["plane"] = plane[index]
        stacks.append(stack)
    return _maximum(stacks, uses, inputs, targets_um)


def _checked(
    image: xr.DataArray,
    plane: Sequence[int],
    z_um: Sequence[float] | None,
    pixel_size_um: float | None,
) -> tuple[xr.DataArray, Positions]:
    if len(plane) < 2:
        raise FluoFocusError(
            "Virtual stacks are merged from two input planes or more: give --plane (plane=) once "
            "more, or leave out --merge."
        )
    inputs = as_images(image, pixel_size_um=pixel_size_um, plane=plane)
    shape_yx = (inputs.sizes["Y"], inputs.sizes["X"])
    targets = find_targets(z_um, None, shape_yx=shape_yx, pixel_size_um=1.0)
    return inputs, np.array(targets.z_um)


def _held_gb(inputs: xr.DataArray, targets_um: Positions, memory_gb: float) -> float:
    """Return what the virtual stacks take in GiB, if it is within a budget."""
    held_gb = inputs.size * len(targets_um) * FLOAT_BYTES / GIB
    if held_gb >= memory_gb:
        raise FluoFocusError(
            f"The virtual stacks to merge take {held_gb:.1f} GiB of memory, more than the "
            f"{memory_gb:g} GiB allowed: raise --memory (memory_gb=), or ask for fewer planes or "
            "frames."
        )
    return held_gb


def _reached(
    targets_um: Positions, positions_um: Sequence[float], index: int, bundle: Model
) -> Mask:
    """Tell which targets an input plane is refocused to: those in its range, or nearest to it.

    Those that are in the range of none are left to `refocus`, which refuses or extrapolates.
    """
    low, high = bundle.card.training.defocus_um
    distances = targets_um[:, None] - np.asarray(positions_um)
    within = (distances > low - SAME_UM) & (distances < high + SAME_UM)
    nearest = np.abs(distances).argmin(axis=1) == index
    return np.asarray(within[:, index] | (nearest & ~within.any(axis=1)))


def _part_of(progress: Progress, index: int, parts: int) -> Progress:
    """Return what tells of one of several parts as large as each other."""
    return lambda done, total: progress(index * total + done, parts * total)


def _maximum(
    stacks: Sequence[xr.DataArray],
    uses: Sequence[Mask],
    inputs: xr.DataArray,
    targets_um: Positions,
) -> xr.DataArray:
    first = stacks[0]
    z_um = np.asarray(inputs.coords["Z"].values, float)
    shape = (*first.shape[:-3], len(targets_um), *first.shape[-2:])
    merged = np.full(shape, -np.inf, np.float32)
    for stack, use in zip(stacks, uses, strict=True):
        merged[..., use, :, :] = np.maximum(merged[..., use, :, :], stack.values)
    _, pixel_y_um, pixel_x_um = voxel_size_um(first)
    step_um = float(np.ptp(targets_um)) / (len(targets_um) - 1) if len(targets_um) > 1 else math.nan
    result = make_stack(
        merged,
        "".join(map(str, first.dims)),
        (step_um, pixel_y_um, pixel_x_um),
        provenance={
            "software": f"fluofocus {importlib.metadata.version('fluofocus')}",
            "merged": "maximum",
            "input_z_um": z_um.tolist(),
            "stacks": [dict(stack.attrs["provenance"]) for stack in stacks],
        },
        name=None if first.name is None else str(first.name),
        z_um=(z_um[0] + targets_um).tolist(),
    )
    kept = {axis: first.coords[axis] for axis in "TCYX" if axis in first.coords}
    return result.assign_coords(kept)
