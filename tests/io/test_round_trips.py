"""Writing and reading again, here and by other software."""

import math
import tracemalloc
from pathlib import Path
from typing import Any

import bioio_ome_zarr
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr

from fluofocus.io import make_stack, open_writer, read_stack, write_stack

FORMATS = ["a.ome.tif", "a.ome.zarr"]
PROVENANCE = {"model": "swift <&> µ", "version": [0, 1], "scale": 0.25, "none": None}

every_format = pytest.mark.parametrize("name", FORMATS)


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(2).integers(0, 100, shape).astype(dtype)


@every_format
@pytest.mark.parametrize("dims", ["YX", "ZYX", "CYX", "TZYX", "CZYX", "TCZYX"])
def test_round_trip(tmp_path: Path, name: str, dims: str) -> None:
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6}
    stack = make_stack(
        numbers(*(sizes[axis] for axis in dims)),
        dims,
        (0.5 if "Z" in dims else math.nan, 0.2, 0.1),
        provenance=PROVENANCE,
        name=name,
        z_um=[-1.0, -0.5, 0.0, 3.0] if "Z" in dims else [7.5],
        origin_um=(0.0, 12.3, -4.5),
        channel_names=["a<b", "ü", "c"] if "C" in dims else ["only"],
    )

    write_stack(tmp_path / name, stack)

    xr.testing.assert_identical(read_stack(tmp_path / name).compute(), stack)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@every_format
@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"]
)
def test_dtype_is_kept(tmp_path: Path, name: str, dtype: str) -> None:
    image = numbers(3, 5, 6, dtype=dtype)

    write_stack(tmp_path / name, make_stack(image, "ZYX", None))

    stack = read_stack(tmp_path / name)
    assert stack.dtype == dtype
    np.testing.assert_array_equal(stack, image)


@every_format
def test_unknown_sizes_stay_unknown(tmp_path: Path, name: str) -> None:
    write_stack(tmp_path / name, make_stack(numbers(3, 5, 6), "ZYX", (math.nan, 0.2, 0.1)))

    np.testing.assert_equal(
        read_stack(tmp_path / name).attrs["voxel_size_um"], (math.nan, 0.2, 0.1)
    )


def write_channels(path: Path, image: np.ndarray, *, z_um: list[float]) -> None:
    with open_writer(
        path,
        shape=image.shape,
        dims="CZYX",
        dtype=image.dtype,
        voxel_size_um=(0.5, 0.2, 0.1),
        provenance=PROVENANCE,
        z_um=z_um,
        channel_names=["DAPI", "GFP"],
        origin_yx_um=(3.0, -2.5),
    ) as writer:
        for index in np.ndindex(image.shape[:2]):
            writer.write_plane(index, image[index])


def test_tiff_as_others_read_it(tmp_path: Path) -> None:
    image = numbers(2, 3, 5, 6)
    write_channels(tmp_path / "a.ome.tif", image, z_um=[-1.0, 0.0, 2.0])

    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_ome
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("CZYX", image.shape)
        assert len(tiff.pages) == 6
        assert "DateTime" not in tiff.pages.first.tags
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"] == [0.5, 0.2, 0.1]
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"} == {"µm"}
    assert [channel["Name"] for channel in pixels["Channel"]] == ["DAPI", "GFP"]
    assert [plane["PositionZ"] for plane in pixels["Plane"]] == [-1.0, 0.0, 2.0] * 2
    assert {(plane["PositionY"], plane["PositionX"]) for plane in pixels["Plane"]} == {(3.0, -2.5)}
    np.testing.assert_array_equal(tifffile.memmap(tmp_path / "a.ome.tif", mode="r"), image)


def test_zarr_as_others_read_it(tmp_path: Path) -> None:
    image = numbers(2, 3, 5, 6)
    write_channels(tmp_path / "a.ome.zarr", image, z_um=[-1.0, -0.5, 0.0])

    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    ome: Any = group.attrs["ome"]
    (multiscale,) = ome["multiscales"]
    assert (group.metadata.zarr_format, ome["version"]) == (3, "0.5")
    assert multiscale["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert multiscale["datasets"] == [
        {
            "path": "0",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 0.5, 0.2, 0.1]},
                {"type": "translation", "translation": [0.0, -1.0, 3.0, -2.5]},
            ],
        }
    ]
    window = ome["omero"]["channels"][1]["window"]
    assert (window["start"], window["end"]) == (image[1].min(), image[1].max())
    array: Any = group["0"]
    assert array.metadata.dimension_names == ("c", "z", "y", "x")
    np.testing.assert_array_equal(array[:], image)
    reader = bioio_ome_zarr.Reader(tmp_path / "a.ome.zarr")
    assert tuple(reader.physical_pixel_sizes) == (0.5, 0.2, 0.1)
    assert reader.channel_names == ["DAPI", "GFP"]


def test_large_tiff_is_bigtiff(tmp_path: Path) -> None:
    image = np.broadcast_to(np.uint8(0), (2, 50_000, 50_000))
    writer = open_writer(
        tmp_path / "a.ome.tif",
        shape=image.shape,
        dims="ZYX",
        dtype=image.dtype,
        voxel_size_um=(0.5, 0.2, 0.1),
        provenance=PROVENANCE,
    )
    writer.write_region((1,), slice(49_999, None), slice(0, 2), np.uint8([[3, 4]]))

    file = next(writer.partial_path.glob("image"))
    with tifffile.TiffFile(file) as tiff:
        assert tiff.is_bigtiff
        assert list(tifffile.memmap(file, mode="r")[1, -1, :3]) == [3, 4, 0]
    writer.discard()


@every_format
def test_writing_holds_one_plane_in_memory(tmp_path: Path, name: str) -> None:
    image = np.broadcast_to(numbers(512, 512), (40, 512, 512))
    write_stack(tmp_path / f"first-{name}", make_stack(image[:1], "ZYX", None))
    tracemalloc.start()

    write_stack(tmp_path / name, make_stack(image, "ZYX", None))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < image.nbytes / 5
