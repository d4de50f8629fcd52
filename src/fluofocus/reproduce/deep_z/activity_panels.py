"""Traces found in a film, over those that are true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fluofocus.neurons.activity import NeuronActivity
from fluofocus.neurons.activity_truth import trace_correlations
from fluofocus.report.activity_figures import cluster_colour
from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.reproduce.deep_z.activity_scores import NO_MATCH, known_neurons
from fluofocus.simulate.activity import ActivityTimeLapse

SHOWN = 8


def draw_traces_beside_truth(
    lapse: ActivityTimeLapse, activity: NeuronActivity, planes_um: Sequence[float], path: Path
) -> None:
    """Draw active neurons, from the best correlated with the truth to the least."""
    known = known_neurons(activity, lapse, planes_um)
    rows = activity.active[known[activity.active] != NO_MATCH]
    true = lapse.traces.brightness[known[rows]]
    found = activity.traces[rows]
    correlation = np.nan_to_num(trace_correlations(found, true))
    ranks = np.argsort(-correlation)[np.linspace(0, len(rows) - 1, SHOWN).astype(int)]
    figure = new_figure(11.0, 5.6)
    axes = figure.subplots(SHOWN // 2, 2, sharex=True).T.ravel()
    for axis, rank in zip(axes, ranks.tolist(), strict=True):
        colour = cluster_colour(int(activity.cluster[rows[rank]]))
        times = lapse.traces.times_s
        axis.plot(times, true[rank] / true[rank].mean() - 1, color="black", linewidth=0.8)
        axis.plot(times, found[rank] / found[rank].mean() - 1, color=colour, linewidth=1.3)
        axis.set_title(f"r = {correlation[rank]:.2f}", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[SHOWN // 2 - 1 :: SHOWN // 2]:
        axis.set_xlabel("time (s)")
    figure.supylabel("ΔF / F0", fontsize=10)
    save_figure(figure, path)
