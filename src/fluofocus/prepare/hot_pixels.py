"""Pixels of the camera that are bright by themselves, and so the same in every plane."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter, rank_filter

from fluofocus.units import AnyArray

_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
_LEAST_NOISES = 8.0
_LEAST_SHARE = 0.6
"""Share of a pixel's light by which it exceeds its brightest neighbour but one (that one may be
hot too). A lens spreads the light of a point so that it never does, unless pixels are coarser
than 1.7 to a full width."""


def find_hot_pixels(counts: AnyArray) -> npt.NDArray[np.bool_]:
    """Mark pixels ``(Y, X)`` of a focus scan ``(Z, Y, X)`` that stand out alone in most planes.

    Two side by side are found too. Left in, they look like fine detail that does not move when
    the sample does.
    """
    middle = len(counts) // 2
    steady = np.partition(counts, middle, axis=0)[middle].astype(np.float32)
    second = rank_filter(steady, rank=-2, footprint=_NEIGHBOURS, mode="nearest")
    excess = steady - second
    noise = 1.4826 * np.median(np.abs(steady - median_filter(steady, 3)))
    light = steady - np.median(steady)
    return np.asarray((excess > _LEAST_NOISES * noise) & (excess > _LEAST_SHARE * light))


def without_pixels(counts: AnyArray, hot: npt.NDArray[np.bool_]) -> AnyArray:
    """Return a scan in which marked pixels are the median of their neighbours, plane by plane."""
    if not hot.any():
        return counts
    rows, columns = np.nonzero(hot)
    down, right = np.nonzero(_NEIGHBOURS)
    height, width = hot.shape
    around = (
        np.clip(rows[:, None] + down - 1, 0, height - 1),
        np.clip(columns[:, None] + right - 1, 0, width - 1),
    )
    mended = counts.copy()
    mended[:, rows, columns] = np.median(counts[:, *around], axis=-1).astype(counts.dtype)
    return mended
