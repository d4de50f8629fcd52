"""Held-out fields for the benchmarks: microscopes drawn, specimens imaged, exposures made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fluofocus.measure.image import METRICS
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.simulate.camera import expected_counts, record
from fluofocus.simulate.draws import OpticsDraws
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.phantoms import Phantom
from fluofocus.simulate.specimen import SpecimenGrid
from fluofocus.train.config import load_train_config

BACKGROUND_PHOTONS = 10.0
EDGE_PX = 16
NUCLEI_DISTANCES_UM = (2.0, 4.0, 6.0, 8.0, 10.0)

_BEYOND: dict[str, Any] = {
    "other_zernike_rms_waves": 0.03,
    "emitter_depth_um": (15, 22),
    "sample_index": (1.45, 1.50),
    "amplitude_falloff": (0.4, 0.6),
    "relative_numerical_aperture": (1.02, 1.04),
}
OUTSIDE = (
    OpticsDraws(spherical_rms_waves=(0.05, 0.08), coverslip_error_um=(10, 14), **_BEYOND),
    OpticsDraws(spherical_rms_waves=(-0.09, -0.07), coverslip_error_um=(-14, -10), **_BEYOND),
)
"""Optics beyond the training's ranges: in all, with more spherical aberration than any that it
draws (Noll 11 of 0.28 to 0.32 waves rms), and with as little as the models are for (0.05 to 0.08).
"""


class Field:
    """One simulated field: its clean scan and how to expose it."""

    def __init__(
        self,
        microscope: Microscope,
        phantom: Phantom,
        size_px: int,
        planes_um: torch.Tensor,
        depths_um: torch.Tensor,
        seed: int,
        peak_photons: float,
        psf: Callable[..., torch.Tensor] = point_spread_function,
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.microscope = microscope
        self.camera = microscope.camera
        grid = SpecimenGrid((size_px, size_px), microscope.pixel_size_um, tuple(depths_um.tolist()))
        self.specimen = phantom.draw(grid, self.generator)
        self.pixel_um = microscope.pixel_size_um
        photons = ImageFormation(microscope, grid, planes_um, psf=psf)(self.specimen)
        self.planes_um = planes_um
        self.photons = photons / photons.max() * peak_photons + BACKGROUND_PHOTONS
        self.truth = expected_counts(self.photons, self.camera).numpy()

    def exposure(self, plane: int) -> np.ndarray:
        """Return one noisy recording of a plane, in counts."""
        return record(self.photons[plane], self.camera, self.generator).numpy().astype(np.uint16)

    def focus(self, beads: np.ndarray) -> float:
        """Depth of the plane in focus, which spherical aberration moves.

        The one with the narrowest beads, of those nearly as bright as the brightest.
        """
        rows, columns = np.round(beads).astype(int).T
        peaks = self.truth[:, rows, columns].mean(axis=1)
        candidates = np.flatnonzero(peaks >= 0.8 * peaks.max())
        widths = [
            np.nanmedian(lateral_fwhm(self.truth[i], beads, pixel_size_um=self.pixel_um).fwhm_um)
            for i in candidates
        ]
        return float(self.planes_um[candidates[int(np.argmin(widths))]])

    def plane(self, z_um: float) -> int:
        """Index of the plane nearest to a depth."""
        return int((self.planes_um - z_um).abs().argmin())


@dataclass(frozen=True)
class Pair:
    """A recorded plane, how far away another one is, and what is truly there."""

    image: np.ndarray
    distance_um: float
    truth: np.ndarray

    def correlations(self, output: np.ndarray) -> tuple[float, float]:
        """Return Pearson's correlation of the recorded and of the refocused plane."""
        truth, image, result = (
            torch.from_numpy(x.astype(np.float32)) for x in (self.truth, self.image, output)
        )
        pearson = METRICS["pearson"]
        return float(pearson(image, truth)), float(pearson(result, truth))


def nuclei_pairs(field: Field) -> Iterator[tuple[float, Pair]]:
    """Expose a field of nuclei at each distance from each of some planes within it."""
    for distance in NUCLEI_DISTANCES_UM:
        for target in (-5.0, -2.5, 0.0, 2.5, 5.0):
            for sign in (-1, 1):
                if abs(target + sign * distance) > 10:
                    continue
                image = field.exposure(field.plane(target + sign * distance))
                yield distance, Pair(image, -sign * distance, field.truth[field.plane(target)])


def optics(config_path: str, where: str, count: int, seed: int) -> Iterator[Microscope]:
    """Draw microscopes from inside or outside the training's ranges."""
    config, microscope = load_train_config(config_path)
    assert config.simulation is not None
    generator = torch.Generator().manual_seed(seed)
    for index in range(count):
        draws = config.simulation.optics if where == "inside" else OUTSIDE[index % 2]
        yield draws.draw(microscope, generator)


def usable_beads(field: Field, image: np.ndarray) -> np.ndarray:
    """Positions in px of true beads that have no close neighbour and lie off the edge."""
    truth = np.array([[t["y_um"], t["x_um"]] for t in field.specimen.truth]) / field.pixel_um
    distance = np.linalg.norm(truth[:, None] - truth[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    inside = ((truth > EDGE_PX) & (truth < image.shape[0] - 1 - EDGE_PX)).all(axis=1)
    return np.asarray(truth[inside & (distance.min(axis=1) > 8)])
