"""Point spread functions: scalar and vectorial, wide-field and confocal.

The field of an emitter is summed over the pupil with matrix products (a matrix
Fourier transform), so that pixel size and field are free of the pupil's sampling.
All of it is differentiable with respect to the pupil.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fluofocus.optics.aperture import Aperture, average_over_aperture
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.pupil import PupilGrid, pupil_function, pupil_grid, ray_blur_um
from fluofocus.units import nm_to_um

_CHUNK_ELEMENTS = 24_000_000


def scalar_fields(microscope: Microscope, grid: PupilGrid, pupil: Tensor) -> Tensor:
    """Return the pupil as the one field of a scalar wave, ``(1, n, n)``."""
    return pupil[None]


def vectorial_fields(microscope: Microscope, grid: PupilGrid, pupil: Tensor) -> Tensor:
    """Return the pupil fields of a freely rotating dipole, ``(5, n, n)``.

    x and y field of a dipole along x, y and z, of which two are equal (Richards & Wolf 1959,
    by reciprocity for emission; Fresnel transmission through the layers as in Aguet et al.
    2009).
    """
    immersion, glass, sample = (
        grid.axial_component(index)
        for index in (
            microscope.immersion_index,
            microscope.coverslip_index,
            microscope.sample_index,
        )
    )
    n_immersion, n_glass, n_sample = (
        microscope.immersion_index,
        microscope.coverslip_index,
        microscope.sample_index,
    )
    # immersion, glass, sample hold n cos(theta) of their medium
    s_wave = 4 * immersion * glass / ((immersion + glass) * (glass + sample))
    p_wave = (2 * immersion * n_immersion * n_glass) / (
        n_glass**2 * immersion + n_immersion**2 * glass
    )
    p_wave = p_wave * (2 * glass * n_glass * n_sample) / (n_sample**2 * glass + n_glass**2 * sample)
    cosine, sine = sample / n_sample, grid.sine / n_sample
    cos_phi, sin_phi = torch.cos(grid.phi), torch.sin(grid.phi)
    along_x = (p_wave * cosine * cos_phi**2 + s_wave * sin_phi**2) * pupil
    along_y = (p_wave * cosine * sin_phi**2 + s_wave * cos_phi**2) * pupil
    crossed = (p_wave * cosine - s_wave) * sin_phi * cos_phi * pupil
    axial = -p_wave * sine * pupil
    return torch.stack([along_x, math.sqrt(2) * crossed, along_y, axial * cos_phi, axial * sin_phi])


PSF_MODELS: dict[str, Callable[[Microscope, PupilGrid, Tensor], Tensor]] = {
    "scalar": scalar_fields,
    "vectorial": vectorial_fields,
}


def pupil_size(
    microscope: Microscope, extent_um: float, defocus_um: float, wavelength_nm: float | None = None
) -> int:
    """Pupil cells per side that keep defocused and aberrated light from wrapping around."""
    sine = microscope.numerical_aperture / microscope.immersion_index
    blur_um = abs(defocus_um) * sine / math.sqrt(1 - sine**2) + ray_blur_um(microscope)
    period_um = max(extent_um, extent_um / 2 + blur_um) + 4.0
    wavelength_um = nm_to_um(wavelength_nm or microscope.emission_wavelength_nm)
    cells = period_um * 2 * microscope.numerical_aperture / wavelength_um
    return max(64, 2 * math.ceil(cells / 2))


def intensity_from_pupil(
    fields: Tensor,
    grid: PupilGrid,
    immersion_index: float,
    defocus_um: Tensor,
    shape_yx: tuple[int, int],
    pixel_um: float,
    centre_um: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> Tensor:
    """Image an emitter, ``(Z, Ny, Nx)``, on points ``pixel_um`` apart; sums to one over a plane.

    Parameters
    ----------
    fields
        ``(C, n, n)`` complex pupil fields; their intensities add.
    defocus_um
        ``(Z,)``, focal plane minus emitter, exact (not paraxial).
    centre_um
        Position (y, x) of the emitter, relative to the pixel at ``(Ny // 2, Nx // 2)``.
    """
    ky, kx = (
        torch.exp(2j * math.pi * _positions(count, pixel_um, centre, grid) * grid.frequency_per_um)
        for count, centre in zip(shape_yx, centre_um, strict=True)
    )
    axial = grid.axial_component(immersion_index).real / grid.wavelength_um
    chunk = max(1, _CHUNK_ELEMENTS // (fields.shape[0] * max(grid.size, shape_yx[0]) ** 2))
    planes = []
    for part in torch.split(defocus_um, chunk):
        defocus = torch.exp(-2j * math.pi * part[:, None, None] * axial)
        pupil = defocus[:, None] * fields
        field = ky @ pupil @ kx.T
        planes.append((field.real**2 + field.imag**2).sum(dim=1))
    # Parseval: all light of a plane, also what falls outside of the field. Cells on the
    # rim pass their share of light: the amplitude carries the share twice once squared.
    cell = (grid.frequency_per_um[1] - grid.frequency_per_um[0]) * pixel_um
    light = (fields.real**2 + fields.imag**2) / grid.weight.clamp(min=1e-6)
    power = light.sum() / cell**2
    return torch.cat(planes) / power


def _positions(count: int, pixel_um: float, centre: Tensor | float, grid: PupilGrid) -> Tensor:
    index = torch.arange(count, dtype=grid.rho.dtype, device=grid.rho.device) - count // 2
    return (index * pixel_um - centre)[:, None]


def point_spread_function(
    microscope: Microscope,
    defocus_um: Tensor,
    shape_yx: tuple[int, int],
    *,
    oversampling: int = 1,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Image of a point by this microscope, integrated over its camera pixels.

    Parameters
    ----------
    defocus_um
        ``(Z,)``, focal plane minus emitter along z, in µm of stage movement.
    shape_yx
        Points along y and x; the emitter is at ``(Ny // 2, Nx // 2)``.
    oversampling
        Points per camera pixel and axis. The values stay integrals over whole pixels.

    Returns
    -------
    Tensor
        ``(Z, Ny, Nx)``, non-negative; the points ``oversampling`` apart of one plane sum
        to one, less what falls outside of the field.
    """
    if microscope.modality == "confocal":
        return confocal_psf(
            microscope, defocus_um, shape_yx, oversampling=oversampling, dtype=dtype, device=device
        )
    return _widefield_psf(
        microscope,
        defocus_um,
        shape_yx,
        oversampling=oversampling,
        wavelength_nm=microscope.emission_wavelength_nm,
        aperture=Aperture(pixel_um=microscope.pixel_size_um),
        dtype=dtype,
        device=device,
    )


def confocal_psf(
    microscope: Microscope,
    defocus_um: Tensor,
    shape_yx: tuple[int, int],
    *,
    oversampling: int = 1,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Confocal image of a point: excitation times emission seen through the pinhole.

    The pinhole's diameter counts in Airy units (1.22 emission wavelength / NA). Of a
    spinning disk, the other pinholes add excitation (`light_of_other_pinholes`). The
    plane at zero defocus is scaled to sum to one, so out-of-focus planes sum to less.
    """
    pinhole_radius_um = (
        0.61
        * nm_to_um(microscope.emission_wavelength_nm)
        / microscope.numerical_aperture
        * microscope.pinhole_airy_units
    )
    defocus = torch.as_tensor(defocus_um)
    with_focus = torch.cat([defocus, defocus.new_zeros(1)])
    excitation, emission = (
        _widefield_psf(
            microscope,
            with_focus,
            shape_yx,
            oversampling=oversampling,
            wavelength_nm=wavelength_nm,
            aperture=Aperture(pinhole_radius_um=pinhole_um),
            dtype=dtype,
            device=device,
        )
        for wavelength_nm, pinhole_um in (
            (microscope.excitation_wavelength_nm or microscope.emission_wavelength_nm, 0.0),
            (microscope.emission_wavelength_nm, pinhole_radius_um),
        )
    )
    if microscope.pinhole_spacing_um is not None:
        excitation = excitation + light_of_other_pinholes(microscope, excitation, oversampling)
    product = excitation * emission
    return product[:-1] / product[-1].sum() * oversampling**2


def light_of_other_pinholes(
    microscope: Microscope, excitation: Tensor, oversampling: int
) -> Tensor:
    """Excitation by a spinning disk's other pinholes around one of them, ``(Z, 1, 1)``.

    Pinholes lie on a lattice of the spacing a, each in a cell of the area a². As all are
    alike, the light that one sends out of its own cell is as much as the others send in;
    averaged over the disk's turns it is even.

    Parameters
    ----------
    excitation
        ``(Z, Ny, Nx)`` by one pinhole; points ``oversampling`` apart sum to one.
    """
    spacing_um = microscope.pinhole_spacing_um or math.inf
    point_um = microscope.pixel_size_um / oversampling
    y, x = (
        (torch.arange(count, device=excitation.device) - count // 2) * point_um
        for count in excitation.shape[1:]
    )
    within = torch.hypot(y[:, None], x) < spacing_um / math.sqrt(math.pi)
    share = (excitation * within).sum(dim=(1, 2), keepdim=True) / oversampling**2
    return (1 - share).clamp(min=0) * (microscope.pixel_size_um / spacing_um) ** 2


def _widefield_psf(
    microscope: Microscope,
    defocus_um: Tensor,
    shape_yx: tuple[int, int],
    *,
    oversampling: int,
    wavelength_nm: float,
    aperture: Aperture,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    spacing_um = microscope.pixel_size_um / oversampling
    defocus = torch.as_tensor(defocus_um, dtype=dtype, device=device)
    furthest = float(defocus.abs().max()) if defocus.numel() else 0.0
    extent_um = max(shape_yx) * spacing_um + 2 * aperture.reach_um
    size = pupil_size(microscope, extent_um, furthest, wavelength_nm)
    grid = pupil_grid(microscope, size, wavelength_nm=wavelength_nm, dtype=dtype, device=device)
    pupil = pupil_function(microscope, grid)
    fields = PSF_MODELS[microscope.psf_model](microscope, grid, pupil)
    image = sampled_image(
        fields, grid, microscope, defocus, shape_yx, spacing_um=spacing_um, aperture=aperture
    )
    return image * oversampling**2


def sampled_image(
    fields: Tensor,
    grid: PupilGrid,
    microscope: Microscope,
    defocus_um: Tensor,
    shape_yx: tuple[int, int],
    *,
    spacing_um: float,
    aperture: Aperture,
    centre_um: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> Tensor:
    """Image pupil fields onto points ``spacing_um`` apart, each averaged over an aperture.

    It is computed at least as finely as Nyquist asks and summed to ``(Z, Ny, Nx)`` of
    which a plane sums to one, less what falls outside of the field.
    """
    nyquist_um = grid.wavelength_um / (4 * microscope.numerical_aperture)
    finer = math.ceil(spacing_um / nyquist_um - 1e-9)
    # light from just outside the field enters the apertures at its edge
    margin = 2 * math.ceil(aperture.reach_um / spacing_um)
    fine_shape = ((shape_yx[0] + 2 * margin) * finer, (shape_yx[1] + 2 * margin) * finer)
    fine = intensity_from_pupil(
        fields,
        grid,
        microscope.immersion_index,
        defocus_um,
        fine_shape,
        spacing_um / finer,
        centre_um,
    )
    fine = average_over_aperture(fine, spacing_um / finer, aperture)
    rows, columns = (
        slice(start := fine_points // 2 - finer * (points // 2), start + finer * points, finer)
        for fine_points, points in zip(fine_shape, shape_yx, strict=True)
    )
    return fine[:, rows, columns].clamp(min=0) * finer**2
