"""Where active neurons are: in both channels by cluster, and in space by depth.

After Fig. 3a and 3b of Wu et al., Nature Methods 16 (2019).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.report.activity_figures import cluster_colour
from fluofocus.report.drawing import add_scale_bar, display_range, new_figure, save_figure
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fluofocus.neurons.activity import NeuronActivity

DEPTHS = "turbo"
GAMMA = 0.6  # brings out dim neurons beside bright ones
CIRCLE_UM = 4.0
_WIDE = 2.0  # images so much wider than high stand below each other
_LENGTH, _MOST_ASPECT = 11.0, 4


def plot_activity_places(
    activity: NeuronActivity, green: AnyArray, path: str | Path, *, pixel_size_um: float
) -> None:
    """Draw both channels' maximum along z, the clusters' neurons circled in their colours.

    Parameters
    ----------
    activity : NeuronActivity
        Its ``structure`` is the red channel.
    green : ndarray (Z, Y, X)
        Median of green over time, in register with it.
    path : str or Path
        Where to save the figure.
    pixel_size_um : float

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    height, width = green.shape[-2:]
    below = width > _WIDE * height
    side = _LENGTH if below else _LENGTH / 2
    panel = side * height / width + 0.35
    figure = new_figure(_LENGTH, (4 if below else 2) * panel)
    axes = figure.subplots(4, 1) if below else figure.subplots(2, 2).T.ravel()
    channels = (("red: nuclei", activity.structure), ("green: calcium", green))
    for index, (name, stack) in enumerate(channels):
        plain, marked = axes[2 * index], axes[2 * index + 1]
        for axis in (plain, marked):
            _show(axis, np.asarray(stack).max(axis=0))
        add_scale_bar(plain, (height, width), pixel_size_um)
        plain.set_title(f"{name}, median over time, maximum along z", fontsize=9)
        marked.set_title(f"{len(activity.active)} most active neurons, by cluster", fontsize=9)
        _circle(marked, activity, CIRCLE_UM / pixel_size_um)
    save_figure(figure, path)


def plot_neuron_depths(positions_um: AnyArray, path: str | Path) -> None:
    """Draw all neurons in 3D and from above, their depths as colours; in 3D short axes stretch.

    Parameters
    ----------
    positions_um : ndarray (N, 3)
        z, y, x.
    path : str or Path
        Where to save the figure.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    z, y, x = np.asarray(positions_um).T
    style = {"c": z, "cmap": DEPTHS, "edgecolors": "0.25", "linewidths": 0.4}
    figure = new_figure(_LENGTH, 6.0)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.4, 1])
    space, above = figure.add_subplot(grid[0], projection="3d"), figure.add_subplot(grid[1])
    space.scatter(x, y, z, s=32, depthshade=False, clip_on=False, **style)
    extents = np.maximum([np.ptp(x), np.ptp(y), np.ptp(z)], 1e-9)
    space.set_box_aspect(np.maximum(extents, extents.max() / _MOST_ASPECT), zoom=1.5)
    space.view_init(elev=25, azim=-75)
    space.set(xlabel="x (µm)", ylabel="y (µm)", title=f"{len(z)} neurons")  # z is in the colours
    for name in ("y", "z"):
        space.locator_params(axis=name, nbins=3)
    drawn = above.scatter(x, y, s=24, **style)
    above.set(xlabel="x (µm)", ylabel="y (µm)", aspect="equal")
    above.invert_yaxis()
    above.margins(0.03, 0.15)
    figure.colorbar(drawn, ax=[space, above], label="z (µm)", shrink=0.6, pad=0.08)
    save_figure(figure, path)


def _show(axis: Axes, projection: AnyArray) -> None:
    from matplotlib.colors import PowerNorm

    low, high = display_range(projection)
    norm = PowerNorm(GAMMA, low, high, clip=True)
    axis.imshow(projection, cmap="gray", norm=norm, interpolation="none")
    axis.set_xticks([])
    axis.set_yticks([])


def _circle(axis: Axes, activity: NeuronActivity, diameter_px: float) -> None:
    from matplotlib.patches import Circle

    cluster = activity.cluster
    for neuron in activity.active.tolist():
        _, y, x = activity.centroids_px[neuron]
        colour = cluster_colour(int(cluster[neuron]))
        axis.add_patch(Circle((x, y), diameter_px / 2, fill=False, color=colour, linewidth=1.0))
