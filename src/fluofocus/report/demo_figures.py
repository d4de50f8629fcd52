"""The two pictures of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.units import AnyArray, FloatArray

SHOWN_UM = (-6.0, -3.0, 3.0, 6.0)


def plot_virtual_stack(
    image: AnyArray,
    virtual: FloatArray,
    scanned: FloatArray,
    planes_um: AnyArray,
    pixel_size_um: float,
    path: str | Path,
) -> None:
    """Draw the recorded image, planes of the virtual and of the scanned stack, and x–z sections."""
    crop = slice(image.shape[0] // 2 - 128, image.shape[0] // 2 + 128)
    figure = new_figure(15, 5.4)
    axes = figure.subplot_mosaic(
        [
            ["input", *(f"v{z}" for z in SHOWN_UM), "vxz"],
            ["input", *(f"s{z}" for z in SHOWN_UM), "sxz"],
        ],
        width_ratios=[1.9, 1, 1, 1, 1, 1],
    )
    extent = 256 * pixel_size_um
    low, high = np.percentile(scanned[:, crop, crop], (1, 99.7))
    axes["input"].imshow(image[crop, crop], cmap="gray", vmin=low, extent=(0, extent, extent, 0))
    axes["input"].set(title="the one recorded image, z = 0", xlabel="x (µm)", ylabel="y (µm)")
    row = _liveliest_row(scanned[:, crop, crop])
    for prefix, stack, name in (("v", virtual, "virtual"), ("s", scanned, "scanned")):
        for z in SHOWN_UM:
            plane = int(np.abs(planes_um - z).argmin())
            axis = axes[f"{prefix}{z}"]
            axis.imshow(stack[plane, crop, crop], cmap="gray", vmin=low, vmax=high)
            axis.set_title(f"{name}, z = {z:+g} µm", fontsize=10)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.axhline(row, color="tab:orange", lw=0.5, ls=":")
        axis = axes[f"{prefix}xz"]
        axis.imshow(
            stack[:, crop, crop][:, row],
            cmap="gray",
            vmin=low,
            vmax=high,
            aspect="auto",
            extent=(0, extent, float(planes_um[-1]), float(planes_um[0])),
        )
        axis.set(ylabel="z (µm)", xlabel="x (µm)")
        axis.set_title(f"{name}, x–z at the line", fontsize=10)
    save_figure(figure, path)


def _liveliest_row(stack: FloatArray) -> int:
    """Row, well inside the crop, whose x–z section varies most."""
    spread = stack.std(axis=(0, 2))
    return 32 + int(spread[32:-32].argmax())


def plot_beads(
    image: AnyArray, corrected: FloatArray, pixel_size_um: float, path: str | Path
) -> None:
    """Draw beads on a tilted slide before and after, whole and in three close-ups."""
    height, width = image.shape
    figure = new_figure(14, 7.2)
    axes = figure.subplots(2, 4)
    side = 128
    tops = {"top rim": 16, "middle": (height - side) // 2, "bottom rim": height - 16 - side}
    for line, (name, picture) in enumerate((("recorded", image), ("refocused", corrected))):
        low, high = np.percentile(picture, (1, 99.8))
        extent = (0, width * pixel_size_um, height * pixel_size_um, 0)
        axes[line, 0].imshow(picture, cmap="gray", vmin=low, vmax=high, extent=extent)
        axes[line, 0].set(title=f"{name}, whole field", xlabel="x (µm)", ylabel="y (µm)")
        for axis, (place, top) in zip(axes[line, 1:], tops.items(), strict=True):
            rows = slice(top, top + side)
            left = _busiest_left(corrected[rows], side)
            part = picture[rows, left : left + side]
            low, high = np.percentile(part, (1, 99.9))
            axis.imshow(part, cmap="gray", vmin=low, vmax=high)
            axis.set_title(f"{name}, {place}, {side * pixel_size_um:.0f} µm wide")
            axis.set_xticks([])
            axis.set_yticks([])
    save_figure(figure, path)


def _busiest_left(strip: FloatArray, side: int) -> int:
    """First column of the square with the most light in a horizontal strip."""
    light = strip.clip(0, np.percentile(strip, 99.9)).sum(axis=0)
    return int(np.convolve(light, np.ones(side), "valid").argmax())
