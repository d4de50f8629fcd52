"""From photons to counts."""

from __future__ import annotations

import torch
from torch import Tensor

from fluofocus.optics.microscope import Camera


def expected_counts(photons: Tensor, camera: Camera) -> Tensor:
    """Return the mean counts of an image of mean photons, without noise or clipping."""
    electrons = photons * camera.quantum_efficiency
    return electrons * camera.gain_counts_per_electron + camera.offset_counts


def record(photons: Tensor, camera: Camera, generator: torch.Generator | None = None) -> Tensor:
    """Expose a camera: shot noise, read noise, gain, offset, rounding and saturation.

    Parameters
    ----------
    photons
        Mean photons per pixel, of any shape.

    Returns
    -------
    Tensor
        Whole counts from 0 to ``2**bit_depth - 1``, as float32 of the same shape.
    """
    electrons = torch.poisson(
        (photons * camera.quantum_efficiency).clamp(min=0), generator=generator
    )
    noise = torch.randn(photons.shape, generator=generator, device=photons.device)
    electrons = electrons + noise * camera.read_noise_electrons
    counts = electrons * camera.gain_counts_per_electron + camera.offset_counts
    return counts.round().clamp(0, 2**camera.bit_depth - 1)
