"""The pictures of Deep-Z's Fig. 4, and of how steep a surface may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.report.drawing import (
    add_scale_bar,
    new_figure,
    outline,
    save_figure,
    show,
)
from fluofocus.units import AnyArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#8a8f98", "#c2410c", "#1d4ed8", "#15803d")
DETAIL_PX = 40
DETAILS = (0.06, 0.5, 0.94)
"""Where along the field the details lie: in its first, middle and last part."""

WIDEST_UM = 5.0


@dataclass(frozen=True)
class Picture:
    """An image ``(Y, X)``, where its beads are ``(N, 2)`` and how wide; NaN if not measured."""

    name: str
    image: AnyArray
    yx_px: AnyArray
    fwhm_um: AnyArray


def draw_surface(
    dpm_um: FloatArray, pictures: Sequence[Picture], pixel_um: float, path: Path
) -> None:
    """Draw a DPM ``(Y, X)``, images with details, widths along y and their histograms."""
    figure = new_figure(15, 2.1 * (1 + 2 * len(pictures)) * 0.8)
    rows = 1 + 2 * len(pictures)
    grid = figure.add_gridspec(rows, 4, width_ratios=[5.6, 1, 1, 1])
    _draw_dpm(figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1:]), dpm_um, pixel_um)
    regions = _regions(pictures[1])
    for index, picture in enumerate(pictures):
        turned = picture.image.T
        low, high = float(np.median(turned)), float(np.percentile(turned, 99.9))
        wide = figure.add_subplot(grid[1 + index, 0])
        show(wide, turned, low, high)
        wide.set_ylabel(picture.name)
        if index == 0:
            add_scale_bar(wide, turned.shape, pixel_um)
        for column, region in enumerate(regions, start=1):
            outline(wide, region)
            detail = figure.add_subplot(grid[1 + index, column])
            show(detail, turned[region], low, float(turned[region].max()))
        widths, histogram = (
            figure.add_subplot(grid[1 + len(pictures) + index, part])
            for part in (0, slice(1, None))
        )
        _draw_widths(widths, histogram, picture, pixel_um, COLOURS[index])
    widths.set_xlabel("y (µm)")
    histogram.set_xlabel("beads")
    save_figure(figure, path)


def _draw_dpm(wide: Axes, profile: Axes, dpm_um: FloatArray, pixel_um: float) -> None:
    height, width = dpm_um.shape
    wide.imshow(dpm_um.T, cmap="viridis", interpolation="none")
    wide.set(xticks=[], yticks=[], ylabel="DPM")
    y_um, heights_um = np.arange(height) * pixel_um, dpm_um[:, width // 2]
    profile.plot(y_um, heights_um, color="#334155", lw=0.6)
    profile.scatter(y_um, heights_um, c=heights_um, cmap="viridis", s=8)
    profile.set(xlabel="y (µm)", ylabel="height (µm)")
    profile.spines[["top", "right"]].set_visible(False)


def _draw_widths(
    widths: Axes, histogram: Axes, picture: Picture, pixel_um: float, colour: str
) -> None:
    """Draw the widths of beads over their y, and how often each occurs."""
    measured = np.isfinite(picture.fwhm_um)
    median_um = float(np.median(picture.fwhm_um[measured]))
    shown_um = np.minimum(picture.fwhm_um[measured], WIDEST_UM)
    height_um = len(picture.image) * pixel_um
    widths.plot(picture.yx_px[measured, 0] * pixel_um, shown_um, ".", color=colour)
    widths.set_ylabel(f"FWHM (µm),\n{picture.name}", fontsize=9)
    widths.set_xlim(0, height_um)
    bins = np.linspace(0, WIDEST_UM, 51).tolist()
    histogram.hist(shown_um, bins, orientation="horizontal", color=colour)
    label = f"median {median_um:.2f} µm, n = {len(shown_um)}"
    histogram.axhline(median_um, color=colour, lw=1, ls="--", label=label)
    histogram.legend(frameon=False, fontsize=8, loc="upper right")
    for axis in (widths, histogram):
        axis.set_ylim(0, WIDEST_UM)
        axis.spines[["top", "right"]].set_visible(False)


def _regions(picture: Picture) -> list[tuple[slice, slice]]:
    """Return squares, in the turned image, around beads near the given shares of the field."""
    height, width = picture.image.shape
    half = DETAIL_PX // 2
    beads = np.round(picture.yx_px).astype(int)
    sizes = np.array([height, width])
    inside = ((beads >= half) & (beads < sizes - half)).all(axis=1)
    regions = []
    for share in DETAILS:
        away = np.abs(beads[inside] - sizes * [share, 0.5]).sum(axis=1)
        row, column = beads[inside][int(away.argmin())].tolist()
        regions.append((slice(column - half, column + half), slice(row - half, row + half)))
    return regions


def draw_slopes(
    ratios: Mapping[str, AnyArray], slopes_deg: Sequence[float], tolerated: float, path: Path
) -> None:
    """Draw how much larger errors are on surfaces than from planes, over their slope."""
    figure = new_figure(6, 3.8)
    axis = figure.subplots()
    axis.axhline(1, color="#8a8f98", lw=0.8)
    axis.axhline(tolerated, color="#8a8f98", lw=0.8, ls="--")
    for colour, (name, ratio) in zip(COLOURS[1:], ratios.items(), strict=False):
        axis.plot(slopes_deg, ratio, marker=".", color=colour, label=name)
    axis.set(xlabel="greatest slope (degrees)", ylabel="RMSE, at once ÷ from planes")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    save_figure(figure, path)
