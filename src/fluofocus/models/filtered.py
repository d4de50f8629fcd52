"""``filtered``: filters and deconvolution by a known point spread function, then a small network.

A mask in the pupil spreads an emitter's photons over thousands of pixels, more than a network
of 3x3 convolutions learns to add up. Filters do it, made from the microscope's pupil: for each
target the image is filtered as if emitters lay there, and slightly above and below; an
emitter in the target plane so becomes one peak. Deconvolved for the target plane, the light of
bright emitters no longer hides faint ones. What is left, to tell emitters from noise and from
what lies elsewhere, is done by a `Swift` network. Filters before a network that cleans up behind
them are those of MultiWienerNet (Yanny et al., Optica 2022); here they are picked by distance.
"""

from __future__ import annotations

from typing import Annotated, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from fluofocus.models.blocks import require_divisible
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.pupil_filters import (
    FIELDS,
    KEPT_BYTES,
    KnownPupil,
    PupilDeconvolution,
    PupilFilters,
)
from fluofocus.models.swift import Swift
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.optics.microscope import Microscope

Share = Annotated[float, Field(gt=0)]
Iterations = Annotated[int, Field(ge=1, le=1000)]

_PLAIN: Final = {"error_output": False, "fuses_planes": False, "takes_optics": False}
"""What the network behind the filters cannot do."""


class FilteredConfig(BaseModel):
    """The filters, and the network behind them.

    ``filter_radius_px`` is how far a filter reaches. Filters are made every ``filter_step_um``
    along z and interpolated between; each target gets those of ``filter_offsets_um`` about its
    plane, one for each of ``noise_shares``: matched filters (large), which find what is faint, or
    nearly inverse ones (small), which tell neighbours apart. The image is also deconvolved, for
    the multiple of ``deconvolution_step_um`` next to the target plane, and taken after each of
    ``deconvolution_iterations``.
    ``pupil_cells`` samples the pupil, and must grow with range and radius; ``pupil_fields`` are
    5 for a vectorial PSF, 1 for a scalar one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter_radius_px: Annotated[int, Field(ge=1, le=1024)] = 128
    filter_step_um: Annotated[float, Field(gt=0)] = 0.25
    filter_offsets_um: Annotated[tuple[float, ...], Field(min_length=1)] = (-0.5, 0.0, 0.5)
    noise_shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (2e-3, 0.1)
    deconvolution_step_um: Annotated[float, Field(gt=0)] = 0.1
    deconvolution_iterations: tuple[Iterations, ...] = (10, 30)
    pupil_cells: Annotated[int, Field(ge=16, le=1024)] = 192
    pupil_fields: Annotated[int, Field(ge=1, le=5)] = FIELDS["vectorial"]
    network: SwiftConfig = SwiftConfig(
        encoder_channels=(24, 32, 48, 64),
        decoder_channels=(24, 32, 48, 64),
        residual_blocks=1,
        **_PLAIN,
    )

    @field_validator("network")
    @classmethod
    def _as_plain_as_it_is(cls, network: SwiftConfig) -> SwiftConfig:
        for field in network.model_fields_set & _PLAIN.keys():
            if getattr(network, field):
                raise ValueError(f"behind filters a network has no {field}: leave it out")
        return network.model_copy(update=_PLAIN)


class Filtered(RefocusingNetwork):
    """Filters the image for each target plane, then cleans up what comes out."""

    config: FilteredConfig
    kept_bytes = 2 * KEPT_BYTES

    def __init__(self, config: FilteredConfig) -> None:
        super().__init__()
        self.config = config
        self.pupil = KnownPupil(config.pupil_cells, config.pupil_fields)
        self.filters = PupilFilters(
            self.pupil,
            radius_px=config.filter_radius_px,
            step_um=config.filter_step_um,
            offsets_um=config.filter_offsets_um,
            noise_shares=config.noise_shares,
        )
        self.deconvolution = PupilDeconvolution(
            self.pupil,
            radius_px=config.filter_radius_px,
            step_um=config.deconvolution_step_um,
            iterations=config.deconvolution_iterations,
        )
        channels = 1 + self.filters.channels + len(config.deconvolution_iterations)
        self.network = Swift(config.network, image_channels=channels)

    @property
    def last_layer(self) -> nn.Conv2d:
        """What makes pixels of the last features."""
        return self.network.last_layer

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return self.network.size_multiple

    @property
    def receptive_field_px(self) -> int:
        """How far away, in y or x, an input pixel can be and still change an output pixel.

        By deconvolution pixels further away change it as well, but hardly.
        """
        return self.network.receptive_field_px + self.config.filter_radius_px

    def attune(self, microscope: Microscope) -> None:
        """Make filters for this microscope."""
        config = self.config
        farthest_um = max(abs(offset) for offset in config.filter_offsets_um)
        self.pupil.attune(
            microscope,
            range_um=config.network.distance_range_um + farthest_um,
            radius_px=config.filter_radius_px,
        )
        self.filters.spectra.clear()
        self.deconvolution.spectra.clear()

    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the images ``(B, 1, H, W)`` themselves: targets differ from the first layer on."""
        require_divisible(images, self.size_multiple)
        if images.shape[1] > 1:
            raise ValueError("this network takes one input plane only")
        return (images,)

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus by ``(B, 1, T)`` or ``(B, 1, T, H, W)`` µm."""
        if with_error:
            raise ValueError("this network has no error output")
        (images,) = features
        distances = (dpm_um[..., None, None] if dpm_um.ndim == 3 else dpm_um)[:, 0]
        filtered = self.filters(images, distances)
        seen = [images[:, :, None].expand(-1, filtered.shape[1], -1, -1, -1), filtered]
        if self.config.deconvolution_iterations:
            seen.append(self.deconvolution(images, distances))
        channels = torch.cat(seen, dim=2).flatten(0, 1)
        laterals = self.network.decoder.lateral_features(self.network.encoder(channels))
        each = distances.flatten(0, 1)[:, None, None]
        image = self.network.decode(laterals, each).image
        return Refocused(image.reshape(filtered.shape[0], filtered.shape[1], *image.shape[-2:]))
