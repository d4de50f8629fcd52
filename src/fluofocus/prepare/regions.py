"""Regions of a field that are worth training on, as in the Methods of Deep-Z.

Wu et al., "Three-dimensional virtual refocusing of fluorescence microscopy images using deep
learning", Nature Methods 16 (2019), "Image preprocessing and preparation of training data".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray


@dataclass(frozen=True)
class Region:
    """A square of a field: its first row and column, and what it holds."""

    top_px: int
    left_px: int
    size_px: int
    signal_share: float
    """Share of its pixels that the mask has."""

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        bottom, right = self.top_px + self.size_px, self.left_px + self.size_px
        return slice(self.top_px, bottom), slice(self.left_px, right)


def signal_mask(normalised: AnyArray, *, seed_level: float, grow_level: float) -> AnyArray:
    """Mark the sample's signal by geodesic dilation.

    What lies above ``seed_level`` grows into all that is connected to it and above
    ``grow_level``.

    Parameters
    ----------
    normalised
        ``(Y, X)``, the fused image, background at 0 and 1 % of the signal above 1.

    Returns
    -------
    AnyArray
        ``(Y, X)``, bool.
    """
    from skimage.filters import apply_hysteresis_threshold

    mask: AnyArray = apply_hysteresis_threshold(  # type: ignore[no-untyped-call]
        normalised, grow_level, seed_level
    )
    return mask


def cover(
    mask: AnyArray, size_px: int, *, overlap_share: float, least_signal_share: float
) -> tuple[list[Region], list[Region]]:
    """Cover a mask with few squares, which overlap a little.

    Greedy: a strip begins at the first row with signal that is not covered yet; in it a
    square at the first such column, and so on. Done from each of the eight turns of the
    field, with overlap and without, of which the one with the fewest squares is taken.

    Parameters
    ----------
    mask
        ``(Y, X)``, bool.
    size_px
        Side of the squares.
    overlap_share
        Share of its area that a square has in common with its neighbours, where that costs no
        further square.
    least_signal_share
        A square with a smaller share of its area in the mask is rejected.

    Returns
    -------
    tuple
        The squares chosen, and those that the rest of the mask lies in but which hold too
        little of it, each from top to bottom.

    Raises
    ------
    FluoFocusError
        If the field is smaller than a square.
    """
    if min(mask.shape) < size_px:
        raise FluoFocusError(
            f"The field has {mask.shape[0]} x {mask.shape[1]} pixels, fewer than a region's "
            f"{size_px}: lower region_px."
        )
    overlap_px = round(size_px * overlap_share / 2)  # on two sides of each square
    places = np.arange(mask.size).reshape(mask.shape)
    best: tuple[list[Region], list[Region]] | None = None
    for turns, core_px in product(range(8), (size_px - overlap_px, size_px)):
        turn = partial(_turned, turns=turns)
        corners = _sweep(turn(mask), size_px, core_px)
        squares = [turn(places)[y : y + size_px, x : x + size_px].min() for y, x in corners]
        regions = [_region(mask, int(first), size_px) for first in sorted(squares)]
        chosen = [region for region in regions if region.signal_share >= least_signal_share]
        if best is None or len(chosen) < len(best[0]):
            best = chosen, [region for region in regions if region not in chosen]
    assert best is not None
    return best


def middle_plane(stack: AnyArray) -> int:
    """Return the plane in focus: that of the highest standard deviation.

    Parameters
    ----------
    stack
        ``(Z, Y, X)`` of one region.
    """
    return int(np.argmax(np.std(stack, axis=(1, 2), dtype=np.float64)))


def _turned(image: AnyArray, turns: int) -> AnyArray:
    image = np.rot90(image, turns % 4)
    return image.T if turns >= 4 else image


def _sweep(mask: AnyArray, size_px: int, core_px: int) -> list[tuple[int, int]]:
    """Return first row and column of squares whose cores cover the mask, strip by strip."""
    height, width = mask.shape
    rest = mask.copy()
    corners = []
    while (rows := np.flatnonzero(rest.any(axis=1))).size:
        top = min(int(rows[0]), height - size_px)
        strip = rest[top : (top + core_px if top + size_px < height else height)]
        while (columns := np.flatnonzero(strip.any(axis=0))).size:
            left = min(int(columns[0]), width - size_px)
            strip[:, left : (left + core_px if left + size_px < width else width)] = False
            corners.append((top, left))
    return corners


def _region(mask: AnyArray, first: int, size_px: int) -> Region:
    top, left = divmod(first, mask.shape[1])
    region = Region(top, left, size_px, 0.0)
    return replace(region, signal_share=float(mask[region.slices].mean()))
