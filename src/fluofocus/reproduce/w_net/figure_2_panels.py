"""Drawing of W-Net's Fig. 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.measure.beads import Array
from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.reproduce.w_net.methods import (
    DECONVOLVED,
    FILTER,
    HELIX,
    NATIVE_UM,
    SCANNED,
    U_NET,
    W_NET,
    WIDEFIELD,
)
from fluofocus.reproduce.w_net.native import extent, native_jaccard
from fluofocus.reproduce.w_net.scores import FEWEST, Curve, interval, resampled
from fluofocus.reproduce.w_net.sweep import SEED, Sweep
from fluofocus.units import um_to_nm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    HELIX: "#1d4ed8",
    WIDEFIELD: "#dc2626",
    SCANNED: "#eab308",
    W_NET: "#7c3aed",
    U_NET: "#ea580c",
    FILTER: "#8a8f98",
    DECONVOLVED: "#4d7c5f",
}
LEFT, RIGHT = (HELIX, WIDEFIELD, SCANNED), (HELIX, W_NET, U_NET, FILTER, DECONVOLVED)
MOST_NM = 200.0
NATIVE_COLOUR, EXTENDED_COLOUR = "#fde68a", "#dbeafe"


def draw_curves(sweep: Sweep, path: Path) -> None:
    """Draw correlation, Jaccard index and error of two sets of methods by defocus."""
    figure = new_figure(9.6, 9.6)
    panels = figure.subplots(3, 2, sharex=True, sharey="row")
    for column, names in zip(panels.T, (LEFT, RIGHT), strict=True):
        _draw_column(column.tolist(), sweep, names)
    for axis, letter in zip(panels.T.flat, "abcdef", strict=True):
        axis.set_title(letter, loc="left", fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
    for axis, label in zip(
        panels[:, 0],
        ("correlation with confocal", "Jaccard index", "lateral RMSE (nm)"),
        strict=True,
    ):
        axis.set_ylabel(label)
    for axis in panels[-1]:
        axis.set_xlabel("defocus of the input (µm)")
    save_figure(figure, path)


def _draw_column(axes: Sequence[Axes], sweep: Sweep, names: Sequence[str]) -> None:
    correlation, jaccard, error = axes
    for axis in (jaccard, error):
        if names is LEFT:
            axis.axvspan(NATIVE_UM[0], NATIVE_UM[-1], color=NATIVE_COLOUR, zorder=0.1)
        if HELIX in sweep.curves:
            held = extent(sweep, HELIX, 0.0).range
            axis.axvspan(held.low_um, held.high_um, color=EXTENDED_COLOUR, zorder=0)
    jaccard.axhline(float(native_jaccard(sweep)), color="#444444", lw=0.8, ls="--")
    for name in names:
        if name not in sweep.curves:
            continue
        curve = sweep.curves[name]
        weights = resampled(curve.counted.shape[1], SEED)
        colour = COLOURS[name]
        correlation.plot(curve.z_um, curve.correlation, color=colour, label=name)
        correlation.fill_between(
            curve.z_um,
            curve.correlations.min(axis=1),
            curve.correlations.max(axis=1),
            color=colour,
            alpha=0.15,
            lw=0,
        )
        _draw_with_band(jaccard, curve, curve.jaccard(), curve.jaccard(weights), colour)
        found = np.where(curve.matched_count >= FEWEST, 1.0, np.nan)
        rmse_nm, drawn_nm = (
            um_to_nm(1.0) * found * x for x in (curve.rmse_um(), curve.rmse_um(weights))
        )
        _draw_with_band(error, curve, rmse_nm, drawn_nm, colour)
    correlation.set_ylim(None, 1)
    jaccard.set_ylim(0, 1)
    error.set_ylim(0, MOST_NM)
    correlation.legend(frameon=False, fontsize=8)


def _draw_with_band(axis: Axes, curve: Curve, value: Array, drawn: Array, colour: str) -> None:
    low, high = interval(drawn)
    axis.plot(curve.z_um, value, color=colour, marker=".", ms=4)
    axis.fill_between(curve.z_um, low, high, color=colour, alpha=0.2, lw=0)
