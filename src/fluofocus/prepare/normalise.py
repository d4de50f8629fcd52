"""Intensity normalisation as in the Methods of Deep-Z (Wu et al., Nature Methods 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

_Image = TypeVar("_Image", AnyArray, Tensor)

SATURATED_FRACTION = 0.01
"""Share of the foreground pixels that end up above one."""

DARK_FRACTION, BRIGHT_FRACTION = 0.01, 0.001
"""Shares of a stack's voxels below zero and above one."""

_MOST_CLIPPED = 0.05
"""Share of the pixels at the highest value, from which an image is refused as saturated."""

_MOST_BINS = 2**16
"""Levels that whole numbers are counted by; where there are more, into bins."""

_LEAST_CONTRAST = 1e-6
"""Of the range of an image, below which a difference of two levels is none."""


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from an image, and what it is divided by, both in counts."""

    background: float
    scale: float

    def apply(self, counts: _Image) -> _Image:
        """Bring counts into the range the networks work in, about 0 to 1."""
        return (counts - self.background) / self.scale

    def invert(self, normalised: _Image) -> _Image:
        """Bring a network's output back into counts."""
        return normalised * self.scale + self.background


def normalisation_from_image(image: AnyArray) -> Normalisation:
    """Find background and scale of one image.

    A triangle threshold (Zack et al. 1977) separates foreground from background; the
    mean of the background is subtracted; the scale is such that 1 % of the foreground
    pixels exceed one. Stacks are normalised by their fused image, see
    `fluofocus.prepare.fusion.fuse`.

    Parameters
    ----------
    image
        ``(Y, X)``, counts.

    Raises
    ------
    FluoFocusError
        If the image holds NaN or infinity, is flat, or is mostly saturated.
    """
    from skimage.filters import threshold_triangle

    pixels = _usable(image)
    is_wide = np.issubdtype(pixels.dtype, np.integer) and _range(pixels) > _MOST_BINS
    levels = pixels.astype(np.float64) if is_wide else pixels  # else a bin for each level
    threshold = float(threshold_triangle(levels))  # type: ignore[no-untyped-call]
    above = pixels > threshold
    foreground = pixels[above]
    background = float(pixels[~above].mean())
    if foreground.size == 0:
        foreground = pixels
    peak = float(np.quantile(foreground, 1 - SATURATED_FRACTION))
    return Normalisation(background=background, scale=_scale(peak - background, pixels))


def common_normalisation(normalisations: Sequence[Normalisation]) -> Normalisation:
    """Return one background and scale for several input planes of a field: their means."""
    count = len(normalisations)
    return Normalisation(
        background=sum(each.background for each in normalisations) / count,
        scale=sum(each.scale for each in normalisations) / count,
    )


def normalisation_from_stack(stack: AnyArray) -> Normalisation:
    """Find background and scale of a whole stack of a thick sample.

    Haze leaves no two kinds of pixels that a threshold could tell apart. The darkest hundredth of
    the voxels is background, and a thousandth exceeds one, much as WFCON-Net's stacks are scaled
    to 0-1 (Li et al., Biomed. Opt. Express 13, 2022).

    Parameters
    ----------
    stack
        ``(Z, Y, X)``, counts, or a part of the voxels.

    Raises
    ------
    FluoFocusError
        If the stack holds NaN or infinity, is flat, or is mostly saturated.
    """
    voxels = _usable(stack)
    dark, bright = np.quantile(voxels, (DARK_FRACTION, 1 - BRIGHT_FRACTION)).tolist()
    return Normalisation(background=dark, scale=_scale(bright - dark, voxels))


def _scale(contrast: float, pixels: AnyArray) -> float:
    """Return the contrast, or where there is next to none, as with few bright pixels, the range."""
    whole = _range(pixels)
    return contrast if contrast > _LEAST_CONTRAST * whole else whole


def _range(pixels: AnyArray) -> float:
    return float(pixels.max()) - float(pixels.min())


def _usable(image: AnyArray) -> AnyArray:
    pixels = np.asarray(image)
    if pixels.size == 0:
        raise FluoFocusError("The image has no pixels: check the file and the region asked for.")
    if not np.all(np.isfinite(pixels)):
        raise FluoFocusError(
            "The image holds NaN or infinite values: mask or crop them before refocusing."
        )
    lowest, highest = float(pixels.min()), float(pixels.max())
    if highest <= lowest:
        raise FluoFocusError(
            f"The image is empty: every pixel is {lowest:g}; check exposure, channel and plane."
        )
    clipped = int(np.count_nonzero(pixels == highest))
    if clipped > max(_MOST_CLIPPED * pixels.size, 16):
        raise FluoFocusError(
            f"The image is saturated: {clipped / pixels.size:.0%} of its pixels are at "
            f"{highest:g}; record it again with less exposure."
        )
    return pixels
