"""The pictures of `drift`: drifts over time, and frames before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fluofocus.refocus.drift import Array
from fluofocus.report.drawing import (
    add_scale_bar,
    display_range,
    new_figure,
    save_figure,
    show,
    signed_um,
)
from fluofocus.units import FloatArray

_SHARES = (1 / 3, 2 / 3, 1.0)


def draw_drifts(drifts_um: Mapping[str, Sequence[tuple[Array, Array]]], path: Path) -> None:
    """Draw the true drift and that found, over time, for each recording of each specimen."""
    columns = max(map(len, drifts_um.values()))
    figure = new_figure(4.0 * columns, 2.6 * len(drifts_um))
    axes = figure.subplots(len(drifts_um), columns, sharex=True, sharey=True, squeeze=False)
    for line, (name, recordings) in zip(axes, drifts_um.items(), strict=True):
        for number, (axis, (true, found)) in enumerate(zip(line, recordings, strict=True), start=1):
            axis.plot(true, color="0.5", lw=1.4, label="true")
            axis.plot(found, ".", color="tab:red", label="found")
            axis.set_title(f"{name} {number}", fontsize=10)
        line[0].set_ylabel("drift (µm)")
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    axes[0, 0].legend(fontsize=8)
    save_figure(figure, path)


def draw_frames(
    recorded: FloatArray,
    undone: FloatArray,
    focused: FloatArray,
    true_um: Array,
    pixel_size_um: float,
    path: Path,
) -> None:
    """Draw frames that drifted all, two thirds and a third of the way, before and after."""
    drifted = np.abs(true_um)
    frames = sorted({int(np.abs(drifted - share * drifted.max()).argmin()) for share in _SHARES})
    height, width = focused.shape
    figure = new_figure(11.0, 5.4 * height / width * (len(frames) + 1) + 0.5)
    axes = figure.subplots(len(frames) + 1, 2, squeeze=False)
    limits = display_range(focused)
    for line, frame in zip(axes, frames, strict=False):
        show(line[0], recorded[frame], *limits)
        show(line[1], undone[frame], *limits)
        line[0].set_ylabel(f"frame {frame},\n{signed_um(float(true_um[frame]))}")
    axes[0, 0].set_title("as recorded")
    axes[0, 1].set_title("brought back")
    for axis, image, name in zip(
        axes[-1], (recorded[0], focused), ("first frame", "the same without noise"), strict=True
    ):
        show(axis, image, *limits)
        axis.set_xlabel(name)
    add_scale_bar(axes[0, 0], focused.shape, pixel_size_um)
    save_figure(figure, path)
