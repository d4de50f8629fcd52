"""Reading: every format, lazily, with its axes and sizes."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from bioio_ome_zarr.writers import OMEZarrWriter

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import make_stack, origin_um, read_stack, voxel_size_um, write_stack
from fluofocus.io.stack import known_voxel_size_um

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


def numbers(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "dims"),
    [((6, 7), "YX"), ((5, 6, 7), "ZYX"), ((3, 5, 6, 7), "CZYX"), ((2, 3, 5, 6, 7), "TCZYX")],
)
def test_plain_tiff_axes_follow_the_documented_rule(
    tmp_path: Path, shape: tuple[int, ...], dims: str
) -> None:
    image = numbers(*shape)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")

    stack = read_stack(tmp_path / "a.tif")

    assert "".join(map(str, stack.dims)) == dims
    np.testing.assert_array_equal(stack, image)


def test_tiff_of_separate_pages_is_a_focus_stack(tmp_path: Path) -> None:
    image = numbers(5, 6, 7)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for plane in image:
            tiff.write(plane, metadata=None, contiguous=False)

    stack = read_stack(tmp_path / "a.tif")

    assert stack.dims == ("Z", "Y", "X")
    np.testing.assert_array_equal(stack, image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_dtype_is_kept(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers(6, 7, dtype=dtype), photometric="minisblack")

    assert read_stack(tmp_path / "a.tif").dtype == dtype


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_big_endian_and_compressed(tmp_path: Path, compression: str | None) -> None:
    image = numbers(5, 32, 32)
    tifffile.imwrite(tmp_path / "a.tif", image, byteorder=">", compression=compression)

    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), image)


def test_imagej_hyperstack(tmp_path: Path) -> None:
    image = numbers(2, 5, 3, 6, 7)
    tifffile.imwrite(
        tmp_path / "a.tif",
        image,
        imagej=True,
        resolution=(1 / 0.1, 1 / 0.2),
        metadata={"axes": "TZCYX", "spacing": 0.5, "unit": "micron"},
    )

    stack = read_stack(tmp_path / "a.tif")

    assert stack.dims == tuple("TCZYX")
    np.testing.assert_array_equal(stack, image.swapaxes(1, 2))
    assert voxel_size_um(stack) == pytest.approx((0.5, 0.2, 0.1))


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1.0), ("\\u00B5m", 1.0), ("nm", 1e-3), ("mm", 1e3)]
)
def test_imagej_units(tmp_path: Path, unit: str, factor: float) -> None:
    metadata = {"axes": "ZYX", "spacing": 0.004, "unit": unit}
    tifffile.imwrite(
        tmp_path / "a.tif", numbers(2, 6, 7), imagej=True, resolution=(500, 500), metadata=metadata
    )

    expected = np.array([0.004, 0.002, 0.002]) * factor
    np.testing.assert_allclose(voxel_size_um(read_stack(tmp_path / "a.tif")), expected)


def test_imagej_in_pixels_has_no_size(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 1.0, "unit": "pixel"}
    tifffile.imwrite(
        tmp_path / "a.tif", numbers(2, 6, 7), imagej=True, resolution=(1, 1), metadata=metadata
    )

    assert np.isnan(known_voxel_size_um(read_stack(tmp_path / "a.tif"))).all()


def test_plain_tiff_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers(6, 7), resolution=(1e4 / 0.325, 1e4 / 0.325), resolutionunit=3)
    assert voxel_size_um(read_stack(path))[1:] == pytest.approx((0.325, 0.325))

    tifffile.imwrite(path, numbers(6, 7), resolution=(72, 72), resolutionunit=2)
    with pytest.raises(FluoFocusError, match="--pixel-size"):
        voxel_size_um(read_stack(path))


def test_ome_tiff_of_others(tmp_path: Path) -> None:
    image = numbers(2, 5, 6, 7)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        image,
        metadata={
            "axes": "CZYX",
            "PhysicalSizeX": 100.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.2,
            "PhysicalSizeZ": 5e-4,
            "PhysicalSizeZUnit": "mm",
            "Channel": {"Name": ["DAPI", "GFP"]},
        },
    )

    stack = read_stack(tmp_path / "a.ome.tif")

    np.testing.assert_array_equal(stack, image)
    assert voxel_size_um(stack) == pytest.approx((0.5, 0.2, 0.1))
    assert list(stack.coords["C"].values) == ["DAPI", "GFP"]
    assert stack.attrs["provenance"] == {}


def test_invalid_ome_metadata_still_gives_the_pixels(tmp_path: Path) -> None:
    image = numbers(3, 6, 7)
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata={"axes": "ZYX", "PhysicalSizeX": 0.1})
    data = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(data.replace(b'SizeX="0.1"', b'SizeX="a.b"'))

    with pytest.warns(FluoFocusWarning, match="OME metadata") as caught:
        stack = read_stack(tmp_path / "a.ome.tif")
    assert [warning.category for warning in caught] == [FluoFocusWarning]

    np.testing.assert_array_equal(stack, image)
    assert stack.dims == ("Z", "Y", "X")


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["0.4", "0.5"])
def test_ome_zarr_of_others(tmp_path: Path, zarr_format: int) -> None:
    image = numbers(1, 2, 5, 6, 7)
    writer = OMEZarrWriter(
        str(tmp_path / "a.ome.zarr"),
        level_shapes=[image.shape, (1, 2, 5, 3, 3)],
        dtype=image.dtype,
        zarr_format=zarr_format,
        axes_units=[None, None, "nanometer", "micrometer", "micrometer"],
        physical_pixel_size=[1.0, 1.0, 500.0, 0.2, 0.1],
    )
    writer.write_full_volume(image)

    stack = read_stack(tmp_path / "a.ome.zarr")

    assert stack.dims == ("C", "Z", "Y", "X")
    np.testing.assert_array_equal(stack, image[0])
    assert voxel_size_um(stack) == pytest.approx((0.5, 0.2, 0.1))


def _minimal_zarr(path: Path, axes: list[dict[str, str]], transforms: list[object]) -> None:
    dataset = {"path": "0", "coordinateTransformations": transforms}
    multiscales = [{"axes": axes, "datasets": [dataset]}]
    group = zarr.create_group(
        path, attributes={"ome": {"version": "0.5", "multiscales": multiscales}}
    )
    group.create_array("0", data=np.zeros((3, 4, 4), "uint8"))


def test_ome_zarr_origin_and_missing_units(tmp_path: Path) -> None:
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    scale = {"type": "scale", "scale": [2.0, 0.5, 0.5]}
    shift = {"type": "translation", "translation": [10.0, 0.0, 1.0]}
    _minimal_zarr(tmp_path / "a.zarr", axes, [scale, shift])
    _minimal_zarr(tmp_path / "b.zarr", axes, [{"type": "scale", "scale": [1.0, 1.0, 1.0]}])

    assert voxel_size_um(read_stack(tmp_path / "a.zarr")) == (2.0, 0.5, 0.5)
    assert origin_um(read_stack(tmp_path / "a.zarr")) == (10.0, 0.0, 1.0)
    assert np.isnan(known_voxel_size_um(read_stack(tmp_path / "b.zarr"))).all()


def test_sizes_given_by_the_user_come_first(tmp_path: Path) -> None:
    for name in ("a.ome.tif", "a.ome.zarr"):
        write_stack(tmp_path / name, make_stack(numbers(4, 6, 7), "ZYX", (1.0, 1.0, 1.0)))

        stack = read_stack(tmp_path / name, pixel_size_um=0.2, z_step_um=0.3)

        assert voxel_size_um(stack) == (0.3, 0.2, 0.2)
        np.testing.assert_allclose(stack.coords["Z"], [0.0, 0.3, 0.6, 0.9])


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_impossible_sizes_are_refused(tmp_path: Path, size: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers(6, 7))

    with pytest.raises(FluoFocusError, match="--pixel-size"):
        read_stack(tmp_path / "a.tif", pixel_size_um=size)


def test_real_bead_stack() -> None:
    files = sorted(REAL_DATA.glob("bead-air-na085/*.tif"))
    if not files:
        pytest.skip("the real images at ../shared/data are not here")
    stack = read_stack(files[0], pixel_size_um=0.130, z_step_um=0.300)

    assert stack.dims == ("Z", "Y", "X")
    assert (stack.shape, stack.dtype) == ((25, 256, 256), np.uint16)
    assert voxel_size_um(stack) == (0.300, 0.130, 0.130)
    np.testing.assert_array_equal(stack[12], tifffile.imread(files[0])[12])


# ---- lazy ---------------------------------------------------------------------------------


def _write_tiff(path: Path, image: np.ndarray) -> Path:
    tifffile.imwrite(path / "a.tif", image)
    return path / "a.tif"


def _write_ome_tiff(path: Path, image: np.ndarray) -> Path:
    write_stack(path / "a.ome.tif", make_stack(image, "ZYX", None))
    return path / "a.ome.tif"


def _write_ome_zarr(path: Path, image: np.ndarray) -> Path:
    write_stack(path / "a.ome.zarr", make_stack(image, "ZYX", None))
    return path / "a.ome.zarr"


@pytest.mark.parametrize("write", [_write_tiff, _write_ome_tiff, _write_ome_zarr])
def test_reading_holds_one_plane_in_memory(
    tmp_path: Path, write: Callable[[Path, np.ndarray], Path]
) -> None:
    image = numbers(40, 512, 512)
    path = write(tmp_path, image)
    read_stack(path)[0].compute()  # what the first read imports does not count
    tracemalloc.start()

    stack = read_stack(path)
    assert isinstance(stack.data, da.Array)
    plane = stack[20].compute()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    np.testing.assert_array_equal(plane, image[20])
    assert peak < image.nbytes / 5
