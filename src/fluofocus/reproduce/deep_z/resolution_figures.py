"""Pictures of one bead as in Deep-Z's Fig. 1a, and of the depth of field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluofocus.measure.beads import find_beads
from fluofocus.report.drawing import (
    INTENSITY,
    new_figure,
    save_figure,
    show,
    signed_um,
)
from fluofocus.units import AnyArray, FloatArray

SHOWN_UM = (-10.0, -6.0, -3.0, 0.0, 3.0, 6.0, 10.0)
HALF_PX = 28


def draw_bead(
    stacks: Mapping[str, AnyArray], planes_um: FloatArray, pixel_um: float, path: Path
) -> None:
    """Draw planes and the x–z section of the same bead of stacks ``(Z, Y, X)``, a row for each."""
    row, column = _lone_bead(list(stacks.values())[-1])
    figure = new_figure(1.55 * (len(SHOWN_UM) + 1) + 1.2, 1.9 * len(stacks))
    axes = figure.subplots(
        len(stacks), len(SHOWN_UM) + 1, squeeze=False, width_ratios=[1] * len(SHOWN_UM) + [1.3]
    )
    for line, (name, stack) in zip(axes, stacks.items(), strict=True):
        cut = stack[
            :, row - HALF_PX : row + HALF_PX + 1, column - HALF_PX : column + HALF_PX + 1
        ].astype(float)
        root = np.sqrt(np.clip(cut - np.median(cut), 0, None))
        for axis, z in zip(line, SHOWN_UM, strict=False):
            plane = root[int(np.abs(planes_um - z).argmin())]
            show(axis, plane, 0, root.max())
            axis.set_title(f"z = {signed_um(z)}", fontsize=9)
        line[0].set_ylabel(name)
        half_um, half_step = HALF_PX * pixel_um, (planes_um[1] - planes_um[0]) / 2
        line[-1].imshow(
            root[:, HALF_PX],
            cmap=INTENSITY,
            vmin=0,
            vmax=root.max(),
            interpolation="none",
            extent=(-half_um, half_um, planes_um[-1] + half_step, planes_um[0] - half_step),
        )
        line[-1].set_title("x–z section", fontsize=9)
        line[-1].set_ylabel("z (µm)")
    axes[-1, -1].set_xlabel("x (µm)")
    save_figure(figure, path)


def _lone_bead(stack: AnyArray) -> tuple[int, int]:
    """Return where the bead lies that is furthest from all others and from the edge."""
    beads = find_beads(stack.max(axis=0))
    last = np.array(stack.shape[1:]) - 1
    from_edge_px = np.minimum(beads.yx_px, last - beads.yx_px).min(axis=1)
    alone = int(np.minimum(beads.nearest_px, from_edge_px).argmax())
    row, column = np.round(beads.yx_px[alone]).astype(int).tolist()
    return row, column


@dataclass(frozen=True)
class Curves:
    """What is drawn of one microscope: its name, the trained range, and named correlations."""

    name: str
    trained_um: tuple[float, float]
    correlations: Mapping[str, FloatArray]


def draw_depth_of_field(
    benches: Sequence[Curves], distances_um: FloatArray, good: float, path: Path
) -> None:
    """Draw correlations with the plane in focus over the distance, a panel for each microscope."""
    figure = new_figure(5.0 * len(benches), 3.8)
    axes = figure.subplots(1, len(benches), sharey=True, squeeze=False)[0]
    for axis, bench in zip(axes, benches, strict=True):
        axis.axvspan(*bench.trained_um, color="#eef2f7", zorder=0)
        axis.axhline(good, color="#8a8f98", lw=0.8, ls="--")
        for colour, (name, correlation) in zip(
            ("#8a8f98", "#c2410c"), bench.correlations.items(), strict=True
        ):
            axis.plot(distances_um, correlation, color=colour, marker=".", label=name)
        axis.set(xlabel="distance from best focus (µm)", ylim=(0, 1.02))
        axis.set_title(bench.name, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("correlation with the image in focus")
    axes[0].legend(frameon=False, loc="lower left")
    save_figure(figure, path)
