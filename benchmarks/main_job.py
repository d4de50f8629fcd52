"""How well a model refocuses, on held-out simulated fields: beads, a tilt, nuclei.

    python benchmarks/main_job.py air20x-beads air20x-nuclei --output docs/results/main-job.md

Fields, optics and noise are drawn from seeds that no training uses. "Inside" optics
come from the ranges of the training configuration, "outside" from ranges next to them
that training never draws where the network has to guess the optics; told ones of
`air20x-nuclei` are drawn from three times the ranges and reach there. Every number
printed is measured by this run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out_fields import (
    BACKGROUND_PHOTONS,
    EDGE_PX,
    NUCLEI_DISTANCES_UM,
    Field,
    nuclei_pairs,
    optics,
    usable_beads,
)

import fluofocus
from fluofocus.measure.beads import find_beads, match_beads
from fluofocus.measure.image import gap_closed
from fluofocus.measure.resolution import axial_fwhm, lateral_fwhm
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.simulate.phantoms import Beads, Nuclei

SEED = 9_000_000
TOLERANCE_UM = 0.65
SHIFT_UM = 1.5
TILT_MICROSCOPE = "olympus-20x-0.75"
COLUMNS = """\
`distance_um` is how far away the one image was recorded, on either side; `found` the share of the
true beads with a detected one within 0.65 µm; `spurious_per_bead` detections without a true bead;
`shift_um` by how far all beads of an image are displaced alike, sideways, a mean over the images,
and `found_registered` the share found once that is undone;
`fwhm_um` the median width of the refocused beads, `true_fwhm_um` that of the same beads in the
noise-free plane in focus, `input_fwhm_um` in the recorded image; `pearson_in` and `pearson_out` the
correlation with the true plane before and after, `gap_closed` the share of the way to 1.
"""
Row = dict[str, Any]


def refocus(
    model: Model,
    image: np.ndarray,
    distances_um: list[float],
    field: Field,
    arguments: argparse.Namespace,
) -> np.ndarray:
    """Return ``(Z, Y, X)`` counts."""
    stack = fluofocus.refocus(
        image,
        model=model,
        z_um=distances_um,
        pixel_size_um=model.card.training.pixel_size_um,
        microscope=told(field, arguments),
        ensemble=arguments.ensemble,
    )
    return np.asarray(stack).reshape(len(distances_um), *image.shape)


def told(field: Field, arguments: argparse.Namespace) -> Microscope | None:
    """Return what a calibration of the field's microscope would say, if models are to be told."""
    if not arguments.told:
        return None
    return field.microscope.model_copy(update={"is_calibrated": True})


def bead_rows(model: Model, arguments: argparse.Namespace, where: str) -> list[Row]:
    """Lateral width of refocused beads, and beads found, by distance."""
    planes = torch.arange(-28, 29) * 0.5
    distances = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    widths: dict[float, list[float]] = {d: [] for d in distances}
    true_widths: dict[float, list[float]] = {d: [] for d in distances}
    input_widths: dict[float, list[float]] = {d: [] for d in distances}
    found = dict.fromkeys(distances, 0)
    known = dict.fromkeys(distances, 0)
    found_registered = dict.fromkeys(distances, 0)
    spurious = dict.fromkeys(distances, 0)
    shifts_um: dict[float, list[float]] = {d: [] for d in distances}
    microscopes = optics(arguments.config, where, arguments.fields, arguments.seed + 1)
    for index, microscope in enumerate(microscopes):
        phantom = Beads(surface="plane", count_per_1000_um2=1.84, diameter_um=0.3)
        field = Field(
            microscope,
            phantom,
            arguments.size,
            planes,
            torch.zeros(1),
            arguments.seed + 10 * index,
            arguments.peak_photons,
        )
        beads = usable_beads(field, field.truth[0])
        focus = field.focus(beads)
        truth = field.truth[field.plane(focus)]
        reference = lateral_fwhm(truth, beads, pixel_size_um=field.pixel_um).fwhm_um
        for distance in distances:
            for sign in (-1, 1):
                image = field.exposure(field.plane(focus + sign * distance))
                output = refocus(model, image, [-sign * distance], field, arguments)[0]
                hits = find_beads(output).yx_px
                matches = match_beads(hits, beads, tolerance=TOLERANCE_UM / field.pixel_um)
                shift = common_shift(hits, beads, SHIFT_UM / field.pixel_um)
                shifts_um[distance].append(float(np.linalg.norm(shift)) * field.pixel_um)
                registered = match_beads(
                    hits - shift, beads, tolerance=TOLERANCE_UM / field.pixel_um
                )
                found[distance] += len(matches.known_index)
                found_registered[distance] += len(registered.known_index)
                known[distance] += len(beads)
                spurious[distance] += _spurious(hits, field, output.shape[0])
                matched = hits[matches.found_index]
                fits = lateral_fwhm(output, matched, pixel_size_um=field.pixel_um).fwhm_um
                widths[distance] += list(fits)
                true_widths[distance] += list(reference[matches.known_index])
                blurred = lateral_fwhm(image, beads, pixel_size_um=field.pixel_um).fwhm_um
                input_widths[distance] += list(blurred)
    return [
        {
            "distance_um": d,
            "beads": known[d],
            "found": found[d] / known[d],
            "spurious_per_bead": spurious[d] / known[d],
            "shift_um": float(np.mean(shifts_um[d])),
            "found_registered": found_registered[d] / known[d],
            "input_fwhm_um": float(np.nanmedian(input_widths[d])),
            "fwhm_um": float(np.nanmedian(widths[d])) if widths[d] else float("nan"),
            "true_fwhm_um": float(np.nanmedian(true_widths[d])) if widths[d] else float("nan"),
        }
        for d in distances
    ]


def common_shift(hits: np.ndarray, beads: np.ndarray, reach: float) -> np.ndarray:
    """Return the median displacement ``(y, x)`` of the detections next to beads, within reach."""
    if not len(hits):
        return np.zeros(2)
    displacements = hits - beads[:, None]
    nearest = np.linalg.norm(displacements, axis=-1).argmin(axis=1)
    displacements = displacements[np.arange(len(beads)), nearest]
    near = np.linalg.norm(displacements, axis=1) <= reach
    return np.median(displacements[near], axis=0) if near.any() else np.zeros(2)


def _spurious(hits: np.ndarray, field: Field, size: int) -> int:
    truth = np.array([[t["y_um"], t["x_um"]] for t in field.specimen.truth]) / field.pixel_um
    inside = ((hits > EDGE_PX) & (hits < size - 1 - EDGE_PX)).all(axis=1)
    hits = hits[inside]
    if not len(hits):
        return 0
    nearest = np.linalg.norm(hits[:, None] - truth[None], axis=-1).min(axis=1)
    return int((nearest > TOLERANCE_UM / field.pixel_um).sum())


def axial_rows(model: Model, arguments: argparse.Namespace, where: str) -> list[Row]:
    """Axial width of beads in the virtual stack of one image against the scanned stack."""
    planes = torch.arange(-20, 21) * 0.5
    rows = []
    fields = []
    for index, microscope in enumerate(
        optics(arguments.config, where, arguments.fields // 2, arguments.seed + 2)
    ):
        phantom = Beads(surface="plane", count_per_1000_um2=1.84, diameter_um=0.3)
        fields.append(
            Field(
                microscope,
                phantom,
                arguments.size,
                planes,
                torch.zeros(1),
                arguments.seed + 500 + 10 * index,
                arguments.peak_photons,
            )
        )
    for start in (-4.0, -2.0, 0.0, 2.0, 4.0):
        virtual, scanned = [], []
        for field in fields:
            image = field.exposure(field.plane(start))
            reach = [float(z) for z in planes if abs(z - start) <= 10 and abs(z) <= 8]
            stack = refocus(model, image, [z - start for z in reach], field, arguments)
            scan = field.truth[[field.plane(z) for z in reach]]
            beads = usable_beads(field, image)
            virtual += list(axial_fwhm(stack, beads, z_step_um=0.5).fwhm_um)
            scanned += list(axial_fwhm(scan, beads, z_step_um=0.5).fwhm_um)
        rows.append(
            {
                "input_z_um": start,
                "beads": len(scanned),
                "fwhm_um": float(np.nanmedian(virtual)),
                "true_fwhm_um": float(np.nanmedian(scanned)),
            }
        )
    return rows


def tilt_row(model: Model, arguments: argparse.Namespace) -> Row:
    """Beads on a 1.5 degree tilt over a wide field, before and after the tilted DPM."""
    size = arguments.tilt_size
    microscope = preset(TILT_MICROSCOPE)
    half = size * microscope.pixel_size_um / 2 * np.tan(np.radians(1.5)) + 0.5
    depths = torch.arange(-int(half / 0.25) - 1, int(half / 0.25) + 2) * 0.25
    phantom = Beads(surface="tilt", tilt_deg=1.5, count_per_1000_um2=1.84, diameter_um=0.3)
    field = Field(
        microscope,
        phantom,
        size,
        torch.zeros(1),
        depths,
        arguments.seed + 900,
        arguments.peak_photons,
    )
    image = field.exposure(0)
    stack = fluofocus.refocus(
        image,
        model=model,
        surface="tilt:1.5deg",
        pixel_size_um=field.pixel_um,
        microscope=told(field, arguments),
        allow_extrapolation=True,
        ensemble=arguments.ensemble,
    )
    output = np.asarray(stack).reshape(image.shape)
    flat = Field(
        microscope,
        Beads(surface="plane", count_per_1000_um2=1.84, diameter_um=0.3),
        512,
        torch.zeros(1),
        torch.zeros(1),
        arguments.seed + 901,
        arguments.peak_photons,
    )
    focused = lateral_fwhm(
        flat.truth[0], usable_beads(flat, flat.truth[0]), pixel_size_um=flat.pixel_um
    ).fwhm_um
    beads = usable_beads(field, image)
    hits = find_beads(output).yx_px
    matches = match_beads(hits, beads, tolerance=TOLERANCE_UM / field.pixel_um)
    corrected = lateral_fwhm(
        output, hits[matches.found_index], pixel_size_um=field.pixel_um
    ).fwhm_um
    blurred = lateral_fwhm(image, beads, pixel_size_um=field.pixel_um).fwhm_um
    return {
        "field_px": size,
        "beads": len(beads),
        "found": len(matches.known_index) / len(beads),
        "input_fwhm_um": float(np.nanmedian(blurred)),
        "corrected_fwhm_um": float(np.nanmedian(corrected)),
        "in_focus_fwhm_um": float(np.nanmedian(focused)),
    }


def nuclei_rows(model: Model, arguments: argparse.Namespace, where: str) -> list[Row]:
    """Share of the gap closed on nuclei, by distance."""
    microscopes = optics(arguments.config, where, arguments.fields, arguments.seed + 3)
    scores: dict[float, list[tuple[float, float]]] = {d: [] for d in NUCLEI_DISTANCES_UM}
    for index, microscope in enumerate(microscopes):
        field = Field(
            microscope,
            Nuclei(),
            arguments.size // 2,
            torch.arange(-20, 21) * 0.5,
            torch.arange(-16, 17) * 0.5,
            arguments.seed + 2000 + 10 * index,
            arguments.peak_photons,
        )
        for distance, pair in nuclei_pairs(field):
            output = refocus(model, pair.image, [pair.distance_um], field, arguments)[0]
            scores[distance].append(pair.correlations(output))
    rows = []
    for distance in NUCLEI_DISTANCES_UM:
        r_in, r_out = np.mean(scores[distance], axis=0)
        rows.append(
            {
                "distance_um": distance,
                "pairs": len(scores[distance]),
                "pearson_in": float(r_in),
                "pearson_out": float(r_out),
                "gap_closed": float(gap_closed(r_out, r_in)),
            }
        )
    return rows


def table(title: str, rows: list[Row]) -> str:
    """Format rows as a Markdown table."""
    names = list(rows[0])
    lines = [
        f"\n## {title[0].upper()}{title[1:]}\n",
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
    ]
    for row in rows:
        cells = [f"{row[n]:.3g}" if isinstance(row[n], float) else str(row[n]) for n in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("beads_model", nargs="?", default="air20x-beads")
    parser.add_argument("nuclei_model", nargs="?", default="air20x-nuclei")
    parser.add_argument("--config", default="configs/air20x-beads.yaml", help="training draws")
    parser.add_argument("--fields", type=int, default=12, help="microscopes, one field each")
    parser.add_argument("--size", type=int, default=512, help="bead field in pixels")
    parser.add_argument("--tilt-size", type=int, default=2048)
    parser.add_argument("--peak-photons", type=float, default=2000.0)
    parser.add_argument("--seed", type=int, default=SEED, help="the first of the fields")
    parser.add_argument("--told", action="store_true", help="tell the model the optics")
    parser.add_argument("--ensemble", action="store_true", help="average over eight turns")
    parser.add_argument("--only", choices=["beads", "axial", "tilt", "nuclei"], action="append")
    parser.add_argument("--output", type=Path, help="Markdown file; a .json goes beside it")
    arguments = parser.parse_args()
    wanted = arguments.only or ["beads", "axial", "tilt", "nuclei"]
    results: dict[str, list[Row]] = {}
    started = time.monotonic()
    for kind in wanted:
        model = load_model(arguments.nuclei_model if kind == "nuclei" else arguments.beads_model)
        if kind == "tilt":
            results["beads on a 1.5 degree tilt"] = [tilt_row(model, arguments)]
        else:
            measure = {"beads": bead_rows, "axial": axial_rows, "nuclei": nuclei_rows}[kind]
            for where in ("inside", "outside"):
                results[f"{kind}, optics {where} the training draws"] = measure(
                    model, arguments, where
                )
        print(f"{kind}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    text = "\n".join(table(title, rows) for title, rows in results.items())
    print(text)
    if arguments.output:
        write_results(arguments, text, results)


def write_results(arguments: argparse.Namespace, text: str, results: dict[str, list[Row]]) -> None:
    """Write the tables as Markdown with how they came about, and as JSON."""
    command = " ".join(["python", "benchmarks/main_job.py", *sys.argv[1:]])
    introduction = (
        "# The main job on held-out fields\n\n"
        f"Written by `{command}`.\n"
        f"{arguments.fields} microscopes drawn for each table ({arguments.fields // 2} for the "
        f"axial ones; the tilt is recorded by the preset {TILT_MICROSCOPE} alone), "
        f"{arguments.peak_photons:g} photons at the peak over {BACKGROUND_PHOTONS:g}, "
        f"seeds from {arguments.seed}, which no training uses.\n\n"
        f"{COLUMNS}"
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(introduction + text + "\n", encoding="utf-8")
    content = json.dumps(results, indent=1)
    arguments.output.with_suffix(".json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
