"""Both segmentations on stacks whose neurons are known, to a part of a voxel."""

import math

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack
from fluofocus.neurons import SEGMENTATIONS, match_neurons, segment_neurons, segment_watershed
from fluofocus.neurons.spots import _balls
from fluofocus.neurons.volume import checked_volume

VOXEL_UM = (0.8, 0.325, 0.325)
SHAPE = (16, 72, 80)
SIGMA_UM = 1.0
KNOWN_UM = np.array(
    [[5.1, 6.3, 7.7], [6.2, 15.2, 18.4], [3.9, 8.1, 20.2], [7.4, 18.3, 5.5], [8.0, 11.9, 13.0]]
)
HEIGHTS = np.array([400.0, 320.0, 250.0, 180.0, 120.0])

methods = pytest.mark.parametrize("method", SEGMENTATIONS)


def blobs(centres_um, heights, shape=SHAPE, voxel_um=VOXEL_UM, background=100.0):
    """Gaussian blobs at positions (z, y, x), the first voxel at zero."""
    axes = [size * np.arange(count) for size, count in zip(voxel_um, shape, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    values = np.full(shape, background)
    for (cz, cy, cx), height in zip(centres_um, heights, strict=True):
        r2 = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2
        values += height * np.exp(-r2 / (2 * SIGMA_UM**2))
    return values


def balls(centres_um, radii_um, heights, shape, voxel_um, background=100.0):
    axes = [size * np.arange(count) for size, count in zip(voxel_um, shape, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.full(shape, background)
    for centre, radius, height in zip(centres_um, radii_um, heights, strict=True):
        values[np.linalg.norm(grid - centre, axis=-1) <= radius] += height
    return values


def stack_of(values, voxel_um=VOXEL_UM, **options) -> xr.DataArray:
    return make_stack(values, "ZYX", voxel_um, name="scan.tif", **options)


@methods
def test_every_neuron_of_a_noisy_stack_is_found_and_nothing_else(method):
    noisy = np.random.default_rng(0).poisson(blobs(KNOWN_UM, HEIGHTS))
    found = segment_neurons(stack_of(noisy), method=method)
    assert len(found) == len(KNOWN_UM)
    np.testing.assert_allclose(found.centroids_um, KNOWN_UM, atol=0.2)  # brightest first
    without_noise = segment_neurons(stack_of(blobs(KNOWN_UM, HEIGHTS)), method=method)
    np.testing.assert_allclose(without_noise.centroids_um, KNOWN_UM, atol=0.06)


@methods
def test_positions_are_those_of_the_stack(method):
    values = blobs(KNOWN_UM, HEIGHTS)
    shifted = stack_of(values, origin_um=(-7.0, 30.0, 4.0))
    found = segment_neurons(shifted, method=method)
    np.testing.assert_allclose(found.centroids_um, KNOWN_UM + np.array([-7, 30, 4]), atol=0.06)
    upside_down = shifted.isel(Z=slice(None, None, -1))
    turned = segment_neurons(upside_down, method=method)
    np.testing.assert_allclose(turned.centroids_um, found.centroids_um, atol=1e-4)


@methods
def test_the_step_of_the_planes_does_not_matter(method):
    fine = (0.4, 0.325, 0.325)
    values = blobs(KNOWN_UM, HEIGHTS, shape=(31, *SHAPE[1:]), voxel_um=fine)
    found = segment_neurons(stack_of(values, fine), method=method)
    np.testing.assert_allclose(found.centroids_um, KNOWN_UM, atol=0.03)
    coarse = segment_neurons(stack_of(blobs(KNOWN_UM, HEIGHTS)), method=method)
    np.testing.assert_allclose(found.diameters_um, coarse.diameters_um, rtol=0.07)
    np.testing.assert_allclose(
        checked_volume(stack_of(values, fine), 2.8, 0.2).in_px(1.3), [3.25, 4, 4]
    )


@methods
def test_labels_are_numbered_like_the_neurons_and_give_their_brightness(method):
    values = blobs(KNOWN_UM, HEIGHTS)
    found = segment_neurons(stack_of(values), method=method)
    voxels = np.round(found.centroids_um / VOXEL_UM).astype(int)
    assert found.labels[tuple(voxels.T)].tolist() == [1, 2, 3, 4, 5]
    assert found.labels.shape == SHAPE
    for number, brightness in enumerate(found.mean_brightness, start=1):
        assert brightness == pytest.approx(values[found.labels == number].mean(), rel=1e-5)
    assert (np.diff(found.mean_brightness) < 0).all()


CENTRES_UM = np.array([[5, 6, 6], [5, 6, 15], [5, 15, 9]])
FINE_UM = (0.4, 0.3, 0.3)


def blurred_balls(diameters_um):
    """Balls as a microscope blurs them, 0.5 µm laterally and 1 µm axially (s.d.)."""
    heights = [250, 900, 500]
    values = balls(CENTRES_UM, np.array(diameters_um) / 2, heights, (26, 70, 70), FINE_UM)
    return stack_of(gaussian_filter(values, np.array([1.0, 0.5, 0.5]) / FINE_UM), FINE_UM)


def test_the_watershed_measures_sizes_and_the_spots_have_the_one_asked_for():
    diameters = np.array([2.4, 3.0, 3.6])
    found = segment_watershed(blurred_balls(diameters), diameter_um=3.0)
    order = match_neurons(found.centroids_um, CENTRES_UM)
    assert order.matched == len(found) == 3
    sizes = found.diameters_um[order.found_index]
    np.testing.assert_allclose(sizes, diameters[order.known_index], rtol=0.2)  # by the blur
    assert (np.diff(sizes[np.argsort(order.known_index)]) > 0.2).all()
    spots = segment_neurons(blurred_balls(diameters), method="spots", diameter_um=3.0)
    np.testing.assert_allclose(spots.diameters_um, 3.0, rtol=0.03)


def test_small_segments_are_left_out_and_the_rest_numbered_anew():
    stack = blurred_balls([3.6, 2.2, 3.0])
    everything = segment_watershed(stack, smallest_um=0.0)
    large = segment_watershed(stack, smallest_um=2.4)
    assert (len(everything), len(large)) == (3, 2)
    assert np.unique(large.labels).tolist() == [0, 1, 2]
    assert large.diameters_um.min() >= 2.4 > everything.diameters_um.min()
    voxels = np.round(large.centroids_um / FINE_UM).astype(int)
    assert large.labels[tuple(voxels.T)].tolist() == [1, 2]
    np.testing.assert_allclose(large.centroids_um, CENTRES_UM[[2, 0]], atol=0.1)


def test_overlapping_spots_share_their_voxels_by_distance():
    volume = checked_volume(stack_of(np.zeros(SHAPE)), 2.8, 0.2)
    centres = np.array([[7.3, 30.2, 30.1], [8.4, 34.0, 33.2], [0.4, 2.1, 78.6]])
    labels = _balls(volume, centres, 1.9)
    voxels = np.moveaxis(np.indices(SHAPE), 0, -1)[..., None, :]
    distance_um = np.linalg.norm((voxels - centres) * VOXEL_UM, axis=-1)
    nearest = np.where(distance_um.min(axis=-1) <= 1.9, distance_um.argmin(axis=-1) + 1, 0)
    np.testing.assert_array_equal(labels, nearest)
    both = (distance_um[..., 0] <= 1.9) & (distance_um[..., 1] <= 1.9)
    assert np.unique(labels[both]).tolist() == [1, 2]


@methods
def test_neurons_above_each_other_are_two_whatever_the_voxels(method):
    pair = np.array([[4.0, 10.0, 10.0], [7.5, 10.0, 10.0]])
    found = segment_neurons(stack_of(blobs(pair, [300, 300])), method=method)
    assert len(found) == 2
    np.testing.assert_allclose(np.sort(found.centroids_um[:, 0]), pair[:, 0], atol=0.3)


@methods
def test_close_neurons_are_two_and_a_neuron_between_voxels_is_one(method):
    pair = np.array([[6.0, 10.0, 10.0], [6.0, 10.0, 13.2]])
    assert len(segment_neurons(stack_of(blobs(pair, [300, 300])), method=method)) == 2
    between = np.array([[6.8, 35.5 * 0.325, 39.5 * 0.325]])  # of equal voxels on both sides
    found = segment_neurons(stack_of(blobs(between, [300])), method=method)
    np.testing.assert_allclose(found.centroids_um, between, atol=0.03)


@methods
def test_haze_hides_no_neuron_and_is_none(method):
    y = np.arange(SHAPE[1])[:, None]
    haze = 1500 * np.exp(-((y - 36) ** 2) / (2 * 24**2))
    found = segment_neurons(stack_of(blobs(KNOWN_UM, HEIGHTS) + haze), method=method)
    matches = match_neurons(found.centroids_um, KNOWN_UM, lateral_um=0.4, axial_um=0.4)
    assert (matches.matched, matches.spurious) == (5, 0)


@methods
def test_a_threshold_leaves_out_what_is_dimmer(method):
    stack = stack_of(blobs(KNOWN_UM, HEIGHTS))  # 320 is the typical height
    assert len(segment_neurons(stack, method=method, threshold=0.5)) == 4
    assert len(segment_neurons(stack, method=method, threshold=0.7)) == 3
    assert len(segment_neurons(stack, method=method, threshold=0.9)) == 2


@methods
def test_an_image_is_one_plane(method):
    values = blobs(KNOWN_UM * [0, 1, 1], HEIGHTS)[0]
    image = make_stack(values, "YX", (math.nan, 0.325, 0.325), z_um=[4.5])
    found = segment_neurons(image, method=method)
    np.testing.assert_allclose(found.centroids_um[:, 1:], KNOWN_UM[:, 1:], atol=0.06)
    assert found.centroids_um[:, 0].tolist() == [4.5] * 5
    assert found.labels.shape == values.shape
    one_plane = make_stack(values[None], "ZYX", (math.nan, 0.325, 0.325), z_um=[4.5])
    again = segment_neurons(one_plane, method=method)
    np.testing.assert_array_equal(again.centroids_um, found.centroids_um)


@methods
def test_noise_and_empty_stacks_hold_no_neuron(method):
    noise = np.random.default_rng(1).normal(100, 10, SHAPE)
    for values in (noise, np.zeros(SHAPE), np.full(SHAPE, 100.1, np.float32)):
        found = segment_neurons(stack_of(values), method=method)
        assert len(found) == 0
        assert not found.labels.any()


@methods
@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        (lambda s: s.expand_dims(T=2), {}, ("T (2), Z (16)", "one time point")),
        (lambda s: s.where(s < s.max()), {}, ("scan.tif holds NaN",)),
        (lambda s: s.isel(Z=[0, 1, 2, 4, 8]), {}, ("0.8 to 3.2 µm apart", "--z-step")),
        (lambda s: make_stack(s.values, "ZYX", None), {}, ("pixel size", "--pixel-size")),
        (
            lambda s: make_stack(s.values, "ZYX", (math.nan, 0.3, 0.3)),
            {},
            ("distance between the planes", "--z-step"),
        ),
        (lambda s: s, {"diameter_um": 0.6}, ("0.6 µm is less than 2 pixels of 0.325 µm",)),
        (lambda s: s, {"diameter_um": math.nan}, ("diameter must be above zero",)),
        (lambda s: s[::5], {}, ("Planes 4 µm apart miss neurons of 2.8 µm",)),
        (lambda s: s, {"threshold": 10.0}, ("share between 0 and 1",)),
    ],
)
def test_what_cannot_be_segmented_is_refused(method, change, settings, words):
    stack = change(stack_of(blobs(KNOWN_UM, HEIGHTS)))
    with pytest.raises(FluoFocusError) as error:
        segment_neurons(stack, method=method, **settings)
    assert all(word in str(error.value) for word in words), error.value


def test_unknown_methods_are_refused():
    with pytest.raises(FluoFocusError, match="choose from watershed, spots"):
        segment_neurons(stack_of(blobs(KNOWN_UM, HEIGHTS)), method="magic")
