"""Tiles cover each pixel once, read far enough, and start where the network needs them to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluofocus.data.tiling import spans, tiles


@given(
    length=st.integers(1, 700),
    halo=st.integers(0, 70),
    multiple=st.sampled_from([1, 8, 16, 32]),
    extra=st.integers(0, 300),
)
def test_spans_cover_once_and_read_a_halo(
    length: int, halo: int, multiple: int, extra: int
) -> None:
    tile_px = 3 * multiple + 2 * halo + 2 * multiple + extra
    padded = -(-length // multiple) * multiple
    covered = np.zeros(length, int)
    for span in spans(length, tile_px=tile_px, halo_px=halo, multiple=multiple):
        covered[span.write] += 1
        assert span.read.start % multiple == 0
        assert (span.read.stop - span.read.start) % multiple == 0
        assert span.read.stop - span.read.start <= tile_px
        assert span.read.stop <= padded
        assert span.read.start == 0 or span.write.start - span.read.start >= halo
        assert span.read.stop == padded or span.read.stop - span.write.stop >= halo
        assert span.read.start + span.crop.start == span.write.start
        assert span.read.start + span.crop.stop == span.write.stop
    assert (covered == 1).all()


def test_tiles_put_an_image_back_together() -> None:
    image = np.arange(100 * 83).reshape(100, 83)
    padded = np.pad(image, ((0, 12), (0, 13)), mode="edge")
    result = np.full_like(image, -1)
    cut = tiles(100, 83, tile_px=64, halo_px=9, multiple=16)
    for tile in cut:
        result[tile.write] = padded[tile.read][tile.crop]
    assert len(cut) > 4
    np.testing.assert_array_equal(result, image)


def test_a_small_image_is_one_tile_without_halo() -> None:
    (tile,) = tiles(60, 50, tile_px=64, halo_px=500, multiple=16)
    assert tile.read == (slice(0, 64), slice(0, 64))
    assert tile.write == (slice(0, 60), slice(0, 50))


def test_a_tile_that_is_all_halo_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing between"):
        spans(1000, tile_px=64, halo_px=32, multiple=16)
