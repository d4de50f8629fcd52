"""Held-out fields of beads and of nuclei under the light of one condition of `robustness`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from fluofocus.measure.beads import Array
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.optics.microscope import Microscope
from fluofocus.reproduce.deep_z.robustness_sweeps import Exposure, Light
from fluofocus.simulate.camera import expected_counts, record
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.phantoms import Beads, Nuclei, Phantom
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.units import AnyArray, FloatArray, nm_to_um

Kind = Literal["beads", "nuclei"]

SIDE_PX: dict[Kind, int] = {"beads": 320, "nuclei": 192}
EDGE_PX, APART_PX = 16, 8
FOCUS_SEARCH_UM = np.arange(-12, 13) * 0.5
FOCUS_BEADS_PER_1000_UM2, FOCUS_SEED = 4.0, 11
NEARLY_AS_BRIGHT = 0.8
NUCLEI_HALF_DEPTH_UM = 8
THICKEST_SLAB_UM = 0.5


@dataclass(frozen=True)
class Field:
    """Light of one specimen at its focus and at distances from it, the brightest pixel 1.

    ``beads_px`` are the positions ``(N, 2)`` of the beads off the edge; nuclei have none.
    """

    photons: Mapping[float, torch.Tensor]
    beads_px: Array
    microscope: Microscope

    def truth(self, exposure: Exposure) -> FloatArray:
        """Return the counts of the plane in focus without noise."""
        return expected_counts(self._photons(0.0, exposure), self.microscope.camera).numpy()

    def image(self, distance_um: float, exposure: Exposure, generator: torch.Generator) -> AnyArray:
        """Record an image at a distance from focus."""
        photons = self._photons(distance_um, exposure)
        return record(photons, self.microscope.camera, generator).numpy().astype(np.uint16)

    def _photons(self, distance_um: float, exposure: Exposure) -> torch.Tensor:
        return self.photons[distance_um] * exposure.peak_photons + exposure.background_photons


def make_field(light: Light, kind: Kind, distances_um: Sequence[float], seed: int) -> Field:
    """Image a specimen in focus, and at these distances to both sides of it."""
    microscope = light.microscope
    grid = _grid(microscope, kind)
    phantom = _phantom(kind, light.count_per_1000_um2)
    drawn = phantom.draw(grid, torch.Generator().manual_seed(seed))
    specimen = _shaded(drawn, light.shading)
    beads_px = _beads_px(drawn) if kind == "beads" else np.zeros((0, 2))
    focus_um = _focus_um(microscope) if kind == "beads" else 0.0
    offsets_um = sorted({sign * away for away in (0.0, *distances_um) for sign in (-1, 1)})
    images = ImageFormation(microscope, grid, torch.tensor(offsets_um) + focus_um)
    photons = images(specimen)
    return Field(dict(zip(offsets_um, photons / photons.max(), strict=True)), beads_px, microscope)


def apart(beads_px: Array) -> AnyArray:
    """Return which beads have no other one near."""
    distance = np.linalg.norm(beads_px[:, None] - beads_px[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return np.asarray((distance > APART_PX).all(axis=1))


def _grid(microscope: Microscope, kind: Kind) -> SpecimenGrid:
    """Return a grid with slabs of at most half a depth of field; for beads, one slab.

    A whole number of slabs is 1 µm thick, so that few different defoci occur.
    """
    depths_um = [0.0]
    if kind == "nuclei":
        wavelength_um = nm_to_um(microscope.emission_wavelength_nm)
        depth_of_field_um = (
            microscope.immersion_index * wavelength_um / microscope.numerical_aperture**2
        )
        slabs_per_um = math.ceil(1 / min(THICKEST_SLAB_UM, depth_of_field_um / 2))
        half = NUCLEI_HALF_DEPTH_UM * slabs_per_um
        depths_um = [step / slabs_per_um for step in range(-half, half + 1)]
    return SpecimenGrid((SIDE_PX[kind],) * 2, microscope.pixel_size_um, tuple(depths_um))


def _phantom(kind: Kind, count_per_1000_um2: float | None) -> Phantom:
    changed = {} if count_per_1000_um2 is None else {"count_per_1000_um2": count_per_1000_um2}
    if kind == "nuclei":
        return Nuclei.model_validate(changed)
    return Beads.model_validate({"surface": "plane", "count_per_1000_um2": 1.84} | changed)


def _shaded(specimen: Specimen, shading: float) -> Specimen:
    """Excite a specimen fully in the middle of the field and less towards its corners."""
    grid = specimen.grid
    height, width = grid.extent_yx_um

    def excitation(y_um: torch.Tensor, x_um: torch.Tensor) -> torch.Tensor:
        waves = torch.cos(2 * math.pi * y_um / height) + torch.cos(2 * math.pi * x_um / width)
        return 1 - shading * (2 + waves) / 4

    volume = specimen.volume
    if volume is not None:
        y_um, x_um = (torch.arange(size) * grid.spacing_um for size in grid.fine_shape_yx)
        volume = volume * excitation(y_um[:, None], x_um)
    positions_um = specimen.ball_positions_um
    balls = specimen.ball_photons * excitation(positions_um[:, 1], positions_um[:, 2])
    return replace(specimen, ball_photons=balls, volume=volume)


def _beads_px(specimen: Specimen) -> Array:
    positions_um = np.array([[each["y_um"], each["x_um"]] for each in specimen.truth])
    beads_px = positions_um / specimen.grid.pixel_size_um
    last = np.array(specimen.grid.shape_yx) - 1
    inside = (beads_px > EDGE_PX) & (beads_px < last - EDGE_PX)
    return np.asarray(beads_px[inside.all(axis=1)])


def _focus_um(microscope: Microscope) -> float:
    """Return the plane in which beads at depth zero are in focus: spherical aberration moves it.

    It is the one with the narrowest beads, of those nearly as bright as the brightest; of
    beads that are the same for every field, for it is the microscope that is in focus there.
    """
    grid = _grid(microscope, "beads")
    beads = _phantom("beads", FOCUS_BEADS_PER_1000_UM2)
    specimen = beads.draw(grid, torch.Generator().manual_seed(FOCUS_SEED))
    beads_px = _beads_px(specimen)
    beads_px = beads_px[apart(beads_px)]
    images = ImageFormation(microscope, grid, torch.from_numpy(FOCUS_SEARCH_UM))
    planes = images(specimen).numpy()
    rows, columns = np.round(beads_px).astype(int).T
    peaks = planes[:, rows, columns].mean(axis=1)
    bright = np.flatnonzero(peaks >= NEARLY_AS_BRIGHT * peaks.max())
    widths = [
        np.nanmedian(lateral_fwhm(planes[plane], beads_px, pixel_size_um=1.0).fwhm_um)
        for plane in bright
    ]
    return float(FOCUS_SEARCH_UM[bright[int(np.argmin(widths))]])
