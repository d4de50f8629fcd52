"""Deep-Z, Fig. 4: beads on a tilted and on a curved surface, refocused with one DPM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluofocus.measure.beads import match_beads
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.measure.width_samples import Outcome
from fluofocus.measure.widths import MeasuredBeads
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.automatic_surface import find_surface
from fluofocus.refocus.surface import Surface, cylinder, tilt
from fluofocus.reproduce.deep_z.bead_fields import (
    BACKGROUND_PHOTONS,
    PAPERS_BEADS,
    PEAK_PHOTONS,
    WINDOW_PX,
    Bench,
    open_bench,
    percent,
    pooled,
)
from fluofocus.reproduce.deep_z.surface_figures import Picture, draw_surface
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.simulate.stack import SimulatedStack
from fluofocus.units import AnyArray, FloatArray

SEED = 9_642_000
SHAPE_YX = (2048, 384)
"""As long as the paper's camera; the surfaces rise with y, so a strip is enough."""

MARGIN_PX = 32
"""Simulated around the field: light from there would else come from the opposite side."""

TILT_DEG, CYLINDER_MM = 1.5, 7.2
TILE_PX = 128
"""Parts of the field that the automatic surface judges; each holds a few beads."""

TOLERANCE_UM = 0.65
RAW, REFOCUSED, AUTOMATIC, IN_FOCUS = "raw", "refocused", "automatic", "in focus"


@dataclass(frozen=True)
class Specimen:
    """Beads on a surface, and what the paper tells of such ones.

    ``beads`` configures the phantom, ``paper_um`` are the median widths before and after.
    """

    name: str
    beads: Mapping[str, Any]
    surface: Surface
    paper_um: tuple[str, str]


@dataclass(frozen=True)
class _Shot:
    """One field: pictures and beads by what was done, how many were found, and the error.

    ``raw_um`` are the widths, in the raw image, of the beads that were found in the refocused one.
    """

    images: Mapping[str, AnyArray]
    beads: Mapping[str, MeasuredBeads]
    raw_um: AnyArray
    found: int
    known: int
    automatic_error_um: float


def specimens(pixel_um: float) -> tuple[Specimen, ...]:
    """Return the tilted and the curved specimen, both focused halfway up."""
    half_um = SHAPE_YX[0] * pixel_um / 2
    radius_um = CYLINDER_MM * 500
    crest_um = -(radius_um - float(np.sqrt(radius_um**2 - half_um**2))) / 2
    curved = {
        "surface": "cylinder",
        "cylinder_diameter_mm": CYLINDER_MM,
        "plane_depth_um": crest_um,
    }
    return (
        Specimen(
            f"tilt of {TILT_DEG:g}°",
            {"surface": "tilt", "tilt_deg": TILT_DEG},
            tilt(TILT_DEG),
            ("2.14", "0.96"),
        ),
        Specimen(
            f"cylinder of {CYLINDER_MM:g} mm",
            curved,
            cylinder(2 * radius_um, offset_um=crest_um),
            ("–", "0.91"),
        ),
    )


def figure_4(request: Request, progress: Progress) -> Section:
    """Refocus beads on a tilt and on a cylinder onto their surface, given and found."""
    bench = open_bench(PAPERS_BEADS, request.models)
    todo = specimens(bench.pixel_um)
    total, done = len(todo) * request.fields, 0
    progress(done, total)
    rows, figures = [], []
    for specimen in todo:
        shots: list[_Shot] = []
        for shot in _shots(bench, specimen, request.fields):
            if not shots:
                figures.append(_figure(specimen, shot, bench, request))
            shots.append(shot)
            done += 1
            progress(done, total)
        rows.append(_row(specimen, shots))
    height, width = SHAPE_YX
    return Section(
        title="Figure 4: beads on surfaces",
        paragraphs=(
            f"Beads of 300 nm through {bench.microscope.name}, {request.fields} held-out fields of "
            f"{height} x {width} pixels for each surface, each with slightly other aberrations; "
            f"{PEAK_PHOTONS:g} photons at the peak over {BACKGROUND_PHOTONS:g}. "
            f"{PAPERS_BEADS}: {request.models[PAPERS_BEADS]}.",
            "One image is recorded with the middle of the surface's heights in focus. It is "
            "refocused onto the true surface, and onto the one found in the image itself, judged "
            f"in parts of {TILE_PX} pixels. In focus are beads on a plane, recorded through the "
            f"same optics. A bead counts as found within {TOLERANCE_UM:g} µm; raw widths are of "
            "the same beads as refocused ones. The raw images are less blurred than the paper's, "
            "which does not tell how large its field was.",
        ),
        tables=(_table(rows),),
        figures=tuple(figures),
        seed=SEED,
    )


def _shots(bench: Bench, specimen: Specimen, fields: int) -> Iterator[_Shot]:
    for seed, microscope in bench.fields(fields, SEED):
        scan = _recorded(bench, microscope, seed, specimen.beads)
        image = _inner(scan.counts[0])
        flat = _recorded(bench, microscope, seed, {"surface": "plane"})
        found = find_surface(
            image,
            bench.model,
            pixel_size_um=bench.pixel_um,
            microscope=bench.calibrated,
            tile_px=TILE_PX,
        ).surface
        apart_um = _dpm(found, bench) - _dpm(specimen.surface, bench)
        images = {
            RAW: image,
            REFOCUSED: bench.refocus(image, surface=specimen.surface),
            AUTOMATIC: bench.refocus(image, surface=found, allow_extrapolation=True),
            IN_FOCUS: _inner(flat.counts[0]),
        }
        beads = {name: bench.measure(images[name]) for name in (REFOCUSED, AUTOMATIC, IN_FOCUS)}
        true_px = _true_px(scan, bench.pixel_um)
        matches = match_beads(
            beads[REFOCUSED].yx_px, true_px, tolerance=TOLERANCE_UM / bench.pixel_um
        )
        yield _Shot(
            images,
            beads,
            _raw_widths_um(image, beads[REFOCUSED], bench.pixel_um),
            found=len(matches.known_index),
            known=len(true_px),
            automatic_error_um=float(np.sqrt(np.mean(apart_um**2))),
        )


def _raw_widths_um(image: AnyArray, beads: MeasuredBeads, pixel_um: float) -> AnyArray:
    """Return how wide beads are before, of those that were measured after.

    At known places, because a bead far out of focus has several maxima.
    """
    widths = lateral_fwhm(image, beads.yx_px, pixel_size_um=pixel_um, window_px=WINDOW_PX)
    return np.where(beads.lateral.outcome == Outcome.MEASURED, widths.fwhm_um, np.nan)


def _recorded(
    bench: Bench, microscope: Microscope, seed: int, beads: Mapping[str, Any]
) -> SimulatedStack:
    height, width = (size + 2 * MARGIN_PX for size in SHAPE_YX)
    return bench.scan(microscope, [0.0], seed, (height, width), beads)


def _inner(image: AnyArray) -> AnyArray:
    return image[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _dpm(surface: Surface, bench: Bench) -> FloatArray:
    return surface.dpm(SHAPE_YX, bench.pixel_um)


def _true_px(scan: SimulatedStack, pixel_um: float) -> AnyArray:
    """Return where the beads within the field lie, ``(N, 2)``."""
    yx_px = np.array([[bead["y_um"], bead["x_um"]] for bead in scan.truth]) / pixel_um - MARGIN_PX
    inside = ((yx_px >= 0) & (yx_px <= np.array(SHAPE_YX) - 1)).all(axis=1)
    return np.asarray(yx_px[inside])


def _row(specimen: Specimen, shots: list[_Shot]) -> tuple[str, ...]:
    widths = {name: pooled([shot.beads[name] for shot in shots]).lateral for name in shots[0].beads}
    median_um = {name: sample.median_um for name, sample in widths.items()}
    errors_um = [shot.automatic_error_um for shot in shots]
    paper_before, paper_after = specimen.paper_um
    known = sum(shot.known for shot in shots)
    return (
        specimen.name,
        str(widths[REFOCUSED].count(Outcome.MEASURED)),
        f"{sum(shot.found for shot in shots) / known:.1%} of {known}",
        f"{np.nanmedian(np.concatenate([shot.raw_um for shot in shots])):.2f}",
        paper_before,
        f"{median_um[REFOCUSED]:.3f}",
        paper_after,
        f"{median_um[IN_FOCUS]:.3f}",
        percent(median_um[REFOCUSED] / median_um[IN_FOCUS] - 1),
        f"{median_um[AUTOMATIC]:.3f}",
        f"{np.median(errors_um):.2f} ({min(errors_um):.2f} to {max(errors_um):.2f})",
    )


def _table(rows: list[tuple[str, ...]]) -> Table:
    return Table(
        "Median lateral FWHM in µm of beads on surfaces",
        (
            "surface",
            "beads measured",
            "beads found",
            "raw",
            "paper, raw",
            "refocused",
            "paper, refocused",
            "in focus",
            "refocused to in focus",
            "refocused onto the automatic surface",
            "r.m.s. distance of the automatic surface, median and range over the fields, µm",
        ),
        tuple(rows),
    )


def _figure(specimen: Specimen, shot: _Shot, bench: Bench, request: Request) -> Figure:
    path = request.folder / f"figure-4-{specimen.beads['surface']}.png"
    dpm_um = _dpm(specimen.surface, bench)
    beads = shot.beads
    pictures = [
        Picture(RAW, shot.images[RAW], beads[REFOCUSED].yx_px, shot.raw_um),
        *(
            Picture(name, shot.images[name], beads[name].yx_px, beads[name].lateral.fwhm_um)
            for name in (REFOCUSED, AUTOMATIC)
        ),
    ]
    draw_surface(dpm_um, pictures, bench.pixel_um, path)
    return Figure(
        path,
        f"Beads on a {specimen.name}, one field, turned so that y runs to the right: the DPM, the "
        "raw image, the image refocused onto the true surface and onto the automatic one, "
        "each with three details; lateral widths along the field, and their histograms.",
    )


PART = Part("Figure 4, surfaces", figure_4, fields=6)
