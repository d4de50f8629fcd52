"""The picture of a pupil mask: its phase, its point spread function, and its lobes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.optics.lobes import Lobes
from fluofocus.report.drawing import add_scale_bar, new_figure, save_figure, show, signed_um
from fluofocus.units import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 7


def plot_mask(
    phase_rad: FloatArray,
    psf: FloatArray,
    z_um: FloatArray,
    lobes: Lobes,
    pixel_um: float,
    path: str | Path,
) -> None:
    """Draw a mask ``(n, n)``, planes of its image ``(Z, Y, X)`` and its lobes against z."""
    figure = new_figure(2.2 * SHOWN, 6.5)
    axes = figure.subplot_mosaic(
        [[f"plane {i}" for i in range(SHOWN)], [*"aabbcc", "."]], height_ratios=[1, 1.3]
    )
    chosen = np.linspace(0, len(psf) - 1, SHOWN).round().astype(int)
    for place, plane in enumerate(chosen):
        axis = axes[f"plane {place}"]
        show(axis, psf[plane], 0, float(psf[chosen].max()))
        axis.set_title(signed_um(float(z_um[plane])))
    add_scale_bar(axes["plane 0"], (psf.shape[1], psf.shape[2]), pixel_um)
    _draw_phase(axes["a"], phase_rad)
    middle = lobes.angle_rad[len(lobes.angle_rad) // 2]
    axes["b"].plot(z_um, np.degrees(lobes.angle_rad - middle))
    axes["b"].set(xlabel="z (µm)", ylabel="angle of the lobes (°)")
    axes["c"].plot(z_um, 100 * lobes.efficiency, label="light in the lobes (%)")
    axes["c"].plot(z_um, 10 * lobes.separation_um, label="separation (0.1 µm)")
    axes["c"].set(xlabel="z (µm)", ylim=(0, None))
    axes["c"].legend(loc="lower center")
    save_figure(figure, path)


def _draw_phase(axis: Axes, phase_rad: FloatArray) -> None:
    centres = (np.arange(len(phase_rad)) + 0.5) * (2 / len(phase_rad)) - 1
    outside = np.hypot(*np.meshgrid(centres, centres)) > 1
    shown = np.where(outside, np.nan, np.remainder(phase_rad, 2 * np.pi))
    picture = axis.imshow(shown, cmap="twilight", vmin=0, vmax=2 * np.pi)
    axis.set(xticks=[], yticks=[], title="phase in the pupil (rad)")
    axis.figure.colorbar(picture, ax=axis)
