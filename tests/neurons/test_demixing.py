"""Light of neurons told apart in a film of one plane."""

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity_truth import trace_correlations
from fluofocus.neurons.demixing import Demixing
from fluofocus.neurons.traces import neuron_traces
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.simulate.activity import GREEN, ActivityTimeLapse, WormMotion, simulate_activity
from fluofocus.simulate.calcium import draw_traces

PLANES_UM = tuple(float(z) for z in range(-8, 9, 2))
MICROSCOPE = preset("olympus-20x-0.75")


@pytest.fixture(scope="module")
def lapse() -> ActivityTimeLapse:
    """A short worm whose neurons shine into each other."""
    return simulate_activity(
        MICROSCOPE,
        draw_traces(24, 40, seed=5, clusters=4),
        seed=5,
        shape_yx=(64, 256),
        planes_um=PLANES_UM,
        motion=WormMotion(0.0, 0.0),
        worm_parameters={"bend_um": 2.0, "body_diameter_um": 20.0},
    )


def correlations(lapse: ActivityTimeLapse, microscope: Microscope) -> np.ndarray:
    """Of demixed traces with the true ones; 0 for neurons that were left out."""
    film = lapse.counts[:, GREEN, PLANES_UM.index(0.0)]
    ids, traces = Demixing(microscope, PLANES_UM, 2.8)(film, lapse.true_labels(0))
    found = np.zeros(len(lapse.traces.brightness))
    found[ids - 1] = trace_correlations(traces, lapse.traces.brightness[ids - 1])
    return found


def test_neurons_are_told_apart_that_overlap_in_the_film(lapse: ActivityTimeLapse) -> None:
    lively = lapse.traces.brightness.std(axis=1) > 0
    demixed = correlations(lapse, MICROSCOPE)[lively]
    film = lapse.counts[:, GREEN, [PLANES_UM.index(0.0)]]
    flat = lapse.true_labels(0).max(axis=0, keepdims=True)
    ids, traces = neuron_traces(film, flat)
    seen = trace_correlations(traces, lapse.traces.brightness[ids - 1])[lively[ids - 1]]
    assert np.percentile(demixed, 10) > 0.95
    assert np.percentile(seen, 10) < 0.9
    # nearly so by a description without aberrations
    plain = MICROSCOPE.model_copy(update={"zernike_rms_waves": {}})
    assert np.median(correlations(lapse, plain)[lively]) > 0.95


def test_brightness_is_that_of_the_film() -> None:
    """One neuron alone: its trace is the film's brightest pixel over the background."""
    alone = simulate_activity(
        MICROSCOPE,
        draw_traces(1, 24, seed=1, clusters=1, active_share=1.0),
        seed=1,
        shape_yx=(64, 96),
        planes_um=PLANES_UM,
        motion=WormMotion(0.0, 0.0),
        worm_parameters={"bend_um": 2.0},
    )
    film = alone.counts[:, GREEN, PLANES_UM.index(0.0)].astype(float)
    _, (trace,) = Demixing(MICROSCOPE, PLANES_UM, 2.8)(film, alone.true_labels(0))
    mean = film.mean(axis=0)
    assert trace.mean() == pytest.approx(mean.max() - np.median(mean), rel=0.15)
    assert trace_correlations(trace[None], alone.traces.brightness) > 0.999


def test_what_has_no_light_is_left_out(lapse: ActivityTimeLapse) -> None:
    film = lapse.counts[:, GREEN, PLANES_UM.index(0.0)]
    labels = lapse.true_labels(0)
    dark = labels.max() + 1
    labels[4, 56:60, 240:244] = dark
    ids, _ = Demixing(MICROSCOPE, PLANES_UM, 2.8)(film, labels)
    assert dark not in ids


def test_what_cannot_be_demixed_is_refused(lapse: ActivityTimeLapse) -> None:
    film = lapse.counts[:4, GREEN, PLANES_UM.index(0.0)]
    labels = lapse.true_labels(0)
    demixing = Demixing(MICROSCOPE, PLANES_UM, 2.8)
    with pytest.raises(FluoFocusError, match="No neuron is labelled"):
        demixing(film, 0 * labels)
    with pytest.raises(FluoFocusError, match="labels have 4 planes, but demixing was told of 9"):
        demixing(film, labels[:4])
    dark = np.where(labels == 12, 1, 0)
    film = 500 - 300 * dark.max(axis=0, keepdims=True)
    with pytest.raises(FluoFocusError, match="None of 1 neurons has light"):
        demixing(film, dark)
