"""The displacement between two images where they overlap, and how well it is known."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BAND_PX = (1.0, 8.0)
"""Standard deviations of the Gaussians whose difference filters images before comparison."""

LEAST_SIGNIFICANCE = 7.0
"""Standard deviations by which a match must exceed the likeness of unrelated images."""

FINEST_PX = 0.05
"""Precision beyond which no match is trusted."""

FLATTEST_PER_PX2 = 1e-4
"""Curvature given to a peak that has none, as that of a straight line has along it."""


class Tile(Protocol):
    """An array ``(…, Y, X)`` in memory or on disk: of NumPy, dask or Zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    def __getitem__(self, selection: Any, /) -> Any:
        """Read a part."""


class Match(NamedTuple):
    """The position of the second of two images in the first, and its inverse covariance."""

    offset_px: Floats
    """``(2,)``, y before x."""
    information_per_px2: Floats
    """``(2, 2)``"""


def compare(
    first: Tile, second: Tile, expected_px: Floats, reach_px: float, *, least_overlap_px: int
) -> Match | None:
    """Find where one image lies in another, near where it is expected.

    The parts that can overlap are read, filtered, and compared at all whole
    displacements by normalised cross-correlation, each over the pixels that then overlap.

    Parameters
    ----------
    expected_px
        ``(2,)``, expected position (y, x) of the second image in the first.
    reach_px
        Most that it can lie away from there, along each axis.
    least_overlap_px
        Displacements are considered that leave at least this overlap along both axes.

    Returns
    -------
    Match or None
        None where the likeness peaks nowhere, or no higher than for unrelated images.

    Raises
    ------
    FluoFocusError
        If the overlap holds NaN or infinity.
    """
    nominal, reach = np.rint(expected_px).astype(np.int64), math.ceil(reach_px) + 1
    low, high = nominal - reach, nominal + reach
    size_a, size_b = np.array(first.shape), np.array(second.shape)
    low = np.maximum(low, least_overlap_px - size_b)
    high = np.minimum(high, size_a - least_overlap_px)
    start_a, stop_a = np.maximum(low, 0), np.minimum(high + size_b, size_a)
    start_b, stop_b = np.maximum(-high, 0), np.minimum(size_a - low, size_b)
    a, b = _details(first, start_a, stop_a), _details(second, start_b, stop_b)
    cut = start_a - start_b
    likeness, samples = _likeness(a, b, low - cut, high - cut)
    significance = likeness * np.sqrt(samples)
    peak = np.array(np.unravel_index(significance.argmax(), significance.shape))
    y, x = peak.tolist()
    at_edge = (peak == 0).any() or (peak == np.array(significance.shape) - 1).any()
    if at_edge or significance[y, x] < LEAST_SIGNIFICANCE:
        return None
    step, curvature = _vertex(likeness[y - 1 : y + 2, x - 1 : x + 2])
    squared = min(likeness[y, x] ** 2, 1 - 1e-6)
    # Cramér-Rao bound of the displacement of one Gaussian random image in noise
    covariance = np.linalg.inv(curvature) * (1 - squared) / (squared * samples[y, x])
    return Match(low + peak + step, np.linalg.inv(covariance + FINEST_PX**2 * np.eye(2)))


def _details(image: Tile, start: Indices, stop: Indices) -> Floats:
    """Read a rectangle, without noise finer and illumination coarser than what it shows."""
    from scipy.ndimage import gaussian_filter

    part = np.asarray(image[start[0] : stop[0], start[1] : stop[1]], dtype=np.float64)
    if not np.isfinite(part).all():
        raise FluoFocusError(
            "A tile holds NaN or infinite values where it overlaps another: replace them by the "
            "background before stitching."
        )
    fine, coarse = (gaussian_filter(part, sigma) for sigma in BAND_PX)
    details: Floats = fine - coarse
    return details


def _likeness(a: Floats, b: Floats, low: Indices, high: Indices) -> tuple[Floats, Floats]:
    """Correlate ``a[u + lag]`` with ``b[u]`` for all lags from low to high.

    Returns
    -------
    likeness, samples
        Normalised correlation, and the independent samples in it: for unrelated images
        with these power spectra its variance is their inverse (Bartlett's formula).
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    least = np.maximum(b.shape + high, a.shape - low)
    shape = [next_fast_len(int(length), real=True) for length in least]
    lags = [np.arange(first, last + 1) for first, last in zip(low, high, strict=True)]
    window = np.ix_(*(lag % length for lag, length in zip(lags, shape, strict=True)))

    def transform(image: Floats) -> npt.NDArray[np.complex128]:
        spectrum: npt.NDArray[np.complex128] = rfft2(image, s=shape)
        return spectrum

    def correlated(left: npt.NDArray[np.complex128], right: npt.NDArray[np.complex128]) -> Floats:
        sums: Floats = irfft2(left * right.conj(), s=shape)[window]
        return sums

    everywhere_a, everywhere_b = transform(np.ones_like(a)), transform(np.ones_like(b))
    energy = correlated(transform(a**2), everywhere_b) * correlated(everywhere_a, transform(b**2))
    tiny = 1e-12 * (a**2).sum() * (b**2).sum() + np.finfo(float).tiny
    spectrum_a, spectrum_b = transform(a), transform(b)
    likeness = correlated(spectrum_a, spectrum_b) / np.sqrt(np.maximum(energy, tiny))
    power_a, power_b = np.abs(spectrum_a) ** 2, np.abs(spectrum_b) ** 2
    mean_product = power_a.mean() * power_b.mean() + np.finfo(float).tiny
    area_px = max((power_a * power_b).mean() / mean_product, 1.0)
    return likeness, correlated(everywhere_a, everywhere_b) / area_px


def _vertex(likeness: Floats) -> tuple[Floats, Floats]:
    """Fit a paraboloid to the logarithm of a peak, which makes it exact for Gaussian ones.

    Parameters
    ----------
    likeness
        ``(3, 3)``, highest about the middle.

    Returns
    -------
    step, curvature
        ``(2,)``, from the middle; ``(2, 2)``, minus the second derivatives, positive.
    """
    log = np.log(np.maximum(likeness, 0.01 * likeness[1, 1]))
    slope = np.array([log[2, 1] - log[0, 1], log[1, 2] - log[1, 0]]) / 2
    bend_y = 2 * log[1, 1] - log[2, 1] - log[0, 1]
    bend_x = 2 * log[1, 1] - log[1, 2] - log[1, 0]
    twist = (log[0, 2] + log[2, 0] - log[0, 0] - log[2, 2]) / 4
    values, axes = np.linalg.eigh(np.array([[bend_y, twist], [twist, bend_x]]))
    curvature = (axes * np.maximum(values, FLATTEST_PER_PX2)) @ axes.T
    return np.clip(np.linalg.solve(curvature, slope), -1, 1), curvature
