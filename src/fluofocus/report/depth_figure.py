"""A picture of an image in focus everywhere, its depth in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from fluofocus.io.stack import voxel_size_um
from fluofocus.report.drawing import add_scale_bar, display_range, new_figure, save_figure, show

_COLORS = "turbo"
_UNSEEN_GRAY = 0.35


def plot_depth(
    recorded: xr.DataArray, image: xr.DataArray, depth_um: xr.DataArray, path: str | Path
) -> None:
    """Draw the image recorded, the one in focus everywhere, and the latter coloured by depth."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = new_figure(15, 5.2)
    axes = figure.subplots(1, 3)
    pictures = [np.asarray(each.values, dtype=np.float32) for each in (recorded, image)]
    for axis, picture, title in zip(
        axes, pictures, ("as recorded", "in focus everywhere"), strict=False
    ):
        show(axis, picture, *display_range(picture))
        axis.set_title(title)
    low, high = display_range(pictures[1])
    depth = np.asarray(depth_um.values)
    bounds = (
        (float(np.nanmin(depth)), float(np.nanmax(depth))) if np.isfinite(depth).any() else (0, 1)
    )
    scale = Normalize(*bounds)
    brightness = np.clip((pictures[1] - low) / (high - low), 0, 1)[..., None] ** 0.7
    colors = colormaps[_COLORS](scale(np.nan_to_num(depth)))[..., :3]
    colors[~np.isfinite(depth)] = _UNSEEN_GRAY
    axes[2].imshow(colors * brightness, interpolation="none")
    axes[2].set(title="coloured by depth", xticks=[], yticks=[])
    add_scale_bar(axes[0], pictures[0].shape, voxel_size_um(image)[1])
    bar = figure.colorbar(ScalarMappable(scale, _COLORS), ax=axes[2], shrink=0.8)
    bar.set_label("depth (µm)")
    save_figure(figure, path)
