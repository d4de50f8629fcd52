"""Scores of a stack against the confocal one, plane by plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from fluofocus.measure.image import rmse, ssim
from fluofocus.measure.sharpness import sharpness
from fluofocus.reproduce.statistics import brought_to
from fluofocus.units import FloatArray

Array = npt.NDArray[np.float64]
FINE_PER_UM = (1.0, 3.0)
"""Lateral frequencies that count as fine: the finest that both microscopes pass well."""

_AT_ONCE = 8
"""Planes; SSIM of more takes longer for each."""


@dataclass(frozen=True)
class Scores:
    """How a stack compares with the truth, ``(planes,)`` each.

    Attributes
    ----------
    rmse, ssim
        As normalised.
    fitted_rmse, fitted_ssim
        After the one gain and offset that bring the stack closest to the truth.
    signal, background
        Sharpness of the sharpest and of the least sharp patch.
    fine
        Lateral spectrum summed over `FINE_PER_UM`, after that gain, relative to the mean of the
        truth's planes; some of these are all but empty.
    """

    rmse: Array
    ssim: Array
    fitted_rmse: Array
    fitted_ssim: Array
    signal: Array
    background: Array
    fine: Array


def score(stack: FloatArray, truth: FloatArray, pixel_um: float) -> Scores:
    """Compare a normalised stack ``(Z, Y, X)`` with the truth."""
    fitted = brought_to(truth, stack)
    by_plane = [
        np.concatenate(each)
        for each in zip(*(_compared(*part) for part in _parts(stack, fitted, truth)), strict=True)
    ]
    fine = fine_detail(fitted, pixel_um) / fine_detail(truth, pixel_um).mean()
    return Scores(*[*by_plane, fine])


def _parts(*stacks: FloatArray) -> list[tuple[torch.Tensor, ...]]:
    """Cut stacks into a few planes at a time."""
    tensors = [torch.from_numpy(np.ascontiguousarray(stack)) for stack in stacks]
    return list(zip(*(torch.split(each, _AT_ONCE) for each in tensors), strict=True))


def _compared(stack: torch.Tensor, fitted: torch.Tensor, truth: torch.Tensor) -> tuple[Array, ...]:
    """Return the fields of `Scores` up to the sharpness."""
    sharp = sharpness(stack)
    scores = [metric(each, truth) for each in (stack, fitted) for metric in (rmse, ssim)]
    return tuple(each.double().numpy() for each in (*scores, sharp.signal, sharp.background))


def fine_detail(stack: FloatArray, pixel_um: float) -> Array:
    """Sum each plane's amplitude spectrum over `FINE_PER_UM`, tapered to the sides."""
    window = [np.hanning(size + 2)[1:-1] for size in stack.shape[1:]]
    taper = np.outer(*window).astype(np.float32)
    frequencies = [
        np.fft.fftfreq(stack.shape[1], pixel_um),
        np.fft.rfftfreq(stack.shape[2], pixel_um),
    ]
    radius = np.hypot(*np.meshgrid(*frequencies, indexing="ij"))
    is_fine = (radius >= FINE_PER_UM[0]) & (radius <= FINE_PER_UM[1])
    return np.array(
        [np.abs(np.fft.rfft2((plane - plane.mean()) * taper))[is_fine].sum() for plane in stack]
    )
