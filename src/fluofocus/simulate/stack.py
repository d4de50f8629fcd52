"""A simulated acquisition: a specimen, scanned through focus and recorded by a camera."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.camera import expected_counts, record
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import SpecimenGrid
from fluofocus.units import FloatArray, nm_to_um

Positions = Sequence[float] | npt.NDArray[np.floating[Any]]

HALF_DEPTH_UM = 10.0
"""How far most specimens reach above and below depth zero."""

THICKEST_SLAB_UM = 0.5
"""Most that a slab, into which specimens are cut, may be thick."""

MOST_SLABS = 100_000
"""So many fit into memory by far; more are asked for only by mistake."""


@dataclass(frozen=True)
class SimulatedStack:
    """A focus-scanned stack and everything known about it.

    Attributes
    ----------
    counts : ndarray of uint16 (Z, Y, X)
        What the camera recorded.
    clean_counts : ndarray of float32 (Z, Y, X)
        What it would record on average, without noise or saturation.
    truth : tuple of dict
        One entry per object of the specimen: its kind, id, position and size in µm.
    planes_um : tuple of float
        Position of each plane; zero is the middle of the specimen.
    seed : int
        Decides the specimen and the noise.
    microscope : Microscope
        What imaged it.
    """

    counts: npt.NDArray[np.uint16]
    clean_counts: FloatArray
    truth: tuple[dict[str, Any], ...]
    planes_um: tuple[float, ...]
    seed: int
    microscope: Microscope


def simulate_stack(
    microscope: Microscope,
    phantom: str,
    *,
    shape_yx: tuple[int, int] = (256, 256),
    planes_um: Positions,
    seed: int,
    peak_photons: float = 2000.0,
    background_photons: float = 10.0,
    phantom_parameters: Mapping[str, Any] | None = None,
    depth_dependent: bool = False,
) -> SimulatedStack:
    """Simulate one acquisition; the same arguments give the same stack.

    The field is periodic: light that leaves it on one side comes in on the other.

    Parameters
    ----------
    phantom
        A name in `fluofocus.simulate.phantoms.PHANTOMS`.
    planes_um
        Focal planes from low to high; zero is the middle of the specimen.
    seed
        Decides the specimen and the noise.
    peak_photons
        Mean photons of the specimen at the brightest pixel of the whole stack.
    background_photons
        Mean photons of the background at every pixel.
    phantom_parameters
        Fields of the phantom that differ from its defaults.
    depth_dependent
        Whether aberration grows with each emitter's own depth below the coverslip.

    Raises
    ------
    FluoFocusError
        If there is no such phantom or a number is not possible.
    """
    planes = checked_planes(planes_um)
    check_exposure(shape_yx, peak_photons, background_photons, seed)
    configured = make_phantom(phantom, dict(phantom_parameters or {}))
    generator = torch.Generator().manual_seed(seed)
    pixel_um = microscope.pixel_size_um
    half_depth_um = configured.half_depth_um(shape_yx[0] * pixel_um)
    depths = slab_depths_um(planes, half_depth_um, _thickest_slab_um(microscope))
    drawn = configured.draw(SpecimenGrid(shape_yx, pixel_um, depths), generator)
    truth = _within(depths, drawn.truth)
    specimen = drawn.trimmed()
    images = ImageFormation(
        microscope, specimen.grid, torch.tensor(planes), depth_dependent=depth_dependent
    )
    photons = exposed(images(specimen), peak_photons) + background_photons
    return recorded(photons, microscope, generator, truth, planes, seed)


def _within(
    depths_um: tuple[float, ...], truth: tuple[dict[str, Any], ...]
) -> tuple[dict[str, Any], ...]:
    """Return those objects that reach into slabs at these depths: no others give light."""

    def shines(entry: dict[str, Any]) -> bool:
        if "z_um" not in entry:
            return True
        radius_um = entry["diameter_um"] / 2
        return bool(depths_um[0] - radius_um <= entry["z_um"] <= depths_um[-1] + radius_um)

    return tuple(filter(shines, truth))


def exposed(photons: torch.Tensor, peak_photons: float) -> torch.Tensor:
    """Scale a stack so that its brightest pixel has ``peak_photons``."""
    peak = float(photons.max())
    if peak <= 0:
        raise FluoFocusError("The specimen is empty: raise the number or size of its objects.")
    return photons * (peak_photons / peak)


def recorded(
    photons: torch.Tensor,
    microscope: Microscope,
    generator: torch.Generator,
    truth: tuple[dict[str, Any], ...],
    planes_um: tuple[float, ...],
    seed: int,
) -> SimulatedStack:
    """Record mean photons ``(Z, Y, X)`` by the microscope's camera."""
    counts = record(photons, microscope.camera, generator).numpy()
    _warn_if_saturated(counts, microscope.camera.bit_depth)
    return SimulatedStack(
        counts=counts.astype(np.uint16),
        clean_counts=expected_counts(photons, microscope.camera).numpy(),
        truth=truth,
        planes_um=planes_um,
        seed=seed,
        microscope=microscope,
    )


def checked_planes(planes_um: Positions) -> tuple[float, ...]:
    """Return focal planes as numbers, or raise a `FluoFocusError` if they do not rise."""
    planes = tuple(float(plane) for plane in planes_um)
    if not planes or not np.isfinite(planes).all() or (np.diff(planes) <= 0).any():
        raise FluoFocusError("The focal planes must be finite numbers of µm, from low to high.")
    return planes


def check_exposure(
    shape_yx: tuple[int, int], peak_photons: float, background_photons: float, seed: int
) -> None:
    """Raise a `FluoFocusError` unless the numbers describe a possible exposure."""
    if min(shape_yx) < 1:
        raise FluoFocusError(f"A field of {shape_yx[0]} x {shape_yx[1]} pixels holds no image.")
    if not (np.isfinite(peak_photons) and peak_photons > 0):
        raise FluoFocusError(f"peak_photons must be above zero, not {peak_photons:g}.")
    if not (np.isfinite(background_photons) and background_photons >= 0):
        raise FluoFocusError(f"background_photons must not be negative, as {background_photons:g}.")
    if seed < 0:
        raise FluoFocusError(f"A seed must be a whole number from zero, not {seed}.")


def slab_depths_um(
    planes_um: tuple[float, ...], half_depth_um: float, thickest_um: float
) -> tuple[float, ...]:
    """Return even slabs over the specimen's depth and all planes.

    Their thickness and the spacing of the planes are multiples of each other, so that few
    different defoci occur.

    Raises
    ------
    FluoFocusError
        If they would be too many.
    """
    spacing = float(np.diff(planes_um).min()) if len(planes_um) > 1 else thickest_um
    if spacing > thickest_um:
        slab = spacing / math.ceil(spacing / thickest_um - 1e-6)
    else:
        slab = spacing * math.floor(thickest_um / spacing + 1e-6)
    deep_um = max(planes_um[-1], half_depth_um) - min(planes_um[0], -half_depth_um)
    if deep_um > MOST_SLABS * slab:
        raise FluoFocusError(
            f"Specimen and planes reach over {deep_um:.3g} µm, too many slabs of {slab:.3g} µm: "
            "lower the specimen's depth or tilt, or bring the planes together."
        )
    below = max(0, math.ceil((planes_um[0] + half_depth_um) / slab - 1e-6))
    reach = max(planes_um[-1], half_depth_um) - planes_um[0]
    above = math.ceil(reach / slab - 1e-6)
    return tuple(planes_um[0] + slab * index for index in range(-below, above + 1))


def _thickest_slab_um(microscope: Microscope) -> float:
    """Half a depth of field, or `THICKEST_SLAB_UM`."""
    depth_of_field_um = (
        microscope.immersion_index
        * nm_to_um(microscope.emission_wavelength_nm)
        / microscope.numerical_aperture**2
    )
    return min(THICKEST_SLAB_UM, depth_of_field_um / 2)


def _warn_if_saturated(counts: FloatArray, bit_depth: int) -> None:
    saturated = int((counts >= 2**bit_depth - 1).sum())
    if saturated:
        warnings.warn(
            f"{saturated} pixels are saturated: lower peak_photons or the camera's gain.",
            FluoFocusWarning,
            stacklevel=4,
        )
