"""Point spread functions that are the same in all directions, along a radius.

They cost so little that they reach far out of focus, where those of
`fluofocus.optics.psf` are wider than any field.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import vectorial_fields
from fluofocus.optics.pupil import PupilGrid, pupil_function
from fluofocus.optics.zernike import noll_to_radial_azimuthal
from fluofocus.units import nm_to_um


class RadialSamples:
    """Even samples of a function of the radius, from zero, and their Hankel transform.

    Attributes
    ----------
    radii : Tensor (N,)
        Radii, or radial frequencies.
    weights : Tensor (N,)
        Area around each: sums over the plane of a function are ``(values * weights).sum()``.
    """

    def __init__(self, step: float, count: int) -> None:
        self.radii = torch.arange(count) * step
        self.weights = 2 * math.pi * step * self.radii
        self.weights[0] = math.pi * step**2 / 6  # Euler and Maclaurin's correction at zero

    def transform_to(self, others: Tensor) -> Tensor:
        """Return the matrix ``(N, others)`` of a Hankel transform from these samples."""
        argument = 2 * math.pi * self.radii.double()[:, None] * others.double()
        waves: Tensor = torch.special.bessel_j0(argument)
        return (self.weights.double()[:, None] * waves).float()


def radial_psf(
    microscope: Microscope,
    defocus_um: Tensor,
    samples: RadialSamples,
    *,
    wavelength_nm: float | None = None,
) -> Tensor:
    """Image of a point along a radius, ``(defoci, samples)``, per µm²: its plane sums to one.

    The integrals over the pupil of Richards and Wolf (1959), for the wide-field microscope;
    camera pixels are left out.

    Parameters
    ----------
    defocus_um
        ``(Z,)``, focal plane minus emitter.
    samples
        Radii in µm.
    wavelength_nm
        In place of the emission's.

    Raises
    ------
    FluoFocusError
        If the microscope has a pupil mask or an aberration that is not the same all around.
    """
    check_symmetric(microscope)
    wavelength_um = nm_to_um(wavelength_nm or microscope.emission_wavelength_nm)
    count = _pupil_points(microscope, defocus_um, samples, wavelength_um)
    grid = _pupil_line(microscope.numerical_aperture, wavelength_um, count)
    orders = _bessel_orders(microscope, grid)
    light = sum(float((field.abs() ** 2 / grid.weight).sum()) for field, _ in orders)
    bessel = _bessel_functions(microscope.numerical_aperture, wavelength_um, count, samples)
    axial = grid.axial_component(microscope.immersion_index).real / wavelength_um
    defocus = torch.exp(-2j * math.pi * defocus_um.double()[:, None] * axial)
    psf = torch.zeros(len(defocus_um), len(samples.radii))
    for field, order in orders:
        pupil = torch.view_as_real((defocus * field).to(torch.complex64)).movedim(-1, 0)
        psf += (pupil @ bessel[order]).square().sum(dim=0)
    return psf / light


def check_symmetric(microscope: Microscope) -> None:
    """Raise a `FluoFocusError` unless points look the same in all directions."""
    turning = [
        index
        for index, waves in microscope.zernike_rms_waves.items()
        if waves and noll_to_radial_azimuthal(index)[1] != 0
    ]
    if turning or microscope.pupil_mask is not None:
        found = f"Noll {turning[0]}" if turning else "a pupil mask"
        raise FluoFocusError(
            "Thick tissue is imaged by microscopes whose points look the same in all directions, "
            f"and {microscope.name!r} has {found}: leave it out of its description."
        )


def _pupil_points(
    microscope: Microscope, defocus_um: Tensor, samples: RadialSamples, wavelength_um: float
) -> int:
    """Points along the pupil's radius that are enough for all phases."""
    aperture, index = microscope.numerical_aperture, microscope.immersion_index
    sag = index - math.sqrt(index**2 - aperture**2)
    path_um = aperture * float(samples.radii[-1]) + sag * float(defocus_um.abs().max()) + 20
    return 128 * math.ceil(path_um * 2 / wavelength_um / 128)


@lru_cache(maxsize=16)
def _pupil_line(aperture: float, wavelength_um: float, count: int) -> PupilGrid:
    """Gauss and Legendre's points along the pupil's radius, weighted by their area."""
    points, weights = np.polynomial.legendre.leggauss(count)
    rho = torch.from_numpy((points + 1) / 2)[None]
    frequency = rho * aperture / wavelength_um
    return PupilGrid(
        rho=rho,
        phi=torch.zeros_like(rho),
        weight=math.pi * frequency * torch.from_numpy(weights)[None] * aperture / wavelength_um,
        sine=rho * aperture,
        frequency_per_um=frequency[0],
        wavelength_um=wavelength_um,
    )


@lru_cache(maxsize=16)
def _bessel_functions(
    aperture: float, wavelength_um: float, count: int, samples: RadialSamples
) -> tuple[Tensor, Tensor, Tensor]:
    """Bessel functions of order 0 to 2 at each pupil point and radius."""
    frequency = _pupil_line(aperture, wavelength_um, count).frequency_per_um
    argument = 2 * math.pi * frequency[:, None] * samples.radii.double()
    zeroth, first = torch.special.bessel_j0(argument), torch.special.bessel_j1(argument)
    second = 2 * first / argument.clamp(min=1e-9) - zeroth
    second[:, samples.radii == 0] = 0
    return zeroth.float(), first.float(), second.float()


def _bessel_orders(microscope: Microscope, grid: PupilGrid) -> list[tuple[Tensor, int]]:
    """Fields along the pupil's radius and the orders of their Bessel functions."""
    pupil = pupil_function(microscope, grid)
    if microscope.psf_model == "scalar":
        return [(pupil, 0)]
    along_x, _, along_y, axial, _ = vectorial_fields(microscope, grid, pupil)
    return [
        ((along_x + along_y) / math.sqrt(2), 0),
        (axial, 1),
        ((along_x - along_y) / math.sqrt(2), 2),
    ]
