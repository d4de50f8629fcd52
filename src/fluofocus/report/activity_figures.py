"""Figures of neuron activity: who is active with whom, and where they are.

After Supplementary Fig. 15 and Fig. 3 of Wu et al., Nature Methods 16 (2019).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fluofocus.errors import FluoFocusError
from fluofocus.report.drawing import INTENSITY, new_figure, save_figure
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fluofocus.neurons.activity import NeuronActivity

NOT_CLUSTERED_COLOUR = "#b8bcc4"
TRACE_PERCENT = 99.5  # of the values that the map of traces shows without clipping
EIGENVALUES_SHOWN = 12
_COLOUR_MAP = "tab10"
_MOST_ASPECT = 4


def plot_activity_clusters(activity: NeuronActivity, path: str | Path) -> None:
    """Draw the similarity of the active neurons by cluster, their traces, and the eigenvalues.

    In the traces the mean of each cluster is drawn over its neurons.

    Parameters
    ----------
    activity : NeuronActivity
    path : str or Path
        Where to save the figure.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    figure = new_figure(12.5, 6.4)
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.5, 1])
    similarity, rows = upper.subplots(1, 2, width_ratios=[1, 1.7])
    courses, eigenvalues = lower.subplots(1, 2, width_ratios=[1.7, 1])
    order, cluster = activity.clusters.order, activity.clusters.cluster
    bounds = np.cumsum(np.bincount(cluster))
    relative = activity.relative_activity[activity.order]
    times, unit = _times(activity)

    matrix = activity.clusters.similarity[np.ix_(order, order)]
    shown = similarity.imshow(matrix, INTENSITY, vmin=0, vmax=1, interpolation="none")
    upper.colorbar(shown, ax=similarity, label="similarity", shrink=0.8)
    similarity.set_title("Similarity, neurons by cluster", fontsize=10)
    similarity.set_xlabel("active neuron")
    highest = max(float(np.percentile(relative, TRACE_PERCENT)), 1e-9)
    extent = (times[0], times[-1], len(relative) - 0.5, -0.5)
    shown = rows.imshow(
        relative,
        INTENSITY,
        aspect="auto",
        vmin=min(0.0, float(relative.min())),
        vmax=highest,
        extent=extent,
        interpolation="none",
    )
    upper.colorbar(shown, ax=rows, label="ΔF / F0", shrink=0.8)
    rows.set_title("Activity, neurons by cluster", fontsize=10)
    rows.set_xlabel(unit)
    for axis in (similarity, rows):
        _mark_clusters(axis, bounds)
    _draw_courses(courses, activity, times)
    courses.set_xlabel(unit)
    _draw_eigenvalues(eigenvalues, activity)
    save_figure(figure, path)


def plot_neuron_map(
    activity: NeuronActivity,
    path: str | Path,
    *,
    voxel_size_um: tuple[float, float, float],
) -> None:
    """Draw where the neurons are, in 3D and from above, coloured by cluster.

    In the 3D view short axes are stretched to a quarter of the longest, from above all have
    one scale. Positions count from the first voxel. Larger marks are more active; grey ones
    were not clustered.

    Parameters
    ----------
    activity : NeuronActivity
    path : str or Path
        Where to save the figure.
    voxel_size_um : tuple of float
        z, y, x.

    Raises
    ------
    FluoFocusError
        If the voxel size is not positive, or the file cannot be written.
    """
    voxel = np.asarray(voxel_size_um, dtype=np.float64)
    if voxel.shape != (3,) or not (np.isfinite(voxel).all() and (voxel > 0).all()):
        raise FluoFocusError(
            f"A map of neurons needs a voxel size (z, y, x) in µm above zero, not {voxel_size_um}."
        )
    z, y, x = (activity.centroids_px * voxel).T
    cluster = activity.cluster
    deviation = activity.delta_f.std(axis=1)
    area = 14 + 70 * deviation / max(float(deviation.max()), 1e-9)
    figure = new_figure(11.0, 6.4)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.4, 1])
    space, above = figure.add_subplot(grid[0], projection="3d"), figure.add_subplot(grid[1])
    for number in sorted(set(cluster.tolist())):
        own = cluster == number
        style: dict[str, Any] = {
            "color": cluster_colour(number),
            "edgecolors": "0.25",
            "linewidths": 0.4,
        }
        space.scatter(x[own], y[own], z[own], s=area[own], depthshade=False, clip_on=False, **style)
        name = f"cluster {number + 1}" if number >= 0 else "not clustered"
        above.scatter(x[own], y[own], s=area[own], label=f"{name} ({own.sum()})", **style)
    extents = np.maximum([np.ptp(x), np.ptp(y), np.ptp(z)], 1e-9)
    space.set_box_aspect(np.maximum(extents, extents.max() / _MOST_ASPECT), zoom=1.5)
    space.view_init(elev=25, azim=-75)
    for axis in (space, above):
        axis.set_xlabel("x (µm)")
        axis.set_ylabel("y (µm)")
        axis.locator_params(axis="y", nbins=3)
    space.margins(0.05)
    above.margins(0.04, 0.15)
    space.set_zlabel("z (µm)")
    space.locator_params(axis="z", nbins=3)
    above.set_aspect("equal")
    above.invert_yaxis()
    above.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_figure(figure, path)


def cluster_colour(cluster: int) -> str:
    """Return the colour of a cluster, from 0, or of the neurons in none, below 0."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colours = colormaps[_COLOUR_MAP]
    return NOT_CLUSTERED_COLOUR if cluster < 0 else to_hex(colours(cluster % colours.N))


def _times(activity: NeuronActivity) -> tuple[AnyArray, str]:
    if activity.times_s is None:
        return np.arange(activity.traces.shape[1]), "frame"
    return activity.times_s, "time (s)"


def _mark_clusters(axis: Axes, bounds: AnyArray) -> None:
    """Draw a bar in each cluster's colour left of its rows, and lines between clusters."""
    starts = np.concatenate([[0], bounds[:-1]])
    for number, (first, last) in enumerate(zip(starts, bounds, strict=True)):
        axis.plot(
            [-0.02, -0.02],
            [first - 0.4, last - 0.6],
            color=cluster_colour(number),
            linewidth=4,
            solid_capstyle="butt",
            transform=axis.get_yaxis_transform(),
            clip_on=False,
        )
        if last < bounds[-1]:
            axis.axhline(last - 0.5, color="white", linewidth=0.8)
    axis.set_yticks([])


def _draw_courses(axis: Axes, activity: NeuronActivity, times: AnyArray) -> None:
    clusters = activity.clusters
    relative = activity.relative_activity[activity.active]
    step = 1.1 * float(np.percentile(relative, TRACE_PERCENT) - relative.min())
    for number in range(clusters.count):
        own, base = relative[clusters.cluster == number], -number * step
        axis.plot(times, base + own.T, color=cluster_colour(number), linewidth=0.5, alpha=0.25)
        axis.plot(times, base + own.mean(axis=0), color=cluster_colour(number), linewidth=1.6)
        axis.text(
            1.01,
            base,
            f"n = {len(own)}",
            color=cluster_colour(number),
            transform=axis.get_yaxis_transform(),
            va="center",
            fontsize=9,
        )
    axis.set_yticks([])
    axis.set_xlim(times[0], times[-1])
    axis.set_ylabel("ΔF / F0, by cluster")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_eigenvalues(axis: Axes, activity: NeuronActivity) -> None:
    values = activity.clusters.eigenvalues[:EIGENVALUES_SHOWN]
    number = np.arange(1, len(values) + 1)
    axis.plot(number, values, "o-", color="0.35", markersize=4)
    axis.axvline(activity.clusters.count + 0.5, color="#c2410c", linestyle="--", linewidth=1)
    axis.set_xlabel("eigenvalue, from the smallest")
    axis.set_ylabel("λ")
    axis.set_title(f"{activity.clusters.count} clusters, left of the line", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
