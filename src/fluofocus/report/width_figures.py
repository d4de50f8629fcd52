"""A figure of the widths of beads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.measure.width_samples import WidthSample
from fluofocus.report.bead_widths import BeadFile
from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#0e7490", "#a16207")
REFERENCE_COLOUR = "#8a8f98"
SHOWN_IQR = 3.0  # interquartile ranges beyond the quartiles at which a histogram ends
MOST_BINS, FEWEST_BINS = 60, 12


def plot_bead_widths(
    files: Sequence[BeadFile], path: str | Path, *, reference: BeadFile | None = None
) -> None:
    """Draw histograms of the lateral and, for stacks, axial widths, with their medians.

    Widths far from all others are not drawn but counted in the legend.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    shown = [(file, COLOURS[i % len(COLOURS)]) for i, file in enumerate(files)]
    if reference is not None:
        shown.insert(0, (reference, REFERENCE_COLOUR))
    kinds = [
        kind
        for kind in ("lateral", "axial")
        if any(kind in file.beads.samples for file, _ in shown)
    ]
    figure = new_figure(5.2 * len(kinds), 3.6 + 0.2 * len(shown))
    for axis, kind in zip(np.ravel(figure.subplots(1, len(kinds))), kinds, strict=True):
        samples = [
            (file.name, colour, file.beads.samples[kind])
            for file, colour in shown
            if kind in file.beads.samples
        ]
        _draw_kind(axis, samples)
        axis.set_xlabel(f"{kind} FWHM (µm)")
        axis.set_ylabel("beads")
    save_figure(figure, path)


def bin_edges_um(samples: Sequence[AnyArray]) -> list[float]:
    """Return edges of bins over all widths but those far from the quartiles of their sample.

    The bins are as narrow as the rule of Freedman and Diaconis makes them for the narrowest
    sample.
    """
    near = [_near_quartiles(widths_um) for widths_um in samples if len(widths_um)]
    if not near:
        return [0.0, 1.0]
    bin_um = min(float(np.diff(np.histogram_bin_edges(widths, "fd")[:2])[0]) for widths in near)
    together = np.concatenate(near)
    count = round(float(np.ptp(together)) / bin_um)
    limited = min(max(count, FEWEST_BINS), MOST_BINS)
    return [float(edge) for edge in np.histogram_bin_edges(together, limited)]


def _near_quartiles(widths_um: AnyArray) -> AnyArray:
    lower, upper = np.quantile(widths_um, [0.25, 0.75])
    reach = SHOWN_IQR * (upper - lower)
    near = (widths_um >= lower - reach) & (widths_um <= upper + reach)
    return np.asarray(widths_um[near])


def _draw_kind(axis: Axes, samples: Sequence[tuple[str, str, WidthSample]]) -> None:
    """Draw the histograms of one kind of width on common bins."""
    edges_um = bin_edges_um([sample.measured_um for _, _, sample in samples])
    for name, colour, sample in samples:
        widths_um = sample.measured_um
        if not len(widths_um):
            axis.plot([], [], color=colour, label=f"{name}: no bead measured")
            continue
        outside = np.count_nonzero((widths_um < edges_um[0]) | (widths_um > edges_um[-1]))
        hidden = f", {outside} not shown" if outside else ""
        label = f"{name}: median {sample.median_um:.3f} µm, n = {len(widths_um)}{hidden}"
        axis.hist(widths_um, edges_um, histtype="stepfilled", color=colour, alpha=0.35, label=label)
        axis.hist(widths_um, edges_um, histtype="step", color=colour)
        axis.axvline(sample.median_um, color=colour, linestyle="--", linewidth=1.2)
    axis.set_xlim(edges_um[0], edges_um[-1])
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0))
