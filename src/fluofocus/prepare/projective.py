"""Projective transforms of pixels fitted to matching points, no wilder than these warrant."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fluofocus.prepare.transform import mapped, translation

Array = npt.NDArray[np.float64]

# The matrix is (a b c; d e f; g h 1). Columns: how each of a model's numbers enters a to h.
_SHIFT = np.eye(8)[:, [2, 5]]
_SIMILARITY = np.zeros((8, 4))
_SIMILARITY[[0, 4], 0] = 1
_SIMILARITY[[3, 1], 1] = 1, -1
_SIMILARITY[2, 2] = _SIMILARITY[5, 3] = 1

MODELS: dict[str, tuple[Array, int]] = {
    "shift": (_SHIFT, 1),
    "similarity": (_SIMILARITY, 5),
    "affine": (np.eye(8)[:, :6], 9),
    "projective": (np.eye(8), 16),
}
"""Name -> its columns, and the matches below which it is not considered."""

_OUTLIER = 3.0
"""Misfit, in typical ones, beyond which a match does not count."""


@dataclass(frozen=True)
class ProjectiveFit:
    """A transform, which matches ``(N,)`` it kept, and how far these are off on the whole."""

    model: str
    matrix: Array
    kept: npt.NDArray[np.bool_]
    residual_px: float


def best_fit(matches: Array, weights: Array | None = None) -> ProjectiveFit:
    """Choose among shift, similarity, affine and projective the one that matches warrant.

    Each is fitted robustly, and has to pay ``log(2 N)`` for each of its numbers as in the
    Bayesian information criterion (Schwarz, Ann. Stat. 6, 461, 1978).

    Parameters
    ----------
    matches
        ``(N, 2, 2)``: points (y, x) in fixed and in moving.
    weights
        ``(N, 2, 2)`` by which offsets in moving are multiplied, so that they count alike in
        all directions and matches; about one on the whole.
    """
    weights = np.broadcast_to(np.eye(2), matches.shape) if weights is None else weights
    names = [name for name, (_, least) in MODELS.items() if len(matches) >= least]
    fits = [_robust_fit(name, matches, weights) for name in names]
    misfits = [_misfit(fit.matrix, matches, weights) for fit in fits]
    typical = max(1.2 * float(np.median(misfits[-1])), 1e-6)  # in each of the two directions
    costs = [
        np.minimum((misfit / typical) ** 2, 2 * _OUTLIER**2).sum()
        + MODELS[fit.model][0].shape[1] * math.log(2 * len(matches))
        for fit, misfit in zip(fits, misfits, strict=True)
    ]
    return fits[int(np.argmin(costs))]


def consensus(matches: Array, tolerance_px: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which matches ``(N, 2, 2)`` agree on one shift, turn and scale (RANSAC).

    Similarities through random pairs of matches are compared by how many others lie
    within the tolerance (Fischler & Bolles, Commun. ACM 24, 381, 1981).
    """
    if len(matches) < 2:
        return np.zeros(len(matches), dtype=bool)
    rng = np.random.default_rng(seed)
    fixed, moving = (matches[:, side, 0] + 1j * matches[:, side, 1] for side in (0, 1))
    first, second = rng.integers(0, len(matches), (2, 1000))
    apart = np.abs(fixed[second] - fixed[first]) > 4 * tolerance_px
    first, second = first[apart], second[apart]
    if len(first) == 0:
        return np.zeros(len(matches), dtype=bool)
    turn = (moving[second] - moving[first]) / (fixed[second] - fixed[first])
    offset = moving[first] - turn * fixed[first]
    misfit = np.abs(turn[:, None] * fixed + offset[:, None] - moving)
    agree = (misfit < tolerance_px) & ((np.abs(turn) > 0.5) & (np.abs(turn) < 2))[:, None]
    return np.asarray(agree[agree.sum(axis=1).argmax()])


def _robust_fit(model: str, matches: Array, weights: Array) -> ProjectiveFit:
    """Fit, drop what is far off, and fit again, a few times."""
    kept = np.ones(len(matches), dtype=bool)
    for _ in range(6):
        matrix = _least_squares(model, matches[kept], weights[kept])
        misfit = _misfit(matrix, matches, weights)
        kept = misfit <= max(_OUTLIER * 1.2 * float(np.median(misfit)), 1e-6)
    residual = float(np.sqrt((misfit[kept] ** 2).mean()))
    return ProjectiveFit(model, matrix, kept, residual)


def _misfit(matrix: Array, matches: Array, weights: Array) -> Array:
    offset = matches[:, 1] - mapped(matrix, matches[:, 0])
    return np.asarray(np.linalg.norm(np.einsum("nij,nj->ni", weights, offset), axis=1))


def _least_squares(model: str, matches: Array, weights: Array) -> Array:
    """Return the matrix ``(3, 3)`` of least squared offsets in moving.

    The equations are linear once multiplied by the denominator, which is that of the
    iteration before; points are centred and scaled, which keeps them well conditioned.
    """
    columns, _ = MODELS[model]
    centres = matches.mean(axis=0)
    scale = max(float(np.sqrt(((matches[:, 0] - centres[0]) ** 2).mean())), 1e-9)
    source, target = ((matches[:, side] - centres[side]) / scale for side in (0, 1))
    design = np.zeros((len(matches), 2, 8))
    design[:, 0, :2] = design[:, 1, 3:5] = source
    design[:, 0, 2] = design[:, 1, 5] = 1
    design[:, :, 6:] = -target[:, :, None] * source[:, None, :]
    start = np.array([1.0, 0, 0, 0, 1, 0, 0, 0]) if model == "shift" else np.zeros(8)
    entries = start
    for _ in range(4 if model == "projective" else 1):
        denominator = 1 + source @ entries[6:]
        weighted = weights / denominator[:, None, None]
        rows = (weighted @ design @ columns).reshape(-1, columns.shape[1])
        wanted = np.einsum("nij,nj->ni", weighted, target - design @ start).ravel()
        entries = start + columns @ np.linalg.lstsq(rows, wanted, rcond=None)[0]
    inner = np.append(entries, 1).reshape(3, 3)
    scaling = np.diag([scale, scale, 1])
    matrix = translation(centres[1]) @ scaling @ inner
    matrix = matrix @ np.diag([1 / scale, 1 / scale, 1]) @ translation(-centres[0])
    return np.asarray(matrix / matrix[2, 2])
