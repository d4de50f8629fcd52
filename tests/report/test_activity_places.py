"""Where active neurons are drawn."""

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fluofocus.neurons.activity import NeuronActivity
from fluofocus.neurons.activity_registration import FrameMotion
from fluofocus.neurons.clustering import spectral_clusters
from fluofocus.report.activity_figures import cluster_colour
from fluofocus.report.activity_places import plot_activity_places, plot_neuron_depths


def activity_of(shape: tuple[int, int, int]) -> NeuronActivity:
    """Four neurons in two clusters, in a field of a shape."""
    relative = np.zeros((4, 20))
    relative[:2, 3:6] = relative[2:, 12:15] = 1.0
    relative -= relative.mean(axis=1, keepdims=True)
    _, height, width = shape
    places = [[1, share * height, share * width] for share in (0.2, 0.4, 0.6, 0.8)]
    return NeuronActivity(
        structure=np.random.default_rng(0).random(shape),
        labels=np.zeros(shape, dtype=int),
        ids=np.arange(1, 5),
        centroids_px=np.array(places),
        traces=relative + 1,
        resting=np.ones(4),
        delta_f=relative,
        times_s=None,
        background=0.0,
        motion=FrameMotion(np.zeros((20, 3)), np.zeros(20), np.ones(20), 10),
        ranking=np.arange(4),
        active=np.arange(4),
        clusters=spectral_clusters(relative),
    )


def test_clusters_are_circled_in_both_channels(tmp_path: Path) -> None:
    sizes = []
    for shape in ((3, 40, 200), (3, 60, 80)):
        activity = activity_of(shape)
        green = np.random.default_rng(1).random(shape)
        plot_activity_places(activity, green, tmp_path / "places.png", pixel_size_um=0.4)
        pixels = imread(tmp_path / "places.png")[..., :3]
        sizes.append(pixels.shape[1] / pixels.shape[0])
        colours = [to_rgb(cluster_colour(number)) for number in (0, 1, 2)]
        first, second, third = (
            int((np.abs(pixels - colour).max(axis=-1) < 0.02).sum()) for colour in colours
        )
        assert min(first, second) > 100
        assert third == 0
    wide, square = sizes
    assert wide < square  # wide fields stand below each other


def test_depths_are_colours(tmp_path: Path) -> None:
    deep, flat = (
        np.column_stack([z * np.linspace(-1, 1, 30), np.arange(30) % 7, 10.0 * np.arange(30)])
        for z in (5.0, 0.0)
    )
    counts = []
    for positions_um in (deep, flat):
        plot_neuron_depths(positions_um, tmp_path / "depths.png")
        pixels = imread(tmp_path / "depths.png")[:, : 1650 * 85 // 100, :3]  # without the bar
        counts.append(len(np.unique(pixels[np.ptp(pixels, axis=-1) > 0.5], axis=0)))
    assert counts[0] > 5 * counts[1]
