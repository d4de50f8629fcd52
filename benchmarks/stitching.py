"""How exactly tile scans are placed, how fast they are fused, and in how much memory.

    python benchmarks/stitching.py --output docs/results/stitching.md

A field is imaged at twice the camera's sampling, periodically, so that a small one serves a
scan of any size; tiles are cut at positions that are no whole pixels, by Fourier shifts, and
get the camera's noise. The tile pitch is no divisor of the period: no two overlaps show the
same. With multiview-stitcher installed (``pip install multiview-stitcher``, best into an
environment of its own) and ``--compare``, it places the same tiles.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import torch
import zarr
from memory import KIB_PER_GIB
from pages import publish
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq

from fluofocus.errors import FluoFocusWarning
from fluofocus.optics.microscope import preset
from fluofocus.prepare.mosaic import mosaic
from fluofocus.prepare.stitch import place
from fluofocus.simulate.camera import record
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.phantoms import PHANTOMS
from fluofocus.simulate.specimen import SpecimenGrid

PERIOD_PX = 784
FINER = 2
MARGIN_PX = 24
TARGET_RMS_PX = 0.3
FIELDS: dict[str, tuple[str, dict[str, float], float]] = {
    "nuclei": ("nuclei", {"thickness_um": 3.0}, 500),
    "nuclei, few": ("nuclei", {"thickness_um": 3.0, "count_per_1000_um2": 1.0}, 500),
    "filaments": ("filaments", {"thickness_um": 3.0}, 500),
    "filaments, dim": ("filaments", {"thickness_um": 3.0}, 30),
    "nuclei, dim": ("nuclei", {"thickness_um": 3.0}, 20),
    "cells": ("cells", {"height_um": 3.0}, 500),
}
"""Name, phantom, its parameters, and photons at the brightest pixel."""


def imaged_field(name: str, cache: Path) -> np.ndarray:
    """Return a periodic image, brightest at 1, sampled finer than the camera does."""
    phantom, parameters, _ = FIELDS[name]
    path = cache / f"{phantom}-{'-'.join(f'{key}={n:g}' for key, n in parameters.items())}.npy"
    if not path.exists():
        camera = preset("olympus-20x-0.75")
        fine = camera.model_copy(update={"pixel_size_um": camera.pixel_size_um / FINER})
        side = PERIOD_PX * FINER
        grid = SpecimenGrid((side, side), fine.pixel_size_um, (-1.0, 0.0, 1.0), oversampling=1)
        generator = torch.Generator().manual_seed(1)
        specimen = PHANTOMS[phantom](**parameters).draw(grid, generator)
        with torch.inference_mode():
            image = ImageFormation(fine, grid, torch.zeros(1))(specimen)[0]
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, (image / image.max()).numpy())
    field: np.ndarray = np.load(path)
    return field


def view(field: np.ndarray, origin_px: np.ndarray, side_px: int) -> np.ndarray:
    """Return what camera pixels see, ``(side, side)``, the first of them at a position."""
    whole, fraction = np.divmod(origin_px * FINER, 1)
    margin = MARGIN_PX * FINER
    span = np.arange(-margin, side_px * FINER + margin)
    part = field[np.ix_(*((int(start) + span) % len(field) for start in whole))]
    turns = fftfreq(len(span))[:, None] * fraction[0] + rfftfreq(len(span)) * fraction[1]
    spectrum = rfft2(part - part.mean()) * np.exp(2j * np.pi * turns)
    moved = irfft2(spectrum, s=part.shape)[margin:-margin, margin:-margin] + part.mean()
    pixels: np.ndarray = moved.reshape(side_px, FINER, side_px, FINER).mean(axis=(1, 3))
    return pixels.clip(0)


def scan(name: str, options: argparse.Namespace) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return tiles, their positions by the stage, and their true positions."""
    field = imaged_field(name, options.cache)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    pitch = options.side - round(options.overlap * options.side)
    stage = pitch * np.argwhere(np.ones((options.grid, options.grid))).astype(float)
    true = stage + rng.uniform(-options.stage_error, options.stage_error, stage.shape)
    across = np.linspace(-1, 1, options.side) ** 2
    light = 1 - options.vignetting * (across[:, None] + across) / 2
    camera = preset("olympus-20x-0.75").camera
    tiles = []
    for origin in true:
        photons = (view(field, origin, options.side) * FIELDS[name][2] + 20) * light
        tiles.append(record(torch.from_numpy(photons), camera, generator).numpy().astype(np.uint16))
    return tiles, stage, true


def errors(origin: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Return rms and worst distance from the truth, the common translation aside, in px."""
    wrong = origin - true
    distance = np.linalg.norm(wrong - wrong.mean(axis=0), axis=1)
    return float(np.sqrt((distance**2).mean())), float(distance.max())


def by_us(folder: Path, stage: np.ndarray, stage_error_px: float) -> dict[str, Any]:
    """Place and fuse the tiles of a folder in this process, and say what that took."""
    resident = peak_gib()
    tiles = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FluoFocusWarning)
        placement = place(tiles, stage, stage_error_px=stage_error_px)
    placed, placed_cpu = time.perf_counter(), time.process_time()
    fused = mosaic(tiles, placement)
    chunks = tuple(int(length) for length in fused.chunksize)
    target: Any = zarr.create_array(
        folder / "mosaic.zarr", shape=fused.shape, chunks=chunks, dtype=fused.dtype
    )
    with dask.config.set(scheduler="threads", num_workers=2):
        dask.array.store([fused], [target])
    return {
        "origin": placement.origin_px,
        "pairs": len(placement.pairs),
        "connected": ~np.isin(np.arange(len(tiles)), placement.unconnected),
        "place_s": (placed - start, placed_cpu - cpu),
        "fuse_s": (time.perf_counter() - placed, time.process_time() - placed_cpu),
        "gib": (peak_gib(), resident),
    }


def by_multiview_stitcher(folder: Path, stage: np.ndarray, stage_error_px: float) -> dict[str, Any]:
    """Place the tiles of a folder by multiview-stitcher, as it comes, without binning.

    It takes no range of stage errors; overlaps enlarged by it made it less exact.
    """
    from multiview_stitcher import msi_utils, registration
    from multiview_stitcher import spatial_image_utils as images

    resident = peak_gib()
    tiles = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
    start, cpu = time.perf_counter(), time.process_time()
    views = [
        msi_utils.get_msim_from_sim(
            images.get_sim_from_array(
                np.asarray(tile),
                dims=["y", "x"],
                scale={"y": 1.0, "x": 1.0},
                translation={"y": y, "x": x},
                transform_key="stage",
            ),
            scale_factors=[],
        )
        for tile, (y, x) in zip(tiles, stage.tolist(), strict=True)
    ]
    with dask.config.set(scheduler="single-threaded"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moved = registration.register(
            views,
            transform_key="stage",
            reg_channel_index=0,
            registration_binning={"y": 1, "x": 1},
        )
    shifts = [np.asarray(each).reshape(-1, 3, 3)[0, :2, 2] for each in moved]
    return {
        "origin": stage + np.array(shifts),
        "place_s": (time.perf_counter() - start, time.process_time() - cpu),
        "gib": (peak_gib(), resident),
    }


def peak_gib() -> float:
    """Return the most memory that this process held, in GiB (Linux only)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / KIB_PER_GIB


def measure(name: str, options: argparse.Namespace) -> list[str]:
    """Return the rows of one kind of field."""
    tiles, stage, true = scan(name, options)
    methods = {"fluofocus": by_us}
    if options.compare:
        methods["multiview-stitcher"] = by_multiview_stitcher
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for index, tile in enumerate(tiles):
            np.save(Path(folder) / f"{index:04}.npy", tile)
        connected = np.ones(len(tiles), bool)
        for method, function in methods.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                job = fresh.submit(function, Path(folder), stage, options.stage_error + 2)
                result = job.result()
            connected = result.get("connected", connected)
            rows.append(row(name, method, result, true, connected))
            print(rows[-1], flush=True)
    return rows


def row(
    name: str, method: str, result: dict[str, Any], true: np.ndarray, connected: np.ndarray
) -> str:
    """Return one row of the table."""
    rms, worst = errors(result["origin"][connected], true[connected])
    peak, before = result["gib"]
    cells: Sequence[str] = (
        name,
        method,
        f"{rms:.3f}",
        f"{worst:.3f}",
        "yes" if rms <= TARGET_RMS_PX else "**no**",
        str(result.get("pairs", "")),
        str(np.count_nonzero(~result["connected"])) if "connected" in result else "",
        "{:.1f} ({:.1f})".format(*result["place_s"]),
        "{:.1f} ({:.1f})".format(*result["fuse_s"]) if "fuse_s" in result else "",
        f"{peak:.2f} ({peak - before:.2f})",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print and, where asked, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS))
    parser.add_argument("--grid", type=int, default=10, help="tiles along each axis")
    parser.add_argument("--side", type=int, default=512, help="pixels of a tile")
    parser.add_argument("--overlap", type=float, default=0.1)
    parser.add_argument("--stage-error", type=float, default=8.0, help="most, in pixels")
    parser.add_argument("--vignetting", type=float, default=0.0, help="light lost in the corners")
    parser.add_argument("--compare", action="store_true", help="with multiview-stitcher")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "stitching")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    rows = [row for name in options.fields for row in measure(name, options)]
    lines = [
        "# Stitching",
        "",
        f"Measured by `python benchmarks/stitching.py` on {platform.machine()}: {options.grid}x"
        f"{options.grid} tiles of {options.side}x{options.side}, {options.overlap:.0%} overlap, "
        f"stage error up to {options.stage_error:g} px along each axis, {options.vignetting:.0%} "
        "of the light lost in the corners. Errors are those of the positions of the tiles that "
        "FluoFocus reports as connected, less the common translation; the rest lie about where "
        f"the stage had them. The target is {TARGET_RMS_PX} px rms. Seconds are by the clock, in "
        "brackets of processor time. Memory is the peak of the process, in brackets what of it "
        "came after its imports; fusion writes a Zarr array.",
        "",
        "| field | placed by | rms px | worst px | on target | pairs | unconnected | place s "
        "| fuse s | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    publish("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
