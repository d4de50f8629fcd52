"""What a training minimises."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Weight = Annotated[float, Field(ge=0)]
MaeReading = Literal["mean", "sum"]
"""Whether a mean absolute error is taken over an image's pixels, or summed."""

_DARK = 0.02
"""Mean of a normalised target below which it counts as dark."""

_FAINT = 0.1
"""Root mean square of asinh(gain x) of a target below which it counts as dark, likewise."""

_PATCH_PX = 32
"""Side of the patches whose spectra are compared: a few blurred beads wide."""


class LossConfig(BaseModel):
    """Weights of the terms of `refocusing_loss`, of `error_loss`, and of the first of two networks.

    ``refocused`` counts the loss of the image that the first network of ``w_net`` refocuses. Values
    well above ``1 / squared_gain`` are compressed in the term ``squared``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    l1: Weight = 1.0
    rms: Weight = 0.5
    squared: Weight = 0.0
    squared_gain: Annotated[float, Field(gt=0)] = 2.0
    spectral: Weight = 0.1
    error: Weight = 0.1
    refocused: Weight = 1.0


def refocusing_loss(output: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """Return the weighted sum of the relative errors of ``(B, T, H, W)`` images, a scalar.

    Every image counts alike, be its target sharp and bright or blurred and faint:

    - ``l1``: mean absolute error over the target's mean, the share of misplaced light;
    - ``rms``: root-mean-square error over the target's rms, which weighs bright detail;
    - ``squared``: mean squared error of asinh(gain x) over the target's mean square, which forgives
      small errors and bounds large ones, so that few bright spots are learnt where ``l1``
      and ``rms`` would rather have all dark; the higher the gain, the more do faint ones count;
    - ``spectral``: absolute difference of the amplitude spectra of overlapping patches, each
      over its target's mean amplitude, which asks for sharpness even where position is
      uncertain.
    """
    total = output.new_zeros(())
    mean = target.abs().mean(dim=(-2, -1)) + _DARK
    if config.l1:
        total = total + config.l1 * ((output - target).abs().mean(dim=(-2, -1)) / mean).mean()
    if config.rms:
        error = (output - target).square().mean(dim=(-2, -1))
        power = target.square().mean(dim=(-2, -1)) + _DARK**2
        total = total + config.rms * torch.sqrt(error / power + 1e-6).mean()
    if config.squared:
        error = _squared_error(output, target, config.squared_gain)
        total = total + config.squared * error
    if config.spectral:
        total = total + config.spectral * _spectral_error(output, target)
    return total


def error_loss(error: Tensor, output: Tensor, target: Tensor) -> Tensor:
    """Return how badly expected absolute errors fit the true ones, a scalar.

    The negative log-likelihood of the residuals under Laplace distributions of these scales,
    least where they are the mean absolute residual. It does not move the output itself: as a
    loss of the output it would spare the pixels that are hard.
    """
    residual = (output.detach() - target).abs()
    return (residual / error + error.log()).mean()


def _squared_error(output: Tensor, target: Tensor, gain: float) -> Tensor:
    found, wanted = (torch.asinh(gain * image) for image in (output, target))
    error = (found - wanted).square().mean(dim=(-2, -1))
    return (error / (wanted.square().mean(dim=(-2, -1)) + _FAINT**2)).mean()


def _spectral_error(output: Tensor, target: Tensor) -> Tensor:
    """Relative difference of amplitude spectra, a mean over the patches that hold something."""
    amplitude, wanted = (_patch_spectra(image) for image in (output, target))
    error = (amplitude - wanted).abs().mean(dim=(-2, -1))
    strength = wanted.mean(dim=(-2, -1))
    weight = 1 / (strength + _DARK)
    occupied = (strength * weight).sum(dim=-1) + _DARK
    return ((error * weight).sum(dim=-1) / occupied).mean()


def _patch_spectra(images: Tensor) -> Tensor:
    """Amplitude spectra ``(…, patches, p, p / 2 + 1)`` of half-overlapping, tapered patches."""
    side = min(_PATCH_PX, *images.shape[-2:])
    taper = torch.hann_window(side, device=images.device, dtype=images.dtype)
    patches = images.unfold(-2, side, side // 2).unfold(-2, side, side // 2)
    tapered = patches.flatten(-4, -3) * (taper[:, None] * taper)
    spectra: Tensor = torch.fft.rfft2(tapered, norm="ortho").abs()
    return spectra


def deep_z_generator_loss(
    scores: Tensor, output: Tensor, target: Tensor, *, alpha: float, mae_reading: MaeReading
) -> Tensor:
    """Return the generator's loss of Deep-Z, equation 4, a scalar.

    Parameters
    ----------
    scores
        ``(N,)``, the discriminator's of the output.
    output, target
        ``(N, 1, H, W)``.
    alpha
        Weight of the mean absolute error.
    mae_reading
        Whether that error is averaged over the pixels of an image or summed.
    """
    error = (output - target).abs()
    per_image = error.mean(dim=(1, 2, 3)) if mae_reading == "mean" else error.sum(dim=(1, 2, 3))
    return deceiving_loss(scores) + alpha * per_image.mean() / 2


def deceiving_loss(scores: Tensor) -> Tensor:
    """Return the first term of equation 4: zero when all output is taken for real."""
    return (scores - 1).square().mean() / 2


def discriminator_loss(output_scores: Tensor, target_scores: Tensor) -> Tensor:
    """Return the discriminator's loss of Deep-Z, equation 5, a scalar."""
    return output_scores.square().mean() / 2 + (target_scores - 1).square().mean() / 2
