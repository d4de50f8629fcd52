"""The pupil of an objective: where rays pass, how strongly, and with what delay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fluofocus.optics.mask_file import transmission
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.zernike import zernike_basis
from fluofocus.units import nm_to_um, um_to_nm


@dataclass(frozen=True)
class PupilGrid:
    """A square grid over the pupil; every tensor is ``(n, n)``, y first.

    ``weight`` is the share of each cell that lies inside the aperture, so that the
    rim is smooth; ``sine`` is n sin(theta), the same in every medium.
    """

    rho: Tensor
    phi: Tensor
    weight: Tensor
    sine: Tensor
    frequency_per_um: Tensor
    wavelength_um: float

    @property
    def size(self) -> int:
        """Cells along one side."""
        return int(self.rho.shape[0])

    def axial_component(self, refractive_index: float) -> Tensor:
        """Return n cos(theta) in a medium, ``(n, n)`` complex: imaginary for evanescent waves."""
        squared = torch.complex(refractive_index**2 - self.sine**2, torch.zeros_like(self.sine))
        return torch.sqrt(squared)


def pupil_grid(
    microscope: Microscope,
    size: int,
    *,
    wavelength_nm: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> PupilGrid:
    """Lay a grid of ``size`` by ``size`` cells over the pupil."""
    return aperture_grid(
        microscope.numerical_aperture,
        nm_to_um(wavelength_nm or microscope.emission_wavelength_nm),
        size,
        dtype=dtype,
        device=device,
    )


def aperture_grid(
    numerical_aperture: float,
    wavelength_um: float,
    size: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> PupilGrid:
    """Lay a grid of ``size`` by ``size`` cells over a round aperture."""
    centres = (torch.arange(size, dtype=dtype, device=device) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    rho = torch.hypot(x, y)
    weight = ((1 - rho) * size / 2 + 0.5).clamp(0, 1)
    rho = rho.clamp(max=1.0)
    return PupilGrid(
        rho=rho,
        phi=torch.atan2(y, x),
        weight=weight,
        sine=rho * numerical_aperture,
        frequency_per_um=centres * numerical_aperture / wavelength_um,
        wavelength_um=wavelength_um,
    )


def gibson_lanni_path_um(microscope: Microscope, grid: PupilGrid) -> Tensor:
    """Optical path difference by index mismatch, in µm, ``(n, n)`` complex, at best focus.

    Gibson & Lanni (J. Opt. Soc. Am. A 9, 154, 1992): the layers as used (sample down
    to the emitter, coverslip, immersion) minus the layers as designed. The parts that
    only shift the image in z or in phase are projected out, so that zero defocus
    means best focus; their imaginary part damps evanescent waves.
    """
    design_immersion = microscope.design_immersion_index or microscope.immersion_index
    used_cosine = grid.axial_component(microscope.immersion_index)
    path = (
        microscope.emitter_depth_um * grid.axial_component(microscope.sample_index)
        + microscope.coverslip_thickness_um * grid.axial_component(microscope.coverslip_index)
        - microscope.design_coverslip_thickness_um
        * grid.axial_component(microscope.design_coverslip_index)
        + microscope.design_working_distance_um
        * (used_cosine - grid.axial_component(design_immersion))
    )
    return torch.complex(_without_shift(path.real, used_cosine.real, grid.weight), path.imag)


def _without_shift(path: Tensor, axial: Tensor, weight: Tensor) -> Tensor:
    """Remove the weighted least-squares fit of a constant and of a defocus."""
    total = weight.sum()
    axial = axial - (axial * weight).sum() / total
    path = path - (path * weight).sum() / total
    shift = (path * axial * weight).sum() / (axial**2 * weight).sum()
    return path - shift * axial


def aberration_um(
    microscope: Microscope,
    grid: PupilGrid,
    *,
    zernike_rms_waves: Mapping[int, float | Tensor] | None = None,
) -> Tensor:
    """Optical path difference in µm, ``(n, n)`` complex: Zernike polynomials and layers.

    ``zernike_rms_waves`` (rms, in waves of the emission) replaces the microscope's;
    tensors in it carry gradients.
    """
    waves = microscope.zernike_rms_waves if zernike_rms_waves is None else zernike_rms_waves
    path = gibson_lanni_path_um(microscope, grid)
    if not waves:
        return path
    indices = sorted(waves)
    coefficients = torch.stack([torch.as_tensor(waves[index]).to(grid.rho) for index in indices])
    basis = zernike_basis(indices, grid.rho, grid.phi)
    emission_um = nm_to_um(microscope.emission_wavelength_nm)
    return path + emission_um * torch.einsum("j,jyx->yx", coefficients, basis)


FAINT_ABERRATION_WAVES = 0.03
"""Aberration, rms, below which noise hides which side of focus is which."""


def spherical_rms_waves(microscope: Microscope, cells: int = 64) -> float:
    """Return the primary spherical aberration (Noll 11) of objective and layers together.

    Its sign decides which side of focus looks which way; without it the two look alike.
    """
    return float(wavefront_rms_waves(microscope, (11, 22), cells)[0])


def wavefront_rms_waves(
    microscope: Microscope, noll_indices: Sequence[int], cells: int = 64
) -> Tensor:
    """Return what an objective and its layers together have of some Zernike polynomials.

    What shifts the image (piston, tilt, defocus) is fitted along with them and left out.

    Parameters
    ----------
    noll_indices
        Polynomials that are fitted together, from Noll 5 on.
    cells
        Samples across the pupil.

    Returns
    -------
    Tensor
        rms amplitudes in waves of the emission, one per index.
    """
    grid = pupil_grid(microscope, cells)
    path = aberration_um(microscope, grid).real / grid.wavelength_um
    axial = grid.axial_component(microscope.immersion_index).real
    parts = torch.cat([axial[None], zernike_basis([1, 2, 3, *noll_indices], grid.rho, grid.phi)])
    inside = grid.weight > 0.5
    fitted = torch.linalg.lstsq(parts[:, inside].T.double(), path[inside].double()[:, None])
    amplitudes: Tensor = fitted.solution[4:, 0].float()
    return amplitudes


def ray_blur_um(microscope: Microscope, cells: int = 64) -> float:
    """Furthest that aberrations throw a ray off the image point, in µm in the sample.

    It is the steepest slope of the path difference over n sin(theta).
    """
    grid = pupil_grid(microscope, cells)
    path = aberration_um(microscope, grid).real
    step = 2 * microscope.numerical_aperture / cells
    inside = grid.weight == 1
    along_y = path.diff(dim=0).abs()[inside[1:] & inside[:-1]].max()
    along_x = path.diff(dim=1).abs()[inside[:, 1:] & inside[:, :-1]].max()
    return float(torch.maximum(along_y, along_x)) / step


def pupil_function(
    microscope: Microscope,
    grid: PupilGrid,
    *,
    zernike_rms_waves: Mapping[int, float | Tensor] | None = None,
) -> Tensor:
    """Amplitude and aberrations of the pupil, complex ``(n, n)``, without defocus.

    Aperture, apodisation 1/sqrt(cos(theta)) of an aplanatic lens, radial falloff
    ``exp(-falloff rho²)``, Zernike phase, Gibson-Lanni phase and mask.
    ``zernike_rms_waves`` as in `aberration_um`.
    """
    path = aberration_um(microscope, grid, zernike_rms_waves=zernike_rms_waves)
    phase = 2 * math.pi * path / grid.wavelength_um
    cosine = grid.axial_component(microscope.immersion_index).real / microscope.immersion_index
    amplitude = grid.weight * torch.exp(-microscope.amplitude_falloff * grid.rho**2)
    amplitude = amplitude / torch.sqrt(cosine)
    pupil = amplitude * torch.exp(1j * phase)
    if microscope.pupil_mask is not None:
        pupil = pupil * _sampled_mask(microscope, microscope.pupil_mask, grid)
    return pupil


def _sampled_mask(microscope: Microscope, path: Path, grid: PupilGrid) -> Tensor:
    """Sample a mask file on the grid, complex ``(n, n)``."""
    mask = transmission(path, microscope.numerical_aperture, um_to_nm(grid.wavelength_um))
    parts = torch.as_tensor(np.stack([mask.real, mask.imag])).to(grid.rho)[None]
    resized = F.interpolate(
        parts, size=(grid.size, grid.size), mode="bilinear", align_corners=False
    )[0]
    return torch.complex(resized[0], resized[1])
