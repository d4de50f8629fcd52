"""Deep-Z, Fig. 1: widths of beads in virtual stacks and in scanned ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fluofocus.measure.width_samples import Outcome, WidthSample, compare_widths
from fluofocus.measure.widths import MeasuredBeads
from fluofocus.report.bead_widths import BeadFile
from fluofocus.report.width_figures import plot_bead_widths
from fluofocus.reproduce.deep_z.bead_fields import (
    BACKGROUND_PHOTONS,
    BEADS,
    PAPERS_BEADS,
    PEAK_PHOTONS,
    Z_STEP_UM,
    Bench,
    counted,
    open_bench,
    percent,
    pooled,
)
from fluofocus.reproduce.deep_z.resolution_figures import draw_bead
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.units import AnyArray

SEED = 9_640_000
SIDE_PX = 512
PLANES_UM = np.arange(-20, 21) * Z_STEP_UM
REACH_UM = 10.0
INPUTS_UM = (0.0, -2.0, 2.0, -4.0, 4.0, -8.0, 8.0)
ROLES = (PAPERS_BEADS, BEADS)
REFOCUSED, SCANNED = "refocused", "scanned"
PAPER = "461 beads, histograms match"

Stacks = dict[str, AnyArray]
"""A refocused and a scanned stack of the same planes."""


@dataclass(frozen=True)
class _Result:
    """Beads of all fields by where the input was recorded, and the stacks of one field."""

    bench: Bench
    beads: dict[float, dict[str, MeasuredBeads]]
    stacks: Stacks


def figure_1(request: Request, progress: Progress) -> Section:
    """Compare the beads of virtual stacks, each from one image, with those of scanned ones."""
    total = len(ROLES) * request.fields
    progress(0, total)
    results = []
    for number, role in enumerate(ROLES):
        bench = open_bench(role, request.models)
        done = counted(progress, number * request.fields, total)
        results.append(_measure(bench, request.fields, done))
    models = "; ".join(
        f"{result.bench.microscope.name}: {request.models[result.bench.role]}" for result in results
    )
    return Section(
        title="Figure 1: widths of beads, refocused from one image and scanned",
        paragraphs=(
            f"Beads of 300 nm on a plane, {request.fields} held-out fields of "
            f"{SIDE_PX} x {SIDE_PX} pixels for each microscope, each with slightly other "
            f"aberrations; {PEAK_PHOTONS:g} photons at the peak over {BACKGROUND_PHOTONS:g}. "
            f"{models}.",
            f"One recorded image of each field is refocused to the planes of the scan, "
            f"{len(PLANES_UM)} of them {Z_STEP_UM:g} µm apart about best focus, as far as they lie "
            f"within {REACH_UM:g} µm of the image; the recorded scan is measured over the same "
            "planes. Widths are Gaussian fits as in equations 6 to 9. Differences are those of "
            "the medians; the KS distance is that of the two histograms (Kolmogorov-Smirnov).",
        ),
        tables=tuple(
            table
            for result in results
            for table in (_widths_table(result), _outcomes_table(result))
        ),
        figures=tuple(figure for result in results for figure in _figures(result, request)),
        seed=SEED,
    )


def _measure(bench: Bench, fields: int, progress: Callable[[int], None]) -> _Result:
    """Record fields, refocus each from all inputs, and measure both stacks."""
    found: dict[float, dict[str, list[MeasuredBeads]]] = {
        start: {REFOCUSED: [], SCANNED: []} for start in INPUTS_UM
    }
    example: Stacks = {}
    for number, (seed, microscope) in enumerate(bench.fields(fields, SEED), start=1):
        scan = bench.scan(microscope, PLANES_UM, seed, (SIDE_PX, SIDE_PX)).counts
        for start in INPUTS_UM:
            stacks = _stacks(bench, scan, start)
            example = example or stacks
            for name, stack in stacks.items():
                found[start][name].append(bench.measure(stack))
        progress(number)
    beads = {
        start: {name: pooled(each) for name, each in both.items()} for start, both in found.items()
    }
    return _Result(bench, beads, example)


def _stacks(bench: Bench, scan: AnyArray, start_um: float) -> Stacks:
    """Refocus the plane recorded at ``start_um`` to all planes of the scan within reach."""
    near = np.abs(PLANES_UM - start_um) <= REACH_UM
    image = scan[int(np.abs(PLANES_UM - start_um).argmin())]
    virtual = bench.refocus(image, z_um=(PLANES_UM[near] - start_um).tolist())
    return {REFOCUSED: virtual, SCANNED: scan[near]}


def _widths_table(result: _Result) -> Table:
    rows = []
    for start, both in result.beads.items():
        kinds = {name: beads.samples for name, beads in both.items()}
        counts = " / ".join(str(_count(kinds[name]["lateral"])) for name in kinds)
        cells = [cell for kind in ("lateral", "axial") for cell in _compared(kinds, kind)]
        rows.append((f"{start:+g} µm" if start else "in focus", counts, *cells, ""))
    rows[0] = (*rows[0][:-1], PAPER)
    compared = ("refocused", "scanned", "difference", "KS")
    return Table(
        f"{result.bench.microscope.name}: median FWHM in µm, by where the one image was recorded",
        (
            "image",
            "beads, refocused / scanned",
            *(f"{kind}, {what}" for kind in ("lateral", "axial") for what in compared),
            "paper",
        ),
        tuple(rows),
    )


def _compared(kinds: dict[str, dict[str, WidthSample]], kind: str) -> tuple[str, ...]:
    refocused, scanned = (kinds[name][kind] for name in (REFOCUSED, SCANNED))
    apart = compare_widths(refocused, scanned)
    if not (_count(refocused) and _count(scanned)):
        return ("–",) * 4
    return (
        f"{refocused.median_um:.3f}",
        f"{scanned.median_um:.3f}",
        percent(apart.median_difference),
        f"{apart.ks_distance:.2f}",
    )


def _count(sample: WidthSample) -> int:
    return sample.count(Outcome.MEASURED)


def _outcomes_table(result: _Result) -> Table:
    rows = [
        (f"{name}, {kind}", str(len(beads)), *(str(sample.count(each)) for each in Outcome))
        for name, beads in result.beads[0.0].items()
        for kind, sample in beads.samples.items()
    ]
    return Table(
        f"{result.bench.microscope.name}: what came of the beads, image in focus",
        ("", "found", *(each.value for each in Outcome)),
        tuple(rows),
    )


def _figures(result: _Result, request: Request) -> list[Figure]:
    stem = f"figure-1-{'paper' if result.bench.role == PAPERS_BEADS else 'general'}"
    bead, widths = (request.folder / f"{stem}-{what}.png" for what in ("bead", "widths"))
    in_focus = result.beads[0.0]
    draw_bead(result.stacks, PLANES_UM, result.bench.pixel_um, bead)
    plot_bead_widths(
        [BeadFile("refocused from one image", in_focus[REFOCUSED])],
        widths,
        reference=BeadFile("scanned", in_focus[SCANNED]),
    )
    name = result.bench.microscope.name
    return [
        Figure(
            bead,
            f"a, {name}: one bead in planes refocused from the image in focus, and scanned; x–z "
            "sections through it. Brightness is shown by its square root.",
        ),
        Figure(widths, f"b, c, {name}: lateral and axial widths of all beads of all fields."),
    ]


PART = Part("Figure 1, widths of beads", figure_1, fields=10)
