"""Stacks: axes, coordinates in µm, and what is refused."""

import math

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, origin_um, voxel_size_um


def test_coordinates_are_in_micrometres() -> None:
    stack = make_stack(np.zeros((3, 4, 5)), "ZYX", (0.5, 0.2, 0.1), origin_um=(10.0, 1.0, 2.0))

    np.testing.assert_allclose(stack.coords["Z"], [10.0, 10.5, 11.0])
    np.testing.assert_allclose(stack.coords["Y"], [1.0, 1.2, 1.4, 1.6])
    np.testing.assert_allclose(stack.coords["X"], [2.0, 2.1, 2.2, 2.3, 2.4])
    assert {stack.coords[axis].attrs["units"] for axis in "ZYX"} == {"µm"}
    assert origin_um(stack) == (10.0, 1.0, 2.0)


def test_voxel_size_is_returned_exactly() -> None:
    assert voxel_size_um(make_stack(np.zeros((7, 99, 5)), "ZYX", (0.3, 0.1, 0.7))) == (
        0.3,
        0.1,
        0.7,
    )


def test_voxel_size_follows_slicing() -> None:
    stack = make_stack(np.zeros((9, 8, 8)), "ZYX", (0.5, 0.2, 0.2))

    assert voxel_size_um(stack[::2, ::4]) == pytest.approx((1.0, 0.8, 0.2))
    assert voxel_size_um(stack[::-1]) == pytest.approx((0.5, 0.2, 0.2))


def test_a_plane_taken_out_keeps_its_position() -> None:
    plane = make_stack(np.zeros((9, 8, 8)), "ZYX", (0.5, 0.2, 0.2))[4]

    assert origin_um(plane) == (2.0, 0.0, 0.0)
    assert voxel_size_um(plane) == (0.5, 0.2, 0.2)


def test_uneven_planes_give_their_mean_distance() -> None:
    stack = make_stack(np.zeros((3, 4, 4)), "ZYX", (math.nan, 0.2, 0.2), z_um=[-1.0, 0.0, 3.0])

    np.testing.assert_array_equal(stack.coords["Z"], [-1.0, 0.0, 3.0])
    assert voxel_size_um(stack) == (2.0, 0.2, 0.2)


def test_unknown_pixel_size_names_the_option() -> None:
    stack = make_stack(np.zeros((4, 4)), "YX", None, name="worm.tif")

    assert not stack.coords
    with pytest.raises(FluoFocusError, match=r"worm\.tif.*--pixel-size"):
        voxel_size_um(stack)


def test_unknown_step_matters_only_between_planes() -> None:
    voxel = (math.nan, 0.2, 0.2)

    with pytest.raises(FluoFocusError, match="--z-step"):
        voxel_size_um(make_stack(np.zeros((2, 4, 4)), "ZYX", voxel))
    assert math.isnan(voxel_size_um(make_stack(np.zeros((4, 4)), "YX", voxel))[0])


def test_an_array_of_other_origin_works_by_its_coordinates() -> None:
    stack = xr.DataArray(np.zeros((4, 4)), dims=["Y", "X"], coords={"Y": range(4), "X": range(4)})

    assert voxel_size_um(stack)[1:] == (1.0, 1.0)


def test_dask_stays_dask() -> None:
    stack = make_stack(da.zeros((3, 4, 4)), "ZYX", (1.0, 1.0, 1.0))

    assert isinstance(stack.data, da.Array)


@pytest.mark.parametrize("dims", ["XY", "YXZ", "ZCYX", "ZZYX", "QYX", "Y", ""])
def test_axes_out_of_order_are_refused(dims: str) -> None:
    with pytest.raises(FluoFocusError, match="TCZYX"):
        make_stack(np.zeros((2,) * len(dims)), dims, None)


@pytest.mark.parametrize("size", [0.0, -1.0, math.inf])
def test_impossible_voxels_are_refused(size: float) -> None:
    with pytest.raises(FluoFocusError, match="above zero"):
        make_stack(np.zeros((4, 4)), "YX", (1.0, size, 1.0))


def test_contradicting_shapes_are_refused() -> None:
    with pytest.raises(FluoFocusError, match="3 dimensions"):
        make_stack(np.zeros((2, 4, 4)), "YX", None)
    with pytest.raises(FluoFocusError, match="axis Z"):
        make_stack(np.zeros((2, 4, 4)), "ZYX", None, z_um=[0.0])
    with pytest.raises(FluoFocusError, match="axis C"):
        make_stack(np.zeros((2, 4, 4)), "CYX", None, channel_names=["one"])
