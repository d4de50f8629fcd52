"""Deep-Z's extension of the native depth of field: how far off an image may be recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fluofocus.measure.image import METRICS
from fluofocus.reproduce.deep_z.bead_fields import (
    BACKGROUND_PHOTONS,
    BEADS,
    PAPERS_BEADS,
    PEAK_PHOTONS,
    Bench,
    counted,
    open_bench,
)
from fluofocus.reproduce.deep_z.resolution_figures import Curves, draw_depth_of_field
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.units import AnyArray, FloatArray, nm_to_um

SEED = 9_641_000
SIDE_PX = 512
DISTANCES_UM = np.arange(-24, 25) * 0.5
GOOD_CORRELATION = 0.9
ROLES = (PAPERS_BEADS, BEADS)


@dataclass(frozen=True)
class _Result:
    """Mean correlations with the plane in focus, by distance, as recorded and refocused."""

    bench: Bench
    recorded: FloatArray
    refocused: FloatArray

    def row(self) -> tuple[str, ...]:
        """Return the table's row."""
        native, extended = (
            good_range_um(DISTANCES_UM, each) for each in (self.recorded, self.refocused)
        )
        native_um, extended_um = (high - low for low, high in (native, extended))
        microscope = self.bench.microscope
        nominal_um = (
            microscope.immersion_index
            * nm_to_um(microscope.emission_wavelength_nm)
            / microscope.numerical_aperture**2
        )
        return (
            microscope.name,
            *(f"{low:.1f} to {high:.1f}" for low, high in (native, extended)),
            f"{extended_um / native_um:.1f}",
            f"{nominal_um:.2f}",
            f"{extended_um / nominal_um:.1f}",
            "about 20",
        )


def depth_of_field(request: Request, progress: Progress) -> Section:
    """Measure over which distances beads look as in focus, as recorded and refocused."""
    total = len(ROLES) * request.fields
    progress(0, total)
    results = []
    for number, role in enumerate(ROLES):
        bench = open_bench(role, request.models)
        done = counted(progress, number * request.fields, total)
        results.append(_measure(bench, request.fields, done))
    models = "; ".join(
        f"{each.bench.microscope.name}: {request.models[each.bench.role]}" for each in results
    )
    return Section(
        title="The depth of field, extended",
        paragraphs=(
            f"{request.fields} held-out fields of beads of 300 nm on a plane, "
            f"{SIDE_PX} x {SIDE_PX} pixels, {PEAK_PHOTONS:g} photons at the peak over "
            f"{BACKGROUND_PHOTONS:g}, recorded at distances from {DISTANCES_UM[0]:g} to "
            f"{DISTANCES_UM[-1]:g} µm from best focus. Each image is compared with the noise-free "
            f"one in focus, as recorded and refocused. {models}.",
            "The range is that around best focus in which the correlation, by mean over the "
            f"fields, is {GOOD_CORRELATION:g} or more. The networks were trained to ±10 µm; what "
            "is further is extrapolated. The paper's factor is its refocusing range, ±10 µm, over "
            "a nominal depth of field of about 1 µm.",
        ),
        tables=(_table(results),),
        figures=(_figure(results, request),),
        seed=SEED,
    )


def _table(results: Sequence[_Result]) -> Table:
    return Table(
        "Range in µm in which beads look as in focus",
        (
            "microscope",
            "as recorded",
            "refocused",
            "ratio",
            "nominal depth of field, λn/NA²",
            "refocused ÷ nominal",
            "paper",
        ),
        tuple(each.row() for each in results),
    )


def _figure(results: Sequence[_Result], request: Request) -> Figure:
    picture = request.folder / "depth-of-field.png"
    curves = [
        Curves(
            each.bench.microscope.name,
            each.bench.model.card.training.defocus_um,
            {"as recorded": each.recorded, "refocused": each.refocused},
        )
        for each in results
    ]
    draw_depth_of_field(curves, DISTANCES_UM, GOOD_CORRELATION, picture)
    return Figure(
        picture,
        "Correlation with the image in focus, by how far from it an image was recorded; "
        "positive: focused further from the objective. The trained range is shaded.",
    )


def good_range_um(
    distances_um: FloatArray, correlation: FloatArray, good: float = GOOD_CORRELATION
) -> tuple[float, float]:
    """Return how far around zero a correlation is good, between distances by a straight line."""
    middle = int(np.abs(distances_um).argmin())
    ends = []
    for step in (-1, 1):
        away, falls = distances_um[middle::step], correlation[middle::step]
        bad = np.flatnonzero(falls < good)
        if not len(bad):
            ends.append(float(away[-1]))
        elif bad[0] == 0:
            ends.append(0.0)
        else:
            first = int(bad[0])
            share = (falls[first - 1] - good) / (falls[first - 1] - falls[first])
            ends.append(float(away[first - 1] + share * (away[first] - away[first - 1])))
    return ends[0], ends[1]


def _measure(bench: Bench, fields: int, progress: Callable[[int], None]) -> _Result:
    correlations = []
    for number, (seed, microscope) in enumerate(bench.fields(fields, SEED), start=1):
        scan = bench.scan(microscope, DISTANCES_UM, seed, (SIDE_PX, SIDE_PX))
        truth = scan.clean_counts[int(np.abs(DISTANCES_UM).argmin())]
        correlations.append(
            [
                (_pearson(image, truth), _pearson(_in_focus(bench, image, distance), truth))
                for image, distance in zip(scan.counts, DISTANCES_UM, strict=True)
            ]
        )
        progress(number)
    recorded, refocused = np.mean(correlations, axis=0).T
    return _Result(bench, recorded, refocused)


def _in_focus(bench: Bench, image: AnyArray, distance_um: float) -> AnyArray:
    stack = bench.refocus(image, z_um=[-float(distance_um)], allow_extrapolation=True)
    return np.asarray(stack[0])


def _pearson(image: AnyArray, truth: AnyArray) -> float:
    pair = (torch.from_numpy(np.array(x, dtype=np.float32)) for x in (image, truth))
    return float(METRICS["pearson"](*pair))


PART = Part("Depth of field", depth_of_field, fields=4)
