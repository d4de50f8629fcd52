"""Small pictures of what a network in training makes of held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SAMPLES = 3
"""Fields in a picture."""
_DPI = 72
_PANEL_INCHES = 1.6
_SECTION_SCALE = 4
"""Rows that a plane takes in a section."""

Panel = tuple[str, Tensor, Tensor]
"""Title, image ``(H, W)``, and the image whose grey values it is shown with."""


def draw_refocused(batch: dict[str, Tensor], output: Tensor, path: Path) -> None:
    """Draw rows of input, output and target, a few kilobytes in all.

    Output and target share their grey values, the input has its own.

    Parameters
    ----------
    batch
        ``image`` ``(B, N, H, W)``, of which the first is drawn; ``dpm_um`` ``(B, N, 1)``;
        ``target`` ``(B, 1, H, W)``.
    output
        ``(B, 1, H, W)``.
    """
    rows = []
    for row in range(len(output)):
        image, target = batch["image"][row, 0], batch["target"][row, 0]
        title = f"refocused by {float(batch['dpm_um'][row, 0, 0]):+.1f} µm"
        rows.append(
            [
                ("input", image, image),
                (title, output[row, 0], target),
                ("target", target, target),
            ]
        )
    _draw(rows, path)


def draw_restored(recorded: Tensor, restored: Tensor, wanted: Tensor, path: Path) -> None:
    """Draw stacks ``(B, 1, Z, Y, X)``: of each its middle plane, and below a section along x and z.

    Output and target share their grey values, the input has its own.
    """
    rows: list[list[Panel]] = []
    for stacks in zip(recorded, restored, wanted, strict=True):
        for given, made, true in zip(*map(_cuts, stacks), strict=True):
            rows.append([("input", given, given), ("output", made, true), ("target", true, true)])
    _draw(rows, path)


def _cuts(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle plane and the middle section of a stack ``(1, Z, Y, X)``."""
    planes = stack[0]
    section = planes[:, planes.shape[1] // 2]
    return planes[planes.shape[0] // 2], section.repeat_interleave(_SECTION_SCALE, dim=0)


def _draw(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    heights = [panels[0][1].shape[0] / panels[0][1].shape[1] for panels in rows]
    figure = Figure(
        figsize=(3 * _PANEL_INCHES, sum(_PANEL_INCHES * height + 0.2 for height in heights)),
        dpi=_DPI,
        layout="constrained",
    )
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 3, squeeze=False, height_ratios=heights)
    for panels, row in zip(rows, axes, strict=True):
        for (title, image, shown), axis in zip(panels, row, strict=True):
            low, high = float(shown.min()), float(torch.quantile(shown, 0.998))
            axis.imshow(image.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="none")
            axis.set_title(title, fontsize=7)
            axis.set_axis_off()
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    Image.fromarray(pixels).convert("L").save(path, optimize=True)
