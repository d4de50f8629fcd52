"""Image formation: the specimen's emitters convolved in 3D with the point spread function."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.simulate.tissue import Tissue
from fluofocus.simulate.tissue_imaging import TissueImaging

_TISSUES = 4
"""Kinds of tissue whose kernels are kept: they take seconds to compute."""


class ImageFormation:
    """Images of specimens on one grid, at given focal planes, through one microscope.

    Parameters
    ----------
    planes_um
        Focal planes, in the same coordinate as the grid's ``depths_um``.
    depth_dependent
        Whether each slab is imaged with the aberration of its own depth below the
        coverslip (``emitter_depth_um`` plus its depth), not with that of the mean.
    """

    def __init__(
        self,
        microscope: Microscope,
        grid: SpecimenGrid,
        planes_um: Tensor,
        *,
        depth_dependent: bool = False,
        psf: Callable[..., Tensor] = point_spread_function,
    ) -> None:
        self.microscope, self.grid = microscope, grid
        self._psf = psf
        self._depth_dependent = depth_dependent
        self.planes_um = torch.as_tensor(planes_um, dtype=torch.float32, device=grid.device)
        self._in_tissue = lru_cache(_TISSUES)(self._tissue_imaging)

    @cached_property
    def best_focus_um(self) -> float:
        """Defocus, among those imaged, at which the point spread function peaks highest.

        Spherical aberration moves it from zero.
        """
        sharpest = self._otf.real.sum(dim=(1, 2)).argmax()  # the PSF's value at its centre
        return float(self._defocus_um[self._row == sharpest].mean())

    @cached_property
    def _defocus_um(self) -> Tensor:
        return self.planes_um[:, None] - torch.tensor(self.grid.depths_um, device=self.grid.device)

    @property
    def _row(self) -> Tensor:
        """Which of the transfer functions holds for each plane and slab."""
        return self._transfers[1]

    @property
    def _otf(self) -> Tensor:
        """Transfer functions, ``(rows, fine y, fine x / 2 + 1)``."""
        return self._transfers[0]

    @cached_property
    def _transfers(self) -> tuple[Tensor, Tensor]:
        defocus = self._defocus_um
        if self._depth_dependent:
            row = torch.arange(defocus.numel(), device=defocus.device).view_as(defocus)
            parts = [
                self._transfer(self.microscope.deeper_by(depth), defocus[:, index])
                for index, depth in enumerate(self.grid.depths_um)
            ]
            return torch.stack(parts, dim=1).flatten(0, 1), row
        steps = torch.round(defocus * 1000).long()
        unique, row = torch.unique(steps, return_inverse=True)
        return self._transfer(self.microscope, unique.float() / 1000), row

    def _tissue_imaging(self, tissue: Tissue) -> TissueImaging:
        return TissueImaging(
            self.microscope,
            self.grid,
            self.planes_um,
            tissue,
            depth_dependent=self._depth_dependent,
        )

    def _transfer(self, microscope: Microscope, defocus_um: Tensor) -> Tensor:
        """Optical transfer function on the grid's frequencies, ``(Z, fine y, fine x / 2 + 1)``."""
        microscope = microscope.model_copy(update={"pixel_size_um": self.grid.pixel_size_um})
        oversampling = self.grid.oversampling
        patch = _psf_pixels(microscope, float(defocus_um.abs().max()))
        patch_yx = (min(patch, self.grid.shape_yx[0]), min(patch, self.grid.shape_yx[1]))
        psf = self._psf(
            microscope,
            defocus_um,
            (patch_yx[0] * oversampling, patch_yx[1] * oversampling),
            oversampling=oversampling,
            device=self.grid.device,
        )
        height, width = self.grid.fine_shape_yx
        padded = torch.zeros((psf.shape[0], height, width), device=psf.device)
        padded[:, : psf.shape[1], : psf.shape[2]] = psf
        centred = padded.roll((-(psf.shape[1] // 2), -(psf.shape[2] // 2)), dims=(1, 2))
        spectrum: Tensor = torch.fft.rfft2(centred)
        return spectrum

    def __call__(self, specimen: Specimen, planes: list[int] | None = None) -> Tensor:
        """Return mean photons per camera pixel, ``(planes, y, x)``, of all or some planes.

        A specimen in tissue is imaged by `fluofocus.simulate.tissue_imaging`.
        """
        if specimen.tissue is not None:
            return self._in_tissue(specimen.tissue)(specimen, planes)
        spectrum, occupied = slab_spectra(specimen)
        wanted = range(len(self.planes_um)) if planes is None else planes
        step = self.grid.oversampling
        images = []
        for plane in wanted:
            transfer = self._otf[self._row[plane, occupied]]
            total = (transfer * spectrum).sum(dim=0)
            images.append(torch.fft.irfft2(total, s=self.grid.fine_shape_yx)[::step, ::step])
        return torch.stack(images).clamp(min=0)


def slab_spectra(specimen: Specimen) -> tuple[Tensor, Tensor]:
    """Return the spectra of the slabs that hold emitters, and these slabs' indices."""
    grid = specimen.grid
    spectra: dict[int, Tensor] = {}
    if specimen.volume is not None:
        occupied = torch.nonzero(specimen.volume.flatten(1).amax(dim=1) > 0)[:, 0]
        if len(occupied):
            transformed = torch.fft.rfft2(specimen.volume[occupied])
            spectra = dict(zip(occupied.tolist(), transformed, strict=True))
    if len(specimen.ball_photons):
        slabs = grid.slab_index(specimen.ball_positions_um[:, 0])
        for slab in sorted(set(slabs.tolist())):
            balls = _ball_spectrum(specimen, slabs == slab)
            spectra[slab] = spectra[slab] + balls if slab in spectra else balls
    if not spectra:
        height, width = grid.fine_shape_yx
        spectra = {0: torch.zeros((height, width // 2 + 1), dtype=torch.complex64)}
    order = sorted(spectra)
    stacked = torch.stack([spectra[slab] for slab in order]).to(grid.device)
    return stacked, torch.tensor(order, device=grid.device)


def _ball_spectrum(specimen: Specimen, chosen: Tensor) -> Tensor:
    """Sum the exact spectra of solid balls seen along z, at exact positions."""
    grid = specimen.grid
    height, width = grid.fine_shape_yx
    device = specimen.ball_photons.device
    fy = torch.fft.fftfreq(height, grid.spacing_um, device=device)
    fx = torch.fft.rfftfreq(width, grid.spacing_um, device=device)
    positions = specimen.ball_positions_um[chosen]
    photons, radii = specimen.ball_photons[chosen], specimen.ball_radius_um[chosen]
    total = torch.zeros((height, width // 2 + 1), dtype=torch.complex64, device=device)
    for radius in sorted(set(radii.tolist())):
        same = radii == radius
        along_y = torch.exp(-2j * math.pi * fy[:, None] * positions[same, 1]) * photons[same]
        along_x = torch.exp(-2j * math.pi * fx[:, None] * positions[same, 2])
        total += (along_y @ along_x.T) * _ball_form_factor(fy, fx, radius)
    return total


def _ball_form_factor(fy: Tensor, fx: Tensor, radius_um: float) -> Tensor:
    """Fourier transform of a solid ball of unit weight projected along z."""
    q = 2 * math.pi * radius_um * torch.hypot(fy[:, None], fx[None])
    safe = q.clamp(min=0.05)
    exact = 3 * (torch.sin(safe) - safe * torch.cos(safe)) / safe**3
    return torch.where(q < 0.05, 1 - q**2 / 10, exact)


def _psf_pixels(microscope: Microscope, defocus_um: float) -> int:
    """Camera pixels, even, that hold the point spread function at this defocus."""
    sine = microscope.numerical_aperture / microscope.immersion_index
    radius_um = defocus_um * sine / math.sqrt(1 - sine**2) + 4.0
    return 2 * math.ceil(radius_um / microscope.pixel_size_um)
