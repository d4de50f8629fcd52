"""How a stack is cut into tiles that overlap."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from fluofocus.data.blending import BlendedSpan, blended_spans
from fluofocus.data.grid import Grid
from fluofocus.data.planes import PlaneMixture
from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import StackModel
from fluofocus.models.footprint import FLOAT_BYTES, GIB, LIBRARY_BYTES, noting_layers
from fluofocus.models.stack_network import Extent, StackNetwork

OVERLAP_SHARE = 0.25
"""Of the length of a patch of the training, that neighbouring tiles have in common."""

TILES_AT_ONCE = 2
"""PyTorch convolves a single stack on a processor with slow routines: half the speed, measured."""

LARGER_TILES = Extent(4, 2, 2)
"""How many patches of the training a tile spans where its size does not matter to the network."""

LIVE_LAYERS = 5.0
"""Peak memory of a network over input plus output of its largest layer (measured: 4.2 to 4.8)."""

READING_COPIES = 2
"""Arrays of the size of what is read: the chunks of the file, and the planes made of them."""


@dataclass(frozen=True)
class Plan:
    """Spans of tiles along each axis, planes, rows and columns."""

    z: list[BlendedSpan]
    y: list[BlendedSpan]
    x: list[BlendedSpan]

    @property
    def tile(self) -> Extent:
        """Voxels of a tile."""
        return Extent(*(len(axis[0].weight) for axis in (self.z, self.y, self.x)))

    @property
    def tiles_per_block(self) -> int:
        """How many tiles there are side by side."""
        return len(self.y) * len(self.x)


def make_plan(
    model: StackModel,
    grid: Grid,
    planes: PlaneMixture,
    *,
    recorded_bytes: int,
    frames: int,
    memory_gb: float,
    held_bytes: int = 0,
) -> Plan:
    """Choose tiles such that the process stays within a budget.

    A network whose layers take statistics over the tile gets tiles as large as the patches
    that it was trained on, since it works best on these. Any other gets deeper and larger ones,
    as far as memory allows.

    Parameters
    ----------
    planes
        That the network sees, out of the recorded ones.
    recorded_bytes
        Of one recorded voxel.
    frames
        How many such stacks there are: the next is read while one is restored.
    memory_gb
        The budget of the whole process, in GiB.
    held_bytes
        What is held in memory throughout, like the result.

    Raises
    ------
    FluoFocusError
        If the budget is too small.
    """
    trained, network = model.card.training, model.network
    patch = Extent(trained.planes, trained.crop_px, trained.crop_px)
    per_voxel = LIVE_LAYERS * _bytes_per_voxel(network)
    available = memory_gb * GIB - LIBRARY_BYTES - held_bytes
    depth = len(planes.lower)
    for tile in _sizes(patch, network):
        plan = _cut(tile, patch, network, grid, depth)
        tiles_bytes = TILES_AT_ONCE * per_voxel * math.prod(plan.tile)
        recorded = _recorded_voxels(plan, grid, planes) * recorded_bytes
        seen = plan.tile.z * math.prod(grid.padded_yx) * FLOAT_BYTES
        # a block is prepared of what was recorded, while the next one is read; then the
        # network's tiles of it add up to as many planes
        reading = READING_COPIES * recorded if len(plan.z) * frames > 1 else 0
        needed = seen + reading + max(recorded, seen + tiles_bytes)
        if needed <= available:
            return plan
    elsewhere = " write to a file," if held_bytes else ""
    raise FluoFocusError(
        f"Restoring {depth} planes of {grid.input_yx[0]}x{grid.input_yx[1]} pixels needs about "
        f"{memory_gb + (needed - available) / GIB:.1f} GiB of memory, more than the budget of "
        f"{memory_gb:g} GiB: raise the budget (--memory, memory_gb=),{elsewhere} or crop the stack."
    )


def _sizes(patch: Extent, network: StackNetwork) -> list[Extent]:
    """Return sizes of tiles to try, the best first: what lies above and below tells most."""
    if network.depends_on_tile:
        return [patch]
    factors = itertools.product(*(range(most, 0, -1) for most in LARGER_TILES))
    sizes = {Extent(patch.z * z, patch.y * y, patch.x * x) for z, y, x in factors if y == x}
    return sorted(sizes, reverse=True)


def _cut(tile: Extent, patch: Extent, network: StackNetwork, grid: Grid, depth: int) -> Plan:
    lengths = (depth, *grid.padded_yx)
    overlaps = (math.ceil(OVERLAP_SHARE * size) for size in patch)
    z, y, x = (
        blended_spans(length, tile=size, overlap=overlap, multiple=multiple)
        for length, size, overlap, multiple in zip(
            lengths, tile, overlaps, network.size_multiple, strict=True
        )
    )
    return Plan(z, y, x)


def _recorded_voxels(plan: Plan, grid: Grid, planes: PlaneMixture) -> int:
    """Return how many a block is made of, at most."""
    needed = [planes.needed(span.read) for span in plan.z]
    return max(int(each.stop - each.start) for each in needed) * math.prod(grid.input_yx)


def _bytes_per_voxel(network: StackNetwork) -> float:
    """Run a network on a small blank stack, on the CPU, and note how large its layers get."""
    size = Extent(*(2 * multiple for multiple in network.size_multiple))
    with torch.inference_mode(), noting_layers(network) as sizes:
        network(torch.zeros(1, 1, *size))
    return max(sizes) / math.prod(size)
