"""``filtered``: matched filters of a known point spread function, then a small network.

A mask in the pupil spreads an emitter's photons over thousands of pixels, more than a network
of 3x3 convolutions learns to add up. Filters do it, made from the microscope's pupil: for each
target the image is filtered as if emitters lay there, and slightly above and below; an
emitter in the target plane so becomes one peak. What is left, to tell peaks from side lobes
and noise, is done by a `Swift` network. Filters before a network that cleans up behind them
are those of MultiWienerNet (Yanny et al., Optica 2022); here they are picked by distance.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.errors import FluoFocusError
from fluofocus.models.blocks import require_divisible
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.swift import Swift
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, intensity_from_pupil, pupil_size
from fluofocus.optics.pupil import aperture_grid, pupil_function, pupil_grid
from fluofocus.units import nm_to_um

_FIELDS = {"scalar": 1, "vectorial": 5}
_KEPT_BYTES: Final = 2**28
"""Up to which filters' spectra are kept."""


Share = Annotated[float, Field(gt=0)]


class FilteredConfig(BaseModel):
    """The filters, and the network behind them.

    ``filter_radius_px`` is how far a filter reaches. Filters are made every ``filter_step_um``
    along z and interpolated between; each target gets those of ``filter_offsets_um`` about its
    plane, one for each of ``noise_shares``: matched filters (large), which find what is faint, or
    nearly inverse ones (small), which tell neighbours apart.
    ``pupil_cells`` samples the pupil, and must grow with range and radius; ``pupil_fields`` are
    5 for a vectorial PSF, 1 for a scalar one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter_radius_px: Annotated[int, Field(ge=1, le=1024)] = 128
    filter_step_um: Annotated[float, Field(gt=0)] = 0.25
    filter_offsets_um: Annotated[tuple[float, ...], Field(min_length=1)] = (-0.5, 0.0, 0.5)
    noise_shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (2e-3, 0.1)
    pupil_cells: Annotated[int, Field(ge=16, le=1024)] = 192
    pupil_fields: Annotated[int, Field(ge=1, le=5)] = _FIELDS["vectorial"]
    network: SwiftConfig = SwiftConfig(
        encoder_channels=(24, 32, 48, 64),
        decoder_channels=(24, 32, 48, 64),
        residual_blocks=1,
    )


class Filtered(RefocusingNetwork):
    """Filters the image for each target plane, then cleans up what comes out."""

    config: FilteredConfig

    def __init__(self, config: FilteredConfig) -> None:
        super().__init__()
        self.config = config
        self.filters = PupilFilters(config)
        channels = 1 + len(config.filter_offsets_um) * len(config.noise_shares)
        plain = {"error_output": False, "fuses_planes": False, "takes_optics": False}
        self.network = Swift(config.network.model_copy(update=plain), image_channels=channels)

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
        """How far away, in y or x, an input pixel can be and still change an output pixel."""
        return self.network.receptive_field_px + self.config.filter_radius_px

    def attune(self, microscope: Microscope) -> None:
        """Make filters for this microscope."""
        self.filters.attune(microscope, self.config.network.distance_range_um)

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
        seen = images[:, :, None].expand(-1, filtered.shape[1], -1, -1, -1)
        channels = torch.cat([seen, filtered], dim=2).flatten(0, 1)
        laterals = self.network.decoder.lateral_features(self.network.encoder(channels))
        each = distances.flatten(0, 1)[:, None, None]
        image = self.network.decode(laterals, each).image
        return Refocused(image.reshape(filtered.shape[0], filtered.shape[1], *image.shape[-2:]))


class PupilFilters(nn.Module):
    """Filters for emitters at any distance from the focal plane, from the fields in a pupil."""

    def __init__(self, config: FilteredConfig) -> None:
        super().__init__()
        self.config = config
        cells = config.pupil_cells
        self.fields: Tensor
        self.register_buffer("fields", torch.zeros(config.pupil_fields, cells, cells, 2))
        self.sampling: Tensor
        """Numerical aperture, wavelength and pixel size in µm, index of the immersion."""
        self.register_buffer("sampling", torch.tensor([1.0, 0.5, 0.1, 1.5]))
        self._spectra: dict[tuple[int, int, int, torch.device], Tensor] = {}

    def attune(self, microscope: Microscope, range_um: float) -> None:
        """Take over the pupil of a microscope, for emitters up to ``range_um`` off its focus.

        Raises
        ------
        FluoFocusError
            If the pupil's sampling is too coarse for that, or its model has other fields.
        """
        config = self.config
        farthest_um = range_um + max(abs(offset) for offset in config.filter_offsets_um)
        extent_um = (2 * config.filter_radius_px + 1) * microscope.pixel_size_um
        cells = pupil_size(microscope, extent_um, farthest_um)
        if cells > config.pupil_cells:
            raise FluoFocusError(
                f"Filters of this reach need at least {cells} cells across the pupil: set "
                f"pupil_cells to {cells} or more."
            )
        if (count := _FIELDS[microscope.psf_model]) != config.pupil_fields:
            raise FluoFocusError(
                f"The {microscope.psf_model} PSF has {count} pupil fields: set pupil_fields to "
                f"{count}."
            )
        grid = pupil_grid(microscope, config.pupil_cells)
        fields = PSF_MODELS[microscope.psf_model](
            microscope, grid, pupil_function(microscope, grid)
        )
        self.fields.copy_(torch.view_as_real(fields))
        self.sampling.copy_(
            torch.tensor(
                [
                    microscope.numerical_aperture,
                    nm_to_um(microscope.emission_wavelength_nm),
                    microscope.pixel_size_um,
                    microscope.immersion_index,
                ]
            )
        )
        self._spectra.clear()

    def forward(self, images: Tensor, distances_um: Tensor) -> Tensor:
        """Filter ``(B, 1, H, W)`` images for each target, ``(B, T, C, H, W)``.

        Distances are ``(B, T, 1, 1)`` or ``(B, T, H, W)`` µm.
        """
        offsets = distances_um.new_tensor(self.config.filter_offsets_um)[:, None, None]
        positions = (distances_um[:, :, None].float() + offsets) / self.config.filter_step_um
        with torch.autocast(images.device.type, enabled=False):
            both = zip(images.float(), positions, strict=True)
            return torch.stack([self._filter(image[0], each) for image, each in both])

    def _filter(self, image: Tensor, positions: Tensor) -> Tensor:
        """Filter ``(H, W)`` for ``(T, O, 1, 1)`` or ``(T, O, H, W)`` positions, in steps."""
        height, width = image.shape
        radius = self.config.filter_radius_px
        padded = F.pad(image[None], (radius,) * 4, mode="replicate")[0]
        shape = (
            next_fast_len(height + 2 * radius, real=True),
            next_fast_len(width + 2 * radius, real=True),
        )
        spectrum = torch.fft.rfft2(padded, s=shape)
        lowest, highest = math.floor(float(positions.min())), math.ceil(float(positions.max()))
        shares = len(self.config.noise_shares)
        total = image.new_zeros((*positions.shape[:2], shares, height, width))
        for index in range(lowest, highest + 1):
            share = (1 - (positions - index).abs()).clamp(min=0)
            used = share.amax(dim=(2, 3)) > 0
            if used.any():
                filtered = torch.fft.irfft2(spectrum * self._spectrum(index, shape), s=shape)
                filtered = filtered[:, 2 * radius :, 2 * radius :][..., :height, :width]
                total[used] = total[used] + share[used][:, None] * filtered
        return total.flatten(1, 2)

    def _spectrum(self, index: int, shape: tuple[int, int]) -> Tensor:
        """Return the spectra of a distance's filters, whose centres are at their radius."""
        key = (index, *shape, self.fields.device)
        if key not in self._spectra:
            spectrum = torch.fft.rfft2(self._kernels(index * self.config.filter_step_um), s=shape)
            size = spectrum.nelement() * spectrum.element_size()
            if (len(self._spectra) + 1) * size > _KEPT_BYTES:
                self._spectra.clear()
            self._spectra[key] = spectrum
        return self._spectra[key]

    @torch.no_grad()
    def _kernels(self, distance_um: float) -> Tensor:
        """Return filters ``(shares, 2r + 1, 2r + 1)`` that leave white noise as high as it is."""
        aperture, wavelength_um, pixel_um, index = self.sampling.tolist()
        grid = aperture_grid(
            aperture, wavelength_um, self.config.pupil_cells, device=self.fields.device
        )
        side = 2 * self.config.filter_radius_px + 1
        psf = intensity_from_pupil(
            torch.complex(*self.fields.unbind(-1)),
            grid,
            index,
            self.fields.new_tensor([-distance_um]),  # emitters lie in the target plane
            (side, side),
            pixel_um,
        )[0].nan_to_num()
        transfer = torch.fft.rfft2(psf, s=(2 * side, 2 * side))
        power = transfer.abs().square()
        noise = power.max() * power.new_tensor(self.config.noise_shares)[:, None, None]
        kernels = torch.fft.irfft2(
            transfer.conj() / (power + noise + 1e-30), s=(2 * side, 2 * side)
        )
        # their centres are that of a PSF mirrored about the first pixel
        kernels = kernels.roll((side - 1, side - 1), dims=(1, 2))[:, :side, :side]
        kernels = kernels - kernels.mean(dim=(1, 2), keepdim=True)  # blind to an even background
        norms = kernels.square().sum(dim=(1, 2), keepdim=True).sqrt()
        return torch.as_tensor(kernels / (norms + 1e-30))
