"""Tile scans put together, as stacks and on the command line."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from fluofocus.cli import main
from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.prepare.tile_scan import grid_px, stitched

SIDE, STEP = 96, 76
VOXEL = (0.5, 0.3, 0.3)


def field() -> np.ndarray:
    random = np.random.default_rng(0)
    spots = (random.random((3, 260, 260)) > 0.985) * 20_000.0
    stack = np.stack([gaussian_filter(plane, 1.5 + z) for z, plane in enumerate(spots)])
    return (random.poisson(stack + 50)).astype(np.uint16)


def cut(image: np.ndarray, moved: np.ndarray) -> list[np.ndarray]:
    tiles = []
    for index in range(4):
        row, column = divmod(index, 2)
        top, left = 10 + row * STEP + moved[index, 0], 10 + column * STEP + moved[index, 1]
        tiles.append(image[:, top : top + SIDE, left : left + SIDE])
    return tiles


MOVED = np.array([[0, 0], [2, -3], [-4, 1], [3, 2]])


def test_tiles_come_back_to_where_they_were_cut() -> None:
    image = field()
    stacks = [make_stack(tile, "ZYX", VOXEL) for tile in cut(image, MOVED)]
    stage = grid_px(4, 2, (SIDE, SIDE), 1 - STEP / SIDE, snake=False)
    whole, placement = stitched(stacks, stage)
    np.testing.assert_allclose(
        placement.origin_px - placement.origin_px[0],
        (stage + MOVED) - (stage + MOVED)[0],
        atol=0.15,
    )
    assert whole.dims == ("Z", "Y", "X")
    assert whole.attrs["voxel_size_um"] == VOXEL
    corner = 10 + np.floor(placement.origin_px.min(axis=0)) - placement.origin_px[0]
    moved = shift(image.astype(float), (0, *-corner), order=3)
    inner = (slice(None), slice(10, 150), slice(10, 150))
    seen, true = np.asarray(whole.values)[inner].ravel(), moved[inner].ravel()
    assert np.corrcoef(seen, true)[0, 1] > 0.99


def test_every_second_row_can_run_back() -> None:
    positions = grid_px(6, 3, (100, 200), 0.1, snake=True)
    np.testing.assert_allclose(positions[:, 0], [0, 0, 0, 90, 90, 90])
    np.testing.assert_allclose(positions[:, 1], [0, 180, 360, 360, 180, 0])


@pytest.mark.parametrize(
    ("count", "columns", "overlap", "message"),
    [(5, 2, 0.1, "do not fill"), (4, 2, 0.0, "between 0 and 1"), (4, 2, 1.2, "between 0 and 1")],
)
def test_impossible_grids_are_refused(
    count: int, columns: int, overlap: float, message: str
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        grid_px(count, columns, (10, 10), overlap, snake=False)


def test_unlike_tiles_are_refused() -> None:
    tiles = [make_stack(tile, "ZYX", VOXEL) for tile in cut(field(), MOVED)]
    tiles[1] = tiles[1][:, :50]
    with pytest.raises(FluoFocusError, match="must be alike"):
        stitched(tiles, grid_px(4, 2, (SIDE, SIDE), 0.2, snake=False))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for index, tile in enumerate(cut(field(), MOVED)):
        names.append(str(tmp_path / f"tile{index}.ome.tif"))
        write_stack(names[-1], make_stack(tile, "ZYX", VOXEL))
    output = tmp_path / "field.ome.tif"
    options = ["--columns", "2", "--overlap", "0.21", "-o", str(output)]
    with pytest.raises(SystemExit) as stop:
        main(["stitch", *names, *options])
    assert stop.value.code == 0
    assert "from 4 tiles" in capsys.readouterr().out
    whole = read_stack(output)
    assert whole.sizes["Y"] > 160
    assert whole.attrs["provenance"]["tiles"][0] == "tile0.ome.tif"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("field.tif", "field.tif cannot be written"),
        ("field.zarr", "field.zarr cannot be written"),
        ("nowhere/field.ome.tif", "nowhere does not exist"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(
    name: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tile = tmp_path / "tile.ome.tif"
    write_stack(tile, make_stack(np.ones((8, 8), "uint16"), "YX", None))
    with pytest.raises(SystemExit) as stop:
        main(["stitch", str(tile), "--columns", "1", "-o", str(tmp_path / name)])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err
