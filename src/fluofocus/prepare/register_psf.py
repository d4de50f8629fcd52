"""Registration of two focus scans by the point spread function between them.

The method of WFCON-Net (2021), "Accurate image registration": the wide-field stack is the
confocal one convolved with a point spread function, and the peak of that is their shift.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.correlation import Peak, fitted_peak
from fluofocus.prepare.psf_between import LagSums, Shift, along, estimate_psf
from fluofocus.prepare.transform import RegistrationError, Transform, translation
from fluofocus.units import AnyArray, FloatArray

REACH_ZYX: Shift = (8, 12, 12)
"""Longest shift looked for: planes, and pixels along y and x."""

PEAK_ZYX: Shift = (3, 4, 4)
"""How far the peak of the point spread function extends to either side, in planes and pixels."""

HAZE_PX = 8.0
"""Lateral blur (sigma) whose result is subtracted from both stacks: haze is smoother than this."""


def register_psf(
    moving: AnyArray,
    fixed: AnyArray,
    *,
    sharp: Literal["moving", "fixed"] = "moving",
    reach_zyx: Shift = REACH_ZYX,
    smoothness: float = 3e-4,
    energy: float = 10.0,
    iterations: int = 60,
    least_prominence: float = 16.0,
    max_residual_px: float = 0.5,
) -> Transform:
    """Find the shift in x, y and z between a sharp stack and a blurred, hazy one.

    The point spread function ``f`` of ``blurred = f * sharp + noise`` is estimated (see
    `fluofocus.prepare.psf_between.estimate_psf`), first around no shift and then around the
    one found. Its peak, blurred by one sample, is placed between the samples by a polynomial
    through the logarithms of the 3 x 3 x 3 highest values.

    The shift in z is that of this peak. Spherical aberration of one stack alone makes ``f``
    lean to one side and moves the peak: 0.08 waves (rms, Noll 11) at a numerical aperture of
    1.4 by 0.15 planes of 0.5 µm, and half as much where both stacks have it.

    Parameters
    ----------
    moving, fixed
        ``(Z, Y, X)`` of the same shape, pixel size and z step; roughly registered.
    sharp
        Which of them is the sharper one; WFCON-Net's is the confocal stack.
    reach_zyx
        Longest shift looked for, in planes and pixels.
    smoothness, energy
        Lambda and mu of equation 2.
    iterations
        Of equation 3, for each of the two estimates.
    least_prominence
        How high the peak must at least be, in standard deviations of ``f`` away from it: about
        10 with stacks of different specimens, 20 with few photons, above 60 otherwise.
    max_residual_px
        Largest standard error of the peak's position, in samples.

    Returns
    -------
    Transform
        A shift with ``shift_z``. ``residual_px`` is the standard error of the peak, as far as
        the polynomial tells; ``correlation`` is between the blurred stack and ``f * sharp``.

    Raises
    ------
    FluoFocusError
        If the stacks are not of one shape, too small, flat or not finite.
    RegistrationError
        If no peak stands out, or it lies at the border of the reach; ``curve`` is the point
        spread function over shifts (z, y, x).
    """
    moving, fixed = np.asarray(moving), np.asarray(fixed)
    if sharp not in ("moving", "fixed"):
        raise FluoFocusError(f"sharp must be 'moving' or 'fixed', not {sharp!r}.")
    _check_stacks(moving, fixed, reach_zyx)
    first, second = (moving, fixed) if sharp == "moving" else (fixed, moving)
    sums = LagSums(without_haze(first), without_haze(second), reach_zyx)
    centre = (0, 0, 0)
    for _ in range(2):
        psf = estimate_psf(
            *sums.around(centre), smoothness=smoothness, energy=energy, iterations=iterations
        )
        correlation = sums.explained(psf, centre)
        curve = _over_reach(_smoothed(psf), centre, reach_zyx)
        centre = _highest(curve, reach_zyx)
    peak = _log_peak(curve, centre, reach_zyx)
    prominence = _prominence(curve, np.add(centre, reach_zyx))
    problem = _problem(peak, prominence, least_prominence, max_residual_px)
    if peak is None or problem:
        raise RegistrationError(problem, fixed=fixed, moving=moving, curve=curve)
    shift = (peak.position - reach_zyx) * (-1 if sharp == "moving" else 1)
    return Transform(
        matrix=translation(shift[1:]),
        fixed_shape_yx=fixed.shape[1:],
        moving_shape_yx=moving.shape[1:],
        model="shift",
        residual_px=peak.error,
        correlation=correlation,
        shift_z=float(shift[0]),
    )


def without_haze(stack: AnyArray) -> Tensor:
    """Subtract from ``(Z, Y, X)`` what is smooth in y and x, and fade to the sides.

    Both are linear or slow: of two stacks the one remains the other convolved.
    """
    smooth = values = stack.astype(np.float32)
    for axis in (1, 2):
        smooth = gaussian_filter1d(smooth, HAZE_PX, axis=axis, mode="nearest", truncate=3)
    flat = torch.from_numpy(values - smooth)
    for axis in (1, 2):
        index = torch.arange(flat.shape[axis])
        rise = (index.minimum(index.flip(0)) + 0.5) / (2 * HAZE_PX)
        flat = flat * along(torch.sin(math.pi / 2 * rise.clamp(max=1)) ** 2, axis)
    return flat / flat.std().clamp(min=1e-12)


def _smoothed(psf: Tensor) -> Tensor:
    """Blur by a Gaussian of one sample, so that the peak is wide enough to be fitted."""
    spectrum = torch.fft.rfftn(psf)
    for axis, size in enumerate(psf.shape):
        frequency = torch.fft.rfftfreq(size) if axis == 2 else torch.fft.fftfreq(size)
        spectrum = spectrum * along(torch.exp(-2 * (math.pi * frequency) ** 2), axis)
    smoothed: Tensor = torch.fft.irfftn(spectrum, s=psf.shape)
    return smoothed


def _over_reach(psf: Tensor, centre: Shift, reach_zyx: Shift) -> FloatArray:
    """Return the point spread function over all shifts allowed, zero beyond its window."""
    for axis, (middle, reach) in enumerate(zip(centre, reach_zyx, strict=True)):
        lags = torch.arange(-reach, reach + 1) - middle
        psf = psf.index_select(axis, lags % psf.shape[axis]) * along(lags.abs() < 2 * reach, axis)
    return np.asarray(psf.numpy())


def _highest(curve: FloatArray, reach_zyx: Shift) -> Shift:
    z, y, x = np.unravel_index(int(curve.argmax()), curve.shape)
    return int(z) - reach_zyx[0], int(y) - reach_zyx[1], int(x) - reach_zyx[2]


def _log_peak(curve: FloatArray, shift: Shift, reach_zyx: Shift) -> Peak | None:
    highest = float(curve.max())
    if highest <= 0:
        return None
    return fitted_peak(np.log(np.maximum(curve, 0.02 * highest)), np.add(shift, reach_zyx), 1)


def _prominence(curve: FloatArray, top: AnyArray) -> float:
    """Return the highest value in standard deviations of those that are not close to it."""
    close = tuple(
        slice(max(0, middle - half), middle + half + 1)
        for middle, half in zip(top, PEAK_ZYX, strict=True)
    )
    away = np.ones(curve.shape, dtype=bool)
    away[close] = False
    return float(curve.max() / max(float(curve[away].std()), 1e-12))


def _problem(
    peak: Peak | None, prominence: float, least_prominence: float, max_residual_px: float
) -> str:
    """Say in one sentence why a peak is not to be trusted; empty if it is."""
    if prominence < least_prominence:
        return (
            "No peak stands out of the point spread function between the stacks: the highest is "
            f"{prominence:.0f} standard deviations high, less than {least_prominence:g}; check "
            "that both show the same field, or use a larger one."
        )
    if peak is None:
        return (
            "The point spread function between the stacks has its peak at the border of the "
            "shifts allowed: register their fused images by features first, or allow a longer "
            "reach_zyx."
        )
    if peak.error > max_residual_px:
        return (
            f"The shift is uncertain by {peak.error:.2f} px, more than {max_residual_px:g} px: "
            "use a larger field or stacks with less noise."
        )
    return ""


def _check_stacks(moving: AnyArray, fixed: AnyArray, reach_zyx: Shift) -> None:
    if moving.shape != fixed.shape or fixed.ndim != 3:
        raise FluoFocusError(
            f"PSF registration needs two stacks (z, y, x) of one shape, not {moving.shape} and "
            f"{fixed.shape}: resample and crop them alike."
        )
    if any(size <= 2 * reach for size, reach in zip(fixed.shape, reach_zyx, strict=True)):
        raise FluoFocusError(
            f"Stacks of {fixed.shape} voxels are too small to look for shifts of {reach_zyx}: "
            "give more planes, or a shorter reach_zyx."
        )
    if any(reach <= half for reach, half in zip(reach_zyx, PEAK_ZYX, strict=True)):
        raise FluoFocusError(
            f"A reach_zyx of {reach_zyx} leaves no room around a peak: allow more than {PEAK_ZYX}."
        )
    for stack in (moving, fixed):
        if not np.isfinite(stack).all() or stack.max() <= stack.min():
            raise FluoFocusError(
                "A stack to register is flat, or holds NaN or infinite values: check channel and "
                "exposure."
            )
