import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.measure import find_beads, match_beads


def gaussian_image(shape, yx, sigma, amplitude=100.0, background=20.0):
    y, x = np.indices(shape)
    image = np.full(shape, background)
    for (yc, xc), height in zip(yx, np.broadcast_to(amplitude, len(yx)), strict=True):
        image += height * np.exp(-((y - yc) ** 2 + (x - xc) ** 2) / (2 * sigma**2))
    return image


def scattered_beads(seed=0, spacing=24, count=8):
    """Positions on a jittered grid of count x count."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(count)] * 2, indexing="ij"), -1).reshape(-1, 2)
    return (grid + 0.5) * spacing + rng.uniform(-4, 4, (count**2, 2)), (spacing * count,) * 2


def test_every_bead_of_a_noisy_field_is_found_to_a_fraction_of_a_pixel():
    yx, shape = scattered_beads()
    image = np.random.default_rng(1).normal(gaussian_image(shape, yx, 1.5), 5.0)
    found = find_beads(image)
    matches = match_beads(found.yx_px, yx, tolerance=2.0)
    assert matches.found_fraction == 1
    assert matches.spurious_count == 0
    assert np.median(matches.distance) < 0.1
    assert (np.diff(found.height) <= 0).all()


def test_noise_alone_holds_no_bead():
    noise = np.random.default_rng(2).normal(100, 10, (256, 256))
    assert len(find_beads(noise)) == 0


@pytest.mark.parametrize("value", [0.0, 100.1])
def test_a_constant_image_holds_no_bead(value):
    assert len(find_beads(np.full((32, 32), value))) == 0


def test_a_saturated_bead_is_one_bead():
    image = np.minimum(gaussian_image((64, 64), [(30, 33)], 4.0, amplitude=1e4), 200)
    found = find_beads(image)
    np.testing.assert_allclose(found.yx_px, [[30, 33]], atol=0.5)


def test_close_beads_are_told_apart_and_not_isolated():
    yx = np.array([(20.0, 20.0), (20.0, 26.0), (50.0, 50.0)])
    found = find_beads(gaussian_image((64, 64), yx, 1.5, amplitude=[100, 90, 80]))
    np.testing.assert_allclose(found.yx_px, yx, atol=0.2)
    assert found.isolated(10).tolist() == [False, False, True]
    assert np.isinf(find_beads(gaussian_image((64, 64), yx[:1], 1.5)).nearest_px).all()


def test_matching_is_one_to_one_and_makes_as_many_pairs_as_it_can():
    known = np.array([[0.0, 0.0], [0.0, 1.0]])
    found = np.array([[0.0, 0.9], [0.0, 1.9], [40.0, 40.0]])
    # Nearest first would pair (0, 1) with (0, 0.9) and leave (0, 0) without a partner.
    matches = match_beads(found, known, tolerance=1.0)
    pairs = sorted(zip(matches.known_index, matches.found_index, strict=True))
    assert pairs == [(0, 0), (1, 1)]
    np.testing.assert_allclose(matches.distance, 0.9)
    assert matches.found_fraction == 1
    assert matches.spurious_count == 1


def test_a_bead_is_found_once_and_only_within_the_tolerance():
    known = np.array([[5.0, 5.0], [30.0, 30.0]])
    matches = match_beads(np.array([[5.0, 5.0], [5.2, 5.0], [30.0, 33.0]]), known, tolerance=2.0)
    assert matches.found_fraction == 0.5
    assert matches.found_index.tolist() == [0]
    assert matches.spurious_count == 2


def test_matching_nothing():
    none = np.zeros((0, 2))
    assert match_beads(none, np.zeros((3, 2)), tolerance=1.0).found_fraction == 0
    assert np.isnan(match_beads(np.zeros((3, 2)), none, tolerance=1.0).found_fraction)
    with pytest.raises(FluoFocusError, match="cannot be matched"):
        match_beads(np.zeros((3, 2)), np.zeros((3, 3)), tolerance=1.0)


def test_bad_images_are_refused():
    image = np.ones((16, 16))
    image[3, 3] = np.nan
    with pytest.raises(FluoFocusError, match="NaN"):
        find_beads(image)
    with pytest.raises(FluoFocusError, match="single plane"):
        find_beads(np.ones((3, 16, 16)))
