"""The pictures of worms: regions refocused beside the scan, and the neurons found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from fluofocus.io.stack import voxel_size_um
from fluofocus.measure.image import METRICS
from fluofocus.neurons.detected import Neurons
from fluofocus.report.drawing import (
    add_scale_bar,
    display_range,
    new_figure,
    outline,
    save_figure,
    show,
    signed_um,
)
from fluofocus.units import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BRIGHTEST_SHOWN, LARGEST_DIFFERENCE = 1.1, 0.5
LINE_COLOURS = ("tab:blue", "tab:green")
DEPTHS, DEEPEST_UM = "turbo", 10.0
WHOLE, HEAD = (0.0, 1.0), (0.04, 0.24)
"""Shares of a worm's length that are drawn."""


@dataclass(frozen=True)
class RegionPlane:
    """One plane of a region, three times ``(Y, X)``; ``where`` says where it lies in the image."""

    name: str
    where: tuple[slice, slice]
    z_um: float
    recorded: FloatArray
    refocused: FloatArray
    scanned: FloatArray


def draw_regions(
    image: FloatArray, shown: Sequence[RegionPlane], pixel_um: float, path: Path
) -> None:
    """Draw an image with its regions, and each plane of a region in a row of panels."""
    columns = ("recorded", "refocused", "scanned", "across", "input", "output")
    figure = new_figure(15.0, 1.9 + 2.4 * len(shown))
    rows: list[Any] = [["image"] * len(columns)]
    for row in range(len(shown)):
        panels = [f"{column} {row}" for column in columns]
        rows.append(panels)
        rows.append([panel.replace("across", "down") for panel in panels])
    axes = figure.subplot_mosaic(
        rows, height_ratios=[1.6, *[1.2] * (2 * len(shown))], width_ratios=[1, 1, 1, 1.1, 1, 1]
    )
    show(axes["image"], image, 0, BRIGHTEST_SHOWN)
    axes["image"].set_title("The one image, z = 0")
    add_scale_bar(axes["image"], image.shape, pixel_um)
    for row, plane in enumerate(shown):
        _frame(axes["image"], plane)
        _draw_row({column: axes[f"{column} {row}"] for column in (*columns, "down")}, plane)
        if row == 0:
            axes["recorded 0"].set_title("input, z = 0")
            axes["across 0"].set_title("— scan, — output, ··· input", fontsize=9)
            add_scale_bar(axes["recorded 0"], plane.recorded.shape, pixel_um)
    save_figure(figure, path)


def _frame(axis: Axes, plane: RegionPlane) -> None:
    outline(axis, plane.where)
    rows, columns = plane.where
    axis.text(columns.start + 4, rows.start + 4, plane.name, color="white", fontsize=8, va="top")


def _draw_row(axes: Mapping[str, Axes], plane: RegionPlane) -> None:
    images = {"recorded": plane.recorded, "refocused": plane.refocused, "scanned": plane.scanned}
    y, x = np.unravel_index(int(plane.scanned.argmax()), plane.scanned.shape)
    for name, image in images.items():
        show(axes[name], image, 0, BRIGHTEST_SHOWN)
        axes[name].axhline(float(y), color=LINE_COLOURS[0], lw=0.8, ls=":")
        axes[name].axvline(float(x), color=LINE_COLOURS[1], lw=0.8, ls=":")
    axes["recorded"].set_ylabel(plane.name)
    axes["refocused"].set_title(f"output, z = {signed_um(plane.z_um)}", fontsize=10)
    axes["scanned"].set_title(f"scan, z = {signed_um(plane.z_um)}", fontsize=10)
    _draw_lines(axes["across"], [image[y] for image in images.values()], LINE_COLOURS[0])
    _draw_lines(axes["down"], [image[:, x] for image in images.values()], LINE_COLOURS[1])
    for name, image in (("input", plane.recorded), ("output", plane.refocused)):
        show(axes[name], np.abs(image - plane.scanned), 0, LARGEST_DIFFERENCE)
        similarity, error = (
            float(
                METRICS[metric](*(torch.from_numpy(each.copy()) for each in (image, plane.scanned)))
            )
            for metric in ("ssim", "rmse")
        )
        axes[name].set_title(
            f"|{name} − scan|\nSSIM {similarity:.2f}, RMSE {error:.3f}", fontsize=9
        )


def _draw_lines(axis: Axes, lines: Sequence[FloatArray], colour: str) -> None:
    recorded, refocused, scanned = lines
    axis.plot(recorded, color="0.5", lw=0.9, ls=":")
    axis.plot(scanned, color="black", lw=1.0)
    axis.plot(refocused, color=colour, lw=1.0)
    axis.set_xticks([])
    axis.set_xlim(0, len(scanned) - 1)
    axis.set_ylim(-0.1, max(1.0, float(max(refocused.max(), scanned.max()))) * 1.05)
    axis.tick_params(labelsize=7)


def draw_neurons(
    found: Mapping[str, tuple[xr.DataArray, Neurons]], part: tuple[float, float], path: Path
) -> None:
    """Draw stacks' maximum projections below each other, with a circle for each neuron found.

    Colours are depths; ``part`` is the share of the worm's length that is drawn.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    first = next(iter(found.values()))[0]
    height, width = first.sizes["Y"], first.sizes["X"]
    left, right = (round(share * width) for share in part)
    across = 1 if part == WHOLE else 2
    down = -(-len(found) // across)
    panel_width = 15.0 / across
    figure = new_figure(15.5, (panel_width * height / (right - left) + 0.35) * down + 0.4)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    depths = ScalarMappable(Normalize(-DEEPEST_UM, DEEPEST_UM), colormaps[DEPTHS])
    for axis, (name, (stack, neurons)) in zip(axes, found.items(), strict=False):
        flat = stack.ndim == 2
        _draw_projection(axis, stack, left, right)
        z_um, y_um, x_um = neurons.centroids_um.T
        pixel_um = voxel_size_um(stack)[2]
        inside = (x_um / pixel_um >= left) & (x_um / pixel_um < right)
        axis.scatter(
            x_um[inside] / pixel_um - left,
            y_um[inside] / pixel_um,
            s=30 * across**2,
            linewidths=0.9,
            facecolors="none",
            edgecolors="white" if flat else depths.to_rgba(z_um[inside]),
        )
        axis.set_title(f"{name}: {inside.sum()} neurons", fontsize=9, loc="left")
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    figure.colorbar(depths, ax=axes.tolist(), label="z (µm)", shrink=0.6, pad=0.01)
    save_figure(figure, path)


def _draw_projection(axis: Axes, stack: xr.DataArray, left: int, right: int) -> None:
    from matplotlib.colors import PowerNorm

    values = np.asarray(stack.values, np.float32)
    projection = values if values.ndim == 2 else values.max(axis=0)
    norm = PowerNorm(0.6, *display_range(projection), clip=True)
    axis.imshow(projection[:, left:right], cmap="gray", norm=norm, interpolation="none")
    axis.set_xticks([])
    axis.set_yticks([])
    add_scale_bar(axis, (projection.shape[0], right - left), voxel_size_um(stack)[2])
