"""How fast widths of beads are measured, and how near they come to those without noise.

    python benchmarks/bead_widths.py --output docs/results/bead-widths.md

A periodic field of beads on a plane is simulated and laid side by side until there are enough;
every copy gets noise of its own. Beads near the rim are cut by it, so not all can be found.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np
from pages import publish

from fluofocus.measure.beads import match_beads
from fluofocus.measure.width_samples import Outcome
from fluofocus.measure.widths import MeasuredBeads, measure_beads
from fluofocus.optics.microscope import preset
from fluofocus.simulate.stack import simulate_stack

STEP_UM = 0.5
TARGET_PER_MINUTE = 2000
TOLERANCE_PX = 2.0
MIB_PER_KIB = 1 / 1024


def noisy_copies(clean: np.ndarray, copies: int, share: float) -> np.ndarray:
    """Return counts of `copies` x `copies` fields with a share of the light, and noise."""
    camera = preset("olympus-20x-0.75").camera
    gain, offset = camera.gain_counts_per_electron, camera.offset_counts
    rng = np.random.default_rng(0)
    side = clean.shape[1] * copies
    counts = np.empty((len(clean), side, side), np.uint16)
    for noisy, plane in zip(counts, clean, strict=True):
        electrons = np.tile((plane - offset).clip(0) / gain * share, (copies, copies))
        noisy[:] = offset + gain * rng.poisson(electrons)
    return counts


def row(
    name: str, image: np.ndarray, reference: MeasuredBeads, known_px: np.ndarray, pixel_um: float
) -> str:
    """Measure one image or stack and return its row of the table."""
    start, cpu = time.perf_counter(), time.process_time()
    beads = measure_beads(image, voxel_size_um=(STEP_UM, pixel_um, pixel_um))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    hits = len(match_beads(beads.yx_px, known_px, tolerance=TOLERANCE_PX).distance)
    per_minute = 60 * len(beads) / cpu
    cells = [
        name,
        str(len(known_px)),
        f"{hits / len(known_px):.1%}",
        str(len(beads)),
        *(str(beads.lateral.count(outcome)) for outcome in Outcome),
    ]
    for kind in ("lateral", "axial"):
        widths = [each.samples.get(kind) for each in (beads, reference)]
        cells += ["" if width is None else f"{width.median_um:.3f}" for width in widths]
    cells += [f"{cpu:.1f} ({seconds:.1f})", f"{per_minute:.0f} ({60 * len(beads) / seconds:.0f})"]
    cells.append("yes" if per_minute >= TARGET_PER_MINUTE else "**no**")
    print(" | ".join(cells), flush=True)
    return "| " + " | ".join(cells) + " |"


def measure(options: argparse.Namespace) -> list[str]:
    """Return the rows of the table."""
    microscope = preset("olympus-20x-0.75")
    pixel_um = microscope.pixel_size_um
    planes_um = STEP_UM * (np.arange(options.planes) - options.planes // 2)
    field = simulate_stack(
        microscope,
        "beads",
        shape_yx=(options.side, options.side),
        planes_um=planes_um,
        seed=1,
        phantom_parameters={"surface": "plane", "count_per_1000_um2": options.density},
    )
    clean, copies = field.clean_counts, options.copies
    corners = options.side * np.argwhere(np.ones((copies, copies)))
    inside_px = np.array([[bead["y_um"], bead["x_um"]] for bead in field.truth]) / pixel_um
    known_px = (inside_px + corners[:, None]).reshape(-1, 2)
    # One field is all that is needed without noise, but its own rims cut beads too.
    voxel_um = (STEP_UM, pixel_um, pixel_um)
    focus = int(clean.max(axis=(1, 2)).argmax())
    rows = []
    for share in options.light:
        stack = noisy_copies(clean, copies, share)
        half = max(options.planes // 4, 1)
        middle = slice(focus - half, focus + half + 1)
        for name, part in (
            ("image in focus", focus),
            (f"stack of {2 * half + 1}", middle),
            (f"stack of {options.planes}", slice(None)),
        ):
            reference = measure_beads(clean[part], voxel_size_um=voxel_um)
            label = f"{name}, light x {share:g}"
            rows.append(row(label, stack[part], reference, known_px, pixel_um))
    return rows


def main() -> None:
    """Measure, print and, where asked, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=384, help="pixels of the field")
    parser.add_argument("--copies", type=int, default=4, help="fields along y and x")
    parser.add_argument("--planes", type=int, default=81)
    parser.add_argument("--density", type=float, default=8.5, help="beads per 1000 µm²")
    parser.add_argument("--light", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    rows = measure(options)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MIB_PER_KIB
    side = options.side * options.copies
    outcomes = " | ".join(outcome.value for outcome in Outcome)
    lines = [
        "# Widths of beads",
        "",
        f"Measured by `python benchmarks/bead_widths.py` on {platform.machine()}, "
        f"{os.cpu_count()} cores. Beads of 0.3 µm on a plane, {options.density:g} in 1000 µm², "
        "imaged by a simulated 20x/0.75, the preset `olympus-20x-0.75`; "
        f"{side}x{side} pixels, planes {STEP_UM:g} µm apart, 2,000 photons at "
        "the brightest pixel (light x 1). Found are beads within 2 px of a known one. Widths are "
        "medians in µm, beside them those of one such field without noise. Seconds and beads per "
        "minute are of processor time, and in brackets by the clock, during which the cores were "
        "busy with other programs too. One core is used, so on a free one both are the same. The "
        f"target is {TARGET_PER_MINUTE} a minute of processor time. The peak of the process, "
        f"simulation included, was {peak_mib:.0f} MiB.",
        "",
        f"| image | beads | of them found | found | {outcomes} | lateral | without noise "
        "| axial | without noise | s | beads per minute | on target |",
        "|" + "---|" * (11 + len(Outcome)),
        *rows,
        "",
    ]
    publish("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
