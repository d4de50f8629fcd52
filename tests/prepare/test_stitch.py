"""Stitching of simulated tile scans, whose true positions are known."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from scipy.ndimage import fourier_shift, gaussian_filter

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.prepare.mosaic import mosaic
from fluofocus.prepare.overlap import compare
from fluofocus.prepare.stitch import Placement, place

Images = list[npt.NDArray[np.uint16]]
Positions = npt.NDArray[np.float64]

SIDE_PX = 96
STEP_PX = 72


def field(side_px: int = 512, spots: int = 6000, seed: int = 0) -> npt.NDArray[np.float64]:
    """A periodic, band-limited field of spots, in expected counts."""
    rng = np.random.default_rng(seed)
    points = np.zeros((side_px, side_px))
    np.add.at(points, tuple(rng.integers(0, side_px, (2, spots))), rng.uniform(0.3, 1, spots))
    return np.asarray(gaussian_filter(points, 1.6, mode="wrap") * 5000)


def scan(
    grid: tuple[int, int] = (3, 3),
    *,
    error_px: float = 4.0,
    counts: npt.NDArray[np.float64] | None = None,
    seed: int = 0,
) -> tuple[Images, Positions, Positions]:
    """Return tiles with noise, their positions by the stage, and the true ones."""
    rng = np.random.default_rng(seed)
    expected = field() if counts is None else counts
    spectrum = np.fft.fft2(expected)
    stage = 20.0 + STEP_PX * np.argwhere(np.ones(grid))
    true = stage + rng.uniform(-error_px, error_px, stage.shape)
    moved = (np.fft.ifft2(fourier_shift(spectrum, -origin)).real for origin in true)
    tiles = [rng.poisson(np.clip(image[:SIDE_PX, :SIDE_PX], 0, None) + 100) for image in moved]
    return [tile.astype(np.uint16) for tile in tiles], stage, true


def errors_px(origin: Positions, true: Positions) -> Positions:
    """Distances from the truth, the common translation aside."""
    wrong = origin - true
    return np.asarray(np.linalg.norm(wrong - wrong.mean(axis=0), axis=1))


def test_tiles_are_placed_to_a_fraction_of_a_pixel() -> None:
    tiles, stage, true = scan((4, 4))
    placement = place(tiles, stage, stage_error_px=4)
    assert errors_px(stage, true).max() > 3
    assert errors_px(placement.origin_px, true).max() < 0.3
    assert placement.unconnected == ()
    assert len(placement.pairs) >= 24
    assert placement.residual_px.shape == (len(placement.pairs),)
    assert placement.residual_px.max() < 0.5
    np.testing.assert_allclose(placement.origin_px.mean(axis=0), stage.mean(axis=0))


def test_the_order_and_the_sizes_of_tiles_do_not_matter() -> None:
    tiles, stage, true = scan()
    order = np.random.default_rng(1).permutation(len(tiles))
    mixed = [tiles[index][: SIDE_PX - index, :] for index in order]
    origin = place(mixed, stage[order], stage_error_px=4).origin_px
    assert errors_px(origin, true[order]).max() < 0.3


def test_uneven_illumination_moves_nothing() -> None:
    tiles, stage, true = scan()
    y, x = np.mgrid[-1 : 1 : SIDE_PX * 1j, -1 : 1 : SIDE_PX * 1j]
    shaded = [tile * (1 - 0.3 * (y**2 + x**2)) for tile in tiles]
    assert errors_px(place(shaded, stage, stage_error_px=4).origin_px, true).max() < 0.3


def test_the_stated_precision_is_that_of_the_offsets() -> None:
    counts = field() / 8
    deviations = []
    for seed in range(12):
        tiles, stage, true = scan((1, 2), counts=counts, seed=seed)
        match = compare(tiles[0], tiles[1], stage[1] - stage[0], 8, least_overlap_px=16)
        assert match is not None
        wrong = match.offset_px - (true[1] - true[0])
        deviations.append(wrong @ match.information_per_px2 @ wrong / 2)
    assert 0.1 < np.mean(deviations) < 3


def test_a_pair_that_contradicts_the_others_is_left_out() -> None:
    tiles, stage, true = scan()
    patch = tiles[8][:40, 40:70].copy()
    tiles[5][60:, 40:70] = 100
    tiles[5][56:, 40:70] += 8 * patch  # the same objects a few pixels off: a false match
    tiles[8][:40, 40:70] = 8 * patch
    placement = place(tiles, stage, stage_error_px=4)
    assert (5, 8) not in map(tuple, placement.pairs.tolist())
    assert errors_px(placement.origin_px, true).max() < 0.3


def test_tiles_without_content_in_their_overlaps_keep_to_the_stage_and_are_reported() -> None:
    counts = field()
    counts[:, 20 + STEP_PX + 20 : 20 + STEP_PX + 44] = 0  # the overlap of columns 1 and 2 is bare
    counts[:, 20 + 2 * STEP_PX - 20 : 20 + 2 * STEP_PX + 44] = 0
    tiles, stage, true = scan(counts=counts)
    with pytest.warns(FluoFocusWarning, match=r"Tiles 2, 5, 8 \(from 0\) have no matching"):
        placement = place(tiles, stage, stage_error_px=4)
    assert placement.unconnected == (2, 5, 8)
    connected, left = [0, 1, 3, 4, 6, 7], [2, 5, 8]
    assert errors_px(placement.origin_px[connected], true[connected]).max() < 0.2
    assert errors_px(placement.origin_px[left], true[left]).max() < 0.2  # they match each other
    moved = placement.origin_px - stage
    links = np.array([(1, 2), (4, 5), (7, 8), (1, 5), (4, 2), (4, 8), (7, 5)])
    np.testing.assert_allclose((moved[links[:, 1]] - moved[links[:, 0]]).mean(axis=0), 0, atol=0.02)


def test_tiles_that_do_not_overlap_are_named() -> None:
    tiles, stage, _ = scan()
    stage[4] += 1000
    stage[7] -= 1000
    with pytest.raises(FluoFocusError, match=r"Tiles 4, 7 \(from 0\) do not overlap"):
        place(tiles, stage)


def test_tiles_in_the_wrong_order_are_an_error() -> None:
    tiles, stage, _ = scan()
    with pytest.raises(FluoFocusError, match="None of the 20 overlaps"):
        place(tiles, stage[::-1], stage_error_px=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tiles, stage: (tiles, stage[:-1], 4), "one|each of the 9 tiles"),
        (lambda tiles, stage: (tiles, stage * np.nan, 4), "finite"),
        (lambda tiles, stage: ([tile[None] for tile in tiles], stage, 4), "other axes than Y"),
        (lambda tiles, stage: (tiles, stage, 0), "stage_error_px must be above zero"),
        (lambda tiles, stage: ([tile * np.nan for tile in tiles], stage, 4), "NaN"),
        (lambda tiles, stage: ([], np.empty((0, 2)), 4), "0 tiles"),
    ],
)
def test_what_cannot_be_placed_is_an_error(change, message) -> None:  # type: ignore[no-untyped-def]
    tiles, stage, _ = scan()
    tiles, stage, error = change(tiles, stage)
    with pytest.raises(FluoFocusError, match=message):
        place(tiles, stage, stage_error_px=error)


def test_one_tile_stays_where_it_is() -> None:
    tiles, stage, _ = scan((1, 1))
    placement = place(tiles, stage)
    np.testing.assert_array_equal(placement.origin_px, stage)
    np.testing.assert_array_equal(mosaic(tiles, placement), tiles[0])


def at(origin: npt.ArrayLike) -> Placement:
    """A placement as if found."""
    return Placement(np.asarray(origin, dtype=float), np.empty((0, 2), int), np.empty(0), ())


def test_a_mosaic_shows_the_field() -> None:
    counts = field(spots=3000)
    tiles, _, true = scan(counts=counts)
    image = np.asarray(mosaic(tiles, at(true), chunk_px=64)).astype(float)
    top, left = np.floor(true.min(axis=0)).astype(int)
    inner = (slice(10, 220), slice(10, 220))
    expected = counts[top:, left:][inner] + 100
    wrong = (image[inner] - expected) / np.sqrt(expected)
    assert abs(wrong.mean()) < 0.05
    assert wrong.std() < 1.05  # no more than the camera's noise


def test_blocks_fit_together() -> None:
    tiles, _, true = scan((2, 2))
    whole = mosaic(tiles, at(true), chunk_px=1000)
    parts = mosaic(tiles, at(true), chunk_px=37)
    assert parts.numblocks > whole.numblocks
    np.testing.assert_allclose(
        np.asarray(parts, dtype=float), np.asarray(whole, dtype=float), atol=1
    )


def test_blends_are_linear_and_places_without_tiles_are_zero() -> None:
    tiles = [np.full((20, 30), value, np.float32) for value in (1.0, 2.0)]
    image = np.asarray(mosaic(tiles, at([[0, 0], [5, 20]])))
    assert image.shape == (25, 50)
    assert image.dtype == np.float32
    assert (image[:5, 30:] == 0).all()
    assert (image[20:, :20] == 0).all()
    assert (np.diff(image[10, 19:31]) > 0).all()
    np.testing.assert_allclose(image[0, :30], 1)


def test_whole_pixels_change_nothing_and_no_count_leaves_its_type() -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.choice(np.array([0, 255], np.uint8), (40, 40)) for _ in range(2)]
    untouched = np.asarray(mosaic(tiles, at([[3, 7], [100, 100]])))
    np.testing.assert_array_equal(untouched[:40, :40], tiles[0])
    moved = np.asarray(mosaic(tiles[:1], at([[0.5, 0.5]])))
    assert moved.dtype == np.uint8
    assert set(np.unique(moved[1:, 1:])) >= {0, 255}  # overshoots are cut, not wrapped


def test_stacks_on_disk_are_fused_plane_by_plane_into_a_file(tmp_path: Path) -> None:
    tiles, stage, _ = scan((2, 2))
    placement = place(tiles, stage, stage_error_px=4)
    group = zarr.open_group(tmp_path / "tiles.zarr", mode="w")
    stacks = []
    for index, tile in enumerate(tiles):
        stack = np.stack([tile, tile // 2, 3 * tile])
        array = group.create_array(str(index), data=stack, chunks=(1, 96, 96))
        stacks.append(da.from_zarr(array) if index % 2 else array)
    fused = mosaic(stacks, placement)
    assert fused.chunks[0] == (1, 1, 1)
    write_stack(tmp_path / "mosaic.ome.zarr", make_stack(fused, "ZYX", (1.0, 0.3, 0.3)))
    written = np.asarray(read_stack(tmp_path / "mosaic.ome.zarr").data)
    single = np.asarray(mosaic(tiles, placement))
    np.testing.assert_array_equal(written[0], single)
    np.testing.assert_allclose(written[2], 3.0 * single, atol=3)


def test_only_what_a_block_needs_is_read() -> None:
    class Watched:
        """A tile that counts the pixels read from it."""

        shape, dtype, read_px = (512, 512), np.dtype(np.uint16), 0

        def __getitem__(self, selection):  # type: ignore[no-untyped-def]
            part = np.zeros(self.shape, self.dtype)[selection]
            self.read_px += part.size
            return part

    near, far = Watched(), Watched()
    fused = mosaic([near, far], at([[0, 0], [0, 460.5]]), chunk_px=64)
    assert near.read_px == 0
    np.asarray(fused[:64, :64])
    assert near.read_px <= 96 * 96
    assert far.read_px == 0


def test_a_mosaic_needs_the_tiles_that_were_placed() -> None:
    tiles, _, true = scan((2, 2))
    with pytest.raises(FluoFocusError, match="tiles that were placed"):
        mosaic(tiles[:3], at(true))
    with pytest.raises(FluoFocusError, match="all of one type"):
        mosaic([*tiles[:3], tiles[3].astype(float)], at(true))
