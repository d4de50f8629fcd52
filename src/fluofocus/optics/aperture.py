"""What a point of an image is averaged over: camera pixel, pinhole, bead."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Aperture:
    """What an image is averaged over about each of its points.

    A square camera pixel, a round pinhole, and a ball that fluoresces evenly, seen in
    projection (its depth is taken to be small against the depth of field).
    """

    pixel_um: float = 0.0
    pinhole_radius_um: float = 0.0
    ball_diameter_um: Tensor | float = 0.0

    @property
    def reach_um(self) -> float:
        """Distance from which light still enters."""
        ball_um = float(torch.as_tensor(self.ball_diameter_um).detach())
        return self.pixel_um / 2 + self.pinhole_radius_um + ball_um / 2

    def transfer(self, frequency_per_um: Tensor) -> Tensor:
        """Transfer function of the round parts at these radial frequencies."""
        pinhole = 2 * math.pi * self.pinhole_radius_um * frequency_per_um.clamp(min=1e-9)
        ball = math.pi * self.ball_diameter_um * frequency_per_um
        transfer = torch.ones_like(frequency_per_um)
        if self.pinhole_radius_um > 0:
            transfer = transfer * 2 * torch.special.bessel_j1(pinhole) / pinhole
        if isinstance(self.ball_diameter_um, Tensor) or self.ball_diameter_um > 0:
            safe = ball.clamp(min=0.1)
            exact = 3 * (torch.sin(safe) - safe * torch.cos(safe)) / safe**3
            transfer = transfer * torch.where(ball > 0.1, exact, 1 - ball**2 / 10)
        return transfer


def average_over_aperture(images: Tensor, spacing_um: float, aperture: Aperture) -> Tensor:
    """Average band-limited images ``(Z, Ny, Nx)`` over an aperture about each point."""
    if aperture.reach_um == 0:
        return images
    height, width = images.shape[-2:]
    fy = torch.fft.fftfreq(height, spacing_um, dtype=images.dtype, device=images.device)[:, None]
    fx = torch.fft.rfftfreq(width, spacing_um, dtype=images.dtype, device=images.device)
    transfer = torch.sinc(fy * aperture.pixel_um) * torch.sinc(fx * aperture.pixel_um)
    transfer = transfer * aperture.transfer(torch.hypot(fy, fx))
    averaged: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * transfer, s=(height, width))
    return averaged
