"""Figures of stacks, refocused images, evaluations and calibrations, saved as files.

Each function draws one figure and saves it in the format that the path's ending names.
Figures are made without pyplot, so that neither a display nor global state is involved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import origin_um, voxel_size_um
from fluofocus.report.drawing import (
    DIFFERENCE,
    INTENSITY,
    add_scale_bar,
    brightest_region,
    display_range,
    new_figure,
    outline,
    save_figure,
    show,
    signed_um,
)
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from fluofocus.refocus.coverage import Coverage
    from fluofocus.refocus.scores import Evaluation

COLOURS = {"input": "#8a8f98", "output": "#c2410c"}
DIFFERENCE_GAIN = 4
FIGURE_WIDTH = 10.0  # inches
SECTION_ASPECT = 4
LABELS = {"input": "unrefocused", "output": "refocused"}


def plot_evaluation(evaluation: Evaluation, path: str | Path) -> None:
    """Draw correlation, SSIM and the share of the gap closed against refocusing distance.

    Bands are one standard deviation of the image pairs.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    figure = new_figure(10.5, 3.4)
    similarity, structure, gap = figure.subplots(1, 3)
    rows = [row for row in evaluation.to_rows() if row["n"]]
    distance_um = np.array([row["distance_um"] for row in rows])
    for axis, metric in ((similarity, "pearson"), (structure, "ssim")):
        for image, colour in COLOURS.items():
            mean = np.array([row[f"{metric}_{image}_mean"] for row in rows])
            sd = np.array([row[f"{metric}_{image}_sd"] for row in rows])
            axis.plot(distance_um, mean, "o-", ms=3.5, color=colour, label=LABELS[image])
            axis.fill_between(
                distance_um, mean - sd, mean + sd, color=colour, alpha=0.18, linewidth=0
            )
    share = [row["gap_closed"] for row in rows]
    gap.plot(distance_um, share, "o-", ms=3.5, color=COLOURS["output"])
    gap.axhline(0, color="0.7", linewidth=0.8)
    similarity.legend(frameon=False)
    for axis, label in (
        (similarity, "Correlation with the true plane"),
        (structure, "SSIM with the true plane"),
        (gap, "Share of the gap closed"),
    ):
        axis.set_xlabel("Refocusing distance Δz (µm)")
        axis.set_ylabel(label)
        axis.set_ylim(top=1.02)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{evaluation.model_name}: refocused against focus-scanned planes", fontsize=11)
    save_figure(figure, path)


def plot_coverage(coverage: Coverage, path: str | Path) -> None:
    """Draw how often intervals held the truth against how often they should have."""
    figure = new_figure(4.6, 4.2)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="as promised")
    axis.plot(coverage.nominal, coverage.all_pixels, "o-", label="all pixels")
    axis.plot(coverage.nominal, coverage.bright_pixels, "s-", label="bright pixels")
    axis.set_xlabel("nominal probability of the interval")
    axis.set_ylabel("share of pixels whose truth it holds")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.legend(loc="upper left")
    save_figure(figure, path)


def plot_stack_overview(stack: xr.DataArray, path: str | Path) -> None:
    """Draw three planes of a stack and an x-z section through its brightest voxel.

    The section shows at most four times as much in x as in z; dotted lines in the planes
    say where it lies.

    Parameters
    ----------
    stack : DataArray (Z, Y, X)
        Intensities, with a voxel size in µm.
    path : str or Path
        Where to save the figure.

    Raises
    ------
    FluoFocusError
        If the stack has other axes or no voxel size, or the file cannot be written.
    """
    if stack.dims != ("Z", "Y", "X"):
        raise FluoFocusError(
            f"An overview shows a stack (Z, Y, X), this one has axes "
            f"{', '.join(map(str, stack.dims))}; select one time point and one channel."
        )
    step_um, pixel_y_um, pixel_x_um = voxel_size_um(stack)
    values = np.asarray(stack.values, dtype=float)
    depth, height, width = values.shape
    z_um = origin_um(stack)[0] + step_um * np.arange(depth)
    low, high = display_range(values)
    _, row, column = np.unravel_index(int(values.argmax()), values.shape)
    shown_px = min(width, math.ceil(SECTION_ASPECT * depth * step_um / pixel_x_um))
    left = min(max(int(column) - shown_px // 2, 0), width - shown_px)

    section_height = FIGURE_WIDTH * depth * step_um / (shown_px * pixel_x_um)
    heights = [FIGURE_WIDTH / 3, min(section_height, FIGURE_WIDTH / 2) + 0.9]
    figure = new_figure(FIGURE_WIDTH, sum(heights))
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
    planes = sorted({depth // 6, depth // 2, depth - 1 - depth // 6})
    for axis, plane in zip(np.ravel(upper.subplots(1, len(planes))), planes, strict=True):
        show(axis, values[plane], low, high, aspect=pixel_y_um / pixel_x_um)
        axis.plot([left, left + shown_px], [row, row], ":", color="white", lw=0.7, alpha=0.7)
        axis.set_title(f"z = {signed_um(z_um[plane])}", fontsize=9)
        add_scale_bar(axis, (height, width), pixel_x_um)
    axis = lower.subplots()
    section = values[:, row, left : left + shown_px]
    x_um = pixel_x_um * np.array([left, left + shown_px])
    extent = (x_um[0], x_um[1], z_um[-1] + step_um / 2, z_um[0] - step_um / 2)
    axis.imshow(section, INTENSITY, vmin=low, vmax=high, extent=extent, interpolation="none")
    axis.set_xlabel("x (µm)")
    axis.set_ylabel("z (µm)")
    axis.set_title(f"x-z section at y = {row * pixel_y_um:.1f} µm (dotted above)", fontsize=9)
    save_figure(figure, path)


def plot_before_after(
    before: AnyArray,
    after: AnyArray,
    truth: AnyArray | None,
    path: str | Path,
    *,
    pixel_size_um: float,
    title: str = "",
) -> None:
    """Draw an input, its refocused output and, where known, the true image, with a close-up.

    Output and truth share one intensity scale; the input, which is dimmer the further it is
    out of focus, has its own. The close-up is around the brightest spot of the truth, or
    else of the output.

    Parameters
    ----------
    before, after, truth : ndarray (Y, X)
        Intensities in the same units; ``truth`` may be None.
    path : str or Path
        Where to save the figure.
    pixel_size_um : float
        Pixel size in µm.
    title : str
        Heading, such as the distance refocused by.

    Raises
    ------
    FluoFocusError
        If the images differ in shape or the file cannot be written.
    """
    images = {"Input (own contrast)": before, "Refocused": after} | (
        {} if truth is None else {"Truth": truth}
    )
    reference = after if truth is None else truth
    if any(image.shape != reference.shape or image.ndim != 2 for image in images.values()):
        shapes = ", ".join(str(image.shape) for image in images.values())
        raise FluoFocusError(f"Images to compare must be of one shape (Y, X), not {shapes}.")
    zoom = brightest_region(reference)

    figure = new_figure(3.3 * len(images), 6.9)
    axes = figure.subplots(2, len(images), squeeze=False)
    for (upper, lower), (name, image) in zip(axes.T, images.items(), strict=True):
        low, high = display_range(image if image is before else reference)
        show(upper, image, low, high)
        upper.set_title(name, fontsize=10)
        add_scale_bar(upper, image.shape, pixel_size_um)
        outline(upper, zoom)
        show(lower, image[zoom], low, high)
        add_scale_bar(lower, image[zoom].shape, pixel_size_um)
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def plot_calibration(
    measured: AnyArray,
    fitted: AnyArray,
    coefficients: Mapping[int, float],
    path: str | Path,
    *,
    z_um: AnyArray | None = None,
) -> None:
    """Draw measured and fitted planes of a bead, their difference, and the Zernike coefficients.

    Parameters
    ----------
    measured, fitted : ndarray (Z, Y, X)
        Intensities in the same units.
    coefficients : mapping of int to float
        Rms waves by Noll index.
    path : str or Path
        Where to save the figure.
    z_um : ndarray (Z,), optional
        Positions of the planes, for their titles.

    Raises
    ------
    FluoFocusError
        If the stacks differ in shape or the file cannot be written.
    """
    if measured.shape != fitted.shape or measured.ndim != 3:
        raise FluoFocusError(
            f"Measured and fitted planes must be stacks (Z, Y, X) of one shape, not "
            f"{measured.shape} and {fitted.shape}."
        )
    depth = len(measured)
    planes = np.unique(np.linspace(0, depth - 1, min(depth, 7)).round().astype(int))
    figure = new_figure(1.45 * len(planes) + 0.6, 7.0)
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.2, 1])
    axes = upper.subplots(3, len(planes), squeeze=False)
    for column, plane in zip(axes.T, planes, strict=True):
        _show_fit(column, measured[plane], fitted[plane])
        column[0].set_title(
            f"plane {plane}" if z_um is None else signed_um(float(z_um[plane])), fontsize=9
        )
    for axis, label in zip(
        axes[:, 0], ("measured", "fitted", f"difference × {DIFFERENCE_GAIN}"), strict=True
    ):
        axis.set_ylabel(label)
    correlation = float(np.corrcoef(np.ravel(measured), np.ravel(fitted))[0, 1])
    upper.suptitle(f"Correlation over the whole stack {correlation:.4f}", fontsize=11)
    axis = lower.subplots()
    axis.bar(list(coefficients), list(coefficients.values()), color=COLOURS["output"])
    axis.axhline(0, color="0.4", linewidth=0.8)
    axis.set_xlabel("Zernike mode (Noll index)")
    axis.set_ylabel("rms waves")
    axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _show_fit(column: AnyArray, measured: AnyArray, fitted: AnyArray) -> None:
    """Draw one plane measured, fitted and their difference, on the measured plane's range."""
    low, high = float(measured.min()), float(measured.max())
    show(column[0], measured, low, high)
    show(column[1], fitted, low, high)
    limit = (high - low) / DIFFERENCE_GAIN
    column[2].imshow(measured - fitted, cmap=DIFFERENCE, vmin=-limit, vmax=limit)
    column[2].set_xticks([])
    column[2].set_yticks([])
