"""What spatial frequencies an image or a volume holds, alone and in common with another one.

References
----------
Harauz & van Heel, Optik 73, 146 (1986): Fourier shell correlation.
van Heel & Schatz, J. Struct. Biol. 151, 250 (2005): thresholds for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]
FIXED_THRESHOLD = 1 / 7


@dataclass(frozen=True)
class Shells:
    """A quantity by spatial frequency, shell by shell.

    Attributes
    ----------
    frequency_per_um : ndarray (S,)
        Middle of each shell, from above zero to the coarsest axis's Nyquist frequency.
    value : ndarray (S,)
        NaN in shells without a sample.
    """

    frequency_per_um: Array
    value: Array


def power_spectrum(image: AnyArray, voxel_size_um: Sequence[float]) -> Shells:
    """Return the mean power in shells of spatial frequency, the whole spectrum's mean being one.

    The image is tapered towards its edges, so that they do not count as detail.

    Parameters
    ----------
    image
        2D or 3D.
    voxel_size_um
        Spacing along each axis.
    """
    values = tapered(image, voxel_size_um)
    power = np.abs(np.fft.fftn(values)) ** 2
    power = power / power.mean()
    shells, count = _shells(values.shape, voxel_size_um)
    return _averaged(power, shells, count, voxel_size_um)


def fourier_shell_correlation(
    image: AnyArray, other: AnyArray, voxel_size_um: Sequence[float]
) -> Shells:
    """Return how alike two images are, shell by shell, from -1 to 1.

    Of 2D images it is the Fourier ring correlation.

    Raises
    ------
    FluoFocusError
        If the images differ in shape, are neither 2D nor 3D, or hold values not finite.
    """
    if np.shape(image) != np.shape(other):
        raise FluoFocusError(
            f"Images of shapes {np.shape(image)} and {np.shape(other)} cannot be compared: crop "
            "them to the same field."
        )
    first, second = (np.fft.fftn(tapered(x, voxel_size_um)) for x in (image, other))
    shells, count = _shells(first.shape, voxel_size_um)
    cross, one, two = (
        np.bincount(shells.ravel(), weights.ravel(), minlength=count + 1)[:count]
        for weights in (
            (first * second.conj()).real,
            np.abs(first) ** 2,
            np.abs(second) ** 2,
        )
    )
    scale = np.sqrt(one * two)
    value = np.divide(cross, scale, out=np.full(count, np.nan), where=scale > 0)
    return Shells(_middles(count, voxel_size_um), value)


def resolution_um(shells: Shells, threshold: float = FIXED_THRESHOLD) -> float:
    """Return the period at which a shell correlation first falls below a threshold.

    Infinite if it never holds, and the finest period there is if it always does.
    """
    value = np.nan_to_num(shells.value, nan=-1.0)
    below = np.flatnonzero(value < threshold)
    if not len(below):
        return float(1 / shells.frequency_per_um[-1])
    first = int(below[0])
    if first == 0:
        return math.inf
    share = (value[first - 1] - threshold) / (value[first - 1] - value[first])
    low, high = shells.frequency_per_um[first - 1 : first + 1]
    return float(1 / (low + share * (high - low)))


def support_per_um(
    image: AnyArray, voxel_size_um: Sequence[float], *, noise_ratio: float = 2.0
) -> Array:
    """Return up to which frequency along each axis an image holds more than noise throughout.

    The spectrum is averaged over the other axes' lowest frequencies, of either sign; noise is the
    median power of the highest tenth along the axis.

    Returns
    -------
    ndarray (axes,)
        In periods per µm.
    """
    values = tapered(image, voxel_size_um)
    power = np.abs(np.fft.fftn(values)) ** 2
    reaches = []
    for axis, spacing in enumerate(voxel_size_um):
        along = np.moveaxis(power, axis, 0)
        half = along.shape[0] // 2
        near = [np.arange(1 - max(1, size // 16), max(1, size // 16)) for size in along.shape[1:]]
        profile = along[np.ix_(np.arange(half), *near)].reshape(half, -1).mean(axis=1)
        noise = float(np.median(profile[-max(1, len(profile) // 10) :]))
        ends = np.flatnonzero(profile <= noise_ratio * noise)
        last = max(0, int(ends[0]) - 1) if len(ends) else half - 1
        reaches.append(float(np.fft.fftfreq(along.shape[0], spacing)[last]))
    return np.array(reaches)


def tapered(image: AnyArray, voxel_size_um: Sequence[float]) -> Array:
    """Return an image without its mean, falling to zero towards its edges.

    Raises
    ------
    FluoFocusError
        If it is neither 2D nor 3D, or holds values that are not finite.
    """
    values = np.asarray(image, dtype=float)
    if values.ndim not in (2, 3) or len(voxel_size_um) != values.ndim:
        raise FluoFocusError(
            f"A spectrum needs an image (Y, X) or a stack (Z, Y, X) and one spacing for each axis, "
            f"not the shape {values.shape} and {len(voxel_size_um)} spacings."
        )
    if not np.isfinite(values).all():
        raise FluoFocusError("The image to measure holds NaN or infinite values.")
    values = values - values.mean()
    for axis, size in enumerate(values.shape):
        if size > 1:
            window = np.hanning(size + 2)[1:-1]
            values = values * np.expand_dims(window, [a for a in range(values.ndim) if a != axis])
    return np.asarray(values)


def _shells(
    shape: tuple[int, ...], voxel_size_um: Sequence[float]
) -> tuple[npt.NDArray[np.intp], int]:
    """Return the shell of each frequency, and their count, which stands for those beyond all."""
    axes = [np.fft.fftfreq(size, step) for size, step in zip(shape, voxel_size_um, strict=True)]
    radius = np.sqrt(sum(np.square(part) for part in np.meshgrid(*axes, indexing="ij")))
    count = _count(shape, voxel_size_um)
    width = _last_per_um(voxel_size_um) / count
    return np.minimum((radius / width).astype(np.intp), count), count


def _count(shape: tuple[int, ...], voxel_size_um: Sequence[float]) -> int:
    """Return how many shells: as wide as the samples along the longest side."""
    lengths_um = [size * step for size, step in zip(shape, voxel_size_um, strict=True)]
    return max(2, math.floor(max(lengths_um) * _last_per_um(voxel_size_um)))


def _last_per_um(voxel_size_um: Sequence[float]) -> float:
    return 0.5 / max(voxel_size_um)


def _middles(count: int, voxel_size_um: Sequence[float]) -> Array:
    return np.asarray((np.arange(count) + 0.5) * _last_per_um(voxel_size_um) / count)


def _averaged(
    power: Array, shells: npt.NDArray[np.intp], count: int, voxel_size_um: Sequence[float]
) -> Shells:
    number = np.bincount(shells.ravel(), minlength=count + 1)[:count]
    total = np.bincount(shells.ravel(), power.ravel(), minlength=count + 1)[:count]
    value = np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
    return Shells(_middles(count, voxel_size_um), value)
