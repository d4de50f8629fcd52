"""Mosaics: placed tiles fused into one image, in blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.overlap import Tile
from fluofocus.prepare.stitch import Placement
from fluofocus.units import AnyArray, FloatArray

SPLINE_REACH_PX = 16
"""Distance at which a cubic spline no longer feels where its image was cut."""


def mosaic(tiles: Sequence[Tile], placement: Placement, *, chunk_px: int = 1024) -> da.Array:
    """Fuse placed tiles into one image, each block of it when it is asked for.

    Tiles are moved by fractions of a pixel with cubic splines, and blended with weights
    that fall linearly towards their edges. The first pixel lies at the lowest
    ``origin_px``, rounded down; where there is no tile, the mosaic is zero. Each block
    takes at most 40 bytes a pixel to compute, whatever the number of tiles.

    Parameters
    ----------
    tiles
        N images or stacks ``(…, Y, X)`` of one type, with the same axes before Y and X.
    placement
        From `place`, of the same tiles or of one plane of each.
    chunk_px
        Side of the blocks; before Y and X they are one thick.

    Returns
    -------
    dask.array.Array
        ``(…, Y, X)`` of the tiles' type, for `fluofocus.io.make_stack`.

    Raises
    ------
    FluoFocusError
        If the tiles are not alike, or not as many as were placed.
    """
    kinds = {(tile.shape[:-2], np.dtype(tile.dtype)) for tile in tiles}
    if len(kinds) != 1 or len(tiles) != len(placement.origin_px):
        raise FluoFocusError(
            "A mosaic needs the tiles that were placed, all of one type and with the same planes."
        )
    ((planes, dtype),) = kinds
    origin = placement.origin_px - np.floor(placement.origin_px.min(axis=0))
    fusion = _Fusion(tuple(tiles), origin, dtype)
    ends = origin + [tile.shape[-2:] for tile in tiles]
    shape = (*planes, *(int(end) for end in np.floor(ends.max(axis=0))))
    chunks = tuple(
        (size,) * (length // size) + ((length % size,) if length % size else ())
        for length, size in zip(shape, (*(1 for _ in planes), chunk_px, chunk_px), strict=True)
    )
    meta = np.empty((0,) * len(shape), dtype)
    name = f"mosaic-{uuid4()}"  # else dask would read all tiles to make one
    fused: da.Array = da.map_blocks(fusion.block, chunks=chunks, meta=meta, name=name)  # type: ignore[no-untyped-call]
    return fused


@dataclass(frozen=True)
class _Fusion:
    """Tiles and their origins in the mosaic, from which blocks are made."""

    tiles: tuple[Tile, ...]
    origin_px: npt.NDArray[np.float64]
    dtype: np.dtype[Any]

    def block(self, block_info: Any) -> AnyArray:
        """Return one block, as `dask.array.map_blocks` asks for it."""
        location = block_info[None]["array-location"]
        *planes, rows, columns = location
        index = tuple(int(start) for start, _ in planes)
        total = np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.float32)
        weight = np.zeros_like(total)
        for tile, (top, left) in zip(self.tiles, self.origin_px.tolist(), strict=True):
            y = _Cut.of(rows, top, tile.shape[-2])
            x = _Cut.of(columns, left, tile.shape[-1])
            if y and x:
                ramp = np.outer(y.ramp, x.ramp)
                total[y.place, x.place] += ramp * _resampled(tile, index, y, x)
                weight[y.place, x.place] += ramp
        total /= np.maximum(weight, np.finfo(np.float32).tiny)
        return self._as_recorded(total)[(None,) * len(index)]

    def _as_recorded(self, fused: FloatArray) -> AnyArray:
        if np.issubdtype(self.dtype, np.integer):
            limits = np.iinfo(self.dtype)
            fused = fused.round().clip(limits.min, limits.max)
        return fused.astype(self.dtype)


@dataclass(frozen=True)
class _Cut:
    """The part of a tile that lies in a block, along one axis.

    Attributes
    ----------
    place
        Its pixels in the block.
    read
        The pixels of the tile that decide it.
    inside
        Its pixels among those, once these are moved towards zero by ``fraction``.
    ramp
        Its weights, which fall to both edges of the tile.
    """

    place: slice
    read: slice
    inside: slice
    fraction: float
    ramp: FloatArray

    @staticmethod
    def of(span: tuple[int, int], origin: float, length: int) -> _Cut | None:
        """Cut a tile that begins at ``origin``; None where it does not reach the block."""
        first = math.ceil(origin)
        start, stop = max(span[0], first), min(span[1], math.floor(origin + length - 1) + 1)
        if stop <= start:
            return None
        low, high = max(0, start - first - SPLINE_REACH_PX), stop - first + SPLINE_REACH_PX
        in_tile = np.arange(start, stop) - origin
        return _Cut(
            place=slice(start - span[0], stop - span[0]),
            read=slice(low, min(length, high)),
            inside=slice(start - first - low, stop - first - low),
            fraction=first - origin,
            ramp=(1 + np.minimum(in_tile, length - 1 - in_tile)).astype(np.float32),
        )


def _resampled(tile: Tile, index: tuple[int, ...], y: _Cut, x: _Cut) -> FloatArray:
    from scipy.ndimage import shift

    part = np.asarray(tile[(*index, y.read, x.read)], dtype=np.float32)
    moved: FloatArray = shift(part, (-y.fraction, -x.fraction), order=3, mode="nearest")
    return moved[y.inside, x.inside]
