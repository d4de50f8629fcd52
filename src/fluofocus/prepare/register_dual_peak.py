"""Registration of a double-helix image and a sharp one: the middle between two peaks.

The dual-peak phase correlation of W-Net (Li et al., 2020, Supporting Information).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, uniform_filter

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.correlation import Peak, fitted_peak, normalised_cross_correlation
from fluofocus.prepare.transform import RegistrationError, Transform, translation
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

FIT_REACH_PX = 2
"""Pixels to either side of a peak that the polynomial is fitted to: 5 x 5, as in W-Net."""

_LEAST_CORRELATION = 0.02
_NOISE_FACTOR = 8.0
"""A peak stands above the correlations of all shifts by this many of their deviations."""


def register_dual_peak(
    moving: AnyArray,
    fixed: AnyArray,
    *,
    max_shift_px: int = 48,
    max_separation_px: float = 40.0,
    least_ratio: float = 0.5,
    max_residual_px: float = 0.5,
) -> Transform:
    """Find the shift between two images of which one shows every point twice.

    What is even over the longest distance of the lobes is subtracted first. The normalised
    cross-correlation then has one peak for each lobe of the double helix. A
    polynomial of second degree through the 5 x 5 samples around each places it between the
    pixels; the middle of both is the shift. It does not matter which image has the lobes.

    Parameters
    ----------
    moving, fixed
        ``(Y, X)``, of the same shape.
    max_shift_px
        How far from zero peaks are looked for; half the distance of the lobes counts as well.
    max_separation_px
        Longest distance between the two lobes.
    least_ratio
        How high the second peak must at least be, relative to the first.
    max_residual_px
        Largest standard error of the two fits.

    Returns
    -------
    Transform
        A shift; ``residual_px`` is its standard error and ``correlation`` the mean of both peaks.

    Raises
    ------
    FluoFocusError
        If the images are no two planes of one size, larger than twice the shift.
    RegistrationError
        If no two peaks stand out, or their tops cannot be placed; ``curve`` is the correlation.
    """
    moving, fixed = np.asarray(moving), np.asarray(fixed)
    _check_images(moving, fixed, max_shift_px)
    correlation = normalised_cross_correlation(
        _without_background(moving, max_separation_px),
        _without_background(fixed, max_separation_px),
        max_shift_px,
    )

    lobes = _two_peaks(correlation, max_separation_px, least_ratio)
    residual_px = math.hypot(*(lobe.error for lobe in lobes)) / 2
    if problem := _problem(len(lobes), residual_px, max_residual_px):
        raise RegistrationError(problem, fixed=fixed, moving=moving, curve=correlation)
    shift = (lobes[0].position + lobes[1].position) / 2 - max_shift_px
    return Transform(
        matrix=translation(shift),
        fixed_shape_yx=fixed.shape,
        moving_shape_yx=moving.shape,
        model="shift",
        residual_px=residual_px,
        correlation=float(np.clip((lobes[0].height + lobes[1].height) / 2, 0, 1)),
    )


def _without_background(image: AnyArray, max_separation_px: float) -> AnyArray:
    values = image.astype(np.float32)
    return np.asarray(values - uniform_filter(values, 2 * round(max_separation_px) + 1))


def _two_peaks(correlation: Array, max_separation_px: float, least_ratio: float) -> list[Peak]:
    """Return the highest peak and, if there is one, the highest of the others that fit it."""
    is_top = correlation == maximum_filter(correlation, size=2 * FIT_REACH_PX + 1)
    level = np.median(correlation)
    noise = 1.4826 * np.median(np.abs(correlation - level))
    is_top &= correlation > max(_LEAST_CORRELATION, level + _NOISE_FACTOR * noise)
    found: list[Peak] = []
    for index in sorted(np.argwhere(is_top), key=lambda at: -correlation[tuple(at)]):
        peak = fitted_peak(correlation, index, FIT_REACH_PX)
        if peak is None:
            continue
        if not found:
            found.append(peak)
            continue
        apart_px = np.linalg.norm(peak.position - found[0].position)
        if peak.height < least_ratio * found[0].height:
            break
        if apart_px <= max_separation_px:
            return [found[0], peak]
    return found


def _problem(lobes: int, residual_px: float, max_residual_px: float) -> str:
    """Say in one sentence why the peaks are not to be trusted; empty if they are."""
    if lobes == 0:
        return (
            "The two images have nothing in common within the shifts allowed: check that they "
            "show the same field, or allow a longer max_shift_px."
        )
    if lobes == 1:
        return (
            "The correlation of the two images has one peak, not the two of a double helix: "
            "register such a pair by 'features', or by 'psf' where both are stacks."
        )
    if residual_px > max_residual_px:
        return (
            f"The shift is uncertain by {residual_px:.2f} px, more than {max_residual_px:g} px: "
            "use a larger field or images with less noise."
        )
    return ""


def _check_images(moving: AnyArray, fixed: AnyArray, max_shift_px: int) -> None:
    if moving.shape != fixed.shape or fixed.ndim != 2:
        raise FluoFocusError(
            f"Dual-peak registration needs two planes of one size, not {moving.shape} and "
            f"{fixed.shape}: pick a plane of each and crop them alike."
        )
    if not 0 < 2 * max_shift_px < min(fixed.shape):
        raise FluoFocusError(
            f"max_shift_px {max_shift_px} must be above zero and below half of the image of "
            f"{fixed.shape[0]} x {fixed.shape[1]} pixels: lower it, or use a larger field."
        )
    if not (np.isfinite(moving).all() and np.isfinite(fixed).all()):
        raise FluoFocusError("The images hold NaN or infinite values: crop or mask them first.")
