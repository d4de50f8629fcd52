"""Drawing of stacks side by side: planes, sections, errors, spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.optics.microscope import preset
from fluofocus.report.drawing import DIFFERENCE, add_scale_bar, new_figure, save_figure
from fluofocus.reproduce.wfcon_net.slices import MICROSCOPE, STEP_UM
from fluofocus.units import AnyArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BRIGHTEST, GAMMA = 1.2, 0.6
LARGEST_ERROR = 0.5
SHOWN_PX = 192


@dataclass(frozen=True)
class Row:
    """Stacks ``(Z, Y, X)`` of one field, by name.

    Attributes
    ----------
    error : ndarray, optional
        What one of them lacks of the truth, or has more.
    plane : int, optional
        The plane shown; that in which the last stack varies most as a rule.
    """

    label: str
    stacks: Mapping[str, FloatArray]
    error: FloatArray | None = None
    plane: int | None = None


def draw_rows(rows: Sequence[Row], path: Path) -> None:
    """Draw of each row a plane and the error there, and both sections of its stacks."""
    names = list(rows[0].stacks)
    ratios = [1.0] * (len(names) + 1) + [min(1.0, 1 / _height(rows[0]))] * 2 * len(names)
    figure = new_figure(2.1 * sum(ratios), 2.25 * len(rows))
    axes = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
    for line, row in zip(axes, rows, strict=True):
        at = _place(row)
        line[0].set_ylabel(row.label, fontsize=8)
        for axis, (name, stack) in zip(line, row.stacks.items(), strict=False):
            _draw_plane(axis, stack, at, name)
        if row.error is not None:
            shown = _cropped(row.error[at[0]])
            axis = line[len(names)]
            axis.imshow(shown, cmap=DIFFERENCE, vmin=-LARGEST_ERROR, vmax=LARGEST_ERROR)
            _finish(axis, "error")
        for offset, direction in enumerate(("x–z", "y–z")):
            first = len(names) * (offset + 1) + 1
            for axis, (name, stack) in zip(line[first:], row.stacks.items(), strict=False):
                _draw_section(axis, stack, at, direction, name)
    side = min(SHOWN_PX, rows[0].stacks[names[0]].shape[-1])
    add_scale_bar(axes[0, 0], (side, side), preset(MICROSCOPE).pixel_size_um)
    save_figure(figure, path)


def draw_columns(
    rows: Sequence[Row], path: Path, spectra: Mapping[str, AnyArray] | None = None
) -> None:
    """Draw a column for each stack: per row a plane and below it a section, spectra last."""
    names = list(rows[0].stacks)
    ratios = [1.0, _height(rows[0])] * len(rows) + ([1.0] if spectra else [])
    figure = new_figure(2.3 * len(names), 2.4 * sum(ratios))
    axes = figure.subplots(len(ratios), len(names), squeeze=False, height_ratios=ratios)
    for number, row in enumerate(rows):
        at = _place(row)
        axes[2 * number, 0].set_ylabel(row.label, fontsize=8)
        for column, (name, stack) in enumerate(row.stacks.items()):
            _draw_plane(axes[2 * number, column], stack, at, name)
            _draw_section(axes[2 * number + 1, column], stack, at, "x–z", "")
    for axis, name in zip(axes[-1], names if spectra else (), strict=False):
        assert spectra is not None
        axis.imshow(spectra[name], cmap="viridis", vmin=-4, vmax=0, aspect="auto")
        _finish(axis, "spectrum")
    side = min(SHOWN_PX, rows[0].stacks[names[0]].shape[-1])
    add_scale_bar(axes[0, 0], (side, side), preset(MICROSCOPE).pixel_size_um)
    save_figure(figure, path)


def _height(row: Row) -> float:
    """Return how high a section is for its width."""
    shown = _cropped(next(iter(row.stacks.values())))
    width_um = float(shown.shape[-1] * preset(MICROSCOPE).pixel_size_um)
    return len(shown) * STEP_UM / width_um


def _place(row: Row) -> tuple[int, int, int]:
    """Return the plane, and the row and column of the part shown where the last stack varies."""
    truth = _cropped(list(row.stacks.values())[-1])
    plane = int(truth.var(axis=(1, 2)).argmax()) if row.plane is None else row.plane
    spread = truth.var(axis=0)
    return plane, int(spread.mean(axis=1).argmax()), int(spread.mean(axis=0).argmax())


def _cropped(stack: FloatArray) -> FloatArray:
    height, width = stack.shape[-2:]
    top, left = (max(0, (size - SHOWN_PX) // 2) for size in (height, width))
    return stack[..., top : top + SHOWN_PX, left : left + SHOWN_PX]


def _draw_plane(axis: Axes, stack: FloatArray, at: tuple[int, int, int], title: str) -> None:
    _draw(axis, _cropped(stack[at[0]]), 1.0)
    axis.axhline(at[1], color="white", lw=0.6, ls=":")
    axis.axvline(at[2], color="white", lw=0.6, ls=":")
    _finish(axis, title)


def _draw_section(
    axis: Axes, stack: FloatArray, at: tuple[int, int, int], direction: str, title: str
) -> None:
    shown = _cropped(stack)
    section = shown[:, at[1]] if direction == "x–z" else shown[:, :, at[2]]
    _draw(axis, section, STEP_UM / preset(MICROSCOPE).pixel_size_um)
    _finish(axis, f"{title}, {direction}".lstrip(", "))


def _draw(axis: Axes, image: FloatArray, aspect: float) -> None:
    seen = np.clip(image / BRIGHTEST, 0, 1) ** GAMMA
    axis.imshow(seen, cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="none")


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=7)
    axis.set_xticks([])
    axis.set_yticks([])
