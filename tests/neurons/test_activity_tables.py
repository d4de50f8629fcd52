"""Tables of neuron activity."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluofocus.neurons.activity import NeuronActivity
from fluofocus.neurons.activity_registration import FrameMotion
from fluofocus.neurons.activity_tables import NEURON_COLUMNS, neurons_to_csv, traces_to_csv
from fluofocus.neurons.clustering import spectral_clusters


@pytest.fixture
def activity() -> NeuronActivity:
    """Five neurons, of which the first two and the next two are alike; the last is quiet."""
    relative = np.zeros((5, 12))
    relative[:2, 2:4], relative[2:4, 7:9] = 1.0, 0.8
    relative -= relative.mean(axis=1, keepdims=True)
    resting = np.array([10.0, 20.0, 40.0, 30.0, 50.0])
    delta_f = relative * resting[:, None]
    ranking = np.argsort(-delta_f.std(axis=1))
    return NeuronActivity(
        structure=np.zeros((1, 4, 4)),
        labels=np.zeros((1, 4, 4), dtype=int),
        ids=np.array([2, 3, 5, 8, 9]),
        centroids_px=np.zeros((5, 3)),
        traces=delta_f + resting[:, None],
        resting=resting,
        delta_f=delta_f,
        times_s=np.arange(12) / 4,
        background=0.0,
        motion=FrameMotion(np.zeros((12, 3)), np.zeros(12), np.ones(12), 6),
        ranking=ranking,
        active=ranking[:4],
        clusters=spectral_clusters(relative[ranking[:4]], clusters=2),
    )


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def test_traces_stand_in_columns(activity: NeuronActivity, tmp_path: Path) -> None:
    traces_to_csv(activity, tmp_path / "traces.csv")
    header, *rows = read(tmp_path / "traces.csv")
    assert header == ["frame", "time_s", *(f"neuron_{number}" for number in (2, 3, 5, 8, 9))]
    numbers = np.array(rows, dtype=float)
    np.testing.assert_allclose(numbers[:, 0], np.arange(12))
    np.testing.assert_allclose(numbers[:, 1], activity.times_s)
    np.testing.assert_allclose(numbers[:, 2:].T, activity.traces, rtol=1e-5)


def test_neurons_have_place_rank_and_cluster(activity: NeuronActivity, tmp_path: Path) -> None:
    positions_um = np.arange(15.0).reshape(5, 3) - 4
    neurons_to_csv(activity, positions_um, tmp_path / "neurons.csv")
    header, *rows = read(tmp_path / "neurons.csv")
    assert tuple(header) == NEURON_COLUMNS
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    assert columns["neuron"] == ("2", "3", "5", "8", "9")
    for axis, name in enumerate(("z_um", "y_um", "x_um")):
        np.testing.assert_allclose(np.array(columns[name], float), positions_um[:, axis])
    np.testing.assert_allclose(np.array(columns["f0"], float), activity.resting)
    assert columns["rank"] == ("4", "3", "1", "2", "5")
    first, second, third, fourth, quiet = columns["cluster"]
    assert {first, third} == {"1", "2"}
    assert (first, third, quiet) == (second, fourth, "")


def test_without_times_the_column_is_empty(activity: NeuronActivity, tmp_path: Path) -> None:
    traces_to_csv(replace(activity, times_s=None), tmp_path / "traces.csv")
    assert {row[1] for row in read(tmp_path / "traces.csv")[1:]} == {""}
