"""Files that cannot be read give one clear sentence."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import make_stack, read_stack, write_stack


def numbers(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, shape).astype(dtype)


def refusal(path: Path) -> str:
    with pytest.raises(FluoFocusError) as caught:
        read_stack(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "a.tif")
    assert "does not exist" in refusal(tmp_path / "a.ome.zarr")
    (tmp_path / "folder").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder")
    for name in ("a.png", "noending", "file.zarr"):
        (tmp_path / name).write_bytes(b"something")
        assert "does not read" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a TIFF"),
        (b"II*\0\x08\0\0\0", "without images"),
        (b"II*\0" + bytes(300), "without images"),
        (b"II*\0\x08\0\0\0" + bytes(range(256)) * 10, "damaged"),
    ],
)
def test_foreign_content(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)

    assert expected in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.05])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}, {"metadata": None}],
    ids=["plain", "compressed", "imagej", "ome", "bare"],
)
def test_truncated_tiff(tmp_path: Path, options: dict[str, object], kept: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers(50, 64, 64), **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])

    refusal(path)


def test_a_damaged_file_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers(50, 64, 64), compression="zlib")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])

    refusal(tmp_path / "a.tif")

    assert not caplog.records
    assert logging.getLogger("tifffile").propagate


def test_colour_pictures_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers(64, 64, 3, dtype="uint8"), photometric="rgb")

    assert "colour" in refusal(tmp_path / "a.tif")


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), "complex64"))

    assert "complex64" in refusal(tmp_path / "a.tif")


def test_several_images_in_one_file_warn(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(numbers(6, 7))
        tiff.write(numbers(3, 3))

    with pytest.warns(FluoFocusWarning, match="2 images") as caught:
        assert read_stack(tmp_path / "a.tif").shape == (6, 7)
    assert caught[0].filename == __file__


def test_broken_zarrs(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    refusal(tmp_path / "empty.zarr")

    zarr.create_group(tmp_path / "bare.zarr")
    assert "without OME metadata" in refusal(tmp_path / "bare.zarr")

    zarr.create_array(tmp_path / "array.zarr", data=np.zeros((4, 4)))
    refusal(tmp_path / "array.zarr")

    write_stack(tmp_path / "cut.ome.zarr", make_stack(numbers(6, 7), "YX", None))
    (tmp_path / "cut.ome.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node')
    refusal(tmp_path / "cut.ome.zarr")

    write_stack(tmp_path / "noarray.ome.zarr", make_stack(numbers(6, 7), "YX", None))
    (tmp_path / "noarray.ome.zarr" / "0" / "zarr.json").unlink()
    refusal(tmp_path / "noarray.ome.zarr")

    several = {"ome": {"version": "0.5", "bioformats2raw.layout": 3}}
    zarr.create_group(tmp_path / "several.zarr", attributes=several)
    assert "several.zarr/0" in refusal(tmp_path / "several.zarr")
