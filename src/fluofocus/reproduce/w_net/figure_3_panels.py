"""Drawing of W-Net's Fig. 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.report.drawing import (
    add_scale_bar,
    new_figure,
    save_figure,
    show,
    signed_um,
)
from fluofocus.units import AnyArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BRIGHTEST_PERCENT = 99.9
SECTION_HALF_PX = 16
FAINTEST = 0.1
"""Of the brightest of an image: a section below that shows no bead and is not blown up."""
COLUMNS = ("input", "refocused", "output")
OUTPUT = COLUMNS[-1]
CONFOCAL_COLOUR, SECTION_COLOURS = "#444444", ("#1d4ed8", "#dc2626")


@dataclass(frozen=True)
class Picture:
    """Images of one plane by how it was recorded, and by what they are."""

    z_um: float
    rows: Mapping[str, Mapping[str, FloatArray]]


def draw_pictures(
    pictures: Sequence[Picture],
    confocal: FloatArray,
    bead_px: tuple[float, float],
    pixel_um: float,
    path: Path,
) -> None:
    """Draw a row for each plane, and below them the confocal image and sections of a bead."""
    named = [
        (kind, name)
        for kind in pictures[0].rows
        for name in COLUMNS
        if any(name in picture.rows[kind] for picture in pictures)
    ]
    across = max(len(named), 1 + len(pictures))
    figure = new_figure(2.2 * across, 2.3 * (len(pictures) + 1))
    axes = figure.subplots(len(pictures) + 1, across)
    for line, picture in zip(axes, pictures, strict=False):
        line[0].set_ylabel(f"z = {signed_um(picture.z_um)}")
        for axis in line[len(named) :]:
            axis.set_axis_off()
        for axis, (kind, name) in zip(line, named, strict=False):
            image = picture.rows[kind].get(name)
            if image is None:
                axis.set_axis_off()
                continue
            _draw(axis, image)
            axis.set_title(f"{kind}, {name}", fontsize=8)
            if name == OUTPUT:
                _mark(axis, bead_px)
    confocal_axis, *below = axes[-1]
    _draw(confocal_axis, confocal)
    _mark(confocal_axis, bead_px)
    add_scale_bar(confocal_axis, confocal.shape, pixel_um)
    confocal_axis.set_title("confocal, in focus", fontsize=8)
    for axis, picture in zip(below, pictures, strict=False):
        _draw_sections(axis, picture, confocal, bead_px, pixel_um)
    below[0].legend(frameon=False, fontsize=7, loc="upper left")
    for axis in below[len(pictures) :]:
        axis.set_axis_off()
    save_figure(figure, path)


def _draw(axis: Axes, image: AnyArray) -> None:
    raised = np.clip(image - np.median(image), 0, None)
    top = max(float(np.percentile(raised, BRIGHTEST_PERCENT)), 1e-9)
    show(axis, np.sqrt(raised), 0, np.sqrt(top))


def _mark(axis: Axes, bead_px: tuple[float, float]) -> None:
    axis.plot(bead_px[1], bead_px[0], marker="o", mfc="none", mec="#67e8f9", ms=12, mew=0.8)


def _draw_sections(
    axis: Axes,
    picture: Picture,
    confocal: FloatArray,
    bead_px: tuple[float, float],
    pixel_um: float,
) -> None:
    """Draw sections along x through a bead, each scaled by its highest value."""
    row, column = (round(each) for each in bead_px)
    columns = np.arange(
        max(column - SECTION_HALF_PX, 0), min(column + SECTION_HALF_PX + 1, confocal.shape[1])
    )
    x_um = (columns - bead_px[1]) * pixel_um
    lines = {"confocal": (confocal, CONFOCAL_COLOUR)} | {
        kind: (images[OUTPUT], colour)
        for (kind, images), colour in zip(picture.rows.items(), SECTION_COLOURS, strict=False)
        if OUTPUT in images
    }
    for name, (image, colour) in lines.items():
        values = image[row, columns] - np.median(image)
        faintest = FAINTEST * float(image.max() - np.median(image))
        highest = max(float(values.max()), faintest, 1e-9)
        axis.plot(x_um, values / highest, color=colour, label=name)
    axis.set_title(f"section, z = {signed_um(picture.z_um)}", fontsize=8)
    axis.set_xlabel("x (µm)")
    axis.set_ylim(-0.3, 1.05)
    axis.set_yticks([])
    axis.spines[["top", "right"]].set_visible(False)
