"""Virtual stacks merged by maximum: at absolute positions, and only where they fit together."""

import dask.array
import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, voxel_size_um
from fluofocus.refocus.merge import merge_stacks

PIXEL_UM = 0.325


def virtual(z_um, seed=0, *, dims="ZYX", pixel_um=PIXEL_UM, lazy=False, **options):
    """A stack of noise at these planes."""
    shape = {"T": 2, "C": 2, "Z": len(z_um), "Y": 6, "X": 8}
    values = np.random.default_rng(seed).random([shape[axis] for axis in dims])
    data = dask.array.from_array(values) if lazy else values
    return make_stack(data, dims, (2.0, pixel_um, pixel_um), z_um=z_um, **options)


def test_the_maximum_is_taken_at_absolute_positions():
    below = virtual([-4, -2, 0, 2, 4], 1, provenance={"plane": 20})
    above = virtual([-6, -4, -2, 0, 2], 2, provenance={"plane": 28})
    merged = merge_stacks([below, above], [10.0, 14.0])
    assert merged.coords["Z"].values.tolist() == [8, 10, 12, 14]  # 6 and 16 are in one only
    expected = np.maximum(below.values[1:], above.values[:4])
    np.testing.assert_array_equal(merged.values, expected)
    assert (merged.values > below.values[1:]).any()
    assert (merged.values > above.values[:4]).any()
    assert voxel_size_um(merged) == (2.0, PIXEL_UM, PIXEL_UM)
    record = merged.attrs["provenance"]
    assert record["input_z_um"] == [10.0, 14.0]
    assert [each["plane"] for each in record["stacks"]] == [20, 28]


def test_stacks_at_one_position_keep_all_planes_and_three_are_merged_too():
    stacks = [virtual([-2, 0, 2], seed) for seed in range(3)]
    merged = merge_stacks(stacks, [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(merged.values, np.max([s.values for s in stacks], axis=0))
    assert merged.coords["Z"].values.tolist() == [-2, 0, 2]


def test_positions_may_differ_by_rounding():
    thirds = [k / 3 for k in range(-3, 4)]
    merged = merge_stacks([virtual(thirds), virtual(thirds)], [0.0, 1.0 / 3])
    np.testing.assert_allclose(merged.coords["Z"], thirds[1:])


def test_time_lapses_and_channels_keep_their_axes_and_stay_lazy():
    names = ["red", "green"]
    times_s = [0.0, 1.5]
    options = {"dims": "TCZYX", "lazy": True, "channel_names": names, "times_s": times_s}
    merged = merge_stacks([virtual([0, 2], 1, **options), virtual([-2, 0], 2, **options)], [0, 4.0])
    assert merged.dims == tuple("TCZYX")
    assert merged.sizes["Z"] == 1
    assert merged.coords["C"].values.tolist() == names
    assert merged.coords["T"].values.tolist() == times_s
    assert isinstance(merged.data, dask.array.Array)


def at_place(stack, offset_um):
    return stack.assign_coords(X=stack.coords["X"] + offset_um)


ERRORS = "red, expected absolute error"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (virtual([0, 2], pixel_um=0.65), ("pixels of virtual stack 2", "0.65 x 0.65 µm")),
        (virtual([0, 2])[:, 1:], ("stack 2 is 5 (Y) x 8 (X)", "first 6 (Y) x 8 (X)")),
        (virtual([0, 2], dims="TZYX"), ("stack 2 is 2 (T)", "same field")),
        (virtual([0, 2], dims="ZYX")[0], ("stack 2 has axes Y, X", "ending in Z, Y, X")),
        (at_place(virtual([0, 2]), 3.0), ("lies 3 µm from the first along X",)),
        (virtual([1, 3]), ("at 0 to 2 and 1 to 3 µm", "no plane in common")),
        (virtual([2, 0]), ("stack 2 must have different positions",)),
        (virtual([0, 2], channel_names=["green"]), ("stack 2 are green", "first without names")),
        (virtual([0, 2], dims="CZYX", channel_names=["red", ERRORS]), ("expected errors",)),
    ],
)
def test_what_does_not_fit_is_refused(other, words):
    with pytest.raises(FluoFocusError) as error:
        merge_stacks([virtual([0, 2]), other], [0.0, 0.0])
    assert all(word in str(error.value) for word in words), error.value


def test_one_stack_or_unknown_positions_are_refused():
    with pytest.raises(FluoFocusError, match="two or more stacks"):
        merge_stacks([virtual([0, 2])], [0.0])
    with pytest.raises(FluoFocusError, match="one position for each"):
        merge_stacks([virtual([0, 2])] * 2, [0.0])
    with pytest.raises(FluoFocusError, match="finite"):
        merge_stacks([virtual([0, 2])] * 2, [0.0, np.nan])
