"""What the figures share: how a figure is made and saved, images, frames and scale bars."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray
from fluofocus.whole_files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INTENSITY, DIFFERENCE = "inferno", "RdBu_r"
SATURATED_PERCENT = 0.02  # of the pixels shown as white, and as many as black
ZOOM_PX = 96
DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, tied to no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a figure in the format that the path's ending names.

    Raises
    ------
    FluoFocusError
        If the file cannot be written or its ending names no format.
    """
    formats = figure.canvas.get_supported_filetypes()
    suffix = Path(path).suffix[1:].lower()
    if suffix not in formats:
        raise FluoFocusError(
            f"Cannot write figure {path}: end its name in one of {', '.join(sorted(formats))}."
        )
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, format=suffix)
    write_whole(path, content.getvalue(), "figure ")


def display_range(image: AnyArray) -> tuple[float, float]:
    """Return the intensities to show as black and as white, all but a few pixels between them."""
    low, high = np.nanpercentile(image, [SATURATED_PERCENT, 100 - SATURATED_PERCENT])
    return float(low), float(max(high, low + 1e-9))


def show(axis: Axes, image: AnyArray, low: float, high: float, aspect: float = 1.0) -> None:
    """Draw an image (Y, X) without ticks."""
    axis.imshow(image, cmap=INTENSITY, vmin=low, vmax=high, aspect=aspect, interpolation="none")
    axis.set_xticks([])
    axis.set_yticks([])


def brightest_region(image: AnyArray) -> tuple[slice, slice]:
    """Return the square of `ZOOM_PX`, or of a third of the image, around its brightest spot."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.asarray(image, dtype=float), 2.0)
    spot = np.unravel_index(int(smooth.argmax()), smooth.shape)
    side = min(ZOOM_PX, max(16, min(image.shape) // 3), *image.shape)
    corner = [
        min(max(int(centre) - side // 2, 0), size - side)
        for centre, size in zip(spot, image.shape, strict=True)
    ]
    return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)


def outline(axis: Axes, region: tuple[slice, slice]) -> None:
    """Draw a frame around a square region of an image."""
    from matplotlib.patches import Rectangle

    rows, columns = region
    side = rows.stop - rows.start
    axis.add_patch(
        Rectangle((columns.start, rows.start), side, side, fill=False, color="white", linewidth=0.8)
    )


def add_scale_bar(axis: Axes, shape_yx: tuple[int, ...], pixel_size_um: float) -> None:
    """Draw a bar of a round length, about a fifth of the image's width."""
    height, width = shape_yx
    length_um = _round_length(width * pixel_size_um / 5)
    length_px = length_um / pixel_size_um
    right, bottom = 0.95 * width, 0.94 * height
    axis.plot([right - length_px, right], [bottom, bottom], color="white", linewidth=2.5)
    axis.text(
        right - length_px / 2,
        bottom - 0.02 * height,
        f"{length_um:g} µm",
        color="white",
        fontsize=8,
        ha="center",
        va="bottom",
    )
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)


def signed_um(length_um: float) -> str:
    """Return a length as text, with its sign and without a negative zero."""
    return f"{round(length_um, 1) + 0.0:+.1f} µm".replace("-", "\N{MINUS SIGN}")


def _round_length(length: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... times a power of ten not above ``length``."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))
