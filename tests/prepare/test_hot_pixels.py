"""Hot pixels are found and mended, and nothing else is."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluofocus.prepare.align import align_planes
from fluofocus.prepare.hot_pixels import find_hot_pixels, without_pixels

PLANES, SIDE = 15, 160


def drifting_spots(sigma_px: float = 1.0) -> np.ndarray:
    """Return a scan of faint spots that drifts by 0.4 px a plane along x, in counts."""
    random = np.random.default_rng(0)
    spots = (random.random((4 * SIDE, 4 * SIDE)) > 0.999) * 1.0
    fine = gaussian_filter(spots, 4 * sigma_px, mode="wrap")
    fine *= 60 / fine.max()
    steps = np.round(1.6 * (np.arange(PLANES) - PLANES // 2)).astype(int)
    stack = [np.roll(fine, step, axis=1)[::4, ::4] for step in steps]
    return random.poisson(np.array(stack) + 100).astype(np.uint16)


def test_hot_pixels_are_found_and_mended() -> None:
    scan = drifting_spots()
    random = np.random.default_rng(1)
    hot = random.random((SIDE, SIDE)) > 0.998
    hot[0, 0] = True
    marred = scan + (hot * random.uniform(400, 4000, hot.shape)).astype(np.uint16)
    found = find_hot_pixels(marred)
    assert (found & hot).sum() >= 0.97 * hot.sum()
    assert (found & ~hot).sum() == 0
    mended = without_pixels(marred, found)
    assert mended.dtype == scan.dtype
    np.testing.assert_array_equal(mended[:, ~found], marred[:, ~found])
    difference = np.abs(mended[:, found].astype(float) - scan[:, found])
    assert np.median(difference) < 20


def test_alignment_follows_the_sample_once_they_are_gone() -> None:
    scan = drifting_spots()
    random = np.random.default_rng(1)
    hot = random.random((SIDE, SIDE)) > 0.995
    marred = scan + (hot * random.uniform(400, 4000, hot.shape)).astype(np.uint16)
    drift = 0.4 * (np.arange(PLANES) - PLANES // 2)
    held, mended = (
        align_planes(stack).shift_px[:, 1]
        for stack in (marred, without_pixels(marred, find_hot_pixels(marred)))
    )
    assert np.abs(held - drift).max() > 1  # hot pixels hold the planes where they are
    np.testing.assert_allclose(mended, drift, atol=0.35)


@pytest.mark.parametrize("sigma_px", [0.8, 1.5])
def test_a_sample_alone_has_none(sigma_px: float) -> None:
    scan = drifting_spots(sigma_px)
    still = np.repeat(scan[:1], PLANES, axis=0) * 10
    for stack in (scan, still, np.full((5, 8, 8), 7, np.uint16)):
        assert not find_hot_pixels(stack).any()
        assert without_pixels(stack, find_hot_pixels(stack)) is stack
