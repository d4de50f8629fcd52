"""Shifts of a confocal stack against a wide-field one: by the PSF between them, by correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.correlation import fitted_peak
from fluofocus.prepare.psf_between import LagSums, estimate_psf
from fluofocus.prepare.register_psf import REACH_ZYX, register_psf, without_haze
from fluofocus.reproduce.wfcon_net.scores import Array
from fluofocus.units import AnyArray

PSF, CORRELATION = "PSF", "cross-correlation"
SMOOTHNESS, ENERGY, ROUNDS = 3e-4, 10.0, 60
"""Of the estimate, as `register_psf` has them."""


@dataclass(frozen=True)
class Found:
    """A shift that was found.

    Attributes
    ----------
    shift_zyx : ndarray (3,), optional
        In planes and pixels; None where no peak was found.
    profile : ndarray (2 reach + 1,)
        Along z through the highest point of the curve, which is one.
    """

    shift_zyx: Array | None
    profile: Array


def by_psf(confocal: AnyArray, widefield: AnyArray) -> Found:
    """Register by the peak of the point spread function between the stacks."""
    sums = LagSums(without_haze(confocal), without_haze(widefield), REACH_ZYX)
    psf = estimate_psf(
        *sums.around((0, 0, 0)), smoothness=SMOOTHNESS, energy=ENERGY, iterations=ROUNDS
    )
    # f moves the confocal content back, so that the shift is the other way round
    curve = _over_reach(psf).flip((0, 1, 2)).numpy()
    try:
        transform = register_psf(confocal, widefield)
    except FluoFocusError:
        return Found(None, _profile(curve))
    return Found(np.array([transform.shift_z, *transform.matrix[:2, 2]]), _profile(curve))


def by_correlation(confocal: AnyArray, widefield: AnyArray) -> Found:
    """Register by the peak of the cross-correlation in 3D, placed between the samples."""
    first, second = (
        torch.from_numpy(stack.astype(np.float32) - stack.mean(dtype=np.float32))
        for stack in (confocal, widefield)
    )
    padded = [size + reach for size, reach in zip(first.shape, REACH_ZYX, strict=True)]
    cross = torch.fft.rfftn(first, s=padded) * torch.fft.rfftn(second, s=padded).conj()
    curve = _over_reach(torch.fft.irfftn(cross, s=padded)).numpy()
    peak = fitted_peak(curve, np.unravel_index(int(curve.argmax()), curve.shape), 1)
    return Found(None if peak is None else peak.position - REACH_ZYX, _profile(curve))


def _over_reach(curve: Tensor) -> Tensor:
    """Return a curve over shifts from the lowest to the highest."""
    for axis, reach in enumerate(REACH_ZYX):
        lags = torch.arange(-reach, reach + 1) % curve.shape[axis]
        curve = curve.index_select(axis, lags)
    return curve


def _profile(curve: AnyArray) -> Array:
    _, y, x = np.unravel_index(int(curve.argmax()), curve.shape)
    return np.asarray(curve[:, y, x] / curve.max(), float)
