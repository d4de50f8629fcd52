"""Numbers that say how good an image is: error metrics, bead widths, beads found."""

from fluofocus.measure.beads import BeadMatches, FoundBeads, find_beads, match_beads
from fluofocus.measure.gaussian import GaussianFits, fit_gaussians
from fluofocus.measure.image import METRICS, gap_closed
from fluofocus.measure.resolution import BeadWidths, axial_fwhm, lateral_fwhm

__all__ = [
    "METRICS",
    "BeadMatches",
    "BeadWidths",
    "FoundBeads",
    "GaussianFits",
    "axial_fwhm",
    "find_beads",
    "fit_gaussians",
    "gap_closed",
    "lateral_fwhm",
    "match_beads",
]
