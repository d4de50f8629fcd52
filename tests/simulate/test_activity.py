"""A simulated recording of neuron activity, and its traces."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.simulate.activity import (
    AXIAL_STEP_UM,
    GREEN,
    RED,
    ActivityTimeLapse,
    WormMotion,
    simulate_activity,
)
from fluofocus.simulate.calcium import (
    NO_CLUSTER,
    CalciumEvents,
    CalciumTraces,
    brightness_of,
    calcium_response,
    draw_traces,
)
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.part_imaging import PartImaging
from fluofocus.simulate.worm_parts import nearest_neuron, worm_of

STILL = WormMotion(drift_um=0.0, jitter_um=0.0)
SHAPE = (32, 48)
WORM = {"body_diameter_um": 8.0, "bend_um": 1.0, "diameter_um": 1.6}


@pytest.fixture(scope="module")
def microscope() -> Microscope:
    return preset("olympus-20x-0.75").model_copy(update={"psf_model": "scalar"})


def steady(neurons: int, frames: int, brightness: float = 1.0) -> CalciumTraces:
    traces = draw_traces(neurons, 40, seed=0, clusters=1, active_share=1.0)
    return replace(
        traces,
        brightness=np.full((neurons, frames), brightness),
        times_s=np.arange(frames) / 3.6,
    )


def recorded(microscope: Microscope, traces: CalciumTraces, **changes: object) -> ActivityTimeLapse:
    arguments: dict[str, object] = {
        "seed": 1,
        "shape_yx": SHAPE,
        "motion": STILL,
        "worm_parameters": WORM,
    }
    return simulate_activity(microscope, traces, **(arguments | changes))  # type: ignore[arg-type]


def test_an_event_rises_and_decays_as_its_formula_says() -> None:
    t = np.linspace(-1, 12, 130_001)
    response = calcium_response(t, rise_s=0.2, decay_s=1.5)
    assert (response[t <= 0] == 0).all()
    assert response.max() == pytest.approx(1, abs=1e-6)
    assert t[response.argmax()] == pytest.approx(0.2 * np.log(8.5), abs=1e-3)
    late = response[(t > 5) & (t < 6.6)]
    assert late[-1] / late[0] == pytest.approx(np.exp(-1.6 / 1.5), rel=1e-3)


def test_events_add_up_over_a_rest_of_one() -> None:
    events = CalciumEvents(
        np.array([1, 1]), np.array([1.0, 1.0]), np.array([0.5, 2.0]), np.array([True, False])
    )
    times = np.arange(20) / 3.6
    brightness = brightness_of(events, 3, times)
    np.testing.assert_array_equal(brightness[[0, 2]], 1)
    np.testing.assert_allclose(brightness[1], 1 + 2.5 * calcium_response(times - 1.0))


def test_neurons_of_a_cluster_share_events_and_others_do_not() -> None:
    traces = draw_traces(60, 126, seed=3, clusters=3, active_share=0.5)
    events = traces.events
    assert np.bincount(traces.cluster + 1).tolist() == [30, 10, 10, 10]
    onsets = [
        {tuple(events.onset_s[(events.neuron == n) & events.is_shared]) for n in members}
        for members in (np.flatnonzero(traces.cluster == c) for c in range(3))
    ]
    assert all(len(group) == 1 for group in onsets)  # each neuron has those of its cluster
    assert len(set.union(*onsets)) == 3  # which are not those of another
    assert not events.is_shared[traces.cluster[events.neuron] == NO_CLUSTER].any()
    active = traces.cluster >= 0
    alike = np.corrcoef(traces.brightness[active])
    same = traces.cluster[active][:, None] == traces.cluster[active]
    assert np.median(alike[same & ~np.eye(30, dtype=bool)]) > 0.8
    assert np.median(alike[~same]) < 0.4
    again = draw_traces(60, 126, seed=3, clusters=3, active_share=0.5)
    np.testing.assert_array_equal(traces.brightness, again.brightness)


def test_clusters_and_frames_must_be_enough() -> None:
    with pytest.raises(FluoFocusError, match="2 active neurons cannot form 3 clusters"):
        draw_traces(4, 126, seed=0, active_share=0.5)
    with pytest.raises(FluoFocusError, match="too short for 3 events"):
        draw_traces(9, 10, seed=0)


def test_parts_add_up_to_the_images_of_the_whole(microscope: Microscope) -> None:
    planes = (-2.0, 1.0)
    specimen = worm_of(6, microscope, SHAPE, planes, seed=4, parameters=WORM)
    part = nearest_neuron(specimen)
    gains = torch.tensor([[1.0, 0.5, 2.0, 0.0, 3.0, 1.5]])
    imaging = PartImaging(microscope, specimen, part, torch.tensor(planes))
    spectra = imaging.spectra(torch.tensor([0, 1]))
    mixed = (gains.to(spectra) @ spectra)[:, 0]
    assert specimen.volume is not None
    dyed = replace(specimen, volume=specimen.volume * gains[0][part])
    whole = ImageFormation(microscope, specimen.grid, torch.tensor(planes))(dyed)
    images = imaging.images(mixed, torch.zeros(2, 2))
    torch.testing.assert_close(images, whole, rtol=1e-4, atol=1e-6 * float(whole.max()))
    # A shift by whole pixels moves the image, over the edges of the field.
    shift = torch.tensor([[2.0, -3.0]]) * microscope.pixel_size_um
    moved = imaging.images(mixed, shift.repeat(2, 1))
    torch.testing.assert_close(
        moved, whole.roll((2, -3), (1, 2)), rtol=1e-3, atol=1e-5 * float(whole.max())
    )


def test_neurons_do_not_lie_within_each_other(microscope: Microscope) -> None:
    specimen = worm_of(30, microscope, (64, 256), (0.0,), seed=3, parameters={}, apart_um=3.0)
    at = np.array([[n["z_um"], n["y_um"], n["x_um"]] for n in specimen.truth])
    gaps = np.linalg.norm(at[:, None] - at, axis=-1)[~np.eye(30, dtype=bool)]
    assert gaps.min() >= 3.0
    assert [n["group"] for n in specimen.truth] == ["head"] * 20 + ["body"] * 10
    assert [n["id"] for n in specimen.truth] == list(range(30))
    with pytest.raises(FluoFocusError, match=r"head has no room for 20 neurons 9 µm apart"):
        worm_of(30, microscope, (64, 256), (0.0,), seed=3, parameters={}, apart_um=9.0)


def test_light_goes_to_the_nearest_neuron(microscope: Microscope) -> None:
    specimen = worm_of(5, microscope, SHAPE, (0.0,), seed=2, parameters=WORM)
    part = nearest_neuron(specimen)
    assert specimen.volume is not None
    grid = specimen.grid
    for index, neuron in enumerate(specimen.truth):
        own = torch.nonzero((specimen.volume > 0) & (part == index)).double()
        light = specimen.volume[(specimen.volume > 0) & (part == index)].double()
        centre = (own * light[:, None]).sum(dim=0) / light.sum()
        z = grid.depths_um[0] + float(centre[0]) * grid.depth_step_um
        found = [z, *(centre[1:] * grid.spacing_um).tolist()]
        np.testing.assert_allclose(found, [neuron[k] for k in ("z_um", "y_um", "x_um")], atol=0.6)


def test_green_follows_the_traces_and_red_stays(microscope: Microscope) -> None:
    traces = steady(4, 30)
    traces.brightness[:, 10:20] = 3.0
    lapse = recorded(microscope, traces, background_photons=0.0)
    assert lapse.counts.shape == (30, 2, 1, *SHAPE)
    light = lapse.counts.astype(float) - microscope.camera.offset_counts
    red, green = (light[:, channel].mean(axis=(1, 2, 3)) for channel in (RED, GREEN))
    assert green[10:20].mean() / green[:10].mean() == pytest.approx(3, rel=0.02)
    assert red[10:20].mean() / red[:10].mean() == pytest.approx(1, rel=0.01)


def test_peak_background_and_noise_are_those_asked_for(microscope: Microscope) -> None:
    lapse = recorded(microscope, steady(3, 60), red_peak_photons=800.0, background_photons=20.0)
    camera = microscope.camera
    red = lapse.counts[:, RED, 0].astype(float)
    per_photon = camera.gain_counts_per_electron * camera.quantum_efficiency
    mean = (red.mean(axis=0) - camera.offset_counts) / per_photon
    assert mean.max() == pytest.approx(820, rel=0.03)
    dark = mean < 40
    assert mean[dark].min() > 15
    electrons = mean[dark] * camera.quantum_efficiency
    expected = (electrons + camera.read_noise_electrons**2) * camera.gain_counts_per_electron**2
    assert red.var(axis=0)[dark].mean() == pytest.approx(expected.mean(), rel=0.1)


def test_the_worm_moves_as_the_truth_says(microscope: Microscope) -> None:
    motion = WormMotion(drift_um=3.0, jitter_um=0.2)
    lapse = recorded(microscope, steady(1, 8), motion=motion, background_photons=0.0, seed=2)
    light = lapse.counts[:, RED, 0] - microscope.camera.offset_counts
    light = np.where(light > 100, light, 0)  # of the one neuron, without the noise around it
    extent_um = np.array(SHAPE) * microscope.pixel_size_um
    waves = [
        np.exp(2j * np.pi * indices / n)
        for indices, n in zip(np.indices(SHAPE), SHAPE, strict=True)
    ]
    turns = [[np.angle((frame * wave).sum()) for wave in waves] for frame in light]
    found = np.array(turns) / (2 * np.pi) * extent_um  # in a field that is periodic
    off = found - lapse.positions_um[0, 1:] - lapse.motion_um[:, 1:]
    off -= np.round(off / extent_um) * extent_um
    np.testing.assert_allclose(off, 0, atol=0.3)
    np.testing.assert_allclose(off - off.mean(axis=0), 0, atol=0.1)
    assert np.linalg.norm(lapse.motion_um[-1] - lapse.motion_um[0]) > 2


def test_a_worm_that_rises_is_in_focus_higher_up(microscope: Microscope) -> None:
    perfect = microscope.model_copy(update={"zernike_rms_waves": {}, "emitter_depth_um": 0.0})
    motion = WormMotion(0.0, 0.0, axial_drift_um=4.0)
    planes = np.arange(-6, 6.1, 1.0)
    lapse = recorded(perfect, steady(1, 3), motion=motion, planes_um=planes)
    np.testing.assert_array_equal(lapse.motion_um[:, 0] % AXIAL_STEP_UM, 0)
    np.testing.assert_allclose(np.abs(lapse.motion_um[[0, -1], 0]), 2)
    sharpest = planes[lapse.counts[:, RED].max(axis=(2, 3)).argmax(axis=1)]
    expected = lapse.positions_um[0, 0] + lapse.motion_um[:, 0]
    np.testing.assert_allclose(sharpest, expected, atol=0.8)


def test_true_labels_lie_where_the_light_is(microscope: Microscope) -> None:
    lapse = recorded(
        microscope,
        steady(6, 5),
        planes_um=np.arange(-6, 6.1, 1.0),
        motion=WormMotion(2.0, 0.1),
    )
    for frame in (0, 4):
        labels = lapse.true_labels(frame)
        assert labels.shape == lapse.counts.shape[2:]
        assert set(np.unique(labels)) == set(range(7))
        red = lapse.counts[frame, RED].astype(float)
        assert red[labels > 0].mean() > 2 * red[labels == 0].mean()
    volume = (labels > 0).sum() * 1.0 * lapse.pixel_size_um**2
    assert volume == pytest.approx((np.pi / 6 * lapse.diameters_um**3).sum(), rel=0.25)


def test_the_seed_decides_everything(microscope: Microscope) -> None:
    one, same, other = (recorded(microscope, steady(2, 2), seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.counts, same.counts)
    assert (one.positions_um != other.positions_um).any()
    assert (one.counts[0] != one.counts[1]).any()  # each frame has its own noise


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planes_um": (1.0, 0.0)}, "from low to high"),
        ({"green_peak_photons": 0.0}, "the peaks must be above zero"),
        ({"seed": -1}, "seed from zero"),
        ({"worm_parameters": {"length": 3}}, r"Phantom 'worm' does not take .*length"),
    ],
)
def test_what_is_not_possible_is_said(
    microscope: Microscope, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        recorded(microscope, steady(2, 2), **changes)


def test_both_channels_have_one_pixel_size(microscope: Microscope) -> None:
    other = microscope.model_copy(update={"pixel_size_um": 0.2})
    with pytest.raises(FluoFocusError, match="one pixel size"):
        recorded(microscope, steady(2, 2), green_microscope=other)
