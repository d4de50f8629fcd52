"""Beads as Deep-Z's Fig. 1 and 4 show them: the microscopes, their fields, pooled widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fluofocus.measure.width_samples import WidthSample
from fluofocus.measure.widths import MeasuredBeads, measure_beads
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.refocus.engine import refocus
from fluofocus.refocus.surface import Surface
from fluofocus.reproduce.reproduction import Progress
from fluofocus.simulate.draws import OpticsDraws
from fluofocus.simulate.stack import SimulatedStack, simulate_stack
from fluofocus.units import AnyArray, FloatArray

PAPERS_BEADS, BEADS = "paper's beads", "beads"
PRESETS = {PAPERS_BEADS: "olympus-20x-deep-z", BEADS: "olympus-20x-0.75"}
"""The microscope through which each model, by its role, is tested."""

FIELD_TO_FIELD = OpticsDraws(spherical_rms_waves=(-0.01, 0.01), other_zernike_rms_waves=0.006)
"""Aberrations of an objective change a little over its field: each field has its own."""

PEAK_PHOTONS, BACKGROUND_PHOTONS = 5000.0, 10.0
BEADS_OF_300_NM = {
    "surface": "plane",
    "count_per_1000_um2": 1.84,  # 461 over 500 x 500 µm
    "diameter_um": 0.3,
    "brightness_spread": 0.2,
}
Z_STEP_UM = 0.5
WINDOW_PX = 31  # the paper's 30, made odd
FOCUS_SEARCH_UM = np.arange(-40, 41) * 0.25


@dataclass(frozen=True)
class Bench:
    """A microscope, where it is in focus, and the model that refocuses what it records.

    Positions count from best focus of a bead at depth zero, from which spherical aberration
    moves it away from the simulation's zero by ``focus_um``.
    """

    role: str
    microscope: Microscope
    model: Model
    focus_um: float

    @property
    def pixel_um(self) -> float:
        """Pixel size."""
        return self.microscope.pixel_size_um

    def fields(self, count: int, seed: int) -> Iterator[tuple[int, Microscope]]:
        """Draw the seed and the optics of each field."""
        generator = torch.Generator().manual_seed(seed)
        for index in range(count):
            yield seed + index, FIELD_TO_FIELD.draw(self.microscope, generator)

    def scan(
        self,
        microscope: Microscope,
        planes_um: Sequence[float] | FloatArray,
        seed: int,
        shape_yx: tuple[int, int],
        beads: Mapping[str, Any] | None = None,
    ) -> SimulatedStack:
        """Record a field of beads at planes that count from best focus."""
        return simulate_stack(
            microscope,
            "beads",
            shape_yx=shape_yx,
            planes_um=[self.focus_um + float(z) for z in planes_um],
            seed=seed,
            peak_photons=PEAK_PHOTONS,
            background_photons=BACKGROUND_PHOTONS,
            phantom_parameters={**BEADS_OF_300_NM, **(beads or {})},
        )

    def refocus(
        self,
        image: AnyArray,
        *,
        z_um: Sequence[float] | None = None,
        surface: Surface | None = None,
        allow_extrapolation: bool = False,
    ) -> FloatArray:
        """Refocus one image; a model that can be told the optics is told the preset's."""
        return refocus(
            image,
            self.model,
            z_um=z_um,
            surface=surface,
            pixel_size_um=self.pixel_um,
            microscope=self.calibrated,
            allow_extrapolation=allow_extrapolation,
        ).to_numpy()

    @property
    def calibrated(self) -> Microscope:
        """The preset's description, as a calibration with beads would give it."""
        return self.microscope.model_copy(update={"is_calibrated": True})

    def measure(self, image: AnyArray) -> MeasuredBeads:
        """Measure all beads of an image or stack (equations 6 to 9)."""
        voxel_size_um = (Z_STEP_UM, self.pixel_um, self.pixel_um)
        return measure_beads(image, voxel_size_um=voxel_size_um, window_px=WINDOW_PX)


def open_bench(role: str, models: Mapping[str, str]) -> Bench:
    """Load the model of a role, and find where its microscope is in focus."""
    microscope = preset(PRESETS[role])
    return Bench(role, microscope, load_model(models[role]), best_focus_um(microscope))


def best_focus_um(microscope: Microscope) -> float:
    """Return the plane in which an image of beads at depth zero has the largest s.d.

    That is what the paper's microscope was focused by.
    """
    scan = simulate_stack(
        microscope,
        "beads",
        shape_yx=(128, 128),
        planes_um=FOCUS_SEARCH_UM,
        seed=0,
        phantom_parameters=BEADS_OF_300_NM,
    )
    return float(FOCUS_SEARCH_UM[scan.clean_counts.std(axis=(1, 2)).argmax()])


def pooled(fields: Sequence[MeasuredBeads]) -> MeasuredBeads:
    """Return the beads of several fields as those of one."""
    first = fields[0]
    planes = [beads.plane for beads in fields if beads.plane is not None]
    axial = [beads.axial for beads in fields if beads.axial is not None]
    return MeasuredBeads(
        yx_px=np.concatenate([beads.yx_px for beads in fields]),
        plane=np.concatenate(planes) if planes else None,
        fwhm_yx_um=np.concatenate([beads.fwhm_yx_um for beads in fields]),
        amplitude=np.concatenate([beads.amplitude for beads in fields]),
        lateral=_pooled_widths([beads.lateral for beads in fields]),
        axial=_pooled_widths(axial) if axial else None,
        voxel_size_um=first.voxel_size_um,
    )


def _pooled_widths(samples: Sequence[WidthSample]) -> WidthSample:
    return WidthSample(
        np.concatenate([sample.fwhm_um for sample in samples]),
        np.concatenate([sample.outcome for sample in samples]),
    )


def counted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    """Return what to call with the fields done of one bench, after those of others."""
    return lambda fields: progress(before + fields, total)


def percent(share: float) -> str:
    """Return a difference as text, with its sign."""
    return f"{share:+.1%}" if np.isfinite(share) else "–"
