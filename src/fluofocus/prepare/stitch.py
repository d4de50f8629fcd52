"""Stitching: where the overlapping tiles of one field lie, to a fraction of a pixel.

Tiles are compared in pairs where they overlap, and all pairs are solved for at once, as in
Preibisch et al. (Bioinformatics 25, 1463, 2009): each counts by its own precision, and
those that contradict the others are left out. The stage takes part as a weak link between
neighbours, which decides where nothing else does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.prepare.overlap import Tile, compare

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

LEAST_OVERLAP_PX = 16
"""Least overlap along both axes in which two tiles are compared."""

MOST_RESIDUAL_PX = 1.0
"""Distance from the common solution, above `MOST_DEVIATIONS`, from which a match is left out."""

MOST_DEVIATIONS = 3.0
"""Standard errors of a match that are no reason to leave it out."""

MOST_ERROR_PX = 2.0
"""Standard error of a match beyond which it counts, but connects no tiles."""

TYPICAL_RESIDUAL_PX = 0.1
"""Distance from the common solution, above one standard error, that makes a match count less."""

REWEIGHTINGS = 20
"""Rounds of least squares, after which outliers weigh no more."""


@dataclass(frozen=True)
class Placement:
    """Where tiles lie.

    Attributes
    ----------
    origin_px : ndarray of float (N, 2)
        Position (y, x) of each tile's first pixel; their mean is that of the stage.
    pairs : ndarray of int (P, 2)
        The pairs of tiles whose overlaps decided.
    residual_px : ndarray of float (P,)
        Distance between where a pair's overlap and where all of them put its tiles.
    unconnected : tuple of int
        Tiles that no such pair, known to `MOST_ERROR_PX` or better, connects to the largest
        group. Relative to their neighbours they lie about where the stage had them.
    """

    origin_px: Floats
    pairs: Indices
    residual_px: Floats
    unconnected: tuple[int, ...]


def place(
    tiles: Sequence[Tile], stage_px: npt.ArrayLike, *, stage_error_px: float = 10.0
) -> Placement:
    """Find where the tiles of one field lie.

    Of tiles on disk only the overlaps are read. Stacks are placed by one plane of each, or
    by their fused images, see `fluofocus.prepare.fusion.fuse`.

    Parameters
    ----------
    tiles
        N images ``(Y, X)``.
    stage_px
        ``(N, 2)``, positions (y, x) of the tiles by the stage.
    stage_error_px
        Most by which a tile may lie away from there, along each axis.

    Raises
    ------
    FluoFocusError
        If tiles do not overlap the others, or no overlap has content that matches.

    Warns
    -----
    FluoFocusWarning
        If overlaps without matching content leave tiles unconnected, see `Placement`.
    """
    stage = _checked(tiles, stage_px, stage_error_px)
    if len(tiles) == 1:
        return Placement(stage, np.empty((0, 2), np.int64), np.empty(0), ())
    neighbours = _neighbours(stage, np.array([tile.shape for tile in tiles]))
    if apart := _outside_largest_group(neighbours, len(tiles)):
        raise FluoFocusError(
            f"Tiles {_listed(apart)} do not overlap the others by {LEAST_OVERLAP_PX} px where "
            "the stage has them: check that its positions are in pixels, y before x, and in the "
            "order of the tiles."
        )
    measured = _links_by_overlap(tiles, stage, neighbours, stage_error_px)
    if not len(measured.pairs):
        raise FluoFocusError(
            f"None of the {len(neighbours)} overlaps has content that matches: check the order "
            "of the tiles, the directions of y and x, and stage_error_px."
        )
    placement = _solved(measured, _links_by_stage(stage, neighbours, stage_error_px), stage)
    if placement.unconnected:
        warnings.warn(
            f"Tiles {_listed(placement.unconnected)} have no matching content where they "
            "overlap the others: relative to those they lie about where the stage had them.",
            FluoFocusWarning,
            stacklevel=2,
        )
    return placement


def _checked(tiles: Sequence[Tile], stage_px: npt.ArrayLike, stage_error_px: float) -> Floats:
    stage = np.asarray(stage_px, dtype=np.float64)
    if not tiles or stage.shape != (len(tiles), 2) or not np.isfinite(stage).all():
        raise FluoFocusError(
            f"Stage positions must be a finite (y, x) for each of the {len(tiles)} tiles, not an "
            f"array of shape {stage.shape}."
        )
    if wrong := [index for index, tile in enumerate(tiles) if len(tile.shape) != 2]:
        raise FluoFocusError(
            f"Tiles {_listed(wrong)} have other axes than Y and X: place stacks by one plane of "
            "each, or by their fused images."
        )
    if not 0 < stage_error_px < math.inf:
        raise FluoFocusError(f"stage_error_px must be above zero, not {stage_error_px:g}.")
    return stage


def _listed(tiles: Sequence[int]) -> str:
    return ", ".join(map(str, tiles[:20])) + (", …" if len(tiles) > 20 else "") + " (from 0)"


def _neighbours(stage: Floats, sizes: Indices) -> Indices:
    """Return the pairs ``(P, 2)`` of tiles that overlap where the stage has them."""
    top, bottom = stage, stage + sizes
    pairs = []
    for index in range(len(stage)):
        later = slice(index + 1, None)
        overlap = np.minimum(bottom[index], bottom[later]) - np.maximum(top[index], top[later])
        others = np.flatnonzero((overlap >= LEAST_OVERLAP_PX).all(axis=1))
        pairs += [(index, index + 1 + int(other)) for other in others]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _outside_largest_group(pairs: Indices, count: int) -> tuple[int, ...]:
    """Return the tiles that pairs do not connect to the largest group of tiles."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    return tuple(np.flatnonzero(group != np.bincount(group).argmax()).tolist())


class _Links(NamedTuple):
    """What is known of the second origin minus the first of some pairs of tiles."""

    pairs: Indices
    """``(P, 2)``"""
    offset_px: Floats
    """``(P, 2)``"""
    information_per_px2: Floats
    """``(P, 2, 2)``, inverse covariances."""

    def residual_px(self, origin: Floats) -> Floats:
        """Return how far ``(P,)`` each is from what origins say."""
        first, second = self.pairs.T
        distance: Floats = np.linalg.norm(origin[second] - origin[first] - self.offset_px, axis=1)
        return distance

    def error_px(self) -> Floats:
        """Return the standard error ``(P,)`` of each along the axis where it is largest."""
        least = np.linalg.eigvalsh(self.information_per_px2)[:, 0]
        return np.asarray(least**-0.5, dtype=np.float64)

    def chosen(self, which: npt.NDArray[np.bool_]) -> _Links:
        """Return some of them."""
        return _Links(self.pairs[which], self.offset_px[which], self.information_per_px2[which])

    def weighted(self, weights: Floats) -> _Links:
        """Return them with other weights."""
        return self._replace(information_per_px2=self.information_per_px2 * weights[:, None, None])

    def with_others(self, others: _Links) -> _Links:
        """Return them all."""
        return _Links(
            np.concatenate([self.pairs, others.pairs]),
            np.concatenate([self.offset_px, others.offset_px]),
            np.concatenate([self.information_per_px2, others.information_per_px2]),
        )


def _links_by_stage(stage: Floats, pairs: Indices, stage_error_px: float) -> _Links:
    """Return what the stage says about pairs: little, where an overlap says it too."""
    first, second = pairs.T
    information = np.eye(2) / (2 * stage_error_px**2)
    return _Links(pairs, stage[second] - stage[first], np.tile(information, (len(pairs), 1, 1)))


def _links_by_overlap(
    tiles: Sequence[Tile], stage: Floats, pairs: Indices, stage_error_px: float
) -> _Links:
    """Return what the overlaps of pairs say, of those that have content which matches."""
    found = []
    for first, second in pairs.tolist():
        match = compare(
            tiles[first],
            tiles[second],
            stage[second] - stage[first],
            2 * stage_error_px,
            least_overlap_px=LEAST_OVERLAP_PX,
        )
        if match is not None:
            found.append(((first, second), match))
    return _Links(
        np.array([pair for pair, _ in found], dtype=np.int64).reshape(-1, 2),
        np.array([match.offset_px for _, match in found]).reshape(-1, 2),
        np.array([match.information_per_px2 for _, match in found]).reshape(-1, 2, 2),
    )


def _solved(measured: _Links, by_stage: _Links, stage: Floats) -> Placement:
    """Solve for all tiles, leaving out measured links that the others contradict.

    The worst are left out first, for they pull others along.
    """
    while True:
        origin = _least_distances(measured, by_stage, len(stage))
        residual = measured.residual_px(origin)
        excess = residual / (MOST_RESIDUAL_PX + MOST_DEVIATIONS * measured.error_px())
        worst = excess.max(initial=0.0)
        if worst <= 1:
            break
        measured = measured.chosen(excess <= max(1.0, worst / 2))
    firm = measured.chosen(measured.error_px() <= MOST_ERROR_PX)
    return Placement(
        origin_px=origin + (stage - origin).mean(axis=0),
        pairs=measured.pairs,
        residual_px=residual,
        unconnected=_outside_largest_group(firm.pairs, len(stage)),
    )


def _least_distances(measured: _Links, by_stage: _Links, count: int) -> Floats:
    """Return the origins ``(N, 2)`` of least distances, not squared ones, to measured links.

    Least squares, reweighted until outliers pull no harder than others.
    """
    weights, typical_px = np.ones(len(measured.pairs)), TYPICAL_RESIDUAL_PX + measured.error_px()
    for _ in range(REWEIGHTINGS):
        links = measured.weighted(weights).with_others(by_stage)
        origin = _least_squares(links, count)
        weights = 1 / np.hypot(1, measured.residual_px(origin) / typical_px)
    return origin


def _least_squares(links: _Links, count: int) -> Floats:
    """Return the origins ``(N, 2)`` that fit links best; the first lies at zero."""
    from scipy.sparse import block_diag, coo_array, kron
    from scipy.sparse.linalg import spsolve

    rows = np.arange(len(links.pairs)).repeat(2)
    signs = np.tile([-1.0, 1.0], len(links.pairs))
    shape = (len(links.pairs), count)
    difference = kron(coo_array((signs, (rows, links.pairs.ravel())), shape=shape), np.eye(2))
    difference = difference.tocsr()[:, 2:]
    weighted = difference.T @ block_diag(links.information_per_px2, format="csr")
    origin = np.zeros(2 * count)
    origin[2:] = spsolve((weighted @ difference).tocsc(), weighted @ links.offset_px.ravel())
    return origin.reshape(count, 2)
