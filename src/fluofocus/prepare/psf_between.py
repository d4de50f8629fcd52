"""The point spread function between two stacks: equations 2 and 3 of WFCON-Net (2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import pad

Shift = tuple[int, int, int]

_BLOCK_PX = 256
"""Side of the parts in which stacks are correlated, so that large ones fit into memory."""

_STEP = 1.0
_DUAL_STEP = 1 / (12 * _STEP)
"""The product of both steps is one over the squared norm of the gradient in 3D."""


class LagSums:
    """Products of two stacks summed at each shift: all that the estimate needs of them.

    Parameters
    ----------
    sharp, blurred
        ``(Z, Y, X)``, zero beyond.
    reach_zyx
        Longest shift of the peak: sums are kept for shifts three times as long, because the
        window is twice as wide and may be moved to any peak.
    """

    def __init__(self, sharp: Tensor, blurred: Tensor, reach_zyx: Shift) -> None:
        self.reach_zyx = reach_zyx
        self._kept = tuple(3 * reach for reach in reach_zyx)
        light = (sharp**2).sum().clamp(min=1e-12)
        self._auto = summed_products(sharp, sharp, self._kept) / light
        self._cross = summed_products(sharp, blurred, self._kept) / light
        self._blurred = float((blurred**2).sum() / light)

    def around(self, centre: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return autocorrelation, and cross-correlation about ``centre``, on the window.

        Shifts of zero (of ``centre``) come first and negative ones last; values fade to the
        border of the window, as in the spectral estimate of Blackman and Tukey.
        """
        fade = torch.ones(1)
        for axis, reach in enumerate(self.reach_zyx):
            fade = fade * along(torch.cos(math.pi * torch.fft.fftfreq(4 * reach)) ** 2, axis)
        return fade * self._cut(self._auto, (0, 0, 0)), fade * self._cut(self._cross, centre)

    def _cut(self, values: Tensor, centre: Sequence[int]) -> Tensor:
        for axis, (reach, middle) in enumerate(zip(self.reach_zyx, centre, strict=True)):
            lags = torch.arange(4 * reach)
            lags = torch.where(lags < 2 * reach, lags, lags - 4 * reach)
            values = values.index_select(axis, lags + middle + 3 * reach)
        return values

    def explained(self, psf: Tensor, centre: Sequence[int]) -> float:
        """Return the correlation of the blurred stack with the sharp one convolved, 0 to 1."""
        auto, cross = self.around(centre)
        power = torch.fft.rfftn(auto).real
        convolved = torch.fft.irfftn(power * torch.fft.rfftn(psf), s=psf.shape)
        alike, own = float((psf * cross).sum()), float((psf * convolved).sum())
        correlation = alike / math.sqrt(max(own, 1e-12) * max(self._blurred, 1e-12))
        return min(1.0, max(0.0, correlation))


def summed_products(first: Tensor, second: Tensor, reach_zyx: Sequence[int]) -> Tensor:
    """Sum ``first(v) second(v + shift)`` over all voxels, at each shift up to the reach.

    Returns
    -------
    Tensor (2 reach z + 1, 2 reach y + 1, 2 reach x + 1)
        No shift is in the middle.
    """
    z, y, x = reach_zyx
    second = pad(second, (x, x, y, y, z, z))
    total = torch.zeros(2 * z + 1, 2 * y + 1, 2 * x + 1)
    for top in range(0, first.shape[1], _BLOCK_PX):
        for left in range(0, first.shape[2], _BLOCK_PX):
            block = first[:, top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            rows, columns = block.shape[1] + 2 * y, block.shape[2] + 2 * x
            around = second[:, top : top + rows, left : left + columns]
            sizes = [next_fast_len(size, real=True) for size in around.shape]
            spectrum = torch.fft.rfftn(around, s=sizes) * torch.fft.rfftn(block, s=sizes).conj()
            total += torch.fft.irfftn(spectrum, s=sizes)[: 2 * z + 1, : 2 * y + 1, : 2 * x + 1]
    return total


def estimate_psf(
    autocorrelation: Tensor,
    correlation: Tensor,
    *,
    smoothness: float,
    energy: float,
    iterations: int,
) -> Tensor:
    """Minimise equation 2 of WFCON-Net by its equation 3, on a periodic window.

    The stacks enter ``|f * x - y|^2 / 2 + smoothness |grad f|_1 + energy (sum f - 1)^2 / 2``
    only by the autocorrelation of ``x`` and the cross-correlation of both, so iterations
    cost two Fourier transforms of the window. In frequencies the first and the last term are
    diagonal, and their proximal operator is a division. The iteration is the first algorithm
    of Chambolle & Pock (J. Math. Imaging Vis. 40, 120, 2011), with theta one and the total
    variation summed over the three axes.

    Parameters
    ----------
    autocorrelation, correlation
        ``(Nz, Ny, Nx)`` over shifts, zero first and negative ones last, both divided by the
        sum of ``x^2``: so is ``smoothness``.
    smoothness, energy
        Lambda and mu.

    Returns
    -------
    Tensor
        ``f``, of the same shape and order.
    """
    shape = correlation.shape
    data = torch.fft.rfftn(correlation)
    power = torch.fft.rfftn(autocorrelation).real.clamp(min=0)
    data[0, 0, 0] += energy * correlation.numel()
    power[0, 0, 0] += energy * correlation.numel()
    psf = ahead = torch.zeros(shape)
    dual = torch.zeros((3, *shape))
    for _ in range(iterations):
        dual = (dual + _DUAL_STEP * _gradient(ahead)).clamp(-smoothness, smoothness)
        target = torch.fft.rfftn(psf - _STEP * _gradient_adjoint(dual))
        updated = torch.fft.irfftn((target + _STEP * data) / (1 + _STEP * power), s=shape)
        ahead, psf = 2 * updated - psf, updated
    return psf


def along(values: Tensor, axis: int) -> Tensor:
    """Shape a line of values so that it multiplies a volume along one axis."""
    return values.view([-1 if each == axis else 1 for each in range(3)])


def _gradient(volume: Tensor) -> Tensor:
    return torch.stack([volume.roll(-1, axis) - volume for axis in range(3)])


def _gradient_adjoint(dual: Tensor) -> Tensor:
    total = torch.zeros_like(dual[0])
    for axis in range(3):
        total += dual[axis].roll(1, axis) - dual[axis]
    return total
