"""How large tiles, batches and groups of planes may be for a budget of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from fluofocus.data.grid import Grid
from fluofocus.data.tiling import Tile, round_up, tiles
from fluofocus.errors import FluoFocusError
from fluofocus.models.footprint import (
    FLOAT_BYTES,
    GIB,
    LIBRARY_BYTES,
    byte_count,
    noting_layers,
)
from fluofocus.models.network import RefocusingNetwork

LIVE_LAYERS = 3.0
"""Peak memory of a network over input plus output of its largest layer.

Measured with tiles of 1024 to 2048 pixels: 1.0 to 1.6 to encode, 2.4 to 2.8 to decode.
"""

FRAME_COPIES = 6
"""Arrays of the size of the image, beside the group's planes, that live while it is prepared."""

AHEAD_COPIES = 4
"""More such arrays where there are several images: the next is read, results are written."""

NETWORK_SHARE = 0.7
"""Share of what is then free that activations may take; output on its way takes the rest."""

LARGEST_BATCH = 8
"""Planes decoded at once, at most: more is not faster."""

CPU_BATCH_PX = 512**2
"""Pixels decoded at once on a CPU, at least one plane: more leave the caches.

Measured with `swift` on two cores: 12 ms a plane of 512x512 pixels one at a time, 25 ms eight
at a time.
"""


@dataclass(frozen=True)
class Footprint:
    """Bytes per pixel of input: kept features, largest layer to encode, and per plane to decode."""

    features: float
    encode: float
    decode: float


@dataclass(frozen=True)
class Plan:
    """How the work is cut up: tiles, planes decoded at once, planes finished together."""

    tiles: list[Tile]
    planes_per_batch: int
    planes_per_group: int


def measure_footprint(
    network: RefocusingNetwork,
    *,
    inputs: int = 1,
    dpm_is_image: bool = False,
    with_error: bool = False,
) -> Footprint:
    """Run a network on a small blank image, on the CPU, and note how large its layers get."""
    side = 4 * network.size_multiple
    image = torch.zeros(1, inputs, side, side)
    dpm = torch.zeros(1, inputs, 1, *([side, side] if dpm_is_image else []))
    with torch.inference_mode():
        with noting_layers(network) as encode:
            features = network.encode(image)
        with noting_layers(network) as decode:
            network.decode(features, dpm, with_error=with_error)
    kept = sum(byte_count(feature) for feature in features)
    return Footprint(*(count / side**2 for count in (kept, max(encode), max(decode))))


def make_plan(
    network: RefocusingNetwork,
    footprint: Footprint,
    grid: Grid,
    *,
    planes: int,
    images: int = 1,
    outputs: int = 1,
    memory_gb: float,
    held_bytes: int = 0,
    on_cpu: bool = True,
) -> Plan:
    """Choose tiles, batches and groups such that the process stays within a budget.

    The budget is shared by the libraries (`LIBRARY_BYTES`), what the network keeps, copies of one
    image (`FRAME_COPIES`, `AHEAD_COPIES`), what is held anyway, the activations of one batch
    (`LIVE_LAYERS` times its largest layer) and, where results are resampled, the planes of
    a group.
    The choice depends on nothing else, so that a resumed run repeats it.

    Parameters
    ----------
    planes
        Target planes per image.
    images
        How many images there are.
    outputs
        How many images are written of each plane.
    memory_gb
        The budget of the whole process, in GiB.
    held_bytes
        What is held in memory throughout, like the result.
    on_cpu
        Whether the network runs on a CPU, where small batches are the fast ones.

    Raises
    ------
    FluoFocusError
        If the budget is too small for this image and network.
    """
    image_bytes = FLOAT_BYTES * max(math.prod(grid.input_yx), math.prod(grid.padded_yx))
    copies = FRAME_COPIES if images == 1 else FRAME_COPIES + AHEAD_COPIES
    taken = LIBRARY_BYTES + network.kept_bytes + copies * image_bytes + held_bytes
    free = memory_gb * GIB - taken
    per_px = LIVE_LAYERS * max(footprint.encode, footprint.decode) + footprint.features
    multiple, halo_px = network.size_multiple, network.receptive_field_px
    tile_px = math.isqrt(max(0, int(NETWORK_SHARE * free / per_px))) // multiple * multiple
    try:
        cut = tiles(*grid.network_yx, tile_px=tile_px, halo_px=halo_px, multiple=multiple)
    except ValueError:
        side = 2 * round_up(halo_px, multiple) + multiple
        smallest = math.prod(min(side, length) for length in grid.padded_yx)
        needed = memory_gb + (per_px * smallest / NETWORK_SHARE - free) / GIB
        raise FluoFocusError(
            f"{planes} plane(s) of {grid.input_yx[0]}x{grid.input_yx[1]} pixels need about "
            f"{needed:.1f} GiB of memory, more than the budget of {memory_gb:g} GiB: raise the "
            "budget (--memory, memory_gb=), write to a file, or crop the image."
        ) from None
    area = max(math.prod(axis.stop - axis.start for axis in tile.read) for tile in cut)
    for_batch = (NETWORK_SHARE * free / area - footprint.features) / LIVE_LAYERS
    for_group = (
        (1 - NETWORK_SHARE) * free / (outputs * image_bytes) if grid.is_resampled else planes
    )
    group = max(1, min(planes, int(for_group)))
    largest = min(LARGEST_BATCH, CPU_BATCH_PX // area) if on_cpu else LARGEST_BATCH
    batch = max(1, min(group, largest, int(for_batch / footprint.decode)))
    return Plan(tiles=cut, planes_per_batch=batch, planes_per_group=group)
