"""What needs no training: a filter matched to the known PSF, and Richardson-Lucy.

Both take the field as periodic, as the simulated one is.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from fluofocus.measure.beads import Array
from fluofocus.units import AnyArray, FloatArray


def matched_filter(image: AnyArray, psf: AnyArray, *, noise_share: float) -> FloatArray:
    """Correlate an image with a PSF, whitened, so that a bead is one peak and not three.

    Each spatial frequency is divided by the power of the PSF there plus ``noise_share`` of its
    largest power: a Wiener filter, between the plain matched filter (large) and the inverse one.

    Parameters
    ----------
    image : ndarray (Y, X)
    psf : ndarray (Y, X)
        Centred at half of its size.
    """
    transfer = fft.rfft2(fft.ifftshift(psf))
    power = np.abs(transfer) ** 2
    spectrum = fft.rfft2(image - np.median(image)) * transfer.conj()
    filtered = fft.irfft2(spectrum / (power + noise_share * power.max()), s=image.shape)
    return np.asarray(filtered, dtype=np.float32)


def richardson_lucy(
    image: AnyArray, psf: AnyArray, *, background: float, iterations: int
) -> FloatArray:
    """Deconvolve an image over a known even background (Richardson 1972, Lucy 1974).

    Each step starts from where the last two lead to (Biggs and Andrews, Applied Optics 36, 1766,
    1997), which saves most of the iterations.

    Parameters
    ----------
    image : ndarray (Y, X)
        Not negative, its background included.
    psf : ndarray (Y, X)
        Centred at half of its size.
    """
    transfer = fft.rfft2(fft.ifftshift(psf / psf.sum()).astype(np.float32))
    measured = np.clip(image, 0, None).astype(np.float32)
    estimate = np.full_like(measured, max(float(measured.mean()) - background, 1e-3))
    start, last_change = estimate, np.zeros_like(measured)
    for _ in range(iterations):
        blurred = _filtered(start, transfer) + background
        ratio = measured / np.maximum(blurred, 1e-6)
        stepped = start * np.maximum(_filtered(ratio, transfer.conj()), 0)
        change = stepped - start
        size = float(np.vdot(last_change, last_change))
        lead = min(max(float(np.vdot(change, last_change)) / size, 0.0), 1.0) if size else 0.0
        start = np.maximum(stepped + lead * (stepped - estimate), 0)
        estimate, last_change = stepped, change
    return np.asarray(estimate, dtype=np.float32)


def _filtered(image: AnyArray, transfer: AnyArray) -> Array:
    return np.asarray(fft.irfft2(fft.rfft2(image) * transfer, s=image.shape))
