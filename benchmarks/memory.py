"""Peak memory of refocusing one large field into many planes, measured in a fresh process.

Run ``python benchmarks/memory.py`` for 41 planes of 2048x2048 within 4 GiB; weights
are random, for memory does not depend on them. Linux only: reads ``/proc``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.models import MODELS, build_network
from fluofocus.models.bundle import Model, ModelCard, TrainingRange, save_model
from fluofocus.optics.microscope import preset
from fluofocus.refocus import refocus_to_file

PIXEL_UM = 0.325
KIB_PER_GIB = 2**20


def prepare(folder: Path, architecture: str, side: int) -> None:
    """Write a field of noise with bright pixels, and a model, into a folder."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(100 + 400 * (rng.random((side, side)) > 0.99)).astype(np.uint16)
    write_stack(folder / "field.ome.tif", make_stack(counts, "YX", (1.0, PIXEL_UM, PIXEL_UM)))
    card = ModelCard(
        name=architecture,
        title="random weights",
        architecture=architecture,
        microscope=preset("olympus-20x-0.75"),
        training=TrainingRange(defocus_um=(-10, 10), pixel_size_um=PIXEL_UM),
        created=datetime.now(UTC),
        fluofocus_version="0",
    )
    save_model(Model(card, build_network(architecture)), folder / "model.safetensors")


def measure(folder: Path, planes: int, memory_gb: float) -> tuple[float, float]:
    """Refocus the field in this process; returns its peak resident GiB, and seconds."""
    start = time.perf_counter()
    refocus_to_file(
        read_stack(folder / "field.ome.tif"),
        folder / "model.safetensors",
        folder / "out.ome.tif",
        z_um=np.linspace(-10, 10, planes).tolist(),
        memory_gb=memory_gb,
    )
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / KIB_PER_GIB, seconds


def main() -> None:
    """Measure each architecture that was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", nargs="+", choices=MODELS, default=["swift"])
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    parser.add_argument("--planes", type=int, default=41)
    parser.add_argument("--memory", type=float, default=4.0, help="budget in GiB")
    options = parser.parse_args()
    print(f"{'network':<10}{'field':>12}{'planes':>8}{'budget GiB':>12}{'peak GiB':>10}{'s':>8}")
    for architecture in options.architecture:
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh_process,
        ):
            prepare(Path(folder), architecture, options.side)
            job = fresh_process.submit(measure, Path(folder), options.planes, options.memory)
            peak_gib, seconds = job.result()
        field = f"{options.side}x{options.side}"
        print(
            f"{architecture:<10}{field:>12}{options.planes:>8}{options.memory:>12.2f}"
            f"{peak_gib:>10.2f}{seconds:>8.1f}"
        )


if __name__ == "__main__":
    main()
