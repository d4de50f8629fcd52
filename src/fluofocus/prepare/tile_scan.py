"""A field recorded as a grid of overlapping tiles, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import known_voxel_size_um, make_stack
from fluofocus.prepare.mosaic import mosaic
from fluofocus.prepare.regions import middle_plane
from fluofocus.prepare.stitch import Placement, place
from fluofocus.units import AnyArray


def grid_px(
    count: int, columns: int, shape_yx: tuple[int, int], overlap_share: float, *, snake: bool
) -> AnyArray:
    """Return where a stage has the tiles of a grid, ``(count, 2)`` y and x in pixels.

    Parameters
    ----------
    count
        Tiles, row by row from the top.
    columns
        Tiles of a row.
    shape_yx
        Pixels of a tile.
    overlap_share
        Share of a tile's side that the next one has too.
    snake
        Whether every second row was recorded from right to left.

    Raises
    ------
    FluoFocusError
        If the tiles do not fill whole rows, or the overlap is no share.
    """
    if columns < 1 or count % columns:
        raise FluoFocusError(f"{count} tiles do not fill rows of {columns}: correct --columns.")
    if not 0 < overlap_share < 1:
        raise FluoFocusError(f"The overlap must lie between 0 and 1, not at {overlap_share:g}.")
    row, column = np.divmod(np.arange(count), columns)
    if snake:
        column = np.where(row % 2 == 0, column, columns - 1 - column)
    positions: AnyArray = np.stack([row, column], 1) * np.array(shape_yx) * (1 - overlap_share)
    return positions


def stitched(
    tiles: Sequence[xr.DataArray], stage_px: AnyArray, *, stage_error_px: float = 10.0
) -> tuple[xr.DataArray, Placement]:
    """Put the tiles of one field together; nothing but overlaps is read before it is needed.

    Focus scans are placed by the plane in which the tile in the middle is in focus.

    Parameters
    ----------
    tiles
        Stacks of the same axes, shape and type.
    stage_px
        ``(N, 2)``, positions y and x.
    stage_error_px
        Most by which a tile may lie away from there, along each axis.

    Raises
    ------
    FluoFocusError
        If the tiles are unlike, or do not match where they overlap.
    """
    first = tiles[0]
    for tile in tiles[1:]:
        if (tile.dims, tile.shape, tile.dtype) != (first.dims, first.shape, first.dtype):
            raise FluoFocusError(
                f"{first.name} and {tile.name} differ in axes, size or bit depth: the tiles of a "
                "field must be alike."
            )
    index = _plane_to_place_by(tiles[len(tiles) // 2])
    placement = place([tile.data[index] for tile in tiles], stage_px, stage_error_px=stage_error_px)
    provenance: dict[str, Any] = {
        "tiles": [str(tile.name) for tile in tiles],
        "origin_px": placement.origin_px.round(3).tolist(),
        "unconnected": list(placement.unconnected),
    }
    stack = make_stack(
        mosaic([tile.data for tile in tiles], placement),
        "".join(str(dim) for dim in first.dims),
        known_voxel_size_um(first),
        provenance=provenance,
        channel_names=None if "C" not in first.coords else list(np.ravel(first.coords["C"].values)),
    )
    return stack, placement


def _plane_to_place_by(tile: xr.DataArray) -> tuple[int, ...]:
    """Choose the plane of highest standard deviation, of the first frame and channel."""
    before = [str(axis) for axis in tile.dims if str(axis) not in "YX"]
    frame = {axis: 0 for axis in before if axis != "Z"}
    plane = middle_plane(np.asarray(tile.isel(frame).values)) if "Z" in before else 0
    return tuple(plane if axis == "Z" else 0 for axis in before)
