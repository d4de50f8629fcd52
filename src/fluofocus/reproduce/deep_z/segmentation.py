"""Table 1 and Supplementary Fig. 14: the neurons of a worm, counted in virtual stacks.

Wu et al., Nature Methods 16 (2019), segment the neurons of one worm in a single image, in the
virtual stack made of it, in the maximum of two virtual stacks, and in the mechanical scan that
the others are compared with. Here the true positions are known as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from fluofocus.models.bundle import Model
from fluofocus.neurons import (
    AXIAL_TOLERANCE_UM,
    LATERAL_TOLERANCE_UM,
    SEGMENTATIONS,
    NeuronMatches,
    Neurons,
    match_neurons,
    segment_neurons,
    within_planes,
)
from fluofocus.refocus.engine import refocus
from fluofocus.refocus.merged import refocus_merged
from fluofocus.reproduce.deep_z.worm_figures import HEAD, WHOLE, draw_neurons
from fluofocus.reproduce.deep_z.worms import (
    PLANES_UM,
    SEED,
    SHAPE_YX,
    SPECIALIST,
    Array,
    ScannedWorm,
    describe_worms,
    from_one_image,
    microscope,
    scanned_worm,
    worm_models,
)
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table

SECOND_PLANE_UM = 4.0
INPUT, SCAN = "input image", "mechanical scan"
ONE, MERGED, AT_ONCE = "output stack", "merged stack, maximum", "two planes in one pass"
IMAGES = {INPUT: 1, ONE: 1, MERGED: 2, AT_ONCE: 2, SCAN: len(PLANES_UM)}
PAPER = {
    INPUT: (95, "−0.265 ± 1.437", "1.156 ± 0.885"),
    ONE: (128, "−0.575 ± 1.377", "0.852 ± 1.223"),
    MERGED: (148, "−0.157 ± 0.983", "0.639 ± 0.761"),
    SCAN: (146, "", ""),
}
"""Of the paper's Table 1: n, Δz and |Δz|."""

WATERSHED, SPOTS = SEGMENTATIONS
HEAD_SHARE = 0.25
"""The head, with two of three neurons, lies within this share of the worm's length."""

Kind = tuple[str, str]
"""What is segmented, and the role of the model that made it, if any."""


@dataclass(frozen=True)
class Comparison:
    """Neurons found in one kind of stack, in all worms, against the scan's and the true ones."""

    scan: list[NeuronMatches] = field(default_factory=list)
    truth: list[NeuronMatches] = field(default_factory=list)
    head: list[tuple[int, int]] = field(default_factory=list)
    """How many of the scan's neurons in the head are found, and how many there are."""

    def add(self, found_um: Array, scan_um: Array, worm: ScannedWorm, axial_um: float) -> None:
        """Match the neurons found in one worm."""
        matches = match_neurons(found_um, scan_um, axial_um=axial_um)
        in_head = scan_um[:, 2] < HEAD_SHARE * worm.length_um
        self.scan.append(matches)
        self.head.append((int(in_head[matches.known_index].sum()), int(in_head.sum())))
        known_um = within_planes(worm.known_um, worm.scan)
        self.truth.append(match_neurons(found_um, known_um, axial_um=axial_um))


Results = dict[str, dict[Kind, Comparison]]
"""By segmentation method, then by what was segmented."""


def table_1(request: Request, progress: Progress) -> Section:
    """Count neurons in one image, in virtual stacks of one and of two, and in the scan."""
    models = worm_models(request)
    results: Results = {method: {} for method in SEGMENTATIONS}
    pictures: dict[str, tuple[xr.DataArray, Neurons]] = {}
    steps = request.fields * (2 + 3 * len(models))
    progress(0, steps)
    for index in range(request.fields):
        worm = scanned_worm(SEED + index, SHAPE_YX)
        reference = {method: segment_neurons(worm.scan, method=method) for method in SEGMENTATIONS}
        for number, (kind, stack) in enumerate(_stacks(worm, models), start=1):
            for method in SEGMENTATIONS:
                scan = reference[method]
                found = scan if kind[0] == SCAN else segment_neurons(stack, method=method)
                results[method].setdefault(kind, Comparison()).add(
                    found.centroids_um,
                    scan.centroids_um,
                    worm,
                    math.inf if kind[0] == INPUT else AXIAL_TOLERANCE_UM,
                )
                if index == 0 and method == WATERSHED and kind[1] in ("", SPECIALIST):
                    pictures[f"{kind[0]} (M = {IMAGES[kind[0]]})"] = (stack, found)
            progress(index * steps // request.fields + number, steps)
    return Section(
        title="Table 1: neurons segmented",
        paragraphs=_paragraphs(request),
        tables=(
            _table(results[WATERSHED], "Watershed", PAPER),
            _table(results[SPOTS], "Spots, in the manner of TrackMate", {}),
            _truth_table(results),
            _head_table(results),
        ),
        figures=tuple(_figures(pictures, request)),
        seed=SEED,
    )


def _stacks(worm: ScannedWorm, models: Mapping[str, Model]) -> Iterator[tuple[Kind, xr.DataArray]]:
    """Give what is segmented; virtual stacks have the planes of the scan."""
    first, second = worm.plane(0.0), worm.plane(SECOND_PLANE_UM)
    yield (INPUT, ""), worm.scan.isel(Z=first)
    for role, model in models.items():
        one = from_one_image(worm, model)
        yield (ONE, role), one
        yield (
            (MERGED, role),
            refocus_merged(
                worm.scan, model, plane=[first, second], z_um=PLANES_UM, microscope=microscope()
            ),
        )
        if model.card.training.input_planes > 1:
            yield (AT_ONCE, role), _two_at_once(worm, model, one)
    yield (SCAN, ""), worm.scan


def _two_at_once(worm: ScannedWorm, model: Model, one: xr.DataArray) -> xr.DataArray:
    """Refocus two planes in one pass; where only the first reaches, the first alone."""
    lowest_um, highest_um = model.card.training.defocus_um
    shared = [z for z in PLANES_UM if lowest_um <= z - SECOND_PLANE_UM and z <= highest_um]
    both = refocus(
        worm.scan,
        model,
        plane=[worm.plane(0.0), worm.plane(SECOND_PLANE_UM)],
        z_um=shared,
        microscope=microscope(),
    )
    whole = one.copy()
    whole.loc[{"Z": both.coords["Z"]}] = both
    return whole


def _pooled(matches: Sequence[NeuronMatches]) -> NeuronMatches:
    """Return the matches of several worms as those of one."""
    return NeuronMatches(
        found_index=np.concatenate([each.found_index for each in matches]),
        known_index=np.concatenate([each.known_index for each in matches]),
        offset_um=np.concatenate([each.offset_um for each in matches]),
        found_count=sum(each.found_count for each in matches),
        known_count=sum(each.known_count for each in matches),
    )


def _table(
    results: Mapping[Kind, Comparison],
    method: str,
    paper: Mapping[str, tuple[int, str, str]],
) -> Table:
    header = ["", "model", "images", "n per worm", "of the scan's"]
    header += ["paper's"] * bool(paper) + ["recall", "precision", "F1", "Δz in µm"]
    header += ["paper's"] * bool(paper) + ["|Δz| in µm"] + ["paper's"] * bool(paper)
    rows = []
    for (name, role), comparison in results.items():
        matches = _pooled(comparison.scan)
        share = matches.found_count / matches.known_count
        theirs: list[list[str]] = [[], [], []]
        if paper:
            count, *errors = paper.get(name, (0, "", ""))
            counted = f"{count} ({count / paper[SCAN][0]:.0%})" if count else ""
            theirs = [[counted], *([error] for error in errors)]
        accuracy = [f"{x:.2f}" for x in (matches.recall, matches.precision, matches.f1)]
        offsets = [_with_deviation(x) for x in (matches.dz_um, np.abs(matches.dz_um))]
        if name == SCAN:
            accuracy, offsets = [""] * 3, [""] * 2
        n = f"{matches.found_count / len(comparison.scan):.1f}"
        cells = [name, role, str(IMAGES[name]), n, f"{share:.0%}", *theirs[0], *accuracy]
        rows.append((*cells, offsets[0], *theirs[1], offsets[1], *theirs[2]))
    return Table(f"{method}: against the neurons found in the scan", tuple(header), tuple(rows))


def _truth_table(results: Results) -> Table:
    rows = []
    for name, role in results[WATERSHED]:
        cells = [name, role, str(IMAGES[name])]
        for method in SEGMENTATIONS:
            matches = _pooled(results[method][name, role].truth)
            cells += [f"{x:.2f}" for x in (matches.recall, matches.precision, matches.f1)]
            cells.append(_with_deviation(np.abs(matches.dz_um)))
        rows.append(tuple(cells))
    columns = [
        f"{method}: {column}"
        for method in SEGMENTATIONS
        for column in ("recall", "precision", "F1", "|Δz| in µm")
    ]
    return Table("Against all true neurons", ("", "model", "images", *columns), tuple(rows))


def _head_table(results: Results) -> Table:
    rows = []
    for name, role in results[WATERSHED]:
        if name == SCAN:
            continue
        cells = [name, role]
        for method in SEGMENTATIONS:
            comparison = results[method][name, role]
            whole = _pooled(comparison.scan)
            matched, known = np.sum(comparison.head, axis=0)
            rest = (whole.matched - matched) / (whole.known_count - known)
            cells += [f"{matched / known:.2f}", f"{rest:.2f}"]
        rows.append(tuple(cells))
    columns = [f"{method}: {part}" for method in SEGMENTATIONS for part in ("head", "elsewhere")]
    return Table(
        "Share of the scan's neurons that are found, in the dense head and elsewhere",
        ("", "model", *columns),
        tuple(rows),
    )


def _with_deviation(values: Array) -> str:
    return f"{values.mean():.2f} ± {values.std():.2f}".replace("-", "\N{MINUS SIGN}")


def _paragraphs(request: Request) -> tuple[str, ...]:
    return (
        describe_worms(request),
        f"Input planes at z = 0 and {SECOND_PLANE_UM:g} µm. Both ways to use two of them give the "
        "planes of the scan, like the paper's stacks; planes that only the first reaches are "
        "made from the first alone. All stacks are segmented with the same settings, the "
        "defaults. Neurons match, one to one, within "
        f"{LATERAL_TOLERANCE_UM:g} µm laterally and {AXIAL_TOLERANCE_UM:g} µm axially; those of "
        "the input image by place only. Δz is found minus known, mean ± s.d. The paper counts "
        "one worm, and matches neurons in a way that it does not state.",
        "A count says little by itself: neurons that are missed and neurons that are none make "
        "up for each other. Recall and precision say which.",
    )


def _figures(
    pictures: Mapping[str, tuple[xr.DataArray, Neurons]], request: Request
) -> Iterator[Figure]:
    for part, shown, name in (
        (WHOLE, "The whole worm", "table-1-worm.png"),
        (HEAD, "Its head, enlarged", "table-1-head.png"),
    ):
        path = request.folder / name
        draw_neurons(pictures, part, path)
        yield Figure(
            path,
            f"{shown}: maximum along z, and the neurons found by watershed, their depths in "
            f"colour. Virtual stacks by the model for {SPECIALIST}.",
        )


PART = Part("Table 1", table_1, fields=3)
