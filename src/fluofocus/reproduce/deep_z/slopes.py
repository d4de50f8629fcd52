"""How steep a DPM may be (Supplementary Note 8 of Deep-Z), for nuclei and beads in a volume."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fluofocus.errors import FluoFocusWarning
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.refocus.engine import refocus
from fluofocus.refocus.slope import STEEPEST_DEG, steepness_deg
from fluofocus.refocus.surface import from_array
from fluofocus.reproduce.deep_z.bead_fields import (
    BACKGROUND_PHOTONS,
    BEADS,
    FIELD_TO_FIELD,
    PRESETS,
)
from fluofocus.reproduce.deep_z.surface_figures import draw_slopes
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.simulate.stack import simulate_stack
from fluofocus.units import AnyArray

SEED = 9_643_000
SIDE_PX = 256
SLOPES_DEG = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
AMPLITUDE_UM = 8.0
STEEP_SHARE = 0.8
"""Of a wave, the parts at least this steep, as a share of the steepest, are compared."""

PLANE_STEP_UM = 0.25
PEAK_PHOTONS = 2000.0
TOLERATED = 1.05
NUCLEI = "nuclei"
PHANTOMS: dict[str, dict[str, Any]] = {
    NUCLEI: {},
    BEADS: {"surface": "volume", "count_per_1000_um2": 8.0, "diameter_um": 0.3},
}
"""The specimens, by the role of the model that refocuses them."""


@dataclass(frozen=True)
class _Errors:
    """Mean squared errors of one specimen, ``(fields, slopes)``."""

    at_once: AnyArray
    from_planes: AnyArray

    @property
    def ratio(self) -> AnyArray:
        """Return the error at once over that from planes, of all fields together, by slope."""
        return np.asarray(np.sqrt(self.at_once.mean(axis=0) / self.from_planes.mean(axis=0)))


def slopes(request: Request, progress: Progress) -> Section:
    """Compare waves refocused onto at once with the same pixels out of uniform planes."""
    total, done = len(PHANTOMS) * request.fields, 0
    progress(done, total)
    errors: dict[str, _Errors] = {}
    for role in PHANTOMS:
        model, fields = load_model(request.models[role]), []
        for field in _fields(role, request.fields):
            fields.append(_squared_errors(model, *field))
            done += 1
            progress(done, total)
        errors[role] = _Errors(*np.moveaxis(np.array(fields), 2, 0))
    picture = request.folder / "slopes.png"
    ratios = {role: each.ratio for role, each in errors.items()}
    draw_slopes(ratios, SLOPES_DEG, TOLERATED, picture)
    return Section(
        title="Supplementary Note 8: how steep a surface may be",
        paragraphs=_words(request, ratios),
        tables=(_table(errors),),
        figures=(
            Figure(
                picture,
                "RMSE of refocusing onto a wave at once, relative to taking its pixels from "
                "uniform planes, by the greatest slope of the wave.",
            ),
        ),
        seed=SEED,
    )


def _words(request: Request, ratios: Mapping[str, AnyArray]) -> tuple[str, str]:
    models = ", ".join(f"{role}: {request.models[role]}" for role in PHANTOMS)
    limits = ", ".join(f"{role} {_limit(ratio)}" for role, ratio in ratios.items())
    return (
        f"Nuclei and beads in a volume, {request.fields} held-out fields each of {SIDE_PX} x "
        f"{SIDE_PX} pixels through {preset(PRESETS[BEADS]).name}; {PEAK_PHOTONS:g} photons at "
        f"the peak over {BACKGROUND_PHOTONS:g}. {models}. One image of each is refocused onto "
        f"waves of ±{AMPLITUDE_UM:g} µm, the shorter the steeper, at once and by taking each "
        f"pixel from planes {PLANE_STEP_UM:g} µm apart. Both are compared with the truth where "
        f"a wave has at least {STEEP_SHARE:.0%} of its greatest slope.",
        "The steepest surface of those tried, up to which the error stays within "
        f"{TOLERATED - 1:.0%} of that from planes: {limits}. FluoFocus warns above "
        f"{STEEPEST_DEG:g}°.",
    )


def wave_um(slope_deg: float, pixel_um: float) -> AnyArray:
    """Return the heights of a sine along y whose greatest slope, at the centre, is given."""
    y_um = (np.arange(SIDE_PX) - (SIDE_PX - 1) / 2) * pixel_um
    slope = math.tan(math.radians(slope_deg))
    heights_um = AMPLITUDE_UM * np.sin(y_um * slope / AMPLITUDE_UM)
    return np.repeat(heights_um[:, None], SIDE_PX, axis=1)


def _fields(role: str, count: int) -> Iterator[tuple[Microscope, AnyArray, AnyArray]]:
    """Simulate the optics, the recorded plane and the true planes of each field."""
    generator = torch.Generator().manual_seed(SEED)
    planes_um = _planes_um(AMPLITUDE_UM)
    for index in range(count):
        microscope = FIELD_TO_FIELD.draw(preset(PRESETS[BEADS]), generator)
        scan = simulate_stack(
            microscope,
            role,
            shape_yx=(SIDE_PX, SIDE_PX),
            planes_um=planes_um,
            seed=SEED + index,
            peak_photons=PEAK_PHOTONS,
            background_photons=BACKGROUND_PHOTONS,
            phantom_parameters=PHANTOMS[role],
        )
        yield microscope, scan.counts[len(planes_um) // 2], scan.clean_counts


def _planes_um(reach_um: float) -> AnyArray:
    steps = math.ceil(reach_um / PLANE_STEP_UM - 1e-6)
    return np.arange(-steps, steps + 1) * PLANE_STEP_UM


def _squared_errors(
    model: Model, microscope: Microscope, image: AnyArray, truth: AnyArray
) -> list[tuple[float, float]]:
    """Return the errors at once and from planes, for each slope."""
    pixel_um = microscope.pixel_size_um
    told = preset(PRESETS[BEADS]).model_copy(update={"is_calibrated": True})
    planes_um = _planes_um(AMPLITUDE_UM)
    virtual = refocus(
        image, model, z_um=planes_um.tolist(), pixel_size_um=pixel_um, microscope=told
    ).to_numpy()
    errors = []
    for slope_deg in SLOPES_DEG:
        heights_um = wave_um(slope_deg, pixel_um)
        surface = from_array(heights_um)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FluoFocusWarning)  # of steep surfaces
            at_once = refocus(
                image, model, surface=surface, pixel_size_um=pixel_um, microscope=told
            ).to_numpy()
        local_deg = steepness_deg(heights_um, pixel_um)
        steep = local_deg >= STEEP_SHARE * local_deg.max()
        true = along(truth, planes_um, heights_um)[steep]
        chosen = along(virtual, planes_um, heights_um)[steep]
        errors.append(
            (
                float(np.mean((at_once[steep] - true) ** 2)),
                float(np.mean((chosen - true) ** 2)),
            )
        )
    return errors


def along(stack: AnyArray, planes_um: AnyArray, heights_um: AnyArray) -> AnyArray:
    """Take each pixel from a stack ``(Z, Y, X)`` at its own height, between planes linearly."""
    position = (heights_um - planes_um[0]) / (planes_um[1] - planes_um[0])
    lower = np.clip(np.floor(position).astype(int), 0, len(planes_um) - 2)
    below, above = (
        np.take_along_axis(stack, lower[None] + step, axis=0)[0].astype(float) for step in (0, 1)
    )
    return np.asarray(below + (position - lower) * (above - below))


def _limit(ratio: AnyArray) -> str:
    within = ratio <= TOLERATED
    if within.all():
        return f"{SLOPES_DEG[-1]:g}°, the steepest tried"
    first = int(np.argmin(within))
    return f"{SLOPES_DEG[first - 1]:g}°" if first else "none"


def _table(errors: dict[str, _Errors]) -> Table:
    rows = [
        (
            f"{slope_deg:g}°",
            f"{math.tan(math.radians(slope_deg)):.3g}",
            *(cell for each in errors.values() for cell in _cells(each, index)),
        )
        for index, slope_deg in enumerate(SLOPES_DEG)
    ]
    columns = ("at once", "from planes", "at once ÷ from planes")
    return Table(
        "RMSE in counts on the steep parts of waves",
        (
            "greatest slope",
            "µm per µm",
            *(f"{role}, {column}" for role in errors for column in columns),
        ),
        tuple(rows),
    )


def _cells(errors: _Errors, index: int) -> Sequence[str]:
    at_once, from_planes = (
        math.sqrt(each[:, index].mean()) for each in (errors.at_once, errors.from_planes)
    )
    return f"{at_once:.1f}", f"{from_planes:.1f}", f"{errors.ratio[index]:.3f}"


PART = Part("Supplementary Note 8, steep surfaces", slopes, fields=6)
