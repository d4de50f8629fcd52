"""Image formation in thick scattering tissue, plane by plane and slab by slab."""

from __future__ import annotations

import torch
from torch import Tensor

from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.simulate.tissue import Tissue
from fluofocus.simulate.tissue_kernels import TissueKernels
from fluofocus.units import nm_to_um

_SLABS_AT_ONCE = 16

_RING_WIDTH = 0.005
"""Of a ring of frequencies, relative to its radius: blurs too wide for it have died out there."""


class TissueImaging:
    """Images of specimens in one tissue, at given focal planes, through one microscope.

    Every slab reaches every plane by its own transfer function, which depends on both
    depths. Those are alike in all directions, so that all frequencies of one radius are
    imaged by one matrix, planes by slabs. The field is periodic: haze from outside of
    it comes in from the other side.

    Parameters
    ----------
    planes_um
        Focal planes ``(P,)``, in the same coordinate as the grid's ``depths_um``.
    depth_dependent
        Whether each slab has the aberration of its own depth below the coverslip.
    """

    def __init__(
        self,
        microscope: Microscope,
        grid: SpecimenGrid,
        planes_um: Tensor,
        tissue: Tissue,
        *,
        depth_dependent: bool = False,
    ) -> None:
        self.grid = grid
        self._rings = _Rings(grid, _cutoff_per_um(microscope))
        self._aperture = _pixel_transfer(microscope, grid)
        self._transfer = TissueKernels(
            microscope,
            tissue,
            planes_um.cpu(),
            torch.tensor(grid.depths_um),
            self._rings.radii_per_um,
            depth_dependent=depth_dependent,
        ).transfer()

    def __call__(self, specimen: Specimen, planes: list[int] | None = None) -> Tensor:
        """Return mean photons per camera pixel, ``(planes, y, x)``, of all or some planes."""
        if specimen.volume is None:
            raise ValueError("specimens in tissue are volumes")
        transfer = self._transfer if planes is None else self._transfer[:, planes]
        emitted = self._rings.spectra(specimen.volume)
        imaged = emitted.new_empty((transfer.shape[1], emitted.shape[1]))
        start = 0
        for count, kernel in zip(self._rings.counts, transfer.to(emitted.device), strict=True):
            ring = torch.view_as_real(emitted[:, start : start + count]).flatten(1)
            imaged[:, start : start + count] = torch.view_as_complex(
                (kernel @ ring).unflatten(1, (count, 2))
            )
            start += count
        return self._pictures(imaged)

    def _pictures(self, imaged: Tensor) -> Tensor:
        height, width = self.grid.fine_shape_yx
        step = self.grid.oversampling
        pictures = []
        for spectrum in imaged:
            full = spectrum.new_zeros(height * (width // 2 + 1))
            full[self._rings.where] = spectrum
            full = full.view(height, width // 2 + 1) * self._aperture
            pictures.append(torch.fft.irfft2(full, s=(height, width))[::step, ::step])
        return torch.stack(pictures).clamp(min=0)


class _Rings:
    """Frequencies of a grid that pass a microscope, sorted by their radius into thin rings.

    Attributes
    ----------
    radii_per_um : Tensor (F,)
        Mean radius of each ring; the first is zero.
    counts : list of int
        Frequencies in each ring.
    where : Tensor of int
        Their places in a flattened spectrum, ring after ring.
    """

    def __init__(self, grid: SpecimenGrid, cutoff_per_um: float) -> None:
        fy, fx = _frequencies(grid)
        radius = torch.hypot(fy, fx).flatten()
        passed = torch.nonzero(radius <= cutoff_per_um)[:, 0]
        ring = torch.round(torch.log(radius[passed].clamp(min=1e-6)) / _RING_WIDTH).long()
        order = torch.argsort(ring, stable=True)
        self.where = passed[order].to(grid.device)
        _, counts = torch.unique_consecutive(ring[order], return_counts=True)
        self.counts: list[int] = counts.tolist()
        parts = torch.split(radius[passed[order]], self.counts)
        self.radii_per_um = torch.stack([part.mean() for part in parts])

    def spectra(self, volume: Tensor) -> Tensor:
        """Return the spectra of the slabs of a volume, ``(slabs, frequencies)``."""
        parts = [
            torch.fft.rfft2(slabs).flatten(1)[:, self.where]
            for slabs in torch.split(volume, _SLABS_AT_ONCE)
        ]
        return torch.cat(parts)


def _frequencies(grid: SpecimenGrid) -> tuple[Tensor, Tensor]:
    height, width = grid.fine_shape_yx
    fy = torch.fft.fftfreq(height, grid.spacing_um)[:, None]
    return fy, torch.fft.rfftfreq(width, grid.spacing_um)[None]


def _cutoff_per_um(microscope: Microscope) -> float:
    """Highest frequency of excitation or emission; a confocal image holds hardly more."""
    shortest_nm = microscope.emission_wavelength_nm
    if microscope.modality == "confocal" and microscope.excitation_wavelength_nm is not None:
        shortest_nm = min(shortest_nm, microscope.excitation_wavelength_nm)
    return 2 * microscope.numerical_aperture / nm_to_um(shortest_nm)


def _pixel_transfer(microscope: Microscope, grid: SpecimenGrid) -> Tensor:
    """Transfer function of the camera's pixels; a confocal image is of points."""
    scale = grid.oversampling**2 * torch.ones(1, 1, device=grid.device)
    if microscope.modality == "confocal":
        return scale
    fy, fx = _frequencies(grid)
    pixel_um = grid.pixel_size_um
    return (torch.sinc(fy * pixel_um) * torch.sinc(fx * pixel_um)).to(scale) * scale
