"""Images of points in scattering tissue: wide-field, confocal and spinning-disk."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fluofocus.optics.microscope import Microscope
from fluofocus.optics.radial import RadialSamples, radial_psf
from fluofocus.simulate.tissue import Tissue
from fluofocus.units import nm_to_um

_REACH_UM = 48.0
_RADII = RadialSamples(0.04, math.ceil(_REACH_UM / 0.04))
"""Radii of point spread functions, fine enough for the product of two; light beyond is even."""

_ABERRATION_STEP_UM = 1.0
"""Thickness of tissue over which the aberration of an index mismatch is taken to be the same."""


class TissueKernels:
    """Transfer functions of a microscope from slabs of tissue to focal planes.

    Points must look the same in all directions. Excitation and emission are scattered alike.

    Parameters
    ----------
    planes_um, depths_um
        Of the focal planes ``(P,)`` and the slabs ``(S,)``, in the specimen's coordinate.
    frequency_per_um
        ``(F,)`` radial frequencies, of which the first is zero.
    depth_dependent
        Whether each slab has the aberration of its own depth.
    """

    def __init__(
        self,
        microscope: Microscope,
        tissue: Tissue,
        planes_um: Tensor,
        depths_um: Tensor,
        frequency_per_um: Tensor,
        *,
        depth_dependent: bool = False,
    ) -> None:
        self.microscope, self.tissue = microscope, tissue
        self.planes_um, self.depths_um = planes_um, depths_um
        self.frequency_per_um = frequency_per_um
        self._depth_dependent = depth_dependent
        self._to_frequency = _RADII.transform_to(frequency_per_um)
        emission, self._row = self._spots(microscope.emission_wavelength_nm)
        self._emission = emission @ self._to_frequency
        self._emission[:, 0] = 1.0
        if microscope.modality == "confocal":
            self._prepare_confocal(emission)

    def transfer(self) -> Tensor:
        """Return the transfer functions, ``(F, P, S)``; a wide-field one sums light to one.

        A confocal one is relative to a point in focus that nothing scatters.
        """
        kernel = self._confocal if self.microscope.modality == "confocal" else self._widefield
        planes = [kernel(index) for index in range(len(self.planes_um))]
        return torch.stack(planes, dim=1) * self.tissue.transmission(self.depths_um)

    def _spots(self, wavelength_nm: float) -> tuple[Tensor, Tensor]:
        """Return the image of a point for every pair ``(P, S)``: ``(rows, radii)``, and the rows.

        The last row is a point in focus.
        """
        defocus = self.planes_um[:, None] - self.depths_um
        options = {"wavelength_nm": wavelength_nm}
        focus = radial_psf(self.microscope, torch.zeros(1), _RADII, **options)
        row = torch.empty_like(defocus, dtype=torch.long)
        parts: list[Tensor] = []
        level = torch.round(self.depths_um / _ABERRATION_STEP_UM) * self._depth_dependent
        for depth in torch.unique(level):
            alike = level == depth
            steps = torch.round(defocus[:, alike] * 1000).long()
            unique, inverse = torch.unique(steps, return_inverse=True)
            row[:, alike] = inverse + sum(map(len, parts))
            microscope = self.microscope.deeper_by(float(depth) * _ABERRATION_STEP_UM)
            parts.append(radial_psf(microscope, unique / 1000, _RADII, **options))
        return torch.cat([*parts, focus]), row

    def _scattering(self, frequency_per_um: Tensor, plane: int) -> Tensor:
        """Transfer of the tissue above each slab, ``(S, F)``."""
        return self.tissue.scattering_transfer(
            frequency_per_um, self.planes_um[plane], self.depths_um[:, None]
        )

    def _widefield(self, plane: int) -> Tensor:
        """Scattered emission; excitation is diffuse, so that scattering does not weaken it."""
        scattering = self._scattering(self.frequency_per_um, plane)
        return (self._emission[self._row[plane]] * scattering).T

    def _prepare_confocal(self, emission: Tensor) -> None:
        microscope = self.microscope
        excitation, _ = self._spots(
            microscope.excitation_wavelength_nm or microscope.emission_wavelength_nm
        )
        cutoff = 2 * microscope.numerical_aperture / nm_to_um(self._shortest_nm())
        self._fine = RadialSamples(0.5 / _REACH_UM, math.ceil(cutoff * 2 * _REACH_UM) + 1)
        to_fine = _RADII.transform_to(self._fine.radii)
        self._to_radii = self._fine.transform_to(_RADII.radii)
        self._excitation_fine = excitation @ to_fine
        self._emission_fine = emission @ to_fine * self._pinhole(self._fine.radii)
        self._emission *= self._pinhole(self.frequency_per_um)
        none = torch.ones(1, 1)
        self._in_focus = self._through_pinholes(torch.tensor([-1]), none, none)[0, 0]

    def _confocal(self, plane: int) -> Tensor:
        """Scattered excitation times scattered emission through the pinhole."""
        fine = self._scattering(self._fine.radii, plane)
        coarse = self._scattering(self.frequency_per_um, plane)
        return (self._through_pinholes(self._row[plane], fine, coarse) / self._in_focus).T

    def _through_pinholes(self, row: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return transfer functions ``(rows, F)``, blurred by scattering on both grids."""
        excitation = self._excitation_fine[row] * fine @ self._to_radii
        emission = self._emission_fine[row] * fine @ self._to_radii
        own = (excitation * emission) @ self._to_frequency
        spacing_um = self.microscope.pinhole_spacing_um
        if spacing_um is None:
            return own
        within = _RADII.radii < spacing_um / math.sqrt(math.pi)
        share = (excitation * _RADII.weights)[:, within].sum(dim=1)
        others = (1 - share).clamp(min=0) / spacing_um**2
        return own + others[:, None] * self._emission[row] * coarse

    def _pinhole(self, frequency_per_um: Tensor) -> Tensor:
        """Transfer function of a round pinhole."""
        diameter_um = (
            1.22
            * nm_to_um(self.microscope.emission_wavelength_nm)
            / self.microscope.numerical_aperture
            * self.microscope.pinhole_airy_units
        )
        argument = (math.pi * diameter_um * frequency_per_um).clamp(min=1e-6)
        transfer: Tensor = 2 * torch.special.bessel_j1(argument) / argument
        return transfer

    def _shortest_nm(self) -> float:
        microscope = self.microscope
        excitation_nm = microscope.excitation_wavelength_nm or microscope.emission_wavelength_nm
        return min(excitation_nm, microscope.emission_wavelength_nm)
