"""Overlapping tiles whose results are blended, for networks whose tiles do not agree exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluofocus.units import FloatArray

MARGIN_SHARE = 0.25
"""Share of an overlap, at a tile's end, that does not count: the network sees least there."""


@dataclass(frozen=True)
class BlendedSpan:
    """A tile along one axis: what it reads, and what share of each result it gives."""

    read: slice
    weight: FloatArray


def blended_spans(length: int, *, tile: int, overlap: int, multiple: int) -> list[BlendedSpan]:
    """Cut an axis into tiles that overlap; their weights add up to one everywhere.

    Parameters
    ----------
    length
        Of the axis, a multiple of ``multiple``.
    tile
        Length of each tile.
    overlap
        Of two neighbours, at least; less than a tile.
    multiple
        What the starts and the lengths of all tiles are multiples of; ``tile`` and ``overlap``
        are rounded up to it.

    Returns
    -------
    list of BlendedSpan
        In order.
    """
    tile, overlap = (-(-size // multiple) * multiple for size in (tile, overlap))
    if length <= tile:
        return [BlendedSpan(slice(0, length), np.ones(length, np.float32))]
    overlap = min(overlap, tile - multiple)
    step = tile - overlap
    starts = [*range(0, length - tile, step), length - tile]
    raw = np.zeros((len(starts), length))
    for row, start in zip(raw, starts, strict=True):
        row[start : start + tile] = _window(tile, overlap, start == 0, start + tile == length)
    shares = (raw / raw.sum(axis=0)).astype(np.float32)
    return [
        BlendedSpan(slice(start, start + tile), share[start : start + tile])
        for start, share in zip(starts, shares, strict=True)
    ]


def _window(tile: int, overlap: int, is_first: bool, is_last: bool) -> FloatArray:
    """Rise from zero to one over a tile's overlap with the one before, and fall after it."""
    margin = MARGIN_SHARE * overlap
    inside = np.arange(tile) + 0.5
    width = max(1.0, overlap - 2 * margin)
    rise, fall = (np.clip((x - margin) / width, 0, 1) for x in (inside, inside[::-1]))
    window = np.ones(tile)
    if not is_first:
        window = window * np.sin(np.pi / 2 * rise) ** 2
    if not is_last:
        window = window * np.sin(np.pi / 2 * fall) ** 2
    return np.asarray(window, np.float32)
