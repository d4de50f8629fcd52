"""From a time-lapse in two channels to traces and clusters."""

import numpy as np
import pytest
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity import (
    NOT_CLUSTERED,
    NeuronActivity,
    analyse_activity,
    median_in_time,
)
from fluofocus.neurons.activity_checks import background_levels
from fluofocus.neurons.activity_registration import FrameMotion
from fluofocus.neurons.activity_truth import adjusted_rand_index, trace_correlations
from fluofocus.neurons.traces import (
    Haze,
    differential_activity,
    neuron_traces,
    ranked_by_activity,
    surroundings,
)
from fluofocus.simulate.calcium import CalciumTraces, draw_traces

SHAPE = (5, 48, 60)
FRAMES = 60
CENTRES = np.stack(np.meshgrid([12, 24, 36], [9, 20, 31, 42, 53], indexing="ij"), -1).reshape(-1, 2)
SIGMA_PX = 2.0


def blob(at_zyx: np.ndarray) -> np.ndarray:
    z, y, x = np.indices(SHAPE, sparse=True)
    distance = (z - at_zyx[0]) ** 2 + (y - at_zyx[1]) ** 2 + (x - at_zyx[2]) ** 2
    return np.exp(-distance / (2 * SIGMA_PX**2))


def moving_neurons(
    traces: CalciumTraces, *, offset: float = 100.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return red and green frames of 15 neurons apart from each other, and their labels."""
    rng = np.random.default_rng(5)
    shift = np.column_stack([np.zeros(FRAMES), rng.normal(0, 1.0, (FRAMES, 2))])
    middle = FRAMES // 2
    centres = np.column_stack([np.full(len(CENTRES), 2.0), CENTRES])
    red, green = np.empty((2, FRAMES, *SHAPE))
    for frame in range(FRAMES):
        shapes = np.stack([blob(at + shift[frame]) for at in centres])
        red[frame] = 400 * shapes.sum(axis=0)
        green[frame] = 200 * np.tensordot(traces.brightness[:, frame], shapes, 1)
    near = np.stack([blob(at + shift[middle]) for at in centres])
    labels = np.where(near.max(axis=0) > 0.3, near.argmax(axis=0) + 1, 0)
    counts = rng.poisson(np.stack([red, green]) + 10) + offset
    return counts[0].astype(np.uint16), counts[1].astype(np.uint16), labels


@pytest.fixture(scope="module")
def traces() -> CalciumTraces:
    return draw_traces(len(CENTRES), FRAMES, seed=11, clusters=2, active_share=0.8)


@pytest.fixture(scope="module")
def recording(traces: CalciumTraces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return moving_neurons(traces)


@pytest.fixture(scope="module")
def activity(recording: tuple[np.ndarray, ...], traces: CalciumTraces) -> NeuronActivity:
    red, green, labels = recording
    return analyse_activity(red, green, lambda _: labels, times_s=traces.times_s, active=12)


def test_the_brightest_voxels_of_each_neuron_are_averaged() -> None:
    labels = np.zeros((1, 2, 4), dtype=int)
    labels[0, 0] = 5
    labels[0, 1, :2] = 3
    frame = np.array([[[1.0, 9.0, 7.0, 2.0], [4.0, 6.0, 99.0, 99.0]]])
    ids, values = neuron_traces([frame, 10 * frame], labels, brightest=3)
    assert ids.tolist() == [3, 5]
    np.testing.assert_allclose(values, [[5, 50], [6, 60]])  # (4 + 6) / 2, (9 + 7 + 2) / 3
    # They are chosen anew in each frame.
    _, best = neuron_traces([frame, frame[..., ::-1]], labels, brightest=1)
    np.testing.assert_allclose(best, [[6, 99], [9, 9]])


def test_haze_is_the_light_of_the_surroundings_over_the_background() -> None:
    labels = np.zeros((1, 9, 30), dtype=int)
    labels[0, 3:6, 3:6], labels[0, 3:6, 24:27] = 1, 2
    around = surroundings(labels, (1.0, 0.5, 0.5))
    assert not around[labels > 0].any()
    assert set(np.unique(around)) == {0, 1, 2}
    assert around[0, 4, 7] == 1  # 1 µm from the neuron's last voxel
    assert around[0, 4, 11] == 0  # 3 µm
    frame = np.full((1, 9, 30), 10.0)
    frame[..., :15] = 30.0  # haze of 20 around the first neuron only
    frame[labels == 1], frame[labels == 2] = 130.0, 110.0
    _, traces = neuron_traces([frame], labels, haze=Haze(around, background=10.0, share=0.5))
    np.testing.assert_allclose(traces, [[120], [110]])


def test_activity_is_the_difference_from_the_mean_over_time() -> None:
    resting, delta_f = differential_activity(np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]]))
    np.testing.assert_allclose(resting, [3, 4])
    np.testing.assert_allclose(delta_f, [[-2, -1, 3], [0, 0, 0]])
    assert ranked_by_activity(np.array([[1, -1], [0, 0], [5, -5]])).tolist() == [2, 0, 1]


def test_traces_and_clusters_are_those_of_the_truth(
    activity: NeuronActivity, traces: CalciumTraces
) -> None:
    assert activity.ids.tolist() == list(range(1, 16))
    truth = traces.brightness
    has_events = truth.std(axis=1) > 0
    correlations = trace_correlations(activity.traces, truth)[has_events]
    assert np.median(correlations) > 0.99
    assert correlations.min() > 0.95
    active = activity.active
    assert len(active) == 12
    assert set(active.tolist()) == set(np.flatnonzero(traces.cluster >= 0).tolist())
    assert adjusted_rand_index(activity.clusters.cluster, traces.cluster[active]) == 1
    relative = truth / truth.mean(axis=1, keepdims=True) - 1
    scale = activity.relative_activity.std(axis=1) / relative.std(axis=1).clip(1e-9)
    np.testing.assert_allclose(scale[active], 1, atol=0.15)


def test_what_is_returned_fits_together(activity: NeuronActivity) -> None:
    assert (np.diff(activity.delta_f.std(axis=1)[activity.ranking]) <= 0).all()
    assert activity.active.tolist() == activity.ranking[:12].tolist()
    np.testing.assert_allclose(
        activity.traces, activity.delta_f + activity.resting[:, None], atol=1e-9
    )
    np.testing.assert_allclose(activity.delta_f.mean(axis=1), 0, atol=1e-9)
    cluster = activity.cluster
    assert (cluster == NOT_CLUSTERED).sum() == 3
    assert (np.diff(cluster[activity.order]) >= 0).all()
    middle = FRAMES // 2
    assert activity.motion.reference == middle
    lateral = activity.centroids_px[:, 1:] - CENTRES
    assert np.ptp(lateral, axis=0).max() < 0.5  # all lie where the middle frame has them


def test_no_registration_would_cost_much(
    recording: tuple[np.ndarray, ...], traces: CalciumTraces, activity: NeuronActivity
) -> None:
    _, green, labels = recording
    _, still = neuron_traces(green, labels)
    some = traces.brightness.std(axis=1) > 0
    unregistered = trace_correlations(still[some], traces.brightness[some])
    registered = trace_correlations(activity.traces[some], traces.brightness[some])
    assert (1 - np.median(unregistered)) > 3 * (1 - np.median(registered))


@pytest.mark.parametrize(
    ("shape", "most"),
    [((3, 64, 80), 3.0), ((2, 33, 40), 3.0), ((1, 200, 31), 20.0)],  # the last has no room
)
def test_noise_hardly_lowers_the_background(shape: tuple[int, ...], most: float) -> None:
    frames = np.random.default_rng(3).normal(500.0, 20.0, (4, *shape))
    frames[..., shape[1] // 2 :, :] += 900.0
    levels = background_levels(frames)
    assert (np.abs(levels - 500.0) < most).all()


def test_the_background_is_found_or_given(
    recording: tuple[np.ndarray, ...], activity: NeuronActivity
) -> None:
    red, green, labels = recording
    assert activity.background == pytest.approx(110, abs=5)
    other = analyse_activity(red, green, lambda _: labels, background=0.0, active=12)
    np.testing.assert_allclose(other.delta_f, activity.delta_f, atol=1e-9)
    np.testing.assert_allclose(other.resting - activity.resting, activity.background)


def test_less_haze_leaves_neurons_that_lie_apart_as_they_are(
    recording: tuple[np.ndarray, ...], activity: NeuronActivity, traces: CalciumTraces
) -> None:
    red, green, labels = recording
    clear = analyse_activity(
        red,
        green,
        lambda _: labels,
        motion=activity.motion,
        less_haze=True,
        voxel_size_um=(1.0, 0.6, 0.6),
        active=12,
    )
    assert (clear.resting < activity.resting).all()  # the rims of the blobs count as haze
    some = traces.brightness.std(axis=1) > 0
    assert np.median(trace_correlations(clear.traces, traces.brightness)[some]) > 0.98


def test_a_single_plane_may_be_segmented_as_an_image(
    recording: tuple[np.ndarray, ...], activity: NeuronActivity
) -> None:
    red, green, labels = recording
    plane = labels[2]
    single = analyse_activity(
        red[:, 2:3], green[:, 2:3], lambda median: plane * (median[0] > 0), active=12
    )
    assert single.labels.shape == (1, *SHAPE[1:])
    assert set(single.active.tolist()) == set(activity.active.tolist())


def test_median_in_time_is_free_of_what_passes_by() -> None:
    frames = np.full((5, 2, 3, 4), 7, dtype=np.uint16)
    frames[1, 0, 0, 0], frames[3, 1, 2, 3] = 999, 0
    still = FrameMotion(np.zeros((5, 3)), np.zeros(5), np.ones(5), 2)
    median = median_in_time(frames, still)
    np.testing.assert_array_equal(median, 7)


def short(recording: tuple[np.ndarray, ...], count: int = 24) -> tuple[np.ndarray, ...]:
    red, green, labels = recording
    return red[:count].copy(), green[:count].astype(float), labels


def test_activity_is_not_taken_for_changed_exposure(
    recording: tuple[np.ndarray, ...], traces: CalciumTraces
) -> None:
    red, green, labels = recording
    both = np.flatnonzero(traces.cluster >= 0)
    assert traces.brightness[both].max() > 2  # there is something to take for it
    analyse_activity(red, green, lambda _: labels)  # raises nothing


def test_changed_exposure_is_said_with_the_frames(recording: tuple[np.ndarray, ...]) -> None:
    red, green, labels = short(recording)
    brighter = green.copy()
    brighter[9:] = 100 + 1.5 * (brighter[9:] - 100)
    with pytest.raises(FluoFocusError, match="green channel jumps at frames 9, as"):
        analyse_activity(red, brighter, lambda _: labels)
    flash = green.copy()
    flash[15] += 30
    with pytest.raises(FluoFocusError, match="green channel jumps at frames 15, 16, as"):
        analyse_activity(red, flash, lambda _: labels)


def test_dropped_frames_are_said(recording: tuple[np.ndarray, ...]) -> None:
    red, green, labels = short(recording)
    times = np.arange(24) / 3.6
    times[7:] += 1 / 3.6
    with pytest.raises(FluoFocusError, match=r"times of the frames are uneven: frames 7 do not"):
        analyse_activity(red, green, lambda _: labels, times_s=times)
    times[20] = times[3]
    with pytest.raises(FluoFocusError, match="frames 7, 20, 21 do not"):
        analyse_activity(red, green, lambda _: labels, times_s=times)
    with pytest.raises(FluoFocusError, match="one time for each of the 24 frames"):
        analyse_activity(red, green, lambda _: labels, times_s=times[:-1])
    times[4] = np.nan
    with pytest.raises(FluoFocusError, match="times of the frames hold NaN"):
        analyse_activity(red, green, lambda _: labels, times_s=times)


def test_channels_that_do_not_fit_are_said(recording: tuple[np.ndarray, ...]) -> None:
    red, green, labels = short(recording)
    with pytest.raises(FluoFocusError, match="red channel has 24 frames and the green one 23"):
        analyse_activity(red, green[:-1], lambda _: labels)
    with pytest.raises(FluoFocusError, match="same planes and pixels"):
        analyse_activity(red, green[:, :-1], lambda _: labels)
    with pytest.raises(FluoFocusError, match="green channel must be a time-lapse of stacks"):
        analyse_activity(red, green[0], lambda _: labels)
    green[5, 1, 2, 3] = np.nan
    green[8, 0, 0, 0] = np.inf
    with pytest.raises(FluoFocusError, match=r"green channel holds NaN .* in frames 5, 8: "):
        analyse_activity(red, green, lambda _: labels)


def test_segmentations_that_do_not_fit_are_said(recording: tuple[np.ndarray, ...]) -> None:
    red, green, labels = short(recording)
    with pytest.raises(FluoFocusError, match="No neuron is labelled"):
        analyse_activity(red, green, lambda _: np.zeros_like(labels))
    with pytest.raises(FluoFocusError, match=r"labels are \(5, 48, 59\)"):
        analyse_activity(red, green, lambda _: labels[..., 1:])
    with pytest.raises(FluoFocusError, match="Labels must be whole numbers"):
        analyse_activity(red, green, lambda _: labels / 2)
    with pytest.raises(FluoFocusError, match="not brighter in green than the background of 1000"):
        analyse_activity(red, green, lambda _: labels, background=1000.0)


def test_more_clusters_than_neurons_are_refused(recording: tuple[np.ndarray, ...]) -> None:
    red, green, labels = short(recording)
    with pytest.raises(FluoFocusError, match="6 clusters cannot be formed of 5 neurons"):
        analyse_activity(red, green, lambda _: labels, active=5, clusters=6)
    with pytest.raises(FluoFocusError, match="At least one active neuron"):
        analyse_activity(red, green, lambda _: labels, active=0)
    with pytest.raises(FluoFocusError, match="give voxel_size_um"):
        analyse_activity(red, green, lambda _: labels, less_haze=True)


def test_a_film_of_one_plane_is_refocused_once_it_is_in_register(
    recording: tuple[np.ndarray, ...], traces: CalciumTraces
) -> None:
    red, green, labels = recording
    given = []

    def virtual(image: np.ndarray) -> np.ndarray:
        given.append(image)
        return np.stack([0.0 * image, image])

    steps: list[tuple[int, int]] = []
    middle = labels[2]
    activity = analyse_activity(
        red[:, 2:3],
        green[:, 2:3],
        lambda median: np.stack([0 * middle, middle]),
        refocus=virtual,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert len(given) == FRAMES + 1
    assert activity.structure.shape == (2, *middle.shape)
    np.testing.assert_array_equal(activity.structure[1], given[0])
    ids, lit = np.arange(1, 16), np.array(given[1:])
    means = np.array([ndimage.mean(frame, middle, ids) for frame in lit]).T
    moving = traces.brightness.std(axis=1) > 0
    assert np.median(trace_correlations(means[moving], traces.brightness[moving])) > 0.99
    correlations = trace_correlations(activity.traces[moving], traces.brightness[moving])
    assert np.median(correlations) > 0.99
    assert steps == [(frame + 1, FRAMES) for frame in range(FRAMES)]


def test_what_costs_time_comes_after_what_is_refused(recording: tuple[np.ndarray, ...]) -> None:
    red, green, labels = recording

    refocused: list[np.ndarray] = []

    def once(image: np.ndarray) -> np.ndarray:
        refocused.append(image)
        return image[None]

    brighter = green[:, 2:3].astype(np.float64)
    brighter[30:] *= 1.8
    with pytest.raises(FluoFocusError, match="jumps at frames 30"):
        analyse_activity(red[:, 2:3], brighter, lambda _: labels[2], refocus=once)
    assert len(refocused) == 1  # the median of red
    with pytest.raises(FluoFocusError, match="single plane are refocused and demixed, not of 5"):
        analyse_activity(red, green, lambda _: labels, refocus=once)
    with pytest.raises(FluoFocusError, match="16 clusters cannot be formed of 15 neurons"):
        analyse_activity(red, green, lambda _: labels, clusters=16)
