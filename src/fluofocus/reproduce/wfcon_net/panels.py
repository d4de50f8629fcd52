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
    from matplotlib.figure import Figure

BRIGHTEST, GAMMA = 1.2, 0.6
LARGEST_ERROR = 0.5
WIDTH_INCHES = 2.8
"""Of one picture."""


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
    """Draw of each row a plane and the error there, and sections of its stacks."""
    names = list(rows[0].stacks)
    ratios = [1.0] * (len(names) + 1) + [min(1.0, 1 / _height(rows[0]))] * len(names)
    figure = new_figure(WIDTH_INCHES * sum(ratios), 1.07 * WIDTH_INCHES * len(rows))
    axes = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
    for line, row in zip(axes, rows, strict=True):
        plane, at = _place(row)
        line[0].set_ylabel(row.label, fontsize=8)
        for axis, (name, stack) in zip(line, row.stacks.items(), strict=False):
            _draw_plane(axis, stack[plane], at, name)
        if row.error is not None:
            axis = line[len(names)]
            limits = {"vmin": -LARGEST_ERROR, "vmax": LARGEST_ERROR}
            axis.imshow(row.error[plane], cmap=DIFFERENCE, **limits)
            _finish(axis, "error")
        for axis, (name, stack) in zip(line[len(names) + 1 :], row.stacks.items(), strict=True):
            _draw_section(axis, stack[:, at], f"{name}, x–z")
    _save(figure, axes[0, 0], rows[0], path)


def draw_columns(
    rows: Sequence[Row], path: Path, spectra: Mapping[str, AnyArray] | None = None
) -> None:
    """Draw a column for each stack: per row a plane and below it a section, spectra last."""
    names = list(rows[0].stacks)
    ratios = [1.0, _height(rows[0])] * len(rows) + ([1.0] if spectra else [])
    figure = new_figure(WIDTH_INCHES * len(names), 1.05 * WIDTH_INCHES * sum(ratios))
    axes = figure.subplots(len(ratios), len(names), squeeze=False, height_ratios=ratios)
    for number, row in enumerate(rows):
        plane, at = _place(row)
        axes[2 * number, 0].set_ylabel(row.label, fontsize=8)
        for column, (name, stack) in enumerate(row.stacks.items()):
            _draw_plane(axes[2 * number, column], stack[plane], at, name)
            _draw_section(axes[2 * number + 1, column], stack[:, at], "x–z")
    for axis, name in zip(axes[-1], names if spectra else (), strict=False):
        assert spectra is not None
        axis.imshow(spectra[name], cmap="viridis", vmin=-4, vmax=0, aspect="auto")
        _finish(axis, "spectrum")
    _save(figure, axes[0, 0], rows[0], path)


def _height(row: Row) -> float:
    """Return how high a section is for its width."""
    depth, _, width = next(iter(row.stacks.values())).shape
    return float(depth * STEP_UM / (width * preset(MICROSCOPE).pixel_size_um))


def _place(row: Row) -> tuple[int, int]:
    """Return the plane shown, and the line of the section: where the last stack varies most."""
    truth = list(row.stacks.values())[-1]
    plane = int(truth.var(axis=(1, 2)).argmax()) if row.plane is None else row.plane
    return plane, int(truth.var(axis=0).mean(axis=1).argmax())


def _draw_plane(axis: Axes, image: FloatArray, at: int, title: str) -> None:
    _draw(axis, image, 1.0)
    axis.axhline(at, color="white", lw=0.6, ls=":")
    _finish(axis, title)


def _draw_section(axis: Axes, section: FloatArray, title: str) -> None:
    _draw(axis, section, STEP_UM / preset(MICROSCOPE).pixel_size_um)
    _finish(axis, title)


def _save(figure: Figure, axis: Axes, row: Row, path: Path) -> None:
    """Write a figure, with a scale bar in one of its planes."""
    shape_yx = next(iter(row.stacks.values())).shape[1:]
    add_scale_bar(axis, shape_yx, preset(MICROSCOPE).pixel_size_um)
    save_figure(figure, path)


def _draw(axis: Axes, image: FloatArray, aspect: float) -> None:
    seen = np.clip(image / BRIGHTEST, 0, 1) ** GAMMA
    axis.imshow(seen, cmap="gray", vmin=0, vmax=1, aspect=aspect)


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=7)
    axis.set_xticks([])
    axis.set_yticks([])
