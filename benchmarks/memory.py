"""Peak memory of refocusing a large field, or of restoring a large stack, in a fresh process.

Run ``python benchmarks/memory.py`` for one field of 2048x2048 refocused into 41 planes within
4 GiB, and ``python benchmarks/memory.py --restore oil60x-brain-confocal --planes 76`` for a
recorded stack of 76 planes. Weights for refocusing are random, for memory does not depend on
them. Linux only: reads ``/proc``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.models import MODELS, build_network
from fluofocus.models.bundle import Model, ModelCard, TrainingRange, load_stack_model, save_model
from fluofocus.optics.microscope import preset
from fluofocus.refocus import refocus_to_file
from fluofocus.restore import restore_to_file

PIXEL_UM = 0.325
KIB_PER_GIB = 2**20

INPUT, MODEL, OUTPUT = "input.ome.tif", "model.safetensors", "output.ome.tif"


def write_noise(folder: Path, shape: tuple[int, ...], voxel_um: tuple[float, float]) -> None:
    """Write noise with bright pixels, ``(Y, X)`` or ``(Z, Y, X)``, into a folder."""
    z_step_um, pixel_um = voxel_um
    rng = np.random.default_rng(0)
    counts = np.empty(shape, np.uint16)
    for plane in counts.reshape(-1, *shape[-2:]):
        plane[:] = rng.poisson(100 + 400 * (rng.random(plane.shape) > 0.99))
    voxel_size_um = (z_step_um, pixel_um, pixel_um)
    write_stack(folder / INPUT, make_stack(counts, "ZYX"[-len(shape) :], voxel_size_um))


def write_random_model(folder: Path, architecture: str) -> None:
    """Write a model with random weights into a folder."""
    card = ModelCard(
        name=architecture,
        title="random weights",
        architecture=architecture,
        microscope=preset("olympus-20x-0.75"),
        training=TrainingRange(defocus_um=(-10, 10), pixel_size_um=PIXEL_UM),
        created=datetime.now(UTC),
        fluofocus_version="0",
    )
    save_model(Model(card, build_network(architecture)), folder / MODEL)


def refocus_into(folder: Path, planes: int, memory_gb: float) -> None:
    """Refocus the field in a folder into so many planes."""
    z_um = np.linspace(-10, 10, planes).tolist()
    field = read_stack(folder / INPUT)
    refocus_to_file(field, folder / MODEL, folder / OUTPUT, z_um=z_um, memory_gb=memory_gb)


def restore_from(folder: Path, model: str, memory_gb: float) -> None:
    """Restore the stack in a folder."""
    restore_to_file(read_stack(folder / INPUT), model, folder / OUTPUT, memory_gb=memory_gb)


def measure(work: Callable[[], None]) -> tuple[float, float]:
    """Do something in this process; returns its peak resident GiB, and seconds."""
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / KIB_PER_GIB, seconds


def main() -> None:
    """Measure each network that was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", nargs="+", choices=MODELS, default=["swift"])
    parser.add_argument("--restore", metavar="MODEL", help="restore a stack with this model")
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    parser.add_argument("--planes", type=int, default=41)
    parser.add_argument("--memory", type=float, default=4.0, help="budget in GiB")
    options = parser.parse_args()
    side, planes, memory_gb = options.side, options.planes, options.memory
    print(f"{'network':<22}{'field':>12}{'planes':>8}{'budget GiB':>12}{'peak GiB':>10}{'s':>8}")
    for network in [options.restore] if options.restore else options.architecture:
        with (
            tempfile.TemporaryDirectory() as name,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh_process,
        ):
            folder = Path(name)
            if options.restore:
                trained = load_stack_model(network).card.training
                write_noise(
                    folder, (planes, side, side), (trained.z_step_um, trained.pixel_size_um)
                )
                work = partial(restore_from, folder, network, memory_gb)
            else:
                write_noise(folder, (side, side), (1.0, PIXEL_UM))
                write_random_model(folder, network)
                work = partial(refocus_into, folder, planes, memory_gb)
            peak_gib, seconds = fresh_process.submit(measure, work).result()
        print(
            f"{network:<22}{f'{side}x{side}':>12}{planes:>8}{memory_gb:>12.2f}"
            f"{peak_gib:>10.2f}{seconds:>8.1f}"
        )


if __name__ == "__main__":
    main()
