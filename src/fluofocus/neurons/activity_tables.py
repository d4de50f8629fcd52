"""Tables of neuron activity: traces over time, and neurons with their clusters."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fluofocus.neurons.activity import NeuronActivity
from fluofocus.units import AnyArray
from fluofocus.whole_files import write_whole

NEURON_COLUMNS = ("neuron", "z_um", "y_um", "x_um", "f0", "delta_f_sd", "rank", "cluster")


def traces_to_csv(activity: NeuronActivity, path: str | Path) -> None:
    """Write F(t), less the background, one row per frame and one column per neuron.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    frames = activity.traces.shape[1]
    times = [""] * frames if activity.times_s is None else _short(activity.times_s)
    header = ["frame", "time_s", *(f"neuron_{neuron}" for neuron in activity.ids.tolist())]
    rows = (
        [str(frame), time, *_short(values)]
        for frame, (time, values) in enumerate(zip(times, activity.traces.T, strict=True))
    )
    _write(path, header, rows)


def neurons_to_csv(activity: NeuronActivity, positions_um: AnyArray, path: str | Path) -> None:
    """Write one row per neuron: where it is, how bright and active, and its cluster.

    Clusters count from 1; neurons that were not clustered have none. The rank counts from 1,
    the most active neuron.

    Parameters
    ----------
    positions_um : ndarray (N, 3)
        z, y, x.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    rank = np.empty(len(activity.ids), dtype=int)
    rank[activity.ranking] = np.arange(1, len(rank) + 1)
    numbers = np.column_stack([positions_um, activity.resting, activity.delta_f.std(axis=1)])
    rows = (
        [str(neuron), *_short(values), str(place), str(cluster + 1) if cluster >= 0 else ""]
        for neuron, values, place, cluster in zip(
            activity.ids.tolist(), numbers, rank.tolist(), activity.cluster.tolist(), strict=True
        )
    )
    _write(path, NEURON_COLUMNS, rows)


def _short(values: AnyArray) -> list[str]:
    return [f"{value:.6g}" for value in values.tolist()]


def _write(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_whole(path, text.getvalue())
