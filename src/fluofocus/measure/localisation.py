"""Points found in an image against known ones: Jaccard index and lateral error.

References
----------
Sage et al., Nature Methods 16, 387 (2019): the metrics of the localisation challenges, which
W-Net (Yang et al., ACS Photonics 2021) is scored by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import Array, find_beads, match_beads
from fluofocus.measure.gaussian import fit_gaussians
from fluofocus.units import AnyArray

TOLERANCE_UM = 0.25
"""Largest lateral distance of a match, as in the localisation challenges."""

WINDOW_PX = 7
_LARGEST_STEP_PX = 1.0  # that a fit may be from the maximum it began at
_SAME_PLACE_UM = 1e-3


@dataclass(frozen=True)
class Localisation:
    """How well points of one image agree with known ones.

    Attributes
    ----------
    offset_um : ndarray (M, 2)
        Found minus known position (y, x), of those matched one to one.
    known_index : ndarray (M,)
        Which of the known positions each of them is.
    missed_index : ndarray
        Which known positions were not found, of those that count.
    spurious_px : ndarray (S, 2)
        Positions found that match no known one, of those that count.
    """

    offset_um: Array
    known_index: npt.NDArray[np.intp]
    missed_index: npt.NDArray[np.intp]
    spurious_px: Array

    @property
    def found_count(self) -> int:
        """Points found that count."""
        return self.matched_count + len(self.spurious_px)

    @property
    def known_count(self) -> int:
        """Known points that count."""
        return self.matched_count + len(self.missed_index)

    @property
    def matched_count(self) -> int:
        """Points that are both found and known."""
        return len(self.offset_um)

    @property
    def jaccard(self) -> float:
        """Matched points over all that are found or known, 0 to 1; NaN where there are none."""
        every = self.found_count + self.known_count - self.matched_count
        return self.matched_count / every if every else float("nan")

    @property
    def precision(self) -> float:
        """Matched points over those found; NaN where none is."""
        return self.matched_count / self.found_count if self.found_count else float("nan")

    @property
    def recall(self) -> float:
        """Matched points over those known."""
        return self.matched_count / self.known_count if self.known_count else float("nan")

    @property
    def rmse_um(self) -> float:
        """Root mean square of the lateral distance of matched points; NaN where there are none."""
        if not self.matched_count:
            return float("nan")
        return float(np.sqrt(np.square(self.offset_um).sum(axis=1).mean()))


def locate(
    image: AnyArray,
    *,
    noise_threshold: float = 6.0,
    min_contrast: float = 0.05,
    noise: float | None = None,
) -> Array:
    """Find points of an image to a fraction of a pixel: maxima, then Gaussian fits.

    Where a fit does not settle close to its maximum, the top of a parabola through it counts.

    Parameters
    ----------
    image : ndarray (Y, X)
        Intensities.
    noise_threshold, min_contrast, noise
        As of `fluofocus.measure.beads.find_beads`. With a ``min_contrast`` of 0 the brightest
        bead decides nothing, and what is found depends on the noise alone.

    Returns
    -------
    ndarray (N, 2)
        Positions (y, x) in px, brightest first.
    """
    plane = np.asarray(image, dtype=float)
    found = find_beads(
        plane, noise_threshold=noise_threshold, min_contrast=min_contrast, noise=noise
    )
    if not len(found) or min(plane.shape) < WINDOW_PX:
        return found.yx_px
    half = WINDOW_PX // 2
    last = np.array(plane.shape) - 1 - half
    corner = np.clip(np.round(found.yx_px).astype(int), half, last) - half
    rows = corner[:, 0, None, None] + np.arange(WINDOW_PX)[:, None]
    columns = corner[:, 1, None, None] + np.arange(WINDOW_PX)
    fits = fit_gaussians(plane[rows, columns], found.yx_px - corner)
    fitted = fits.centre_px + corner
    near = np.linalg.norm(fitted - found.yx_px, axis=1) <= _LARGEST_STEP_PX
    return np.where((fits.converged & near)[:, None], fitted, found.yx_px)


def score_positions(
    found_px: AnyArray,
    known_px: AnyArray,
    *,
    pixel_size_um: float,
    tolerance_um: float = TOLERANCE_UM,
    inside_px: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Localisation:
    """Match found to known positions (y, x) one to one, and compare them.

    Parameters
    ----------
    found_px, known_px : ndarray (N, 2), (M, 2)
    inside_px
        First and last position along y and along x that count, such as without a rim in
        which beads are cut off. A found point in the rim counts if it matches a known one
        inside, and the other way round.

    Raises
    ------
    FluoFocusError
        If the known positions hold two beads at one place, or none.
    """
    known_px, found_px = (np.asarray(x, dtype=float).reshape(-1, 2) for x in (known_px, found_px))
    _check_known(known_px, pixel_size_um)
    matches = match_beads(found_px, known_px, tolerance=tolerance_um / pixel_size_um)
    counts_found, counts_known = _inside(found_px, inside_px), _inside(known_px, inside_px)
    both = counts_known[matches.known_index] | counts_found[matches.found_index]
    matched_found, matched_known = matches.found_index[both], matches.known_index[both]
    counts_found[matched_found], counts_known[matched_known] = False, False
    return Localisation(
        offset_um=(found_px[matched_found] - known_px[matched_known]) * pixel_size_um,
        known_index=matched_known,
        missed_index=np.flatnonzero(counts_known),
        spurious_px=found_px[counts_found],
    )


def _inside(
    positions_px: Array, inside_px: tuple[tuple[float, float], tuple[float, float]] | None
) -> npt.NDArray[np.bool_]:
    if inside_px is None:
        return np.ones(len(positions_px), dtype=bool)
    first, last = np.array(inside_px, dtype=float).T
    return np.asarray(((positions_px >= first) & (positions_px <= last)).all(axis=1))


def _check_known(known_px: Array, pixel_size_um: float) -> None:
    if not len(known_px):
        raise FluoFocusError("There are no known beads to compare with.")
    same = cKDTree(known_px * pixel_size_um).query_pairs(_SAME_PLACE_UM)
    if same:
        raise FluoFocusError(
            f"{len(same)} pairs of the known beads lie at the same place, which no image can tell "
            "apart: remove the duplicates."
        )
