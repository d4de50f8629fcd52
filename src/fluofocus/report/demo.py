"""The main job from end to end, on simulated acquisitions with the shipped models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from fluofocus.io.readers import read_stack
from fluofocus.io.stack import make_stack
from fluofocus.io.writers import write_stack
from fluofocus.measure.beads import find_beads, match_beads
from fluofocus.measure.image import METRICS, gap_closed
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.optics.microscope import preset
from fluofocus.refocus.engine import refocus_to_file
from fluofocus.report.demo_figures import plot_beads, plot_virtual_stack
from fluofocus.report.html import Page
from fluofocus.simulate.stack import SimulatedStack, simulate_stack
from fluofocus.units import FloatArray

NUCLEI_MODEL, BEADS_MODEL = "air20x-nuclei", "air20x-beads"
MICROSCOPE = "olympus-20x-0.75"
SEED = 424_242
NUCLEI_PX, BEADS_PX = 512, 1024
TILT_DEG = 1.5
STEP_UM, RANGE_UM = 0.5, 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoResult:
    """What the demo made: the table, and where the page and the pictures are."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    page: Path
    pictures: tuple[Path, ...]


def run_demo(output_dir: str | Path, progress: Progress = lambda step: None) -> DemoResult:
    """Simulate two acquisitions, refocus them with the shipped models, and report.

    One image of nuclei becomes a virtual stack, compared plane by plane with the scan
    that a user would have had to record; one image of beads on a tilted slide is brought
    to focus everywhere by a tilted digital propagation matrix.

    Parameters
    ----------
    output_dir
        Gets the simulated images, the refocused ones, two pictures and ``index.html``.
    progress
        Called with a few words as each step begins.
    """
    output = Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    nuclei = _nuclei(output, progress)
    beads = _beads(output, progress)
    progress("writing the report")
    header = ("what", "recorded image", "refocused", "true")
    rows = (*nuclei.rows, *beads.rows)
    page = Page("FluoFocus demo: one image, refocused")
    page.paragraph(
        "Everything here is simulated from seed "
        f"{SEED}: a {preset(MICROSCOPE).name} and specimens that no training has seen. "
        f"Each result was computed from one recorded image: nuclei by {NUCLEI_MODEL}, averaged "
        f"over the image's eight turns (--ensemble), beads by {BEADS_MODEL}. The truth was only "
        "used to compare."
    )
    page.table(header, rows, "Measured in this run")
    page.heading("A virtual stack from one image")
    page.figure(nuclei.picture, nuclei.caption)
    page.heading("A tilted slide, in focus everywhere")
    page.figure(beads.picture, beads.caption)
    path = output / "index.html"
    page.write(path)
    return DemoResult(header, rows, path, (nuclei.picture, beads.picture))


@dataclass(frozen=True)
class _Part:
    rows: Sequence[tuple[str, ...]]
    picture: Path
    caption: str


def _nuclei(output: Path, progress: Progress) -> _Part:
    progress("simulating nuclei and their focus scan")
    planes = np.arange(-RANGE_UM, RANGE_UM + STEP_UM / 2, STEP_UM)
    scan = simulate_stack(
        preset(MICROSCOPE),
        "nuclei",
        shape_yx=(NUCLEI_PX, NUCLEI_PX),
        planes_um=planes,
        seed=SEED,
        peak_photons=3000,
    )
    middle = len(planes) // 2
    _save_image(scan, middle, output / "nuclei-image.ome.tif")
    progress(f"refocusing one image to {len(planes)} planes")
    refocus_to_file(
        read_stack(output / "nuclei-image.ome.tif"),
        NUCLEI_MODEL,
        z_um=planes.tolist(),
        ensemble=True,
        output=output / "nuclei-virtual.ome.tif",
    )
    virtual = np.asarray(read_stack(output / "nuclei-virtual.ome.tif"))
    rows = []
    for distance in (2.0, 4.0, 6.0, 8.0):
        r_in, r_out = _correlations(scan, virtual, middle, round(distance / STEP_UM))
        rows.append(
            (
                f"nuclei, correlation with the true plane ±{distance:g} µm away",
                f"{r_in:.3f}",
                f"{r_out:.3f} ({gap_closed(r_out, r_in):.0%} of the gap closed)",
                "1",
            )
        )
    picture = output / "nuclei.png"
    plot_virtual_stack(
        scan.counts[middle],
        virtual,
        scan.clean_counts,
        planes,
        scan.microscope.pixel_size_um,
        picture,
    )
    caption = (
        "Left: the one recorded image. Right: planes of the virtual stack made from it (above) "
        "and of the scan that was really simulated (below), and an x–z section through both."
    )
    return _Part(rows, picture, caption)


def _correlations(
    scan: SimulatedStack, virtual: FloatArray, middle: int, steps: int
) -> tuple[float, float]:
    """Mean correlation with the planes above and below, of the input and of the output."""
    scores = []
    for plane in (middle - steps, middle + steps):
        truth = torch.from_numpy(scan.clean_counts[plane])
        scores.append(
            [
                float(METRICS["pearson"](torch.from_numpy(image.astype(np.float32)), truth))
                for image in (scan.counts[middle], virtual[plane])
            ]
        )
    r_in, r_out = np.mean(scores, axis=0)
    return float(r_in), float(r_out)


def _beads(output: Path, progress: Progress) -> _Part:
    progress("simulating beads on a tilted slide")
    beads: dict[str, Any] = {"count_per_1000_um2": 1.84, "tilt_deg": TILT_DEG}
    microscope = preset(MICROSCOPE)
    tilted = simulate_stack(
        microscope,
        "beads",
        shape_yx=(BEADS_PX, BEADS_PX),
        planes_um=[0.0],
        seed=SEED + 1,
        peak_photons=3000,
        phantom_parameters=beads | {"surface": "tilt"},
    )
    flat = simulate_stack(
        microscope,
        "beads",
        shape_yx=(512, 512),
        planes_um=[0.0],
        seed=SEED + 2,
        peak_photons=3000,
        phantom_parameters=beads | {"surface": "plane"},
    )
    _save_image(tilted, 0, output / "beads-image.ome.tif")
    progress("refocusing onto the tilted plane")
    refocus_to_file(
        read_stack(output / "beads-image.ome.tif"),
        BEADS_MODEL,
        surface=f"tilt:{TILT_DEG}deg",
        output=output / "beads-corrected.ome.tif",
    )
    corrected = np.squeeze(np.asarray(read_stack(output / "beads-corrected.ome.tif")))
    pixel_um = microscope.pixel_size_um
    known = _positions_px(tilted, BEADS_PX)
    found = find_beads(corrected).yx_px
    matches = match_beads(found, known, tolerance=2.0)
    widths = [
        float(np.nanmedian(lateral_fwhm(image, positions, pixel_size_um=pixel_um).fwhm_um))
        for image, positions in (
            (tilted.counts[0], known),
            (corrected, found[matches.found_index]),
            (flat.clean_counts[0], _positions_px(flat, 512)),
        )
    ]
    share = len(matches.known_index) / len(known)
    rows = [
        (
            f"beads on a {TILT_DEG}° tilt, median lateral FWHM",
            f"{widths[0]:.2f} µm",
            f"{widths[1]:.2f} µm",
            f"{widths[2]:.2f} µm (a flat slide in focus)",
        ),
        (f"beads found, of {len(known)}", "", f"{share:.1%}", "100%"),
    ]
    picture = output / "beads.png"
    plot_beads(tilted.counts[0], corrected, pixel_um, picture)
    caption = (
        f"Beads on a slide tilted by {TILT_DEG}°, as recorded (above) and refocused with a "
        "tilted DPM (below); close-ups from the top rim, the middle and the bottom rim."
    )
    return _Part(rows, picture, caption)


def _positions_px(stack: SimulatedStack, size: int) -> FloatArray:
    """Positions of the true beads off the edges and well apart, ``(N, 2)``, y and x in pixels."""
    positions = np.array([[bead["y_um"], bead["x_um"]] for bead in stack.truth])
    positions = positions / stack.microscope.pixel_size_um
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    inside = ((positions > 16) & (positions < size - 17)).all(axis=1)
    return np.asarray(positions[inside & (distance.min(axis=1) > 8)], dtype=np.float32)


def _save_image(stack: SimulatedStack, plane: int, path: Path) -> None:
    pixel_um = stack.microscope.pixel_size_um
    image: xr.DataArray = make_stack(
        stack.counts[plane],
        "YX",
        (1.0, pixel_um, pixel_um),
        provenance={"simulated": True, "seed": stack.seed, "microscope": stack.microscope.name},
    )
    write_stack(path, image)
