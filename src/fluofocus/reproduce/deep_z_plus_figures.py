"""The pictures of Deep-Z+: planes, sections, and differences from the confocal scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from fluofocus.measure.image import METRICS
from fluofocus.report.drawing import (
    INTENSITY,
    add_scale_bar,
    new_figure,
    save_figure,
    show,
    signed_um,
)
from fluofocus.units import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_PX = 256
SHOWN_UM = (-0.6, 0.0, 0.6)
BRIGHTEST_SHOWN = 1.1
LARGEST_DIFFERENCE = 0.5


def draw_planes_and_sections(
    image: FloatArray,
    stacks: Mapping[str, FloatArray],
    planes_um: Sequence[float],
    pixel_um: float,
    path: Path,
) -> None:
    """Draw the input, and of each stack ``(Z, Y, X)`` some planes and two sections."""
    row, column = _liveliest_lines(next(iter(stacks.values())))
    figure = new_figure(16.5, 3.0 * len(stacks))
    names = [*(f"{z:+.1f}" for z in SHOWN_UM), "x–z", "y–z"]
    axes = figure.subplot_mosaic(
        [["input", *(f"{line} {name}" for name in names)] for line in range(len(stacks))],
        width_ratios=[1.6, 1, 1, 1, 1, 1],
    )
    show(axes["input"], _middle(image), 0, BRIGHTEST_SHOWN)
    axes["input"].set_title("wide-field image, z = 0")
    add_scale_bar(axes["input"], (SHOWN_PX, SHOWN_PX), pixel_um)
    for line, (name, stack) in enumerate(stacks.items()):
        shown = _middle(stack)
        for z in SHOWN_UM:
            axis = axes[f"{line} {z:+.1f}"]
            show(axis, shown[_nearest(planes_um, z)], 0, BRIGHTEST_SHOWN)
            axis.axhline(row, color="white", lw=0.7, ls=":")
            axis.axvline(column, color="white", lw=0.7, ls=":")
            if line == 0:
                axis.set_title(f"z = {signed_um(z)}")
        axes[f"{line} {SHOWN_UM[0]:+.1f}"].set_ylabel(name)
        for title, section in (("x–z", shown[:, row]), ("y–z", shown[:, :, column])):
            _draw_section(axes[f"{line} {title}"], section, planes_um, pixel_um, title)
    save_figure(figure, path)


def _draw_section(
    axis: Axes, section: FloatArray, planes_um: Sequence[float], pixel_um: float, title: str
) -> None:
    half = (planes_um[1] - planes_um[0]) / 2
    axis.imshow(
        section,
        cmap=INTENSITY,
        vmin=0,
        vmax=BRIGHTEST_SHOWN,
        aspect="auto",
        interpolation="none",
        extent=(0, section.shape[1] * pixel_um, planes_um[-1] + half, planes_um[0] - half),
    )
    axis.set(title=title, xlabel=f"{title[0]} (µm)", ylabel="z (µm)")


def draw_differences(
    confocal: FloatArray,
    stacks: Mapping[str, FloatArray],
    planes_um: Sequence[float],
    path: Path,
) -> None:
    """Draw how far stacks ``(Z, Y, X)`` are from the confocal one, plane by plane."""
    figure = new_figure(3.4 * len(SHOWN_UM), 3.3 * len(stacks))
    axes = figure.subplots(len(stacks), len(SHOWN_UM), squeeze=False)
    for line, (name, stack) in zip(axes, stacks.items(), strict=True):
        for axis, z in zip(line, SHOWN_UM, strict=True):
            plane = _nearest(planes_um, z)
            output, truth = _middle(stack[plane]), _middle(confocal[plane])
            show(axis, np.abs(output - truth), 0, LARGEST_DIFFERENCE)
            error, similarity = (
                float(METRICS[metric](*(torch.from_numpy(x.copy()) for x in (output, truth))))
                for metric in ("rmse", "ssim")
            )
            axis.set_title(
                f"z = {signed_um(z)}: SSIM {similarity:.2f}, RMSE {error:.3f}", fontsize=9
            )
        line[0].set_ylabel(f"|confocal − {name}|")
    bar = figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.6)
    bar.set_label("normalised intensity")
    save_figure(figure, path)


def _middle(stack: FloatArray) -> FloatArray:
    height, width = stack.shape[-2:]
    top, left = (max(0, (size - SHOWN_PX) // 2) for size in (height, width))
    return stack[..., top : top + SHOWN_PX, left : left + SHOWN_PX]


def _nearest(planes_um: Sequence[float], z_um: float) -> int:
    return int(np.abs(np.asarray(planes_um) - z_um).argmin())


def _liveliest_lines(stack: FloatArray) -> tuple[int, int]:
    """Row and column of the part shown whose sections vary most."""
    spread = _middle(stack).var(axis=0)
    return int(spread.mean(axis=1).argmax()), int(spread.mean(axis=0).argmax())
