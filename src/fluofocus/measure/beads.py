"""Beads in an image: where they are, and which of the known ones were found."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]
MAD_TO_SIGMA = 1.4826  # standard deviation over median absolute deviation, Gaussian noise


@dataclass(frozen=True)
class FoundBeads:
    """Beads found in one image, brightest first.

    Attributes
    ----------
    yx_px : ndarray (N, 2)
        Sub-pixel positions.
    height : ndarray (N,)
        Height of the smoothed peak above the background, in the image's units.
    nearest_px : ndarray (N,)
        Distance to the nearest other bead found; infinite for a single bead.
    """

    yx_px: Array
    height: Array
    nearest_px: Array

    def __len__(self) -> int:
        """Return how many beads were found."""
        return len(self.yx_px)

    def isolated(self, distance_px: float) -> npt.NDArray[np.bool_]:
        """Return which beads have no other one closer than ``distance_px``."""
        return np.asarray(self.nearest_px >= distance_px)


def find_beads(
    image: AnyArray,
    *,
    smoothing_px: float = 1.0,
    separation_px: int = 2,
    noise_threshold: float = 6.0,
    min_contrast: float = 0.05,
    noise: float | None = None,
) -> FoundBeads:
    """Find beads as local maxima of a smoothed image that stand out from its noise.

    Parameters
    ----------
    image : ndarray (Y, X)
        Intensities.
    smoothing_px : float
        Standard deviation of the Gaussian that suppresses noise before maxima are sought.
    separation_px : int
        A maximum is the largest value within this many pixels along y and x.
    noise_threshold : float
        Height over the background (median) that a peak needs, in standard deviations of the
        smoothed image's noise.
    min_contrast : float
        Height it needs as a share of the highest peak, so that the rings around bright
        beads in noise-free images are not taken for beads.
    noise : float, optional
        That standard deviation; by default `image_noise` of the image. For a network's output,
        which shows no noise where there is no bead, give that of the image it was made from.

    Returns
    -------
    FoundBeads
        Possibly empty, as for a constant image.

    Raises
    ------
    FluoFocusError
        If the image is not two-dimensional, or holds NaN or infinite values.
    """
    smooth = ndimage.gaussian_filter(checked_plane(image), smoothing_px)
    background = np.median(smooth)
    smooth -= background
    noise = _deviation(smooth) if noise is None else noise
    threshold = max(noise_threshold * noise, min_contrast * smooth.max())
    # Rounding makes the smoothed image of a constant one not quite constant.
    threshold = max(threshold, 1e-9 * abs(background))

    peaks = ndimage.maximum_filter(smooth, 2 * separation_px + 1) == smooth
    labels, count = ndimage.label(peaks & (smooth > threshold), np.ones((3, 3)))
    centres = ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))
    yx = np.round(np.array(centres).reshape(count, 2)).astype(int)
    height = smooth[yx[:, 0], yx[:, 1]]
    order = np.argsort(-height, kind="stable")
    yx_px = _refined_by_parabola(smooth, yx[order])
    return FoundBeads(yx_px, height[order], _nearest_distance(yx_px))


def image_noise(image: AnyArray, *, smoothing_px: float = 1.0) -> float:
    """Return the standard deviation of the noise that smoothing leaves in an image (Y, X).

    It is taken from the median absolute deviation, so that beads do not count as long as they
    cover less than half of the image.

    Raises
    ------
    FluoFocusError
        If the image is not two-dimensional, or holds NaN or infinite values.
    """
    smooth = ndimage.gaussian_filter(checked_plane(image), smoothing_px)
    return _deviation(smooth - np.median(smooth))


@dataclass(frozen=True)
class BeadMatches:
    """Which found bead is which known one, each used once at most.

    Attributes
    ----------
    found_index, known_index : ndarray (M,)
        Indices of the matched pairs.
    distance : ndarray (M,)
        Distance within each pair, in the positions' unit.
    found_count, known_count : int
        How many beads there were to match.
    """

    found_index: npt.NDArray[np.intp]
    known_index: npt.NDArray[np.intp]
    distance: Array
    found_count: int
    known_count: int

    @property
    def found_fraction(self) -> float:
        """Share of the known beads that were found; NaN when none is known."""
        return len(self.distance) / self.known_count if self.known_count else float("nan")

    @property
    def spurious_count(self) -> int:
        """Number of beads found that match no known one."""
        return self.found_count - len(self.distance)


def match_beads(found: AnyArray, known: AnyArray, *, tolerance: float) -> BeadMatches:
    """Match found to known positions one to one, within a tolerance.

    As many pairs as possible are made, and among the ways to do so the one with the
    smallest sum of distances is taken.

    Parameters
    ----------
    found, known : ndarray (N, D), (M, D)
        Positions, both in the same unit.
    tolerance : float
        Largest distance of a match, in that unit.

    Raises
    ------
    FluoFocusError
        If the arrays are no lists of positions of equal dimension, or hold NaN.
    """
    found, known = np.asarray(found, dtype=float), np.asarray(known, dtype=float)
    if found.ndim != 2 or known.ndim != 2 or found.shape[1] != known.shape[1]:
        raise FluoFocusError(
            f"Positions of shapes {found.shape} and {known.shape} cannot be matched; "
            "give two arrays (beads, dimensions)."
        )
    if not (np.isfinite(found).all() and np.isfinite(known).all()):
        raise FluoFocusError("Positions to match hold NaN or infinite values; leave those out.")
    if not len(found) or not len(known):
        nothing = np.zeros(0, dtype=np.intp)
        return BeadMatches(nothing, nothing, np.zeros(0), len(found), len(known))

    near = cKDTree(known).sparse_distance_matrix(
        cKDTree(found), tolerance, output_type="coo_matrix"
    )
    known_index, found_index = _cheapest_pairs(near, tolerance)
    distance = np.linalg.norm(known[known_index] - found[found_index], axis=1)
    return BeadMatches(found_index, known_index, distance, len(found), len(known))


def checked_plane(image: AnyArray) -> Array:
    """Return the image as float64 (Y, X), or say why it cannot be measured.

    Raises
    ------
    FluoFocusError
        If the image is not two-dimensional, or holds NaN or infinite values.
    """
    plane = np.asarray(image, dtype=float)
    if plane.ndim != 2 or not plane.size:
        raise FluoFocusError(
            f"Beads are measured in one image (Y, X), this one has shape {plane.shape}; "
            "select a single plane."
        )
    if not np.isfinite(plane).all():
        raise FluoFocusError(
            "The image to measure holds NaN or infinite values; replace or crop them first."
        )
    return plane


def _cheapest_pairs(
    near: sparse.coo_matrix, tolerance: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return (row, column) of the matching with the most pairs and then the least distance.

    Each row may also take a column of its own that stands for "not found", dearer than any
    rearrangement of the others; no cost is zero, which a sparse matrix would not store.
    """
    rows, columns = near.shape
    pairs = sparse.coo_matrix((tolerance + near.data, (near.row, near.col)), shape=near.shape)
    missed = sparse.identity(rows, format="coo") * (3 * tolerance * (rows + 1))
    cost = sparse.hstack([pairs, missed], format="csr")
    row, column = min_weight_full_bipartite_matching(cost)
    real = column < columns
    return row[real], column[real]


def _deviation(centred: Array) -> float:
    return float(MAD_TO_SIGMA * np.median(np.abs(centred)))


def _refined_by_parabola(image: Array, yx: npt.NDArray[np.intp]) -> Array:
    """Return the tops of parabolas through each maximum and its two neighbours per axis."""
    refined = yx.astype(float)
    last = np.array(image.shape) - 1
    for axis, unit in enumerate(np.eye(2, dtype=int)):
        before = image[tuple(np.clip(yx - unit, 0, last).T)]
        here = image[tuple(yx.T)]
        after = image[tuple(np.clip(yx + unit, 0, last).T)]
        curvature = before - 2 * here + after
        within = (yx[:, axis] > 0) & (yx[:, axis] < last[axis])  # else it has one neighbour only
        shift = np.divide(
            before - after, 2 * curvature, out=np.zeros_like(here), where=within & (curvature < 0)
        )
        refined[:, axis] += np.clip(shift, -0.5, 0.5)
    return refined


def _nearest_distance(yx_px: Array) -> Array:
    if len(yx_px) < 2:
        return np.full(len(yx_px), np.inf)
    distance, _ = cKDTree(yx_px).query(yx_px, k=2)
    return np.asarray(distance[:, 1])
