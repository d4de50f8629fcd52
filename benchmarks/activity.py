"""How well the activity of neurons is recovered from simulated recordings, without refocusing.

    python benchmarks/activity.py --output docs/results/activity.md

Every frame is a full scan, so that what is measured is the analysis: registration, traces
and clusters. Neurons are told by the truth, then found by the watershed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import publish

from fluofocus.io.stack import make_stack
from fluofocus.neurons.activity import NeuronActivity, analyse_activity
from fluofocus.neurons.activity_registration import FrameMotion, register_frames
from fluofocus.neurons.activity_truth import (
    adjusted_rand_index,
    score_events,
    trace_correlations,
)
from fluofocus.neurons.matching import match_neurons
from fluofocus.neurons.segment import segment_neurons
from fluofocus.optics.microscope import preset
from fluofocus.report.activity_figures import plot_activity_clusters, plot_neuron_map
from fluofocus.simulate.activity import GREEN, RED, ActivityTimeLapse, simulate_activity
from fluofocus.simulate.calcium import FRAME_RATE_HZ, NO_CLUSTER, draw_traces

IN_CLUSTERS, ACTIVE = 72, 70
PLANES_UM = np.arange(-8.0, 8.1, 1.0)
WORM = {"bend_um": 4.0}
TARGET = 0.9


@dataclass(frozen=True)
class Field:
    """A kind of worm: its neurons, and the field that its length fills."""

    neurons: int
    shape_yx: tuple[int, int]


FIELDS = {"sparse": Field(80, (96, 1024)), "dense": Field(90, (96, 768))}
RECORDINGS = (("sparse", 810_000), ("sparse", 810_001), ("sparse", 810_002), ("dense", 810_000))
"""Worms and seeds, on which nothing was tuned."""


WAYS = {
    "known": False,
    "known, less haze": True,
    "watershed": False,
    "watershed, less haze": True,
}
"""Where neurons come from, and whether the analysis takes haze away."""


def recorded(field: Field, seed: int, frames: int) -> ActivityTimeLapse:
    """Simulate one recording."""
    share = IN_CLUSTERS / field.neurons
    traces = draw_traces(field.neurons, frames, seed=seed, active_share=share)
    return simulate_activity(
        preset("olympus-20x-0.75"),
        traces,
        seed=seed,
        shape_yx=field.shape_yx,
        planes_um=PLANES_UM,
        worm_parameters=WORM,
    )


def voxel_size_um(lapse: ActivityTimeLapse) -> tuple[float, float, float]:
    """Return the voxel size (z, y, x)."""
    return PLANES_UM[1] - PLANES_UM[0], lapse.pixel_size_um, lapse.pixel_size_um


def analysed(lapse: ActivityTimeLapse, way: str, motion: FrameMotion) -> NeuronActivity:
    """Analyse a recording in one way."""
    voxel = voxel_size_um(lapse)

    def watershed(median: np.ndarray) -> np.ndarray:
        stack = make_stack(median.astype(np.float32), "ZYX", voxel, z_um=lapse.planes_um)
        return segment_neurons(stack, method="watershed").labels

    def known(_: np.ndarray) -> np.ndarray:
        return lapse.true_labels(motion.reference)

    return analyse_activity(
        lapse.counts[:, RED],
        lapse.counts[:, GREEN],
        known if way.startswith("known") else watershed,
        times_s=lapse.traces.times_s,
        motion=motion,
        voxel_size_um=voxel,
        active=ACTIVE,
        less_haze=WAYS[way],
    )


def true_index(activity: NeuronActivity, lapse: ActivityTimeLapse, way: str) -> np.ndarray:
    """Return which true neuron each one found is, ``(N,)``, -1 for none."""
    if way.startswith("known"):
        return activity.ids - 1
    found_um = activity.centroids_px * voxel_size_um(lapse) + [PLANES_UM[0], 0, 0]
    known_um = lapse.positions_um + lapse.motion_um[activity.motion.reference]
    matches = match_neurons(found_um, known_um)
    index = np.full(len(found_um), -1)
    index[matches.found_index] = matches.known_index
    return index


def row(activity: NeuronActivity, lapse: ActivityTimeLapse, way: str) -> str:
    """Compare an analysis with the truth, and return one row of the table but for its start."""
    true = true_index(activity, lapse, way)[activity.active]
    known = true >= 0
    rows, true = activity.active[known], true[known]
    traces = lapse.traces
    correlation = trace_correlations(activity.traces[rows], traces.brightness[true])
    correlation = np.nan_to_num(correlation)  # of neurons that had no event, but seemed to
    row_of = {neuron: index for index, neuron in enumerate(true.tolist())}
    own = np.isin(traces.events.neuron, true)
    event_rows = np.array([row_of[neuron] for neuron in traces.events.neuron[own].tolist()])
    onsets = traces.events.onset_s[own] * FRAME_RATE_HZ
    events = score_events(activity.traces[rows], event_rows, onsets)
    found, cluster = activity.clusters.cluster[known], traces.cluster[true]
    in_one = cluster != NO_CLUSTER
    cells = (
        str(len(activity.ids)),
        str(len(rows)),
        on_target(float(np.median(correlation))),
        f"{np.percentile(correlation, 10):.3f}",
        str(activity.clusters.count),
        on_target(adjusted_rand_index(found[in_one], cluster[in_one])),
        str(np.count_nonzero(~in_one)),
        f"{adjusted_rand_index(found, cluster):.3f}",
        f"{events.missed_share:.1%} of {events.true_count}",
        f"{events.false_share:.1%} of {events.found_count}",
    )
    return " | ".join(cells)


def on_target(value: float) -> str:
    """Return a number, bold where it misses the target."""
    return f"{value:.3f}" if value >= TARGET else f"**{value:.3f}**"


def registration_error_um(lapse: ActivityTimeLapse, motion: FrameMotion) -> float:
    """Return the rms distance from the true motion, along y and x."""
    moved = lapse.motion_um - lapse.motion_um[motion.reference]
    wrong = motion.shift_px[:, 1:] * lapse.pixel_size_um - moved[:, 1:]
    return float(np.sqrt(np.square(wrong).sum(axis=1).mean()))


def page(rows: list[str], registration_um: list[float], options: argparse.Namespace) -> str:
    """Return the page with its table."""
    depth = f"{PLANES_UM[0]:g} to {PLANES_UM[-1]:g} µm"
    pixel_um = preset("olympus-20x-0.75").pixel_size_um
    worms = "; ".join(
        f"*{name}*, {field.neurons} neurons over {field.shape_yx[1] * pixel_um:.0f} µm "
        f"({field.shape_yx[0]} x {field.shape_yx[1]} pixels)"
        for name, field in FIELDS.items()
    )
    return "\n".join(
        [
            "# Neuron activity",
            "",
            f"Written by `python benchmarks/activity.py --frames {options.frames} --output "
            "docs/results/activity.md`: simulated worms, two thirds of whose neurons lie in the "
            f"head, none within another: {worms}. {IN_CLUSTERS} of the neurons are in three "
            "clusters. "
            f"{options.frames} frames at {FRAME_RATE_HZ} Hz through `olympus-20x-0.75`, each a "
            f"full scan of {len(PLANES_UM)} planes from {depth}; no refocusing. The worm drifts "
            "by 2 µm and jitters by 0.15 µm. Seeds on which nothing was tuned.",
            "",
            f"Of the {ACTIVE} most active neurons: *matched* are those that match a true one, "
            "over which the rest is counted; *r* is the correlation of a trace with the true one "
            "(0 where the true one is flat). *clusters* is their number by the eigengap, and "
            "*ARI* the adjusted Rand index with the true clusters, over the neurons that belong "
            "to one; *in none* are the active neurons that do not, and *ARI, all* counts these "
            f"as a cluster of their own. Targets are {TARGET} for r and ARI; what misses them is "
            "bold.",
            "",
            "| worm | seed | neurons from | found | matched | r, median | r, lowest tenth "
            "| clusters | ARI | in none | ARI, all | events missed | events false |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"Registration errs by {1000 * max(registration_um):.0f} nm (rms, the worst field).",
            "",
        ]
    )


def main() -> None:
    """Measure, print and, where asked, write the table and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the first worm")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    rows, registration_um = [], []
    for name, seed in RECORDINGS:
        lapse = recorded(FIELDS[name], seed, options.frames)
        motion = register_frames(lapse.counts[:, RED])
        registration_um.append(registration_error_um(lapse, motion))
        for way in WAYS:
            activity = analysed(lapse, way, motion)
            rows.append(f"| {name} | {seed} | {way} | {row(activity, lapse, way)} |")
            print(rows[-1], flush=True)
        if options.pictures and (name, seed) == RECORDINGS[0]:  # of the last way
            plot_activity_clusters(activity, options.pictures / "activity-clusters.png")
            voxel = voxel_size_um(lapse)
            plot_neuron_map(activity, options.pictures / "activity-map.png", voxel_size_um=voxel)
    publish(page(rows, registration_um, options), options.output)


if __name__ == "__main__":
    main()
