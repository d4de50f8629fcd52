"""Masks whose point spread function is a double helix: two lobes that turn with depth.

References
----------
Pavani & Piestun, Optics Express 16, 3484 (2008): superposed Gauss-Laguerre modes, refined.
Prasad, Optics Letters 38, 585 (2013), and Baranek & Bouchal, J. Eur. Opt. Soc. 8, 13017 (2013):
rings of rising vortex charge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import eval_genlaguerre
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.optics.lobes import Lobes, measure_lobes
from fluofocus.optics.mask_file import PupilMask
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import (
    PSF_MODELS,
    intensity_from_pupil,
    pupil_size,
)
from fluofocus.optics.pupil import PupilGrid, pupil_function, pupil_grid
from fluofocus.units import nm_to_um

HALF_TURN_SHARE = 0.95
"""Share of a half turn, beyond which the two lobes look as before, that the range takes up."""

FILLED = 0.9
"""Radius that the widest mode of a Gauss-Laguerre mask reaches, in radii of the pupil."""

_MASK_CELLS = 256
_LEARNING_RATE = 0.2
Progress = Callable[[int, int], None]


def design_double_helix(
    microscope: Microscope,
    half_range_um: float,
    *,
    kind: str = "gauss-laguerre",
    refinement_steps: int = 150,
    progress: Progress = lambda done, total: None,
) -> PupilMask:
    """Design a phase mask whose lobes make nearly a half turn over a range of defocus.

    Parameters
    ----------
    microscope
        Its aperture, wavelength and immersion count; its aberrations and mask do not.
    half_range_um
        Largest defocus on either side.
    kind
        One of `DESIGNS`: the phase that refinement starts from.
    refinement_steps
        Steps of gradient ascent on the light in the lobes, 0 for none.

    Raises
    ------
    FluoFocusError
        If there is no such design, or the range is less than the depth of field.
    """
    if kind not in DESIGNS:
        raise FluoFocusError(f"There is no mask {kind!r}; choose one of {', '.join(DESIGNS)}.")
    shortest = _depth_of_field_um(microscope)
    if not half_range_um > shortest:
        raise FluoFocusError(
            f"A double helix over ±{half_range_um:g} µm is shorter than the depth of field: give a "
            f"range above {shortest:.2g} µm."
        )
    if refinement_steps < 0:
        raise FluoFocusError(f"{refinement_steps} steps of refinement: give 0 or more.")
    bare = microscope.model_copy(
        update={"pupil_mask": None, "zernike_rms_waves": {}, "emitter_depth_um": 0.0}
    )
    grid = pupil_grid(bare, max(_MASK_CELLS, pupil_size(bare, 8.0, half_range_um)))
    phase = DESIGNS[kind](bare, grid, half_range_um)
    if refinement_steps:
        phase = _refined(bare, grid, phase, half_range_um, refinement_steps, progress)
    return PupilMask(
        phase_rad=phase.numpy(),
        wavelength_nm=microscope.emission_wavelength_nm,
        numerical_aperture=microscope.numerical_aperture,
    )


def _depth_term(microscope: Microscope) -> float:
    """Return n (1 - cos) of the steepest ray: waves of defocus across the pupil per wavelength."""
    index = microscope.immersion_index
    return index - math.sqrt(index**2 - microscope.numerical_aperture**2)


def _depth_of_field_um(microscope: Microscope) -> float:
    """Return the defocus that delays the steepest ray by a wave."""
    return nm_to_um(microscope.emission_wavelength_nm) / _depth_term(microscope)


def _defocus_coordinate(microscope: Microscope, grid: PupilGrid) -> Tensor:
    """Return 0 in the middle to 1 at the rim, proportional to the phase of defocus.

    The square of the radius in the paraxial limit; with it, what is derived for low
    apertures holds for high ones.
    """
    axial = grid.axial_component(microscope.immersion_index).real
    return (microscope.immersion_index - axial) / _depth_term(microscope)


def ring_phase(microscope: Microscope, grid: PupilGrid, half_range_um: float) -> Tensor:
    """Return rings of equal defocus with vortex charges 1, 3, 5, … from within, ``(n, n)`` in rad.

    Neighbouring rings come into step again, half a turn further, when defocus changes
    their phases by a wave; so the range decides how many rings there are.
    """
    waves = (
        2 * half_range_um * _depth_term(microscope) / nm_to_um(microscope.emission_wavelength_nm)
    )
    rings = max(2, round(waves / HALF_TURN_SHARE))
    ring = (_defocus_coordinate(microscope, grid) * rings).floor().clamp(max=rings - 1)
    return torch.remainder((2 * ring + 1) * grid.phi, 2 * math.pi)


def gauss_laguerre_phase(microscope: Microscope, grid: PupilGrid, half_range_um: float) -> Tensor:
    """Return the phase of superposed modes (l, p) = (1, 0), (3, 1), (5, 2), …, ``(n, n)`` in rad.

    Along this line of modes the pattern turns by twice the Gouy phase: half a turn over
    one Rayleigh range on either side, which sets the waist; as many modes as fill the
    pupil.
    """
    wavelength_um = nm_to_um(microscope.emission_wavelength_nm)
    # A paraxial beam of waist w (radii of the pupil) has z_R = wavelength / (2 pi a w²), where
    # a is the depth term: n (1 - cos), in the paraxial limit NA² / 2n.
    rayleigh_um = half_range_um / math.tan(HALF_TURN_SHARE * math.pi / 4)
    waist = math.sqrt(wavelength_um / (2 * math.pi * _depth_term(microscope) * rayleigh_um))
    modes = max(2, round(((FILLED / waist) ** 2 + 2) / 4))
    squared = _defocus_coordinate(microscope, grid).numpy().astype(float) / waist**2
    field = np.zeros(squared.shape, dtype=complex)
    for p in range(modes):
        order = 2 * p + 1
        norm = math.sqrt(2 / math.pi) * math.exp(
            0.5 * (math.lgamma(p + 1) - math.lgamma(p + order + 1))
        )
        radial = (2 * squared) ** (order / 2) * np.exp(-squared)
        radial *= eval_genlaguerre(p, order, 2 * squared)
        field += norm * radial * np.exp(1j * order * grid.phi.numpy())
    return torch.from_numpy(np.angle(field)).to(grid.rho)


DESIGNS: dict[str, Callable[[Microscope, PupilGrid, float], Tensor]] = {
    "gauss-laguerre": gauss_laguerre_phase,
    "rings": ring_phase,
}
"""Phases to start from, by name; none is refined yet."""


def _refined(
    microscope: Microscope,
    grid: PupilGrid,
    phase: Tensor,
    half_range_um: float,
    steps: int,
    progress: Progress,
) -> Tensor:
    """Change the phase so that more of the light lies in two lobes that turn evenly."""
    amplitude = pupil_function(microscope, grid)
    fields = PSF_MODELS["scalar"](microscope, grid, amplitude)
    pixel_um = grid.wavelength_um / (4 * microscope.numerical_aperture)
    lobe_um = 0.51 * grid.wavelength_um / microscope.numerical_aperture
    planes = 2 * math.ceil(2 * half_range_um / _depth_of_field_um(microscope)) + 1
    defocus_um = torch.linspace(-half_range_um, half_range_um, planes)

    def images(phase: Tensor, points: int) -> Tensor:
        return intensity_from_pupil(
            fields * torch.exp(1j * phase),
            grid,
            microscope.immersion_index,
            defocus_um,
            (points, points),
            pixel_um,
        )

    points = 2 * math.ceil(4.0 / pixel_um) + 1
    lobes = measure_lobes(images(phase, points).numpy(), pixel_um)
    radius_um = float(np.median(lobes.separation_um)) / 2
    points = 2 * math.ceil((radius_um + 4 * lobe_um) / pixel_um) + 1
    windows = _windows(lobes, defocus_um, radius_um, lobe_um, points, pixel_um)
    free = phase.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([free], lr=_LEARNING_RATE)
    for step in range(steps):
        light = (images(free, points) * windows).sum(dim=(1, 2))
        loss = -torch.log(light).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(step + 1, steps)
    return torch.remainder(free.detach(), 2 * math.pi)


def _windows(
    lobes: Lobes,
    defocus_um: Tensor,
    radius_um: float,
    lobe_um: float,
    points: int,
    pixel_um: float,
) -> Tensor:
    """Return Gaussian windows on the lobes, ``(Z, n, n)``, that turn evenly with defocus."""
    slope, start = np.polyfit(defocus_um.numpy(), lobes.angle_rad, 1)
    turn = math.copysign(HALF_TURN_SHARE * math.pi, slope)
    angle = (start + turn * defocus_um / (defocus_um[-1] - defocus_um[0]))[:, None, None]
    y, x = torch.meshgrid(*2 * [(torch.arange(points) - points // 2) * pixel_um], indexing="ij")
    ly, lx = radius_um * torch.sin(angle), radius_um * torch.cos(angle)
    nearest = torch.minimum((y - ly) ** 2 + (x - lx) ** 2, (y + ly) ** 2 + (x + lx) ** 2)
    return torch.exp(-nearest / (2 * (0.6 * lobe_um) ** 2))
