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

from typing import Annotated, Final, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from fluofocus.models.blocks import require_divisible
from fluofocus.models.known_pupil import FIELDS, KnownPupil
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.pupil_filters import KEPT_BYTES, PupilDeconvolution, PupilFilters
from fluofocus.models.swift import Swift
from fluofocus.models.swift_config import SwiftConfig, without_error
from fluofocus.optics.description import PARAMETERS
from fluofocus.optics.microscope import Microscope

Share = Annotated[float, Field(gt=0)]
Iterations = Annotated[int, Field(ge=1, le=1000)]

_PLAIN: Final = {"fuses_planes": False, "takes_optics": False}
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
    5 for a vectorial PSF, 1 for a scalar one. A network that ``takes_optics`` makes its filters for
    the microscope that it is told, whose aberrations must be known; without, for the one that it
    was trained for. What it ``corrects`` is a `Swift` network, trained before, whose result it
    starts from. The ``network`` behind the filters sees inverse hyperbolic sines where that is its
    ``output``, and has an ``error_output`` only where it is asked for.
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
    takes_optics: bool = False
    corrects: SwiftConfig | None = None
    network: SwiftConfig = SwiftConfig(
        encoder_channels=(24, 32, 48, 64),
        decoder_channels=(24, 32, 48, 64),
        residual_blocks=1,
        error_output=False,
        **_PLAIN,
    )

    @field_validator("network")
    @classmethod
    def _as_plain_as_it_is(cls, network: SwiftConfig) -> SwiftConfig:
        for field in network.model_fields_set & _PLAIN.keys():
            if getattr(network, field):
                raise ValueError(f"behind filters a network has no {field}: leave it out")
        has_error = network.error_output and "error_output" in network.model_fields_set
        return network.model_copy(update=_PLAIN | {"error_output": has_error})


class Filtered(RefocusingNetwork):
    """Filters the image for each target plane, then cleans up what comes out."""

    config: FilteredConfig
    kept_bytes = 2 * KEPT_BYTES

    def __init__(self, config: FilteredConfig) -> None:
        super().__init__()
        self.config = config
        self.takes_optics = self.needs_optics = config.takes_optics
        self.has_error = config.network.error_output
        self.pupil = KnownPupil(
            config.pupil_cells, config.pupil_fields, is_told=config.takes_optics
        )
        self.filters = PupilFilters(
            radius_px=config.filter_radius_px,
            step_um=config.filter_step_um,
            offsets_um=config.filter_offsets_um,
            noise_shares=config.noise_shares,
        )
        self.deconvolution = PupilDeconvolution(
            radius_px=config.filter_radius_px,
            step_um=config.deconvolution_step_um,
            iterations=config.deconvolution_iterations,
            shows_target=config.corrects is not None,
        )
        channels = 1 + self.filters.channels + self.deconvolution.channels
        self.corrected = None
        if config.corrects is not None:
            self.corrected = Swift(without_error(config.corrects))
            self.parts = ("corrected",)
            channels += 1
        self.network = Swift(config.network, image_channels=channels)
        if self.corrected is not None:  # until it has learnt to correct
            nn.init.zeros_(self.last_layer.weight)
            nn.init.zeros_(cast(Tensor, self.last_layer.bias))

    @property
    def last_layer(self) -> nn.Conv2d:
        """What makes pixels of the last features."""
        return self.network.last_layer

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        corrected = 1 if self.corrected is None else self.corrected.size_multiple
        return max(self.network.size_multiple, corrected)  # powers of two

    @property
    def receptive_field_px(self) -> int:
        """How far away, in y or x, an input pixel can be and still change an output pixel.

        By deconvolution pixels further away change it as well, but hardly.
        """
        own = self.network.receptive_field_px
        if self.corrected is None:
            return own + self.config.filter_radius_px
        return own + max(self.config.filter_radius_px, self.corrected.receptive_field_px)

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
        """Return the images ``(B, 1, H, W)`` themselves: targets differ from the first layer on.

        With them go the optics, if the network takes any, and what the network that it corrects
        has encoded.
        """
        require_divisible(images, self.size_multiple)
        if images.shape[1] > 1:
            raise ValueError("this network takes one input plane only")
        features: tuple[Tensor, ...] = (images,)
        if self.takes_optics:
            if optics is None:  # without aberrations
                optics = images.new_zeros((len(images), PARAMETERS))
            features = (images, optics)
        if self.corrected is not None:
            with torch.no_grad():
                features += self.corrected.encode(images, optics)
        return features

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus by ``(B, 1, T)`` or ``(B, 1, T, H, W)`` µm."""
        images, *encoded = features
        distances = (dpm_um[..., None, None] if dpm_um.ndim == 3 else dpm_um)[:, 0]
        pupils = self.pupil.pupils(len(images), encoded.pop(0) if self.takes_optics else None)
        filtered = self.filters(images, distances, pupils)
        seen = [images[:, :, None].expand(-1, filtered.shape[1], -1, -1, -1), filtered]
        if self.deconvolution.channels:
            seen.append(self.deconvolution(images, distances, pupils))
        start = None
        if self.corrected is not None:
            with torch.no_grad():
                start = self.corrected.decode(tuple(encoded), dpm_um).image[:, :, None].float()
            seen.append(start)
        channels = torch.cat(seen, dim=2).flatten(0, 1)
        if self.config.network.output == "sinh":
            channels = torch.asinh(channels)
        laterals = self.network.decoder.lateral_features(self.network.encoder(channels))
        refocused = self.network.decode(
            laterals,
            distances.flatten(0, 1)[:, None, None],
            with_error=with_error,
            start=None if start is None else start.flatten(0, 1),
        )
        shape = (*distances.shape[:2], *images.shape[-2:])
        error = None if refocused.error is None else refocused.error.reshape(shape)
        return Refocused(refocused.image.reshape(shape), error)
