"""Correlation over shifts, and peaks located between the samples."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Peak:
    """The top of a polynomial through the samples around a peak.

    Attributes
    ----------
    position : ndarray (D,)
        In samples.
    height : float
        The polynomial there.
    curvature : ndarray (D, D)
        Its second derivatives with the sign turned: positive definite at a true peak.
    error : float
        Standard error of the position, in samples, as far as what the fit leaves tells.
    """

    position: Array
    height: float
    curvature: Array
    error: float


def fitted_peak(values: AnyArray, index: npt.ArrayLike, reach: int) -> Peak | None:
    """Fit a polynomial of second degree around one sample, by least squares.

    Parameters
    ----------
    values
        ``(N, ...)``, of any number D of axes.
    index
        ``(D,)``, the sample around which is fitted.
    reach
        Samples to either side: 2 fits 5 x 5 of an image.

    Returns
    -------
    Peak or None
        None where the window leaves the array, or the polynomial has no top within it.
    """
    centre = np.asarray(index)
    if (centre < reach).any() or (centre + reach >= values.shape).any():
        return None
    window = values[tuple(slice(c - reach, c + reach + 1) for c in centre)].astype(np.float64)
    offsets = np.indices(window.shape).reshape(values.ndim, -1).T - reach
    pairs = list(combinations_with_replacement(range(values.ndim), 2))
    products = [offsets[:, i] * offsets[:, j] for i, j in pairs]
    design = np.column_stack([np.ones(len(offsets)), offsets, *products])
    terms, *_ = np.linalg.lstsq(design, window.ravel(), rcond=None)
    slope, curvature = terms[1 : 1 + values.ndim], np.zeros((values.ndim, values.ndim))
    for (i, j), term in zip(pairs, terms[1 + values.ndim :], strict=True):
        curvature[i, j] -= term
        curvature[j, i] -= term
    if np.linalg.eigvalsh(curvature).min() <= 0:
        return None
    step = np.linalg.solve(curvature, slope)
    if np.abs(step).max() > reach:
        return None
    left = window.ravel() - design @ terms
    variance = (left**2).sum() / (len(left) - len(terms)) / (offsets[:, 0] ** 2).sum()
    inverse = np.linalg.inv(curvature)
    return Peak(
        position=centre + step,
        height=float(terms[0] + slope @ step / 2),
        curvature=curvature,
        error=float(np.sqrt(variance * np.trace(inverse @ inverse))),
    )


def normalised_cross_correlation(moving: AnyArray, fixed: AnyArray, reach: int) -> Array:
    """Pearson correlation of what overlaps of two images, at each shift.

    Parameters
    ----------
    moving, fixed
        ``(..., Y, X)``, of the same shape.
    reach
        Longest shift along either axis, in pixels; less than half of the image.

    Returns
    -------
    ndarray (..., 2 reach + 1, 2 reach + 1)
        At ``[reach + dy, reach + dx]``: how fixed at ``(y, x)`` resembles moving at
        ``(y + dy, x + dx)``; -1 to 1, and 0 where one of them is flat.
    """
    first, second = (_standardised(image) for image in (moving, fixed))
    height, width = first.shape[-2:]
    padded = [next_fast_len(size + reach, real=True) for size in (height, width)]
    spectrum = torch.fft.rfft2(first, s=padded) * torch.fft.rfft2(second, s=padded).conj()
    lags = torch.arange(-reach, reach + 1)
    cross = torch.fft.irfft2(spectrum, s=padded)[..., lags[:, None], lags].double()
    count = (height - lags.abs())[:, None] * (width - lags.abs()).double()
    sum_1, square_1 = (_overlap_sums(image, lags) for image in (first, first**2))
    sum_2, square_2 = (_overlap_sums(image, -lags) for image in (second, second**2))
    variance_1 = (square_1 - sum_1**2 / count).clamp(min=0)
    variance_2 = (square_2 - sum_2**2 / count).clamp(min=0)
    spread = (variance_1 * variance_2).sqrt()
    correlation = (cross - sum_1 * sum_2 / count) / spread.clamp(min=1e-6 * height * width)
    return np.asarray(correlation.clamp(-1, 1).numpy())


def _standardised(image: AnyArray) -> Tensor:
    values = torch.as_tensor(np.asarray(image, dtype=np.float32))
    mean = values.mean(dim=(-2, -1), keepdim=True)
    spread = values.std(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    return (values - mean) / spread


def _overlap_sums(image: Tensor, lags: Tensor) -> Tensor:
    """Sum over the part of an image that lies in it still when moved back by each lag."""
    height, width = image.shape[-2:]
    table = torch.nn.functional.pad(image.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))
    top, bottom = lags.clamp(min=0)[:, None], (height + lags.clamp(max=0))[:, None]
    left, right = lags.clamp(min=0), width + lags.clamp(max=0)
    total: Tensor = (
        table[..., bottom, right]
        - table[..., top, right]
        - table[..., bottom, left]
        + table[..., top, left]
    )
    return total
