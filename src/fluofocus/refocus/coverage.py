"""How often the truth lies where a model's expected errors say it does."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fluofocus.measure.uncertainty import coverage
from fluofocus.models.bundle import ErrorCalibration
from fluofocus.units import FloatArray

BRIGHT_SHARE = 0.1
"""Share of the true plane's range above its darkest pixel from which a pixel is bright."""


def bright_pixels(truth: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which pixels of true planes ``(…, Y, X)`` are bright, see `BRIGHT_SHARE`."""
    low, high = (end(axis=(-2, -1), keepdims=True) for end in (truth.min, truth.max))
    bright: npt.NDArray[np.bool_] = truth >= low + BRIGHT_SHARE * (high - low)
    return bright


@dataclass(frozen=True)
class Coverage:
    """Shares of the pixels whose truth lies in the interval of each nominal probability.

    Attributes
    ----------
    nominal : tuple of float
        Probabilities of the intervals.
    all_pixels, bright_pixels : tuple of float
        Shares among all pixels, and among those of at least `BRIGHT_SHARE` of the range.
    """

    nominal: tuple[float, ...]
    all_pixels: tuple[float, ...]
    bright_pixels: tuple[float, ...]

    def table(self) -> str:
        """Return a plain-text table."""
        lines = ["interval  holds the truth  of bright pixels"]
        for nominal, every, bright in zip(
            self.nominal, self.all_pixels, self.bright_pixels, strict=True
        ):
            lines.append(f"{nominal:8.0%}  {every:15.1%}  {bright:16.1%}")
        return "\n".join(lines)


@dataclass
class CoverageCount:
    """Collects images and their expected errors one by one."""

    calibration: ErrorCalibration
    _inside: npt.NDArray[np.float64] = field(init=False)
    _pixels: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """Start from nothing."""
        self._inside = np.zeros((2, len(self.calibration.half_widths)))
        self._pixels = np.zeros(2)

    def add(self, output: FloatArray, expected_error: FloatArray, truth: FloatArray) -> None:
        """Count the pixels of ``(Y, X)`` images in counts."""
        bright = bright_pixels(truth)
        for row, chosen in enumerate((np.ones_like(bright), bright)):
            error = np.abs(output[chosen] - truth[chosen])
            shares = coverage(error, expected_error[chosen], self.calibration.half_widths)
            self._inside[row] += np.asarray(shares) * error.size
            self._pixels[row] += error.size

    def result(self) -> Coverage:
        """Return the shares so far."""
        every, bright = self._inside / self._pixels[:, None]
        return Coverage(
            self.calibration.probabilities,
            tuple(float(share) for share in every),
            tuple(float(share) for share in bright),
        )
