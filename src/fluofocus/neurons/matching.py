"""Neurons found against those known: which is which, how many are missed, how far they are off."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import match_beads
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

LATERAL_TOLERANCE_UM = 1.4
"""Half the diameter of the nucleus of a *C. elegans* neuron."""

AXIAL_TOLERANCE_UM = 2.8
"""Twice as much, as focus scans of these objectives resolve half as well along z."""


@dataclass(frozen=True)
class NeuronMatches:
    """Which neuron found is which known one, each used once at most.

    Attributes
    ----------
    found_index, known_index : ndarray of int (M,)
        Indices of the matched pairs.
    offset_um : ndarray (M, 3)
        Found minus known position (z, y, x) of each pair.
    found_count, known_count : int
        How many there were to match.
    """

    found_index: npt.NDArray[np.intp]
    known_index: npt.NDArray[np.intp]
    offset_um: Array
    found_count: int
    known_count: int

    @property
    def matched(self) -> int:
        """Number of known neurons that were found."""
        return len(self.offset_um)

    @property
    def missed(self) -> int:
        """Number of known neurons that were not found."""
        return self.known_count - self.matched

    @property
    def spurious(self) -> int:
        """Number of neurons found that match no known one."""
        return self.found_count - self.matched

    @property
    def precision(self) -> float:
        """Share of the neurons found that match a known one; NaN when none was found."""
        return self.matched / self.found_count if self.found_count else math.nan

    @property
    def recall(self) -> float:
        """Share of the known neurons that were found; NaN when none is known."""
        return self.matched / self.known_count if self.known_count else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN when there is no neuron at all."""
        count = self.found_count + self.known_count
        return 2 * self.matched / count if count else math.nan

    @property
    def dz_um(self) -> Array:
        """Axial errors with their sign, found minus known."""
        return self.offset_um[:, 0]

    @property
    def lateral_um(self) -> Array:
        """Distances within the image plane."""
        return np.asarray(np.hypot(self.offset_um[:, 1], self.offset_um[:, 2]))

    def table(self) -> str:
        """Return a plain-text table of the counts, and one of the errors."""
        counts = [
            ["known", "found", "matched", "missed", "spurious", "precision", "recall", "F1"],
            [str(n) for n in (self.known_count, self.found_count, self.matched)]
            + [str(n) for n in (self.missed, self.spurious)]
            + [_number(share) for share in (self.precision, self.recall, self.f1)],
        ]
        errors = [
            ["µm", "mean", "s.d.", "median"],
            *(
                [name, *(_number(statistic) for statistic in _statistics(values))]
                for name, values in (
                    ("Δz", self.dz_um),
                    ("|Δz|", np.abs(self.dz_um)),
                    ("lateral", self.lateral_um),
                )
            ),
        ]
        return f"{_aligned(counts)}\n\n{_aligned(errors)}"


def match_neurons(
    found_um: AnyArray,
    known_um: AnyArray,
    *,
    lateral_um: float = LATERAL_TOLERANCE_UM,
    axial_um: float = AXIAL_TOLERANCE_UM,
) -> NeuronMatches:
    """Match neurons to known positions, one to one.

    A pair may form if the known position lies in an ellipsoid about the found one. As many
    pairs as possible are made, and of the ways to do so the one with the least sum of
    distances, counted in tolerances.

    Parameters
    ----------
    found_um, known_um : ndarray (N, 3), (M, 3)
        Positions (z, y, x). The known ones may be another segmentation's, as in the paper.
    lateral_um, axial_um : float
        Half axes of the ellipsoid. With an infinite ``axial_um``, as for a single image,
        only lateral distances count.

    Raises
    ------
    FluoFocusError
        If these are no lists of positions, hold NaN, or a tolerance is not above zero.
    """
    if not (0 < lateral_um < math.inf and axial_um > 0):
        raise FluoFocusError(
            f"Tolerances must be above zero, the lateral one finite, not {lateral_um:g} and "
            f"{axial_um:g} µm."
        )
    found, known = (np.asarray(each, float).reshape(-1, 3) for each in (found_um, known_um))
    in_tolerances = 1 / np.array([axial_um, lateral_um, lateral_um])
    pairs = match_beads(found * in_tolerances, known * in_tolerances, tolerance=1.0)
    return NeuronMatches(
        pairs.found_index,
        pairs.known_index,
        found[pairs.found_index] - known[pairs.known_index],
        len(found),
        len(known),
    )


def known_positions_um(path: str | Path) -> Array:
    """Return the positions (N, 3) of the nuclei, or beads, of a simulated stack's truth file.

    Raises
    ------
    FluoFocusError
        If the file cannot be read, or says nothing of objects with one position.
    """
    try:
        objects = json.loads(Path(path).read_text(encoding="utf-8"))["objects"]
        rows = [[entry[axis] for axis in ("z_um", "y_um", "x_um")] for entry in objects]
        positions = np.array(rows, float).reshape(-1, 3)
    except OSError as error:
        raise FluoFocusError(f"Cannot read {path}: {error.strerror}; check its name.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FluoFocusError(
            f"{path} holds no positions of neurons: give the .json file that 'fluofocus simulate' "
            "wrote beside a stack of nuclei or a worm."
        ) from error
    if not len(positions):
        raise FluoFocusError(f"{path} lists no neurons: there is nothing to compare with.")
    return positions


def within_planes(positions_um: Array, stack: xr.DataArray) -> Array:
    """Return the positions (N, 3) that lie between the first and the last plane of a stack.

    Of one image, all are returned.
    """
    if stack.sizes.get("Z", 1) < 2 or "Z" not in stack.coords:
        return positions_um
    z_um = stack.coords["Z"].values
    inside = (positions_um[:, 0] >= z_um.min()) & (positions_um[:, 0] <= z_um.max())
    return np.asarray(positions_um[inside])


def _statistics(values: Array) -> tuple[float, float, float]:
    if not len(values):
        return math.nan, math.nan, math.nan
    return float(values.mean()), float(values.std()), float(np.median(values))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells, the first one a header, with columns flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
