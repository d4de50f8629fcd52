"""Tissue that scatters and absorbs what passes through it."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Positive = Annotated[float, Field(gt=0)]


class Tissue(BaseModel):
    """What a slice does to light that passes through it.

    It lies half above and half below depth zero; the objective looks at it from low depths.
    Lengths count along the optical axis. None stands for tissue that does not scatter or does
    not absorb.

    ``scattering_length_um`` is the mean free path between scatterings,
    ``anisotropy`` the mean cosine of their angles (g). ``absorption_length_um`` is the way
    over which absorption leaves 1/e of the light.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    thickness_um: Positive
    scattering_length_um: Positive | None = None
    anisotropy: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    absorption_length_um: Positive | None = None

    @property
    def surface_um(self) -> float:
        """Depth of the surface that faces the objective."""
        return -self.thickness_um / 2

    def below_surface_um(self, depths_um: Tensor) -> Tensor:
        """Return how much tissue lies above each depth."""
        return (depths_um - self.surface_um).clamp(min=0)

    def scattering_transfer(
        self, frequency_per_um: Tensor, focus_um: Tensor, emitter_um: Tensor
    ) -> Tensor:
        """Transfer function of the scattering between an emitter and the objective.

        Light that is scattered by an angle at a distance from the focal plane seems to come
        from a place in that plane displaced by their product. In the small-angle
        approximation (Wells, J. Opt. Soc. Am. 59, 686, 1969) the transfer function is ::

            T(f) = exp(-1/l ∫ [1 - p(2π f |focus - u|)] du)

        over all u between the surface and the emitter, where l is the scattering length and p
        the Fourier transform of the angles' distribution. That of Henyey and Greenstein (1941)
        is exp(-a q) with a = (1 - g)/sqrt(g), at small angles. Unscattered light is the limit of
        high frequencies, exp(-depth/l); all light arrives, T(0) = 1. By reciprocity the same
        function blurs a focus of excitation.

        Parameters
        ----------
        frequency_per_um
            In the focal plane.
        focus_um, emitter_um
            Depths in the specimen's coordinate; the three are broadcast against each other.
        """
        if self.scattering_length_um is None:
            return torch.ones_like(frequency_per_um * focus_um * emitter_um)
        depth = self.below_surface_um(emitter_um)
        focus = focus_um - self.surface_um
        angle = (1 - self.anisotropy) / math.sqrt(self.anisotropy)
        rate = (2 * math.pi * angle * frequency_per_um).clamp(min=1e-5)
        nearest = focus.clamp(min=0).minimum(depth)
        kept = (
            2 * torch.exp(-rate * (nearest - focus).abs())
            - torch.exp(-rate * focus.abs())
            - torch.exp(-rate * (depth - focus).abs())
        ) / rate
        kept = torch.where(frequency_per_um > 0, kept, depth)
        return torch.exp((kept - depth) / self.scattering_length_um)

    def transmission(self, emitter_um: Tensor) -> Tensor:
        """Share of light left by absorption, of excitation on its way in and emission out."""
        if self.absorption_length_um is None:
            return torch.ones_like(emitter_um)
        return torch.exp(-2 * self.below_surface_um(emitter_um) / self.absorption_length_um)
