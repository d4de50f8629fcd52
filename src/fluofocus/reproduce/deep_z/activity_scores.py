"""How well a worm's activity was recovered, where all of it is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fluofocus.neurons.activity import NeuronActivity
from fluofocus.neurons.activity_truth import (
    EventScore,
    adjusted_rand_index,
    score_events,
    trace_correlations,
)
from fluofocus.neurons.matching import AXIAL_TOLERANCE_UM, match_neurons
from fluofocus.simulate.activity import ActivityTimeLapse
from fluofocus.simulate.calcium import FRAME_RATE_HZ, NO_CLUSTER

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

NO_MATCH = -1

MEASURES = (
    "neurons",
    "right",
    "active right",
    "r, median",
    "r, lowest tenth",
    "ARI",
    "ARI, all",
    "events missed",
    "events false",
    "clusters",
)
FORMS = ("{:.4g}", "{:.4g}", "{:.4g}", *("{:.3f}",) * 4, "{:.1%}", "{:.1%}", "{:.2g}")
"""What a score tells, and how it is written."""


@dataclass(frozen=True)
class ActivityScore:
    """One analysis against the truth.

    Attributes
    ----------
    found, right : int
        Neurons found, and those of them that are known ones.
    correlations : ndarray (M,)
        Of the active neurons' traces with the true ones; 0 for those that are no known
        neuron, or one without events.
    active_right : int
        Active neurons that are known ones.
    clusters : int
    rand_index, rand_index_all : float
        Adjusted, over the right active neurons: those that belong to a cluster, and all,
        where those that belong to none count as one more cluster.
    events : EventScore
    """

    found: int
    right: int
    correlations: Array
    active_right: int
    clusters: int
    rand_index: float
    rand_index_all: float
    events: EventScore

    def numbers(self) -> tuple[float, ...]:
        """Return what `MEASURES` names."""
        return (
            self.found,
            self.right,
            self.active_right,
            float(np.median(self.correlations)),
            float(np.percentile(self.correlations, 10)),
            self.rand_index,
            self.rand_index_all,
            self.events.missed_share,
            self.events.false_share,
            self.clusters,
        )


def cells_of(numbers: Iterable[float]) -> tuple[str, ...]:
    """Write the numbers of a score, or their means."""
    return tuple(form.format(each) for form, each in zip(FORMS, numbers, strict=True))


def positions_um(activity: NeuronActivity, planes_um: Sequence[float], pixel_um: float) -> Array:
    """Return where the neurons are, ``(N, 3)``, z, y, x."""
    z, y, x = activity.centroids_px.T
    return np.column_stack([np.interp(z, np.arange(len(planes_um)), planes_um), y, x]) * [
        1.0,
        pixel_um,
        pixel_um,
    ]


def known_neurons(
    activity: NeuronActivity, lapse: ActivityTimeLapse, planes_um: Sequence[float]
) -> Indices:
    """Return which known neuron each one found is, ``(N,)``; in one plane by place alone."""
    known_um = lapse.positions_um + lapse.motion_um[activity.motion.reference]
    known_um[:, 0] += lapse.best_focus_um
    matches = match_neurons(
        positions_um(activity, planes_um, lapse.pixel_size_um),
        known_um,
        axial_um=AXIAL_TOLERANCE_UM if len(planes_um) > 1 else math.inf,
    )
    index = np.full(len(activity.ids), NO_MATCH, dtype=np.intp)
    index[matches.found_index] = matches.known_index
    return index


def score_activity(
    activity: NeuronActivity, lapse: ActivityTimeLapse, planes_um: Sequence[float]
) -> ActivityScore:
    """Compare an analysis with the truth."""
    traces = lapse.traces
    known = known_neurons(activity, lapse, planes_um)
    true = known[activity.active]
    is_right = true != NO_MATCH
    rows, true = activity.active[is_right], true[is_right]
    correlations = np.zeros(len(activity.active))
    correlations[is_right] = np.nan_to_num(
        trace_correlations(activity.traces[rows], traces.brightness[true])
    )
    found, cluster = activity.clusters.cluster[is_right], traces.cluster[true]
    in_one = cluster != NO_CLUSTER
    return ActivityScore(
        found=len(activity.ids),
        right=int(np.count_nonzero(known != NO_MATCH)),
        correlations=correlations,
        active_right=len(rows),
        clusters=activity.clusters.count,
        rand_index=adjusted_rand_index(found[in_one], cluster[in_one]),
        rand_index_all=adjusted_rand_index(found, cluster),
        events=_events(activity.traces[rows], true, lapse),
    )


def _events(traces: Array, true: Indices, lapse: ActivityTimeLapse) -> EventScore:
    events = lapse.traces.events
    row_of = {neuron: row for row, neuron in enumerate(true.tolist())}
    own = np.isin(events.neuron, true)
    rows = np.array([row_of[neuron] for neuron in events.neuron[own].tolist()], dtype=np.intp)
    return score_events(traces, rows, events.onset_s[own] * FRAME_RATE_HZ)
