"""Local maxima of a filtered volume: where they are, which stand out, to a part of a voxel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.units import FloatArray

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

NOISE_SIGMAS = 6.0
"""A neuron's height is at least this many standard deviations of the noise."""

NOISE_QUANTILE, SIGMAS_AT_QUANTILE = 0.9, 1.645
"""This share of normally distributed values lies within so many standard deviations."""

SAMPLED_VOXELS = 1_000_000

IMPULSE_PX = 65
"""Side of the volume in which a filter's kernel is seen."""

ROUNDING = 1e-6
"""Share of the largest value that rounding leaves, at most, where a filter should give zero."""


def standing_out(
    response: FloatArray, separation_px: Array, *, noise: float, threshold: float
) -> Indices:
    """Return the maxima of a filtered volume that stand out, highest first.

    A maximum is the largest value within ``separation_px`` along every axis. It stands out
    if it is above ``threshold`` times the typical height, and above the noise.

    Parameters
    ----------
    response : ndarray of float32 (Z, Y, X) or (Y, X)
        About zero where there is nothing.
    separation_px : ndarray (D,)
        At least one voxel is taken.
    noise : float
        Standard deviation of the noise in ``response``.
    threshold : float
        Share of the typical height, see `typical_height`.

    Returns
    -------
    ndarray of int (N, D)
        Indices of their voxels; of touching voxels of equal height only one.
    """
    sizes = 2 * np.maximum(np.round(separation_px).astype(int), 1) + 1
    highest = ndimage.maximum_filter(response, size=tuple(sizes.tolist()), mode="nearest")
    candidates = (response == highest) & (response > NOISE_SIGMAS * noise)
    del highest
    touching, _ = ndimage.label(candidates, np.ones((3,) * response.ndim))
    _, first = np.unique(touching[candidates], return_index=True)
    index = np.argwhere(candidates)[first]
    height = response[tuple(index.T)]
    order = np.argsort(-height, kind="stable")
    high: Indices = index[order][height[order] > threshold * typical_height(height)]
    return high


def typical_height(height: FloatArray) -> float:
    """Return the height of maxima from which upwards half of the sum of all heights comes.

    Neither many low maxima nor one that is much too high change it much.
    """
    if not len(height):
        return 0.0
    falling = np.sort(height)[::-1].astype(float)
    total = np.cumsum(falling)
    return float(falling[np.searchsorted(total, total[-1] / 2)])


def noise_after(values: FloatArray, response_to: Callable[[FloatArray], FloatArray]) -> float:
    """Return the standard deviation of the noise that a linear filter leaves.

    The noise of single voxels is taken from second differences along x, which the blurred
    image of a specimen hardly has, and is assumed not to be correlated between voxels.

    Parameters
    ----------
    values : ndarray of float32 (Z, Y, X) or (Y, X)
        What is filtered.
    response_to : callable
        The filter.
    """
    rows = values.reshape(-1, values.shape[-1])
    rows = rows[:: max(1, values.size // SAMPLED_VOXELS)]
    rounding = ROUNDING * float(np.abs(rows).max())
    if rows.shape[1] < 3:
        return rounding
    bends = np.abs(np.diff(rows, n=2, axis=1)) / np.sqrt(6)
    per_voxel = float(np.quantile(bends, NOISE_QUANTILE)) / SIGMAS_AT_QUANTILE
    impulse = np.zeros([min(size, IMPULSE_PX) for size in values.shape], np.float32)
    impulse[tuple(size // 2 for size in impulse.shape)] = 1
    return max(per_voxel * float(np.linalg.norm(response_to(impulse))), rounding)


def quadratic_fit(response: FloatArray, index: Indices) -> Array:
    """Return the tops of quadratic functions through each maximum and its neighbours.

    The function has the gradient and the Hessian of the voxels around the maximum, as in
    Brown and Lowe, BMVC 2002. A top lies within half a voxel of its maximum; at the border
    of the volume nothing is known of it along that axis, and it stays in the voxel's middle.

    Parameters
    ----------
    response : ndarray (Z, Y, X) or (Y, X)
        Filtered volume.
    index : ndarray of int (N, D)
        Voxels of its maxima.

    Returns
    -------
    ndarray (N, D)
        Fractional indices.
    """
    if not len(index):
        return np.zeros(index.shape)
    axes, last = response.ndim, np.array(response.shape) - 1

    def at(offset: Array) -> Array:
        voxels = np.clip(index + offset.astype(int), 0, last)
        heights: Array = response[tuple(voxels.T)].astype(float)
        return heights

    unit, here = np.eye(axes), at(np.zeros(axes))
    gradient = np.empty((len(index), axes))
    hessian = np.empty((len(index), axes, axes))
    for a in range(axes):
        before, after = at(-unit[a]), at(unit[a])
        gradient[:, a] = (after - before) / 2
        hessian[:, a, a] = before - 2 * here + after
    for a, b in combinations(range(axes), 2):
        mixed = at(unit[a] + unit[b]) + at(-unit[a] - unit[b])
        mixed -= at(unit[a] - unit[b]) + at(unit[b] - unit[a])
        hessian[:, a, b] = hessian[:, b, a] = mixed / 4
    shift = -(np.linalg.pinv(hessian, hermitian=True) @ gradient[:, :, None])[:, :, 0]
    inside = (index > 0) & (index < last)
    return np.asarray(index + np.where(inside, np.clip(shift, -0.5, 0.5), 0.0), np.float64)
