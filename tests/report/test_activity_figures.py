import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity import NeuronActivity
from fluofocus.neurons.activity_registration import FrameMotion
from fluofocus.neurons.clustering import spectral_clusters
from fluofocus.report.activity_figures import (
    NOT_CLUSTERED_COLOUR,
    plot_activity_clusters,
    plot_neuron_map,
)

FIRST, SECOND, THIRD = ("#1f77b4", "#ff7f0e", "#2ca02c")


def shares(path, *colours):
    """Return the share of a picture's pixels that have each colour."""
    pixels = imread(path)[..., :3]
    return [float((np.abs(pixels - to_rgb(c)).max(axis=-1) < 0.02).mean()) for c in colours]


@pytest.fixture
def activity():
    """Seven neurons: four and two in clusters, and one that is not."""
    relative = np.zeros((7, 40))
    relative[:4, 5:10] = relative[4:6, 20:30] = 1.0
    relative -= relative.mean(axis=1, keepdims=True)
    ranking = np.array([4, 5, 0, 1, 2, 3, 6])
    resting = np.full(7, 100.0)
    return NeuronActivity(
        structure=np.zeros((1, 1, 1)),
        labels=np.zeros((1, 1, 1), dtype=int),
        ids=np.arange(1, 8),
        centroids_px=np.random.default_rng(0).uniform(0, 30, (7, 3)),
        traces=100 * (relative + 1),
        resting=resting,
        delta_f=100 * relative,
        times_s=np.arange(40) / 3.6,
        background=0.0,
        motion=FrameMotion(np.zeros((40, 3)), np.zeros(40), np.ones(40), 20),
        ranking=ranking,
        active=ranking[:6],
        clusters=spectral_clusters(relative[ranking[:6]]),
    )


def test_clusters_have_their_colours(activity, tmp_path):
    assert activity.clusters.count == 2
    plot_activity_clusters(activity, tmp_path / "clusters.png")
    first, second, third = shares(tmp_path / "clusters.png", FIRST, SECOND, THIRD)
    assert first > second > 0.0005  # bars beside four rows and two, and one course of each
    assert third == 0


def test_similarity_is_drawn_by_cluster(activity, tmp_path):
    order = activity.clusters.order
    blocks = activity.clusters.similarity[np.ix_(order, order)]
    np.testing.assert_allclose(blocks[:4, :4], 1)
    np.testing.assert_allclose(blocks[4:, 4:], 1)
    plot_activity_clusters(activity, tmp_path / "clusters.png")
    # The pale blocks of similar neurons, (16 + 4) / 36 of the matrix.
    pixels = imread(tmp_path / "clusters.png")[..., :3]
    height, width, _ = pixels.shape
    matrix = pixels[: int(0.5 * height), int(0.06 * width) : int(0.3 * width)]
    pale = (np.abs(matrix - to_rgb("#fcffa4")).max(axis=-1) < 0.02).sum()
    dark = (matrix.max(axis=-1) < 0.35).sum()
    assert pale / (pale + dark) == pytest.approx(20 / 36, abs=0.06)


def test_the_map_shows_every_cluster_and_the_rest(activity, tmp_path):
    plot_neuron_map(activity, tmp_path / "map.png", voxel_size_um=(0.5, 0.3, 0.3))
    first, second, third, rest = shares(
        tmp_path / "map.png", FIRST, SECOND, THIRD, NOT_CLUSTERED_COLOUR
    )
    assert first > second > 0.0002
    assert rest > 0.00003  # one small mark, in both views
    assert third == 0


def test_a_map_needs_a_voxel_size(activity, tmp_path):
    with pytest.raises(FluoFocusError, match="voxel size"):
        plot_neuron_map(activity, tmp_path / "map.png", voxel_size_um=(0.5, np.nan, 0.3))
