"""When the frames of a time-lapse were recorded: read from every format, and written back."""

import math
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.io.stack import known_times_s

UNEVEN_S = [0.5, 2.0, 4.5]


def film(dims: str = "TYX", times_s: list[float] | None = None) -> xr.DataArray:
    sizes = {"T": 3, "C": 2, "Z": 4, "Y": 5, "X": 6}
    shape = tuple(sizes[axis] for axis in dims)
    pixels = np.random.default_rng(3).integers(0, 99, shape).astype(np.uint16)
    return make_stack(pixels, dims, (0.5, 0.2, 0.1), times_s=times_s)


def of_others(path: Path, **metadata: Any) -> list[float] | None:
    options = {"metadata": {"axes": "TZYX", **metadata}}
    tifffile.imwrite(path, film("TZYX").values, imagej=path.name == "imagej.tif", **options)
    return known_times_s(read_stack(path))


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize("dims", ["TYX", "TCYX", "TZYX", "TCZYX"])
def test_times_come_back_as_they_were_even_or_not(tmp_path: Path, name: str, dims: str) -> None:
    write_stack(tmp_path / name, film(dims, UNEVEN_S))
    stack = read_stack(tmp_path / name)
    assert known_times_s(stack) == UNEVEN_S
    assert stack.coords["T"].attrs["units"] == "s"


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_unknown_times_stay_unknown(tmp_path: Path, name: str) -> None:
    write_stack(tmp_path / name, film())
    assert known_times_s(read_stack(tmp_path / name)) is None


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_a_frame_taken_out_keeps_its_time(tmp_path: Path, name: str) -> None:
    frame = film(times_s=UNEVEN_S).isel(T=1)
    assert known_times_s(frame) == [2.0]
    write_stack(tmp_path / name, frame)
    assert known_times_s(read_stack(tmp_path / name)) == [2.0]


def test_coordinates_of_others_are_not_taken_for_seconds() -> None:
    assert known_times_s(film().assign_coords(T=[1, 2, 3])) is None


def test_one_time_is_needed_for_each_frame() -> None:
    with pytest.raises(FluoFocusError, match="2 values for axis T"):
        film(times_s=[0.0, 1.0])


def test_tiff_as_others_read_it(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.tif", film("TCYX", UNEVEN_S))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["TimeIncrement"], pixels["TimeIncrementUnit"]) == (2.0, "s")
    assert [plane["DeltaT"] for plane in pixels["Plane"]] == [0.5, 0.5, 2.0, 2.0, 4.5, 4.5]


def test_zarr_as_others_read_it(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.zarr", film("TYX", UNEVEN_S))
    ome: Any = zarr.open_group(tmp_path / "a.ome.zarr", mode="r").attrs["ome"]
    (multiscale,) = ome["multiscales"]
    assert multiscale["axes"][0] == {"name": "t", "type": "time", "unit": "second"}
    assert multiscale["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [2.0, 0.2, 0.1]},
        {"type": "translation", "translation": [0.5, 0.0, 0.0]},
    ]


@pytest.mark.parametrize(
    ("interval", "unit", "expected"),
    [(250.0, "ms", [0.0, 0.25, 0.5]), (2.0, "min", [0.0, 120.0, 240.0])],
)
def test_ome_tiff_with_an_interval(
    tmp_path: Path, interval: float, unit: str, expected: list[float]
) -> None:
    found = of_others(tmp_path / "a.ome.tif", TimeIncrement=interval, TimeIncrementUnit=unit)
    assert found == pytest.approx(expected)


def test_ome_tiff_with_a_time_for_each_plane(tmp_path: Path) -> None:
    times = np.repeat([100.0, 350.0, 600.0], 4) + np.tile(np.arange(4.0), 3)
    planes = {"DeltaT": times.tolist(), "DeltaTUnit": ["ms"] * 12}
    found = of_others(tmp_path / "a.ome.tif", Plane=planes, TimeIncrement=9.0)
    assert found == pytest.approx([0.1, 0.35, 0.6])


def test_imagej_tiff(tmp_path: Path) -> None:
    assert of_others(tmp_path / "imagej.tif", finterval=1.5) == [0.0, 1.5, 3.0]
    assert of_others(tmp_path / "imagej.tif") is None


@pytest.mark.parametrize(
    ("unit", "expected"), [("second", [0.0, 1.0, 2.0]), ("millisecond", [0.0, 1e-3, 2e-3])]
)
def test_ome_zarr_of_others(tmp_path: Path, unit: str, expected: list[float]) -> None:
    def write(name: str, **time: str) -> list[float] | None:
        axes = [{"name": "t", "type": "time", **time}]
        axes += [{"name": axis, "type": "space"} for axis in "yx"]
        transforms = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
        dataset = {"path": "0", "coordinateTransformations": transforms}
        ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}
        group = zarr.create_group(tmp_path / name, attributes={"ome": ome})
        group.create_array("0", data=np.zeros((3, 4, 4), "uint8"))
        return known_times_s(read_stack(tmp_path / name))

    assert write("a.zarr", unit=unit) == pytest.approx(expected)
    assert write("b.zarr") is None


@pytest.mark.parametrize("kind", ["czi", "nd2", "lif"])
@pytest.mark.parametrize(
    ("interval", "expected"), [(timedelta(milliseconds=500), [0.0, 0.5, 1.0]), (None, None)]
)
def test_makers_formats(
    tmp_path: Path,
    kind: str,
    interval: timedelta | None,
    expected: list[float] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reader(path: Path, chunk_dims: object = None) -> SimpleNamespace:
        return SimpleNamespace(
            xarray_dask_data=film("TYX"),
            physical_pixel_sizes=SimpleNamespace(Z=None, Y=0.2, X=0.1),
            channel_names=["GFP"],
            scenes=("only",),
            time_interval=interval,
        )

    plugin = ModuleType(f"bioio_{kind}")
    plugin.Reader = reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    (tmp_path / f"a.{kind}").write_bytes(b"anything")
    stack = read_stack(tmp_path / f"a.{kind}")
    assert known_times_s(stack) == expected
    assert math.isnan(stack.attrs["voxel_size_um"][0])
