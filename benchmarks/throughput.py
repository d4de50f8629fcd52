"""How fast the networks run here: share of the matrix-product peak, and whole virtual stacks.

    python benchmarks/throughput.py --output docs/results/speed.md

Both tables are ratios within this one run. The peak is the best float32 matrix product
of PyTorch on the same threads. Weights are random, for speed does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fluofocus.models import build_network

SIDE_PX, STACK_SIDE_PX, STACK_PLANES = 512, 1024, 41
PLANES = 8

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""Keep freed memory in the process: up to a third faster for the large activations of deep_z."""


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the time of the fastest run, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def mean_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the mean time of several runs, after one to warm up."""
    work()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def matrix_product_flops(repeats: int) -> float:
    """Return the best FLOP/s of square float32 matrix products of several sizes."""
    best = 0.0
    for side in (1024, 2048, 4096):
        a, b = torch.randn(side, side), torch.randn(side, side)
        best = max(best, 2 * side**3 / best_seconds(lambda a=a, b=b: a @ b, repeats))
    return best


class VirtualStack:
    """A network at work on one blank image: encode once, decode plane by plane."""

    def __init__(self, architecture: str, side: int) -> None:
        self.network = build_network(architecture).eval().to(memory_format=torch.channels_last)
        self.image = torch.randn(1, 1, side, side)

    def __call__(self, planes: int) -> None:
        """Compute ``planes`` planes, one at a time as the engine does on a CPU."""
        features = self.network.encode(self.image)
        for z_um in torch.linspace(-10, 10, planes):
            self.network.decode(features, z_um.view(1, 1))

    def gflop(self, planes: int) -> float:
        """Count the operations of ``planes`` planes (a multiply-add is two)."""
        with FlopCounterMode(display=False) as counter:
            self(planes)
        return counter.get_total_flops() / 1e9


def tiled(stack: VirtualStack, tile_px: int, halo_px: int) -> Callable[[int], None]:
    """Return a way to compute the same planes from overlapping tiles, as the engine would."""
    from fluofocus.data.tiling import tiles

    side = stack.image.shape[-1]
    cut = tiles(side, side, tile_px=tile_px, halo_px=halo_px, multiple=stack.network.size_multiple)

    def run(planes: int) -> None:
        output: Tensor = torch.empty(side, side)
        for tile in cut:
            features = stack.network.encode(stack.image[(..., *tile.read)])
            for z_um in torch.linspace(-10, 10, planes):
                plane = stack.network.decode(features, z_um.view(1, 1))
                output[tile.write] = plane[(0, 0, *tile.crop)]

    return run


def share_of_peak(repeats: int) -> list[str]:
    """Return a table of achieved FLOP/s of both networks against the peak."""
    peak = matrix_product_flops(repeats)
    lines = [
        f"float32 matrix product: {peak / 1e9:.0f} GFLOP/s",
        "",
        f"| network, {PLANES} planes of {SIDE_PX}x{SIDE_PX} | GFLOP | s | GFLOP/s | share |",
        "|---|---|---|---|---|",
    ]
    for architecture in ("swift", "deep_z"):
        stack = VirtualStack(architecture, SIDE_PX)
        gflop = stack.gflop(PLANES)
        seconds = best_seconds(lambda stack=stack: stack(PLANES), repeats)
        rate = gflop / seconds
        share = rate * 1e9 / peak
        lines.append(f"| {architecture} | {gflop:.1f} | {seconds:.3f} | {rate:.0f} | {share:.0%} |")
    return lines


def stack_ratio(planes: int, repeats: int) -> list[str]:
    """Return a table of whole stacks: deep_z, whole and tiled, against swift."""
    side = STACK_SIDE_PX
    swift, deep_z = VirtualStack("swift", side), VirtualStack("deep_z", side)
    ways = {"whole": deep_z, "in tiles": tiled(deep_z, 736, deep_z.network.receptive_field_px)}
    per_plane = {name: best_seconds(lambda way=way: way(1), 1) for name, way in ways.items()}
    fastest = min(per_plane, key=lambda name: per_plane[name])
    swift_s = mean_seconds(lambda: swift(planes), repeats)
    start = time.perf_counter()  # warm from the choice of the fastest way
    ways[fastest](planes)
    deep_z_s = time.perf_counter() - start
    return [
        f"| {planes} planes of {side}x{side} | GFLOP | s |",
        "|---|---|---|",
        f"| swift | {swift.gflop(planes):.0f} | {swift_s:.2f} |",
        f"| deep_z at paper widths, {fastest} | {deep_z.gflop(1) * planes:.0f} | {deep_z_s:.1f} |",
        f"| ratio | {deep_z.gflop(1) * planes / swift.gflop(planes):.0f} "
        f"| {deep_z_s / swift_s:.1f} |",
    ]


def main() -> None:
    """Measure, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--planes", type=int, default=STACK_PLANES)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    if any(name not in os.environ for name in MALLOC):  # read by the C library at its start
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        lines = [
            "# Speed",
            "",
            f"Measured by `python benchmarks/throughput.py` on {platform.machine()}, "
            f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}.",
            "",
            *share_of_peak(arguments.repeats),
            "",
            *stack_ratio(arguments.planes, arguments.repeats),
        ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
