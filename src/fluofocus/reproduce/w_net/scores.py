"""Beads of several fields, found or not at each defocus, with intervals by resampling them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree

from fluofocus.measure.beads import Array
from fluofocus.measure.image import pearson
from fluofocus.measure.localisation import locate, score_positions
from fluofocus.reproduce.w_net.fields import Field
from fluofocus.units import AnyArray

RIM_PX = 20
TOLERANCE_UM = 0.25
FEWEST = 10
"""Matched beads from which a lateral error is given."""
RESAMPLINGS = 500
CONFIDENCE_PERCENT = (2.5, 97.5)


@dataclass(frozen=True)
class FieldScore:
    """One image against the truth of its field, bead by bead.

    Attributes
    ----------
    counted, matched : ndarray of bool (N,)
        Which known beads are scored, and which of them were found.
    square_um2 : ndarray (N,)
        Squared lateral error, 0 where there is none.
    spurious : ndarray (N,)
        False finds closer to this bead than to any other.
    correlation : float
        With the confocal image.
    """

    counted: npt.NDArray[np.bool_]
    matched: npt.NDArray[np.bool_]
    square_um2: Array
    spurious: Array
    correlation: float


def score_image(
    image: AnyArray,
    field: Field,
    pixel_um: float,
    *,
    noise_threshold: float,
    noise: float | None,
) -> FieldScore:
    """Locate beads in an image and compare them, and the image, with the confocal truth."""
    found_px = locate(image, noise_threshold=noise_threshold, min_contrast=0.0, noise=noise)
    score = score_positions(
        found_px,
        field.known_px,
        pixel_size_um=pixel_um,
        tolerance_um=TOLERANCE_UM,
        inside_px=without_rim(image),
    )
    count = len(field.known_px)
    matched = np.zeros(count, dtype=bool)
    matched[score.known_index] = True
    counted = matched.copy()
    counted[score.missed_index] = True
    square_um2 = np.zeros(count)
    square_um2[score.known_index] = np.square(score.offset_um).sum(axis=1)
    # false finds belong to a bead, so that they are resampled along with it
    candidates = np.flatnonzero(counted)
    _, nearest = cKDTree(field.known_px[candidates]).query(score.spurious_px)
    spurious = np.bincount(candidates[nearest], minlength=count).astype(float)
    both = (torch.from_numpy(np.array(x, dtype=np.float32)) for x in (image, field.confocal))
    return FieldScore(counted, matched, square_um2, spurious, float(pearson(*both)))


def without_rim(image: AnyArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the first and last position along y and x that count."""
    last_y, last_x = (size - 1.0 - RIM_PX for size in image.shape)
    return (RIM_PX, last_y), (RIM_PX, last_x)


@dataclass(frozen=True)
class Curve:
    """Scores of one method by the input's defocus: ``(planes, beads of all fields)``."""

    z_um: Array
    counted: Array
    matched: Array
    square_um2: Array
    spurious: Array
    correlations: Array
    """``(planes, fields)``."""

    def jaccard(self, weights: Array | None = None) -> Array:
        """Return the Jaccard index by plane, or ``(resamplings, planes)`` with their weights."""
        drawn = self._weights(weights)
        index = _ratio(drawn @ self.matched.T, drawn @ (self.counted + self.spurious).T)
        return index[0] if weights is None else index

    def rmse_um(self, weights: Array | None = None) -> Array:
        """Return the lateral error of the matched beads likewise; NaN where there is none."""
        drawn = self._weights(weights)
        error = np.sqrt(_ratio(drawn @ self.square_um2.T, drawn @ self.matched.T))
        return error[0] if weights is None else error

    def _weights(self, weights: Array | None) -> Array:
        return np.ones((1, self.counted.shape[1])) if weights is None else weights

    @property
    def matched_count(self) -> Array:
        """Beads found and known, by plane."""
        return np.asarray(self.matched.sum(axis=1))

    @property
    def correlation(self) -> Array:
        """Mean correlation with the confocal image, by plane."""
        return np.asarray(self.correlations.mean(axis=1))

    def at(self, planes_um: Sequence[float]) -> npt.NDArray[np.intp]:
        """Return the indices of planes, those left out that were not scored."""
        return np.array(
            [i for z in planes_um for i in np.flatnonzero(np.abs(self.z_um - z) < 1e-6)], dtype=int
        )


def curve(scores: Sequence[tuple[float, Sequence[FieldScore]]]) -> Curve:
    """Join the scores of planes, each with those of its fields."""

    def joined(name: str) -> Array:
        return np.stack([np.concatenate([getattr(x, name) for x in each]) for _, each in scores])

    return Curve(
        z_um=np.array([z for z, _ in scores]),
        counted=joined("counted").astype(float),
        matched=joined("matched").astype(float),
        square_um2=joined("square_um2"),
        spurious=joined("spurious"),
        correlations=np.array([[x.correlation for x in each] for _, each in scores]),
    )


def resampled(beads: int, seed: int) -> Array:
    """Return how often each bead is drawn, ``(RESAMPLINGS, beads)``."""
    return (
        np.random.default_rng(seed)
        .multinomial(beads, np.full(beads, 1 / beads), size=RESAMPLINGS)
        .astype(float)
    )


def interval(values: Array) -> Array:
    """Return the 95 % interval of resampled values, along the first axis; NaN where any is."""
    return np.asarray(np.percentile(values, CONFIDENCE_PERCENT, axis=0))


def _ratio(part: Array, whole: Array) -> Array:
    shares = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=shares, where=whole > 0))
