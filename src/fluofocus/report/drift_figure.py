"""A picture of a drift that was found, and of frames before and after it was undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from fluofocus.io.stack import voxel_size_um
from fluofocus.refocus.drift import Drift
from fluofocus.report.drawing import (
    add_scale_bar,
    display_range,
    new_figure,
    save_figure,
    show,
    signed_um,
)

_SHOWN = 4


def plot_drift(recorded: xr.DataArray, undone: xr.DataArray, drift: Drift, path: Path) -> None:
    """Draw the drift frame by frame, and some frames as recorded and brought back."""
    count = len(drift.distance_um)
    frames = np.unique(np.linspace(0, count - 1, min(_SHOWN, count)).round().astype(int))
    figure = new_figure(4.6 + 3.0 * len(frames), 6.2)
    axes = figure.subplot_mosaic(
        [
            ["distance", *(f"recorded {frame}" for frame in frames)],
            ["likeness", *(f"undone {frame}" for frame in frames)],
        ],
        width_ratios=[1.5, *(1 for _ in frames)],
    )
    axes["distance"].plot(drift.distance_um, lw=1.2)
    axes["distance"].axhline(0, color="0.7", lw=0.8)
    axes["distance"].set(ylabel="distance to refocus by (µm)", title="drift")
    axes["likeness"].plot(drift.correlation, lw=1.2)
    axes["likeness"].set(xlabel="frame", ylabel="correlation with the reference")
    for frame in frames:
        for name, stack in (("recorded", recorded), ("undone", undone)):
            image = np.asarray(stack.isel(T=int(frame)).values, dtype=np.float32)
            show(axes[f"{name} {frame}"], image, *display_range(image))
        axes[f"recorded {frame}"].set_title(f"frame {frame}", fontsize=10)
        axes[f"undone {frame}"].set_title(signed_um(float(drift.distance_um[frame])), fontsize=10)
    first = axes[f"recorded {frames[0]}"]
    first.set_ylabel("as recorded")
    axes[f"undone {frames[0]}"].set_ylabel("brought back")
    add_scale_bar(first, recorded.shape[-2:], voxel_size_um(undone)[1])
    save_figure(figure, path)
