"""What spatial frequencies a stack holds, and in which it agrees with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from fluofocus.measure.spectrum import Shells, resolution_um, tapered
from fluofocus.reproduce.wfcon_net.slices import STEP_UM
from fluofocus.units import AnyArray, FloatArray

SHARE = 1e-3
"""Of a spectrum's highest amplitude: a stack holds what is above."""

LOW_AXIAL_PER_UM, LOW_LATERAL_PER_UM = 0.25, 1.0
"""Up to which frequencies along the other axes agreement is averaged."""


@dataclass(frozen=True)
class Coverage:
    """Where the spectrum of a stack reaches, and where it is right.

    Attributes
    ----------
    share : float
        Of all frequencies, those with an amplitude of at least `SHARE` of the highest; 0 for an
        even stack.
    lateral_um, axial_um : float
        Finest period down to which stack and truth agree (Fourier correlation above 1/7).
    section : ndarray (kz, kx)
        Logarithm (base 10) of the amplitude over the highest, ky = 0, zero in the middle.
    """

    share: float
    lateral_um: float
    axial_um: float
    section: FloatArray


def coverage(stack: FloatArray, truth: FloatArray, pixel_um: float) -> Coverage:
    """Measure a stack ``(Z, Y, X)``."""
    voxel_um = (STEP_UM, pixel_um, pixel_um)
    first, second = (_spectrum(x, voxel_um) for x in (stack, truth))
    z, y = (
        np.abs(fft.fftfreq(n, step)) for n, step in zip(stack.shape[:2], voxel_um[:2], strict=True)
    )
    lateral = np.hypot(y[:, None], fft.rfftfreq(stack.shape[2], pixel_um))[None]
    axial = np.broadcast_to(z[:, None, None], first.shape)
    radius = np.broadcast_to(lateral, first.shape)
    amplitude = np.abs(first)
    return Coverage(
        share=float(((amplitude > 0) & (amplitude >= SHARE * amplitude.max())).mean()),
        lateral_um=_agreement_um(first, second, radius, axial < LOW_AXIAL_PER_UM, y[1]),
        axial_um=_agreement_um(first, second, axial, radius < LOW_LATERAL_PER_UM, z[1]),
        section=_section(amplitude),
    )


def _spectrum(stack: FloatArray, voxel_um: tuple[float, float, float]) -> AnyArray:
    """Return the spectrum of a stack without its mean, of which rounding must leave nothing."""
    even = stack.min() == stack.max()
    values = np.zeros_like(stack) if even else tapered(stack, voxel_um)
    return np.asarray(fft.rfftn(values.astype(np.float32)))


def _agreement_um(
    first: AnyArray,
    second: AnyArray,
    frequency_per_um: AnyArray,
    counted: npt.NDArray[np.bool_],
    step_per_um: float,
) -> float:
    """Return the finest period in which two spectra agree, by bins of one frequency."""
    one, two = first[counted], second[counted]
    at = np.round(frequency_per_um[counted] / step_per_um).astype(np.intp)
    cross, power, other = (
        np.bincount(at, weights)
        for weights in ((one * two.conj()).real, np.abs(one) ** 2, np.abs(two) ** 2)
    )
    scale = np.sqrt(power * other)
    value = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 0)
    # the mean is taken away, so that zero frequency says nothing
    frequencies = step_per_um * np.arange(1.0, len(value))
    return resolution_um(Shells(frequencies, value[1:].astype(np.float64)))


def _section(amplitude: FloatArray) -> FloatArray:
    plane = amplitude[:, 0]
    turned = np.roll(plane[::-1], 1, axis=0)  # of a real stack A(kz, -kx) = A(-kz, kx)
    whole = np.concatenate([turned[:, :0:-1], plane], axis=1)
    relative = fft.fftshift(whole, axes=0) / (amplitude.max() or 1.0)
    return np.asarray(np.log10(np.maximum(relative, 1e-9)), np.float32)
