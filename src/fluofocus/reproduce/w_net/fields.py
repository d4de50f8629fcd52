"""Fields of beads as W-Net's test had them, through the mask, without it, and confocal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import torch

from fluofocus.measure.beads import Array
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.optics.psf import point_spread_function
from fluofocus.simulate.camera import record
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.units import FloatArray

MICROSCOPE = "leica-63x-1.4-oil-double-helix"
SIDE_PX = 1024
BEAD_COUNT = 75
BEADS = {
    "surface": "plane",
    "plane_depth_um": 0.0,
    "diameter_um": 0.05,
    "brightness_spread": 0.8,
}
MEDIAN_PEAK_PHOTONS = 9.25
"""Of the median bead in its brightest pixel, in focus and without the mask."""
BACKGROUND_PHOTONS = 0.2
REGISTRATION_ERROR_UM = 0.047
"""How far the confocal image lies from the camera's, in another direction for each field."""

_EXPOSURE_SEARCH_UM = np.arange(-40, 41) / 5
_SEARCH_PX = 128


class Kind(StrEnum):
    """How a field was recorded."""

    HELIX = "double helix"
    WIDEFIELD = "wide-field"
    LONG = "wide-field, exposed as long as the helix"


@dataclass(frozen=True)
class Field:
    """Beads in one plane, and what the confocal microscope shows of them.

    Attributes
    ----------
    specimen : Specimen
        With the photons of the exposure without mask.
    known_px : ndarray (N, 2)
        Positions (y, x) as the confocal image has them.
    confocal : ndarray (Y, X)
        Noise-free, in focus.
    """

    seed: int
    specimen: Specimen
    known_px: Array
    confocal: FloatArray


@dataclass(frozen=True)
class Bench:
    """The microscope with and without its mask, and its exposures."""

    masked: Microscope

    @cached_property
    def plain(self) -> Microscope:
        """The same microscope without the mask."""
        return self.masked.model_copy(update={"pupil_mask": None})

    @property
    def pixel_um(self) -> float:
        """Pixel size."""
        return self.masked.pixel_size_um

    @cached_property
    def plain_peak(self) -> float:
        """Share of a bead's photons in its brightest pixel, in focus and without the mask."""
        return _highest(self.plain, np.zeros(1))

    @cached_property
    def longer(self) -> float:
        """How much longer the mask is exposed, for its sharpest image to be as bright."""
        return self.plain_peak / _highest(self.masked, _EXPOSURE_SEARCH_UM)

    def field(self, seed: int) -> Field:
        """Draw a field."""
        generator = torch.Generator().manual_seed(seed)
        grid = self.grid
        height_um, width_um = grid.extent_yx_um
        density = {"count_per_1000_um2": 1000 * BEAD_COUNT / (height_um * width_um)}
        specimen = make_phantom("beads", {**BEADS, **density}).draw(grid, generator)
        angle = 2 * math.pi * float(torch.rand(1, generator=generator))
        shift_um = torch.tensor([0.0, math.sin(angle), math.cos(angle)]) * REGISTRATION_ERROR_UM
        per_photon = MEDIAN_PEAK_PHOTONS / self.plain_peak / float(specimen.ball_photons.median())
        exposed = replace(specimen, ball_photons=specimen.ball_photons * per_photon)
        registered = replace(exposed, ball_positions_um=exposed.ball_positions_um + shift_um)
        confocal = self.plain.model_copy(update={"modality": "confocal"})
        return Field(
            seed=seed,
            specimen=exposed,
            known_px=registered.ball_positions_um[:, 1:].double().numpy() / self.pixel_um,
            confocal=ImageFormation(confocal, grid, torch.zeros(1))(registered)[0].numpy(),
        )

    @property
    def grid(self) -> SpecimenGrid:
        """The plane of the beads, and the camera's pixels."""
        return SpecimenGrid((SIDE_PX, SIDE_PX), self.pixel_um, (0.0,))


@dataclass(frozen=True)
class Plane:
    """A focal plane ``z_um`` above the beads, in which fields are recorded."""

    bench: Bench
    z_um: float

    @cached_property
    def _formations(self) -> tuple[ImageFormation, ImageFormation]:
        """Images with and without the mask."""
        focus = torch.tensor([self.z_um])
        with_mask, without = (
            ImageFormation(microscope, self.bench.grid, focus)
            for microscope in (self.bench.masked, self.bench.plain)
        )
        return with_mask, without

    @cached_property
    def helix_psf(self) -> FloatArray:
        """The PSF of the mask, as large as a field and centred at half of its size."""
        shape_yx = self.bench.grid.shape_yx
        psf = point_spread_function(self.bench.masked, torch.tensor([self.z_um]), shape_yx)
        return np.asarray(psf[0].numpy())

    def record(self, field: Field) -> Mapping[Kind, FloatArray]:
        """Record a field in all ways, in counts."""
        generator = torch.Generator().manual_seed(1000 * field.seed + round(20 * self.z_um) + 500)
        longer = self.bench.longer
        helix, plain = (image(field.specimen)[0] + BACKGROUND_PHOTONS for image in self._formations)
        exposures = {
            Kind.HELIX: helix * longer,
            Kind.WIDEFIELD: plain,
            Kind.LONG: plain * longer,
        }
        camera = self.bench.masked.camera
        return {
            kind: record(photons, camera, generator).numpy() for kind, photons in exposures.items()
        }


def open_bench() -> Bench:
    """Return the microscope of the paper."""
    return Bench(preset(MICROSCOPE))


def _highest(microscope: Microscope, defocus_um: Array) -> float:
    """Return the highest value of the PSF over planes."""
    return max(
        float(
            point_spread_function(
                microscope, torch.tensor([float(z)]), (_SEARCH_PX + 1, _SEARCH_PX + 1)
            ).max()
        )
        for z in defocus_um
    )
