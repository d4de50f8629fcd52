"""How much sharper signal is than background, in thin and thick slices of brain.

    python benchmarks/brain_slice.py --output docs/results/brain-slice.md \
        --figure docs/pictures/brain-slice.png

Slices are simulated as wide-field and spinning-disk confocal stacks, and each plane is measured
as in Figs. 1 and 5 of WFCON-Net (Li et al., Biomed. Opt. Express 13, 2022): mean gradients in
patches of 32 x 32 pixels, of the sharpest patch over the least sharp one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from pages import publish

from fluofocus.measure.sharpness import sharpness
from fluofocus.optics.microscope import preset
from fluofocus.simulate.brain_slice import BrainSlice
from fluofocus.simulate.pair import PairImaging, StackPair
from fluofocus.simulate.stack import SimulatedStack
from fluofocus.units import FloatArray

MICROSCOPE = "nikon-60x-1.4-oil"
SEED = 100
THIN_UM, THICK_UM = 3.0, 38.0
STEP_UM, COARSE_STEP_UM = 0.5, 4.0
NEUROPIL = (0.03, 0.06, 0.15)
SHOWN_UM = (3.0, 10.0, 19.0, 28.0, 35.0)
"""Depths of the planes in the figure."""


@dataclass(frozen=True)
class Measured:
    """Contrast of signal over background by plane, mean of all slices, ``(P,)``."""

    depths_um: FloatArray
    widefield: FloatArray
    confocal: FloatArray


def imaging(slice_of_brain: BrainSlice, side: int, step_um: float) -> PairImaging:
    """Look at a slice that lies on the coverslip, from half a step below its surface on."""
    thickness_um = slice_of_brain.thickness_um
    planes_um = np.arange(step_um / 2, thickness_um, step_um) - thickness_um / 2
    return PairImaging(
        preset(MICROSCOPE).model_copy(update={"emitter_depth_um": thickness_um / 2}),
        slice_of_brain.tissue,
        shape_yx=(side, side),
        planes_um=planes_um,
    )


def measured(slice_of_brain: BrainSlice, images: PairImaging, slices: int) -> Measured:
    """Record slices and measure their planes."""
    contrasts = []
    for seed in range(SEED, SEED + slices):
        pair = images(slice_of_brain, seed=seed)
        stacks = (torch.from_numpy(each.counts.astype(np.float32)) for each in both(pair))
        contrasts.append([sharpness(stack).contrast.numpy() for stack in stacks])
    widefield, confocal = np.mean(contrasts, axis=0)
    depths_um = np.asarray(images.planes_um, np.float32) + slice_of_brain.thickness_um / 2
    return Measured(depths_um, widefield, confocal)


def both(pair: StackPair) -> tuple[SimulatedStack, SimulatedStack]:
    """Return wide-field and confocal stack."""
    return pair.widefield, pair.confocal


def draw(pair: StackPair, path: Path) -> None:
    """Draw planes of both stacks, and a section along z below each."""
    figure, axes = plt.subplots(
        4, len(SHOWN_UM), figsize=(12, 8.4), height_ratios=(1, 0.72, 1, 0.72), layout="constrained"
    )
    z_um = np.array(pair.widefield.planes_um)
    pixel_um = pair.widefield.microscope.pixel_size_um
    for row, (name, stack) in enumerate(zip(("wide-field", "confocal"), both(pair), strict=True)):
        counts = stack.counts.astype(np.float32)
        for column, depth_um in enumerate(SHOWN_UM):
            plane = int(np.abs(z_um + THICK_UM / 2 - depth_um).argmin())
            line = (2 * column + 1) * counts.shape[1] // (2 * len(SHOWN_UM))
            for axis, image, aspect, title in (
                (axes[2 * row, column], counts[plane], 1.0, f"{name}, {depth_um:g} µm deep"),
                (axes[2 * row + 1, column], counts[:, line], STEP_UM / pixel_um, "x-z"),
            ):
                low, high = np.quantile(image, (0.005, 0.999))
                axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect)
                axis.set_title(title, fontsize=8)
                axis.axis("off")
    figure.savefig(path, dpi=80)


def table(thin: dict[float, Measured], thick: dict[float, Measured]) -> list[str]:
    """Return the page's tables as lines."""
    lines = [
        "| neuropil | thin, wide-field | thick, wide-field | thin over thick | at most "
        "| thin, confocal | thick, confocal | thick, confocal over wide-field |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for level in thin:
        one, many = thin[level], thick[level]
        means = [float(x.mean()) for x in (one.widefield, many.widefield)]
        lines.append(
            f"| {level:g} | {means[0]:.2f} | {means[1]:.2f} | {means[0] / means[1]:.1f} "
            f"| {one.widefield.max() / many.widefield.min():.1f} | {one.confocal.mean():.2f} "
            f"| {many.confocal.mean():.2f} | {many.confocal.mean() / means[1]:.2f} |"
        )
    lines += ["", "By depth below the coverslip, in the thick slice:", ""]
    depths = next(iter(thick.values())).depths_um
    lines.append("| neuropil | modality | " + " | ".join(f"{z:g} µm" for z in depths) + " |")
    lines.append("|---|---|" + "---|" * len(depths))
    for level, many in thick.items():
        for name, contrast in (("wide-field", many.widefield), ("confocal", many.confocal)):
            cells = " | ".join(f"{value:.2f}" for value in contrast)
            lines.append(f"| {level:g} | {name} | {cells} |")
    return lines


def main() -> None:
    """Measure, print and, where asked, write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=4, help="of each kind")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    parser.add_argument("--figure", type=Path, help="picture to write")
    options = parser.parse_args()
    results: list[dict[float, Measured]] = []
    for thickness_um, step_um in ((THIN_UM, STEP_UM), (THICK_UM, COARSE_STEP_UM)):
        slices = {
            level: BrainSlice(thickness_um=thickness_um, neuropil=level) for level in NEUROPIL
        }
        images = imaging(next(iter(slices.values())), options.side, step_um)
        results.append(
            {level: measured(each, images, options.slices) for level, each in slices.items()}
        )
    started = time.process_time()
    shown = BrainSlice(thickness_um=THICK_UM)
    images = imaging(shown, options.side, STEP_UM)
    prepared = time.process_time()
    pair = images(shown, seed=SEED)
    finished = time.process_time()
    if options.figure:
        draw(pair, options.figure)
    lines = [
        "# A slice of brain, wide-field and confocal",
        "",
        f"Measured by `python benchmarks/brain_slice.py --slices {options.slices}`: simulated "
        f"slices of {options.side} x {options.side} pixels through the preset `{MICROSCOPE}`, "
        f"{THIN_UM:g} µm (thin) and {THICK_UM:g} µm (thick), seeds from {SEED}. Contrast is the "
        "sharpness of the sharpest patch of a plane over that of the least sharp one (32 x 32 "
        "pixels), noise included; means over planes and slices. WFCON-Net's Fig. 1 shows it up to "
        "5 times lower in wide-field images of a neuron slice of 38 µm than of cells 3 µm thin. "
        "The column *at most* compares the best thin plane with the worst thick one.",
        "",
        *table(*results),
        "",
        f"A pair of {options.side} x {options.side} x {len(pair.widefield.planes_um)} voxels took "
        f"{finished - prepared:.0f} s of processor time, once {prepared - started:.0f} s had been "
        "spent on what all slices of that tissue share.",
        "",
        "![Planes and sections, wide-field above confocal](../pictures/brain-slice.png)",
        "",
    ]
    publish("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
