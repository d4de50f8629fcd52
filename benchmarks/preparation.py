"""How well focus scans are fused, and how fast and in how much memory they are prepared.

    python benchmarks/preparation.py --output docs/results/preparation.md

Fusion is measured on the scans of ``tests/prepare/test_fusion.py``, with other seeds.
Throughput is that of `fluofocus prepare` in a process of its own: stacks of 41 planes of
1024x1024 pixels, alignment included. Linux only: reads ``/proc``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from memory import KIB_PER_GIB
from pages import publish

from fluofocus.heap import kept_heap
from fluofocus.io import make_stack, write_stack
from fluofocus.optics.microscope import preset
from fluofocus.prepare import fusion
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.run import prepare_dataset
from fluofocus.simulate.stack import simulate_stack

sys.path.append(str(Path(__file__).parents[1] / "tests" / "prepare"))
import test_fusion as scans

SEEDS = range(9_400_000, 9_400_003)
PLANES_UM = np.linspace(-10, 10, 41)
SPECIMENS = 2
"""Specimens that are simulated for the throughput; more stacks show them rolled sideways."""


def fusion_table() -> list[str]:
    """Compare ways to fuse a scan with the image in focus everywhere."""
    lines = [
        "## Fusion",
        "",
        f"Pearson's correlation with the image of the same emitters all in focus, mean of "
        f"{len(SEEDS)} fields of {scans.SIDE_PX} pixels.",
        "",
        "| specimen | maximum | greatest variance | wavelets, no checks | as shipped |",
        "|---|---|---|---|---|",
    ]
    for kind, depth_um in (("tilted", scans.TILTED_UM), ("thick", None)):
        for phantom in scans.PHANTOMS:
            found = []
            for seed in SEEDS:
                counts, truth = scans.focus_scan(phantom, depth_um, seed)
                plain = fusion._wavelet_image(counts, consent=0.0, with_neighbours=0)
                images = (
                    counts.max(axis=0),
                    scans.by_variance(counts),
                    fusion._reassigned(counts, plain).image,
                    fusion.fuse(counts).image,
                )
                found.append([scans.likeness(image, truth) for image in images])
            cells = " | ".join(f"{value:.3f}" for value in np.mean(found, axis=0))
            lines.append(f"| {phantom}, {kind} | {cells} |")
    return lines


def write_stacks(folder: Path, count: int, side: int) -> list[Path]:
    """Simulate focus scans of nuclei and write as many as asked for."""
    paths: list[Path] = []
    microscope = preset("olympus-20x-0.75")
    voxel = (0.5, microscope.pixel_size_um, microscope.pixel_size_um)
    for seed in SEEDS[:SPECIMENS]:
        with kept_heap():
            scan = simulate_stack(
                microscope, "nuclei", shape_yx=(side, side), planes_um=PLANES_UM, seed=seed
            )
        for index in range(len(paths), min(count, len(paths) + -(-count // SPECIMENS))):
            rolled = np.roll(scan.counts, (37 * index, 101 * index), axis=(1, 2))
            paths.append(folder / f"scan{index:02d}.ome.tif")
            write_stack(paths[-1], make_stack(rolled, "ZYX", voxel))
    return paths


def measure(paths: list[Path], output: Path) -> tuple[float, float, int]:
    """Prepare in this process; returns seconds, its peak resident GiB, and regions."""
    start = time.perf_counter()
    manifest = prepare_dataset(paths, output, PrepareConfig())
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    regions = sum(len(field.regions) for field in manifest.fields)
    return seconds, int(status.split("VmHWM:")[1].split()[0]) / KIB_PER_GIB, regions


def throughput_table(counts: list[int], side: int) -> list[str]:
    """Prepare few and many stacks, each time in a fresh process."""
    lines = [
        "## Throughput",
        "",
        f"Stacks of {len(PLANES_UM)}x{side}x{side} u16, {os.cpu_count()} cores.",
        "",
        "| stacks | s for each | peak memory, GiB | regions |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_stacks(folder, max(counts), side)
        for count in counts:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                job = fresh.submit(measure, paths[:count], folder / f"{count}.zarr")
                seconds, peak_gib, regions = job.result()
            lines.append(f"| {count} | {seconds / count:.1f} | {peak_gib:.2f} | {regions} |")
    return lines


def main() -> None:
    """Measure, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, nargs="+", default=[4, 20])
    parser.add_argument("--side", type=int, default=1024, help="pixels")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    lines = [
        "# Preparation of focus scans",
        "",
        f"Written by `{shlex.join(['python', *sys.argv])}`.",
        "",
        *fusion_table(),
        "",
        *throughput_table(arguments.stacks, arguments.side),
    ]
    publish("\n".join(lines) + "\n", arguments.output)


if __name__ == "__main__":
    main()
