"""How fast virtual stacks come out: sizes of `swift` against `deep_z`, and how time grows.

    python benchmarks/stack_speed.py --output docs/results/speed.md

All tables are ratios within this one run, in one process and one precision. The peak is the
best float32 matrix product of PyTorch on the same threads (on a GPU with ``--device
cuda``: bfloat16). Weights are random, for speed does not depend on them.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from operations import gflop
from pages import publish
from torch import Tensor

from fluofocus.data.tiling import tiles
from fluofocus.heap import kept_heap
from fluofocus.models import build_network
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.swift_config import SIZES
from fluofocus.refocus.memory import CPU_BATCH_PX, LARGEST_BATCH, LIVE_LAYERS, measure_footprint

PLANES_SHOWN = (1, 11, 21, 41, 81)
SIDES_SHOWN = (512, 1024, 2048, 4096)
FRAMES_SHOWN = (1, 4, 16)
TILE_PX = 3328
"""Side of the tiles that the engine takes within 4 GiB, halo included."""

DEEP_Z_TILE_PX = 736


class Stack:
    """A network at work on blank images: encode once, decode in the engine's batches."""

    def __init__(self, network: RefocusingNetwork, device: torch.device) -> None:
        self.network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device

    def planes(self, image: Tensor, z_um: Tensor, keep: Callable[[Tensor], object]) -> None:
        """Decode all planes of one image."""
        features = self.network.encode(image)
        on_cpu = self.device.type == "cpu"
        most = min(LARGEST_BATCH, CPU_BATCH_PX // image[0, 0].numel()) if on_cpu else LARGEST_BATCH
        for part in z_um.split(max(1, most)):
            keep(self.network.decode(features, part.view(1, 1, -1)).image)

    def seconds(self, side: int, planes: int, *, tile_px: int | None = None) -> float:
        """Return the time of one virtual stack, whole or from overlapping tiles."""
        image = torch.randn(1, 1, side, side, device=self.device)
        z_um = torch.linspace(-10, 10, planes, device=self.device)
        cut = tiles(
            side,
            side,
            tile_px=tile_px or side,
            halo_px=self.network.receptive_field_px,
            multiple=self.network.size_multiple,
        )
        start = time.perf_counter()
        with precision(self.device):
            for tile in cut:
                self.planes(image[(..., *tile.read)], z_um, lambda block: block.float())
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def gflop(self, side: int, planes: int) -> float:
        """Count the operations of a stack."""
        return gflop(self.network, side, planes)


@contextmanager
def precision(device: torch.device) -> Iterator[None]:
    """float32 on a CPU, bfloat16 on a GPU."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"),
    ):
        yield


def matrix_product_flops(device: torch.device, repeats: int) -> float:
    """Return the best FLOP/s of square matrix products of several sizes."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    best = 0.0
    for side in (1024, 2048, 4096):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        for _ in range(repeats + 1):
            start = time.perf_counter()
            a @ b
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def compare(device: torch.device, arguments: argparse.Namespace) -> list[str]:
    """Return the table of whole stacks by network."""
    side, planes = arguments.side, arguments.planes
    peak = matrix_product_flops(device, arguments.repeats)
    rows = []
    for size in SIZES:
        stack = Stack(build_network("swift", {"size": size}), device)
        stack.seconds(side, 2)  # warms up
        times = [stack.seconds(side, planes) for _ in range(arguments.repeats)]
        rows.append((f"swift {size}", stack, sum(times) / len(times)))
    stack = Stack(build_network("deep_z"), device)
    stack.seconds(side, 1)
    whole = stack.seconds(side, 1)
    in_tiles = stack.seconds(side, 1, tile_px=DEEP_Z_TILE_PX)
    way = None if whole <= in_tiles else DEEP_Z_TILE_PX
    seconds = stack.seconds(side, planes, tile_px=way)
    rows.append((f"deep_z, {'whole' if way is None else 'in tiles'}", stack, seconds))
    base_s = dict((name, seconds) for name, _, seconds in rows)["swift base"]
    lines = [
        f"Matrix product: {peak / 1e9:.0f} GFLOP/s. Convolutions count as sums of products, so",
        "that algorithms which need fewer can exceed it.",
        "",
        f"## {planes} planes of {side}x{side}",
        "",
        "| network | parameters | TFLOP | s | planes/s | GFLOP/s | share of the product | "
        "activations | time ÷ swift base |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, stack, seconds in rows:
        gflop = stack.gflop(side, planes)
        footprint = measure_footprint(stack.network.cpu())
        per_px = footprint.features + LIVE_LAYERS * max(footprint.encode, footprint.decode)
        parameters = sum(weight.numel() for weight in stack.network.parameters())
        lines.append(
            f"| {name} | {parameters / 1e6:.2f} M | {gflop / 1e3:.2f} | {seconds:.2f} "
            f"| {planes / seconds:.1f} | {gflop / seconds:.0f} "
            f"| {gflop * 1e9 / seconds / peak:.0%} "
            f"| {per_px * side**2 / 2**20:.0f} MiB | {seconds / base_s:.2f} |"
        )
    return lines


def growth(device: torch.device) -> list[str]:
    """Return how the time of `swift` base grows with planes, pixels and frames."""
    stack = Stack(build_network("swift"), device)
    stack.seconds(512, 2)
    lines = [
        "",
        "## How the time of swift base grows",
        "",
        "| what | s | planes/s |",
        "|---|---|---|",
    ]
    for planes in PLANES_SHOWN:
        seconds = stack.seconds(1024, planes)
        lines.append(f"| {planes} planes of 1024x1024 | {seconds:.2f} | {planes / seconds:.1f} |")
    for side in SIDES_SHOWN:
        seconds = stack.seconds(side, 11, tile_px=TILE_PX)
        lines.append(f"| 11 planes of {side}x{side} | {seconds:.2f} | {11 / seconds:.1f} |")
    for frames in FRAMES_SHOWN:
        seconds = sum(stack.seconds(512, 11) for _ in range(frames))
        lines.append(
            f"| {frames} frames of 11 planes of 512x512 | {seconds:.2f} "
            f"| {11 * frames / seconds:.1f} |"
        )
    return lines


def main() -> None:
    """Measure, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--planes", type=int, default=41)
    parser.add_argument("--side", type=int, default=1024, help="pixels")
    parser.add_argument("--growth", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    with kept_heap():  # as the engine does
        tables = [*compare(device, arguments), *(growth(device) if arguments.growth else [])]
    text = "\n".join(
        [
            "# Speed",
            "",
            f"Measured by `python benchmarks/stack_speed.py` on {where}, "
            f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}.",
            "",
            *tables,
            "",
        ]
    )
    publish(text, arguments.output)


if __name__ == "__main__":
    main()
