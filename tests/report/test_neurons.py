import math

import numpy as np
from matplotlib.image import imread

from fluofocus.io import make_stack
from fluofocus.neurons import segment_neurons
from fluofocus.report.neurons import _circles, plot_neurons

VOXEL_UM = (0.5, 0.325, 0.65)
ORIGIN_UM = (-4.0, 30.0, -2.0)
KNOWN_PX = np.array([[8, 20, 12], [4, 40, 30], [12, 30, 42]])


def blobs():
    """Round in µm, on pixels that are twice as wide as high."""
    indices = np.moveaxis(np.indices((17, 60, 56), float), 0, -1)
    values = np.full(indices.shape[:-1], 50.0)
    for voxel in KNOWN_PX:
        r2 = (((indices - voxel) * VOXEL_UM) ** 2).sum(axis=-1)
        values += 300 * np.exp(-r2 / 2)
    return values


def test_neurons_are_circled_where_they_are(tmp_path):
    stack = make_stack(blobs(), "ZYX", VOXEL_UM, origin_um=ORIGIN_UM)
    found = segment_neurons(stack)
    circles = _circles(stack, found)
    order = np.argsort(circles.get_offsets()[:, 0])
    np.testing.assert_allclose(
        circles.get_offsets()[order], KNOWN_PX[[0, 1, 2]][:, [2, 1]], atol=0.05
    )
    np.testing.assert_allclose(circles.get_heights() / circles.get_widths(), 2)
    np.testing.assert_allclose(circles.get_widths() * 0.65, found.diameters_um)

    plot_neurons(stack, found, tmp_path / "stack.png")
    picture = imread(tmp_path / "stack.png")[..., :3]
    colourful = np.ptp(picture, axis=-1) > 0.3
    middle = picture.shape[1] // 2
    assert not colourful[:, : middle - 60].any()  # the plain projection
    assert colourful[:, middle:].any()  # depths in colour

    image = make_stack(blobs()[8], "YX", (math.nan, 0.325, 0.65))
    plot_neurons(image, segment_neurons(image), tmp_path / "image.png")
    picture = imread(tmp_path / "image.png")[..., :3]
    is_cyan = (picture[..., 0] < 0.3) & (picture[..., 1:] > 0.7).all(axis=-1)
    assert is_cyan.sum() > 100
