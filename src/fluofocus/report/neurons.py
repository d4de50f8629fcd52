"""A picture of neurons found: the stack's projection, and where and how deep they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fluofocus.io.stack import origin_um, voxel_size_um
from fluofocus.report.drawing import add_scale_bar, display_range, new_figure, save_figure
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Colormap

    from fluofocus.neurons.detected import Neurons

PANEL_WIDTH = 6.0  # inches
DEPTHS, BRIGHT_PART = "turbo", (0.12, 0.92)
GAMMA = 0.6  # brings out dim neurons beside bright ones


def plot_neurons(stack: xr.DataArray, neurons: Neurons, path: str | Path) -> None:
    """Draw a stack's maximum projection, and once more with the neurons found in it marked.

    Circles have the neurons' diameters, and colours their depths.

    Parameters
    ----------
    stack : DataArray (Z, Y, X) or (Y, X)
        What the neurons were found in.
    neurons : Neurons
        Whose positions are in the stack's coordinates.
    path : str or Path
        Where to save the figure.

    Raises
    ------
    FluoFocusError
        If the pixel size is unknown, or the file cannot be written.
    """
    from matplotlib.transforms import Affine2D

    _, pixel_y_um, pixel_x_um = voxel_size_um(stack)
    values = np.asarray(stack.values, dtype=np.float32)
    projection = values.max(axis=0) if values.ndim == 3 else values
    height, width = projection.shape
    aspect = pixel_y_um / pixel_x_um
    panel_height = PANEL_WIDTH * height / width * aspect
    figure = new_figure(2 * PANEL_WIDTH + 1, min(max(panel_height, 2.0), 3 * PANEL_WIDTH) + 0.6)
    plain, marked = figure.subplots(1, 2)
    for axis in (plain, marked):
        _show(axis, projection, aspect)
        add_scale_bar(axis, projection.shape, pixel_x_um)
    plain.set_title("Maximum along z" if values.ndim == 3 else "Image", fontsize=10)
    marked.set_title(f"{len(neurons)} neurons", fontsize=10)
    circles = _circles(stack, neurons)
    circles.set_transform(Affine2D())
    circles.set_offset_transform(marked.transData)
    if values.ndim == 3:
        circles.set(array=neurons.centroids_um[:, 0], cmap=_depths(), facecolor="none")
        figure.colorbar(circles, ax=marked, label="z (µm)", shrink=0.8)
    else:
        circles.set_edgecolor("cyan")
    marked.add_collection(circles)
    save_figure(figure, path)


def _show(axis: Axes, projection: AnyArray, aspect: float) -> None:
    from matplotlib.colors import PowerNorm

    low, high = display_range(projection)
    norm = PowerNorm(GAMMA, low, high, clip=True)
    axis.imshow(projection, cmap="gray", norm=norm, aspect=aspect, interpolation="none")
    axis.set_xticks([])
    axis.set_yticks([])


def _depths() -> Colormap:
    """Return a colour map without the ends that are too dark to be seen."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps[DEPTHS](np.linspace(*BRIGHT_PART, 256)))


def _circles(stack: xr.DataArray, neurons: Neurons) -> EllipseCollection:
    """Return circles around the neurons, in the pixels of an image of the stack."""
    from matplotlib.collections import EllipseCollection

    _, pixel_y_um, pixel_x_um = voxel_size_um(stack)
    _, first_y_um, first_x_um = origin_um(stack)
    y_px = (neurons.centroids_um[:, 1] - first_y_um) / pixel_y_um
    x_px = (neurons.centroids_um[:, 2] - first_x_um) / pixel_x_um
    return EllipseCollection(
        neurons.diameters_um / pixel_x_um,
        neurons.diameters_um / pixel_y_um,
        np.zeros(len(neurons)),
        units="xy",
        offsets=np.column_stack([x_px, y_px]),
        facecolors="none",
        linewidths=0.9,
    )
