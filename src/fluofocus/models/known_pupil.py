"""Pupils that networks know: of the microscope that they are made for, or as they are told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn

from fluofocus.errors import FluoFocusError
from fluofocus.optics.description import (
    NOLL_INDICES,
    read_blur_parameters,
    without_told_blur,
)
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, intensity_from_pupil, pupil_size
from fluofocus.optics.pupil import PupilGrid, aperture_grid, pupil_function, pupil_grid
from fluofocus.optics.zernike import zernike_basis
from fluofocus.units import nm_to_um

FIELDS: Final = {"scalar": 1, "vectorial": 5}
"""In the pupil, by the model of the PSF."""

_FOCUS_STEP_UM: Final = 0.25
_FOCUS_RANGE_UM: Final = 8.0
_FOCUS_CELLS: Final = 2  # every second cell is enough to see where the PSF peaks


@dataclass(frozen=True, eq=False)
class Pupil:
    """Fields in a pupil, and point spread functions from them.

    Attributes
    ----------
    fields : Tensor
        ``(C, n, n)`` complex, whose intensities add.
    grid : PupilGrid
        Where they are sampled.
    immersion_index : float
        Of refraction.
    pixel_um : float
        Of the images.
    best_focus_um : float
        Defocus at which the PSF peaks highest; spherical aberration moves it from zero.
    told : tuple of float
        What tells this pupil from others of the same network.
    """

    fields: Tensor
    grid: PupilGrid
    immersion_index: float
    pixel_um: float
    best_focus_um: float = 0.0
    told: tuple[float, ...] = ()

    def emitters_um(self, target_um: Tensor) -> Tensor:
        """Return how far above the focal plane those emitters lie that a target shows sharp."""
        return target_um - self.best_focus_um

    @torch.no_grad()
    def psf(self, distance_um: float, radius_px: int) -> Tensor:
        """Image an emitter this far above the focal plane, ``(2r + 1, 2r + 1)``."""
        side = 2 * radius_px + 1
        return intensity_from_pupil(
            self.fields,
            self.grid,
            self.immersion_index,
            self.grid.rho.new_tensor([-distance_um]),  # focal plane minus emitter
            (side, side),
            self.pixel_um,
        )[0].nan_to_num()


class KnownPupil(nn.Module):
    """The pupil of the microscope that a network is made for.

    Parameters
    ----------
    cells
        Samples along a side of the pupil.
    fields
        In the pupil, see `FIELDS`.
    is_told
        Whether it is told, image by image, what `blur_parameters` say of the microscope,
        and takes only what they leave out from the one that it is made for.
    """

    def __init__(self, cells: int, fields: int, *, is_told: bool = False) -> None:
        super().__init__()
        self.cells = cells
        self.is_told = is_told
        self.fields: Tensor
        self.register_buffer("fields", torch.zeros(fields, cells, cells, 2))
        self.sampling: Tensor
        """Numerical aperture, wavelength and pixel size in µm, index of the immersion."""
        self.register_buffer("sampling", torch.tensor([1.0, 0.5, 0.1, 1.5]))

    def attune(self, microscope: Microscope, *, range_um: float, radius_px: int) -> None:
        """Take over the pupil of a microscope, for emitters up to ``range_um`` off its focus.

        Raises
        ------
        FluoFocusError
            If the pupil's sampling is too coarse for that, or its model has other fields.
        """
        extent_um = (2 * radius_px + 1) * microscope.pixel_size_um
        cells = pupil_size(microscope, extent_um, range_um)
        if cells > self.cells:
            raise FluoFocusError(
                f"Filters of this reach need at least {cells} cells across the pupil: set "
                f"pupil_cells to {cells} or more."
            )
        model = microscope.psf_model
        if self.is_told:  # of many microscopes, with PSFs of either model
            microscope = without_told_blur(microscope)
            model = "scalar" if len(self.fields) == FIELDS["scalar"] else "vectorial"
        if (count := FIELDS[model]) != len(self.fields):
            raise FluoFocusError(
                f"The {model} PSF has {count} pupil fields: set pupil_fields to {count}."
            )
        grid = pupil_grid(microscope, self.cells)
        fields = PSF_MODELS[model](microscope, grid, pupil_function(microscope, grid))
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

    def pupils(self, count: int, optics: Tensor | None = None) -> list[Pupil]:
        """Return the pupils of ``count`` images; ``optics`` are ``(B, P)`` if they are told."""
        if not self.is_told:
            return [self._own()] * count
        assert optics is not None
        return [self._told(tuple(each)) for each in optics.float().tolist()]

    def _own(self) -> Pupil:
        aperture, wavelength_um, pixel_um, index = self.sampling.tolist()
        grid = aperture_grid(aperture, wavelength_um, self.cells, device=self.fields.device)
        return Pupil(torch.complex(*self.fields.unbind(-1)), grid, index, pixel_um)

    @torch.no_grad()
    def _told(self, parameters: tuple[float, ...]) -> Pupil:
        aperture, wavelength_um, pixel_um, index = self.sampling.tolist()
        blur = read_blur_parameters(parameters)
        grid = aperture_grid(
            aperture * blur.relative_numerical_aperture,
            wavelength_um * blur.relative_wavelength,
            self.cells,
            device=self.fields.device,
        )
        waves = self.fields.new_tensor(blur.noll_rms_waves)
        path = torch.einsum("j,jyx->yx", waves, _aberrations(self.cells).to(waves))
        told = torch.exp(2j * math.pi * path - blur.amplitude_falloff * grid.rho**2)
        fields = torch.complex(*self.fields.unbind(-1)) * told
        best = _best_focus_um(fields, grid, index)
        return Pupil(fields, grid, index, pixel_um, best, parameters)


@lru_cache(maxsize=2)
def _aberrations(cells: int) -> Tensor:
    """Return the Zernike polynomials that are told, ``(J, n, n)``."""
    grid = aperture_grid(1.0, 1.0, cells)
    return zernike_basis(list(NOLL_INDICES), grid.rho, grid.phi)


def _best_focus_um(fields: Tensor, grid: PupilGrid, immersion_index: float) -> float:
    """Return the defocus, focal plane minus emitter, at which the PSF's centre is brightest."""
    steps = round(_FOCUS_RANGE_UM / _FOCUS_STEP_UM)
    defocus_um = torch.arange(-steps, steps + 1, device=fields.device) * _FOCUS_STEP_UM
    fewer = slice(_FOCUS_CELLS // 2, None, _FOCUS_CELLS)
    axial = grid.axial_component(immersion_index).real[fewer, fewer] / grid.wavelength_um
    phases = torch.exp(-2j * math.pi * defocus_um[:, None] * axial.flatten())
    centre = phases @ fields[:, fewer, fewer].flatten(1).T
    return float(defocus_um[centre.abs().square().sum(dim=1).argmax()])
