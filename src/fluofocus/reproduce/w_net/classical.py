"""What needs no training: a filter matched to the known PSF, and Richardson-Lucy.

Both take the field as periodic, as the simulated one is.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from fluofocus.measure.beads import Array
from fluofocus.reproduce.richardson_lucy import deconvolved
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
    """Deconvolve an image over a known even background.

    Parameters
    ----------
    image : ndarray (Y, X)
        Not negative, its background included.
    psf : ndarray (Y, X)
        Centred at half of its size.
    """
    transfer = fft.rfft2(fft.ifftshift(psf / psf.sum()).astype(np.float32))
    return deconvolved(
        image,
        lambda emitted: _filtered(emitted, transfer),
        lambda ratio: _filtered(ratio, transfer.conj()),
        background=background,
        iterations=iterations,
    )


def _filtered(image: AnyArray, transfer: AnyArray) -> Array:
    return np.asarray(fft.irfft2(fft.rfft2(image) * transfer, s=image.shape))
