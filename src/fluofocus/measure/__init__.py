"""Numbers that say how good an image is: errors, widths, beads found, detail."""

from fluofocus.measure.beads import BeadMatches, FoundBeads, find_beads, match_beads
from fluofocus.measure.gaussian import GaussianFits, fit_gaussians
from fluofocus.measure.image import METRICS, gap_closed
from fluofocus.measure.localisation import locate, score_positions
from fluofocus.measure.resolution import BeadWidths, axial_fwhm, lateral_fwhm
from fluofocus.measure.spectrum import fourier_shell_correlation, resolution_um
from fluofocus.measure.width_samples import compare_widths
from fluofocus.measure.widths import measure_beads

__all__ = [
    "METRICS",
    "BeadMatches",
    "BeadWidths",
    "FoundBeads",
    "GaussianFits",
    "axial_fwhm",
    "compare_widths",
    "find_beads",
    "fit_gaussians",
    "fourier_shell_correlation",
    "gap_closed",
    "lateral_fwhm",
    "locate",
    "match_beads",
    "measure_beads",
    "resolution_um",
    "score_positions",
]
