"""The displacement between two images where they overlap, and how well it is known."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SMOOTHING_PX = 1.5
"""Standard deviation of the Gaussian that images are smoothed with before comparison."""

EDGE_PX = 3
"""Pixels along the edges of what is read that are not compared: smoothing invents there."""

ILLUMINATION_DEGREE = 2
"""Degree, along each axis, of the polynomial that is taken for uneven illumination."""

LEAST_SIGNIFICANCE = 7.0
"""Standard deviations by which a match must exceed the likeness of unrelated images."""

LIKEST = 0.9999
"""Correlation beyond which images are no more alike: their noise would have to be."""

FITTING_STEPS = 5
"""Gauss-Newton steps from the nearest whole displacement."""

FARTHEST_PX = 2.5
"""Distance from there, along either axis, beyond which the fit went astray."""

LEAST_CURVATURE = 1e-3
"""Curvature along a straight line, which has none, as a share of that across it."""

FINEST_PX = 0.02
"""Precision beyond which no match is trusted."""


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

    The parts that can overlap are compared at all whole displacements by normalised
    cross-correlation, each over the pixels that then overlap; least squares find the rest.

    Parameters
    ----------
    expected_px
        ``(2,)``, expected position (y, x) of the second image in the first.
    reach_px
        Most that it can lie away from there, along each axis.
    least_overlap_px
        Displacements are considered that leave at least this overlap along both axes; more
        than twice `EDGE_PX`.

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
    a = _details(_smooth(first, start_a, stop_a))
    b = _details(_smooth(second, start_b, stop_b))
    cut = start_a - start_b
    likeness, samples = _likeness(a, b, low - cut, high - cut)
    significance = np.arctanh(likeness.clip(-LIKEST, LIKEST)) * np.sqrt((samples - 3).clip(0))
    peak = np.array(np.unravel_index(significance.argmax(), significance.shape))
    y, x = peak.tolist()
    at_edge = (peak == 0).any() or (peak == np.array(significance.shape) - 1).any()
    if at_edge or significance[y, x] < LEAST_SIGNIFICANCE:
        return None
    return _fitted(first, second, low + peak)


def _fitted(first: Tile, second: Tile, whole_px: Indices) -> Match | None:
    """Fit a displacement near a whole one by least squares over what then overlaps.

    Both images are moved, by half of it each, so that they are resampled alike; brightness
    and illumination may differ. Correlation alone would pull bright objects into the
    overlap that its edge cuts.
    """
    from scipy.ndimage import shift

    size_a, size_b = np.array(first.shape), np.array(second.shape)
    low, high = np.maximum(whole_px, 0), np.minimum(size_a, whole_px + size_b)
    a, b = _smooth(first, low, high), _smooth(second, low - whole_px, high - whole_px)
    inner = (slice(2 * EDGE_PX, -2 * EDGE_PX),) * 2
    moved = np.zeros(2)
    for _ in range(FITTING_STEPS):
        left = shift(a, -moved / 2, order=3, mode="nearest")[inner]
        right = shift(b, moved / 2, order=3, mode="nearest")[inner]
        mean, difference = (left + right) / 2, (left - right)
        gradients = np.stack([each.ravel() for each in np.gradient(mean)], axis=1)
        along_y, along_x = (_polynomials(length) for length in mean.shape)
        others = np.column_stack([mean.ravel(), np.kron(along_y, along_x)])
        basis = np.linalg.qr(others).Q
        gradients -= basis @ (basis.T @ gradients)
        rest = difference.ravel() - basis @ (basis.T @ difference.ravel())
        curvature = gradients.T @ gradients + np.finfo(float).tiny * np.eye(2)
        moved = moved - np.linalg.solve(curvature, gradients.T @ rest)
        if np.abs(moved).max() > FARTHEST_PX:
            return None
    information = np.linalg.inv(_covariance_px2(curvature, rest))
    return Match(whole_px + moved, information.astype(np.float64))


def _covariance_px2(curvature: Floats, rest: Floats) -> Floats:
    """Return that of a fit with these squared gradients that leaves this difference.

    Noise adds to the gradients, and nothing to what they say: smoothed by ``s``, white
    noise of variance ``v`` has gradients of variance ``v / (2 s**2)``, and is one
    independent sample in ``4 pi s**2`` pixels. The mean of two images has a quarter of the
    variance of their difference.
    """
    noise = (rest**2).sum() / 4 / (2 * SMOOTHING_PX**2)
    values, axes = np.linalg.eigh(curvature)
    values = np.maximum(values - noise, LEAST_CURVATURE * values.max())
    variance = (rest**2).mean() * 4 * math.pi * SMOOTHING_PX**2
    covariance: Floats = (axes * (variance / values)) @ axes.T
    return covariance + FINEST_PX**2 * np.eye(2)


def _smooth(image: Tile, start: Indices, stop: Indices) -> Floats:
    """Read a rectangle and smooth its noise."""
    from scipy.ndimage import gaussian_filter

    part = np.asarray(image[start[0] : stop[0], start[1] : stop[1]], dtype=np.float64)
    if not np.isfinite(part).all():
        raise FluoFocusError(
            "A tile holds NaN or infinite values where it overlaps another: replace them by the "
            "background before stitching."
        )
    smooth: Floats = gaussian_filter(part, SMOOTHING_PX)
    return smooth


def _details(smooth: Floats) -> Floats:
    """Subtract what illumination can account for, and cut off what smoothing invents.

    A polynomial, unlike a filter, feels nothing of the image's edge, which cuts objects
    that the other image shows whole.
    """
    along_y, along_x = (_polynomials(length) for length in smooth.shape)
    illumination = along_y @ (along_y.T @ smooth @ along_x) @ along_x.T
    details: Floats = (smooth - illumination)[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX]
    return details


def _polynomials(length: int) -> Floats:
    """Return orthonormal polynomials ``(length, degree + 1)`` on a line of pixels."""
    powers = np.vander(np.linspace(-1, 1, length), ILLUMINATION_DEGREE + 1)
    return np.linalg.qr(powers).Q


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
