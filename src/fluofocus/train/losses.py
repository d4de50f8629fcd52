"""What a training minimises, all relative to the light in the target."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Weight = Annotated[float, Field(ge=0)]

_DARK = 0.02
"""Mean of a normalised target below which it counts as dark."""


class LossConfig(BaseModel):
    """Weights of the terms of `refocusing_loss`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l1: Weight = 1.0
    rms: Weight = 0.5
    spectral: Weight = 0.1


def refocusing_loss(output: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """Return the weighted sum of the relative errors of ``(B, T, H, W)`` images, a scalar.

    Every image counts alike, be its target sharp and bright or blurred and faint:

    - ``l1``: mean absolute error over the target's mean, the share of misplaced light;
    - ``rms``: root-mean-square error over the target's rms, which weighs bright detail;
    - ``spectral``: absolute difference of the amplitude spectra over the target's mean
      amplitude, which asks for sharpness even where position is uncertain.
    """
    total = output.new_zeros(())
    mean = target.abs().mean(dim=(-2, -1)) + _DARK
    if config.l1:
        total = total + config.l1 * ((output - target).abs().mean(dim=(-2, -1)) / mean).mean()
    if config.rms:
        error = (output - target).square().mean(dim=(-2, -1))
        power = target.square().mean(dim=(-2, -1)) + _DARK**2
        total = total + config.rms * torch.sqrt(error / power + 1e-6).mean()
    if config.spectral:
        amplitude, wanted = (
            torch.fft.rfft2(image, norm="ortho").abs() for image in (output, target)
        )
        error = (amplitude - wanted).abs().mean(dim=(-2, -1))
        total = total + config.spectral * (error / (wanted.mean(dim=(-2, -1)) + _DARK)).mean()
    return total
