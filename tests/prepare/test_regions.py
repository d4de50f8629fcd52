"""Which regions of a field are worth training on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.regions import cover, middle_plane, signal_mask


def blobs(share: float, seed: int, shape: tuple[int, int] = (300, 420)) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 6)
    return noise > np.quantile(noise, 1 - share)


def covered(shape: tuple[int, int], regions: list) -> np.ndarray:
    count = np.zeros(shape, int)
    for region in regions:
        count[region.slices] += 1
    return count


@settings(deadline=None, max_examples=25)
@given(share=st.floats(0.01, 0.9), seed=st.integers(0, 99))
def test_all_signal_is_covered_by_squares_inside_the_field(share: float, seed: int) -> None:
    mask = blobs(share, seed)
    chosen, faint = cover(mask, 64, overlap_share=0.05, least_signal_share=0.01)
    for region in chosen + faint:
        assert 0 <= region.top_px <= mask.shape[0] - 64
        assert 0 <= region.left_px <= mask.shape[1] - 64
        assert region.signal_share == mask[region.slices].mean()
    assert all(region.signal_share >= 0.01 for region in chosen)
    assert all(region.signal_share < 0.01 for region in faint)
    assert (covered(mask.shape, chosen + faint)[mask] > 0).all()


def test_a_full_field_takes_no_more_squares_than_fit() -> None:
    chosen, faint = cover(np.ones((256, 512), bool), 64, overlap_share=0.05, least_signal_share=0.1)
    assert (len(chosen), len(faint)) == (32, 0)


def test_a_field_with_room_to_spare_overlaps_a_little() -> None:
    regions, _ = cover(np.ones((240, 240), bool), 64, overlap_share=0.05, least_signal_share=0.1)
    assert len(regions) == 16
    overlap = (covered((240, 240), regions) > 1).mean()
    assert 0.02 < overlap < 0.15


def test_sparse_signal_takes_few_squares() -> None:
    mask = np.zeros((300, 300), bool)
    mask[10:60, 10:60] = mask[200:230, 40:60] = mask[205:225, 70:90] = True
    regions, _ = cover(mask, 64, overlap_share=0.05, least_signal_share=0.01)
    assert len(regions) == 2


def test_a_field_smaller_than_a_region_is_refused() -> None:
    with pytest.raises(FluoFocusError, match="lower region_px"):
        cover(np.ones((40, 100), bool), 64, overlap_share=0.05, least_signal_share=0.1)


def test_the_mask_grows_only_from_seeds() -> None:
    image = np.zeros((20, 20))
    image[2:6, 2:6], image[3, 3], image[12:16, 12:16] = 0.2, 0.9, 0.2
    mask = signal_mask(image, seed_level=0.3, grow_level=0.1)
    assert mask[2:6, 2:6].all()
    assert mask.sum() == 16


def test_the_middle_plane_is_the_sharpest() -> None:
    spots = (np.random.default_rng(0).random((64, 64)) > 0.98).astype(float)
    stack = np.stack([gaussian_filter(spots, 0.5 + abs(z - 4)) for z in range(11)])
    assert middle_plane(stack) == 4
