"""Files that cannot be read give one clear sentence."""

import errno
import logging
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.io.stack import loaded


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


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{uuid}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="7" SizeY="6"
SizeZ="{planes}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels>
</Image></OME>"""


def parts_of_one_image(folder: Path, image: np.ndarray) -> list[Path]:
    """Write each plane as a file of its own, all of them with the metadata of the whole."""
    uuids = [f"11111111-1111-1111-1111-11111111111{z}" for z in range(len(image))]
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="z{z}.ome.tif">urn:uuid:{uuid}</UUID></TiffData>'
        for z, uuid in enumerate(uuids)
    )
    paths = [folder / f"z{z}.ome.tif" for z in range(len(image))]
    for path, plane, uuid in zip(paths, image, uuids, strict=True):
        description = OME.format(uuid=uuid, planes=len(image), data=data)
        tifffile.imwrite(path, plane, description=description, metadata=None)
    return paths


def test_a_missing_part_is_not_read_as_zeros(tmp_path: Path) -> None:
    image = numbers(4, 6, 7)
    paths = parts_of_one_image(tmp_path, image)
    np.testing.assert_array_equal(read_stack(paths[1]), image)

    for missing in (3, 0):
        paths[missing].unlink()
        assert f"part z{missing}.ome.tif of" in refusal(paths[1])
        parts_of_one_image(tmp_path, image)


def test_planes_that_were_never_recorded_are_noted(tmp_path: Path) -> None:
    uuid = "11111111-1111-1111-1111-111111111111"
    description = OME.format(uuid=uuid, planes=5, data="<TiffData/>")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        tiff.write(
            numbers(3, 6, 7), photometric="minisblack", description=description, metadata=None
        )
    with pytest.warns(FluoFocusWarning, match="lacks 2 of the planes that it announces"):
        assert read_stack(tmp_path / "a.ome.tif").shape == (5, 6, 7)


def test_other_warnings_of_tifffile_are_harmless(tmp_path: Path) -> None:
    image = numbers(3, 6, 7)
    uuid = "11111111-1111-1111-1111-111111111111"
    description = OME.format(uuid=uuid, planes=2, data="<TiffData/>")  # of three planes
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        tiff.write(image, photometric="minisblack", description=description, metadata=None)

    assert read_stack(tmp_path / "a.ome.tif").shape == (2, 6, 7)


@pytest.mark.parametrize("compression", ["zlib", "lzw"])
def test_damaged_compressed_pixels(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers(2, 64, 64), compression=compression)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset + 9 : offset + 200] = b"\xff" * 191
    path.write_bytes(data)
    stack = read_stack(path)

    assert loaded(stack.data[0]).shape == (64, 64)
    with pytest.raises(
        FluoFocusError, match=r"pixels cannot be read \(.*: copy or export it again"
    ):
        loaded(stack.data[1])


def test_a_damaged_zarr_chunk(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.zarr", make_stack(numbers(6, 7), "YX", None))
    (tmp_path / "a.ome.zarr" / "0" / "c" / "0" / "0").write_bytes(b"no chunk")

    with pytest.raises(FluoFocusError, match="pixels cannot be read"):
        loaded(read_stack(tmp_path / "a.ome.zarr").data)


def test_too_little_memory_is_no_damage() -> None:
    def too_much(_: np.ndarray) -> np.ndarray:
        raise MemoryError

    pixels = da.zeros((6, 7)).map_blocks(too_much, dtype=float, meta=np.zeros((0, 0)))
    with pytest.raises(MemoryError):
        loaded(pixels)


@pytest.mark.parametrize(
    ("name", "library", "function"),
    [("a.ome.tif", tifffile, "TiffFile"), ("a.ome.zarr", zarr, "open_group")],
)
def test_no_permission(
    tmp_path: Path, name: str, library: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stack(tmp_path / name, make_stack(numbers(6, 7), "YX", None))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(library, function, refuse)
    assert "(Permission denied): check its permissions" in refusal(tmp_path / name)


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
