"""A stack made ready for segmentation: its voxels, how large they are, where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import origin_um, voxel_size_um
from fluofocus.units import AnyArray, FloatArray

Array = npt.NDArray[np.float64]

DIAMETER_UM = 2.8
"""Of the nucleus of a *C. elegans* neuron, about."""

THRESHOLD = 0.2
"""Share of the typical height that a neuron needs."""

SMALLEST_DIAMETER_PX = 2.0
"""Neurons need at least this many pixels across to be told from noise."""

UNEVEN_SHARE = 0.01
"""Steps between planes may differ by this share of their mean."""


@dataclass(frozen=True)
class Volume:
    """The voxels of a stack, or of one image, and their positions.

    Attributes
    ----------
    values : ndarray of float32 (Z, Y, X) or (Y, X)
        Intensities.
    voxel_um : ndarray (3,) or (2,)
        Size of a voxel along each axis of ``values``.
    positions_um : tuple of ndarray
        Positions along z, y and x; the one z of an image.
    """

    values: FloatArray
    voxel_um: Array
    positions_um: tuple[Array, Array, Array]

    @property
    def ndim(self) -> int:
        """Three for a stack, two for one image."""
        return self.values.ndim

    def in_px(self, length_um: float) -> Array:
        """Return a length in µm as voxels along each axis."""
        return length_um / self.voxel_um

    def to_um(self, index: AnyArray) -> Array:
        """Return the positions (N, 3) in µm of fractional indices (N, 3) or (N, 2)."""
        if self.ndim == 2:
            index = np.insert(index, 0, 0.0, axis=1)
        columns = [
            np.interp(along, np.arange(len(positions)), positions)
            for along, positions in zip(index.T, self.positions_um, strict=True)
        ]
        return np.stack(columns, axis=1)


def checked_volume(stack: xr.DataArray, diameter_um: float, threshold: float) -> Volume:
    """Return a stack (Z, Y, X), or one image (Y, X), ready for neurons of a diameter.

    Raises
    ------
    FluoFocusError
        If it has other axes, no voxel size, uneven planes, or NaN or infinite values, or
        such neurons are smaller than two pixels or lie between its planes, or the threshold
        is no share.
    """
    if not 0 < threshold < 1:
        raise FluoFocusError(
            f"The threshold is a share between 0 and 1 of the neurons' height, not {threshold:g}."
        )
    label = stack.name or "the stack"
    if stack.dims not in (("Z", "Y", "X"), ("Y", "X")) or not stack.size:
        axes = ", ".join(f"{dim} ({size})" for dim, size in stack.sizes.items())
        raise FluoFocusError(
            f"Neurons are segmented in a stack (Z, Y, X) or one image (Y, X), {label} has axes "
            f"{axes}: select one time point and one channel."
        )
    if stack.sizes.get("Z") == 1:
        stack = stack.isel(Z=0)
    z_um, y_um, x_um = voxel_size_um(stack)
    _check_diameter(diameter_um, (z_um if "Z" in stack.dims else 0.0, y_um, x_um))
    positions = _positions_um(stack, (z_um, y_um, x_um))
    steps = np.diff(positions[0])
    if len(steps) and np.ptp(steps) > UNEVEN_SHARE * abs(steps.mean()):
        raise FluoFocusError(
            f"The planes of {label} are {abs(steps).min():g} to {abs(steps).max():g} µm apart: "
            "select evenly spaced ones, or correct the distance with --z-step (z_step_um)."
        )
    values = np.asarray(stack.values).astype(np.float32)
    if not np.isfinite(values).all():
        raise FluoFocusError(f"{label} holds NaN or infinite values: replace or crop them first.")
    return Volume(values, np.array([z_um, y_um, x_um][-values.ndim :]), positions)


def _check_diameter(diameter_um: float, voxel_um: tuple[float, float, float]) -> None:
    if not (math.isfinite(diameter_um) and diameter_um > 0):
        raise FluoFocusError(f"A neuron's diameter must be above zero, not {diameter_um:g} µm.")
    step_um, pixel_um = voxel_um[0], max(voxel_um[1:])
    if diameter_um < SMALLEST_DIAMETER_PX * pixel_um:
        raise FluoFocusError(
            f"A diameter of {diameter_um:g} µm is less than {SMALLEST_DIAMETER_PX:g} pixels of "
            f"{pixel_um:g} µm: give a larger --diameter, or images with smaller pixels."
        )
    if diameter_um < step_um:
        raise FluoFocusError(
            f"Planes {step_um:g} µm apart miss neurons of {diameter_um:g} µm: give a larger "
            "--diameter, or a stack with closer planes."
        )


def _positions_um(
    stack: xr.DataArray, voxel_um: tuple[float, float, float]
) -> tuple[Array, Array, Array]:
    origin = origin_um(stack)
    z, y, x = (
        np.asarray(stack.coords[axis].values, float)
        if axis in stack.dims and axis in stack.coords
        else _even(origin[index], voxel_um[index], stack.sizes.get(axis, 1))
        for index, axis in enumerate("ZYX")
    )
    return z, y, x


def _even(first_um: float, step_um: float, count: int) -> npt.NDArray[Any]:
    return first_um + (step_um * np.arange(count) if count > 1 else np.zeros(1))
