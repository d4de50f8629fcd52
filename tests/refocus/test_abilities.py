"""What newer networks add: several input planes, expected errors, and optics they are told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, read_stack
from fluofocus.models.bundle import Model, save_model
from fluofocus.optics.description import blur_parameters
from fluofocus.refocus import refocus, refocus_to_file, tilt
from fluofocus.refocus.microscope_check import advice


@pytest.fixture
def stack(random_image: Callable[..., xr.DataArray]) -> xr.DataArray:
    return random_image(5, 56, 48, dims="ZYX")


def test_the_order_of_the_inputs_changes_nothing_but_where_distances_start(
    able_model: Model, stack: xr.DataArray
) -> None:
    one = refocus(stack, able_model, plane=[1, 4, 3], z_um=[-2.0, 0.5, 3.0])
    other = refocus(stack, able_model, plane=[4, 3, 1], z_um=[-5.0, -2.5, 0.0])
    np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-2)
    assert one.attrs["provenance"]["input_z_um"] == [0.0, 3.0, 2.0]


def test_every_input_matters(able_model: Model, stack: xr.DataArray) -> None:
    both = refocus(stack, able_model, plane=[1, 4], z_um=[1.0])
    changed = stack.copy(deep=True)
    changed[4] = changed[4][::-1].values
    assert not np.allclose(both, refocus(changed, able_model, plane=[1, 4], z_um=[1.0]))
    alone = refocus(stack, able_model, plane=1, z_um=[1.0])
    assert not np.allclose(both, alone)
    np.testing.assert_array_equal(alone, refocus(stack, able_model, plane=[1], z_um=[1.0]))


@pytest.mark.parametrize("where", [{"z_um": [-2.0, 3.0]}, {"surface": tilt(2.0)}])
def test_tiles_of_several_inputs_with_errors_equal_the_whole(
    able_model: Model,
    random_image: Callable[..., xr.DataArray],
    force_tiles: Callable[..., None],
    where: dict,
) -> None:
    stack = random_image(3, 180, 60, dims="ZYX")
    whole = refocus(stack, able_model, plane=[0, 2], uncertainty=True, **where)
    force_tiles(120)
    tiled = refocus(stack, able_model, plane=[0, 2], uncertainty=True, **where)
    np.testing.assert_allclose(tiled.values, whole.values, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        ([1, 1], "must be given once"),
        ([], "must be given once"),
        ([0, 5], "no plane 5 in an input of 5"),
        ([0, -1], "no plane -1"),
    ],
)
def test_wrong_planes_are_refused(
    able_model: Model, stack: xr.DataArray, plane: list[int], message: str
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        refocus(stack, able_model, plane=plane, z_um=[1.0])


def test_positions_must_be_known_and_differ(able_model: Model, stack: xr.DataArray) -> None:
    same = stack.assign_coords(Z=[0.0, 1.0, 1.0, 2.0, 3.0])
    with pytest.raises(FluoFocusError, match="lie at the same position"):
        refocus(same, able_model, plane=[1, 2], z_um=[1.0])
    unknown = make_stack(stack.values, "ZYX", (float("nan"), 0.325, 0.325))
    with pytest.raises(FluoFocusError, match="--z-step"):
        refocus(unknown, able_model, plane=[1, 2], z_um=[1.0])


def test_targets_lie_in_the_range_of_every_input(able_model: Model, stack: xr.DataArray) -> None:
    result = refocus(stack, able_model, plane=[0, 4], z_um=[-6.0, 10.0])
    assert "extrapolated_um" not in result.attrs["provenance"]
    with pytest.raises(FluoFocusError, match=r"one or another input plane.*give fewer planes"):
        refocus(stack, able_model, plane=[0, 4], z_um=[10.5])


def test_errors_are_channels_in_counts(able_model: Model, stack: xr.DataArray) -> None:
    plain = refocus(stack, able_model, plane=2, z_um=[-1.0, 2.0])
    result = refocus(stack, able_model, plane=2, z_um=[-1.0, 2.0], uncertainty=True)
    assert result.dims == ("C", "Z", "Y", "X")
    assert list(result.coords["C"].values) == [
        "refocused",
        "refocused, expected absolute error",
    ]
    np.testing.assert_array_equal(result.values[0], plain.values)
    assert (result.values[1] > 0).all()
    louder = able_model.card.model_copy(
        update={"error": able_model.card.error.model_copy(update={"scale": 6.0})}
    )
    other = refocus(
        stack, replace(able_model, card=louder), plane=2, z_um=[-1.0, 2.0], uncertainty=True
    )
    np.testing.assert_allclose(other.values[1], 3 * result.values[1], rtol=1e-5)
    assert result.attrs["provenance"]["error_calibration"]["half_widths"] == [0.7, 2.3]


def test_errors_of_several_channels_follow_them(
    able_model: Model, random_image: Callable[..., xr.DataArray], tmp_path: Path
) -> None:
    image = random_image(2, 3, 40, 36, dims="TCYX").assign_coords(C=["a", "b", "c"])
    refocus_to_file(image, able_model, tmp_path / "o.ome.tif", z_um=[0.0, 1.0], uncertainty=True)
    written = read_stack(tmp_path / "o.ome.tif")
    assert written.dims == ("T", "C", "Z", "Y", "X")
    names = [str(name) for name in written.coords["C"].values]
    assert names[:3] == ["a", "b", "c"]
    assert names[3:] == [f"{name}, expected absolute error" for name in "abc"]
    single = refocus(image[1, 2], able_model, z_um=[0.0, 1.0], uncertainty=True)
    np.testing.assert_allclose(written.values[1, 2], single.values[0], rtol=1e-5)
    np.testing.assert_allclose(written.values[1, 5], single.values[1], rtol=1e-5)


def test_optics_are_told_if_they_were_measured(able_model: Model, stack: xr.DataArray) -> None:
    sheet = able_model.card.microscope.model_copy(update={"amplitude_falloff": 0.6})
    measured = sheet.model_copy(update={"is_calibrated": True})
    results = {
        name: refocus(stack, able_model, plane=2, z_um=[2.0], microscope=microscope)
        for name, microscope in (("none", None), ("sheet", sheet), ("measured", measured))
    }
    np.testing.assert_array_equal(results["none"].values, results["sheet"].values)
    assert not np.allclose(results["none"].values, results["measured"].values)
    told = {name: result.attrs["provenance"]["optics"] for name, result in results.items()}
    assert told == {"none": "average", "sheet": "average", "measured": "as calibrated"}
    parameters = blur_parameters(measured, able_model.card.microscope).tolist()
    recorded = results["measured"].attrs["provenance"]["blur_parameters"]
    assert recorded == pytest.approx(parameters, abs=1e-3)


def test_advice_is_given_where_a_calibration_would_help(able_model: Model, tmp_path: Path) -> None:
    save_model(able_model, tmp_path / "m.safetensors")
    sheet = able_model.card.microscope
    measured = sheet.model_copy(update={"is_calibrated": True})
    assert "no microscope" in str(advice(tmp_path / "m.safetensors", None))
    assert "not calibrated" in str(advice(tmp_path / "m.safetensors", sheet))
    assert advice(tmp_path / "m.safetensors", measured) is None


def test_an_older_model_works_and_says_what_it_has_not(
    random_model: Callable[..., Model], stack: xr.DataArray
) -> None:
    small = {"encoder_channels": [8, 8], "decoder_channels": [8, 8], "residual_blocks": 1}
    lacking = {"error_output": False, "fuses_planes": False, "takes_optics": False}
    model = random_model("swift", small | lacking)
    refocus(stack, model, plane=2, z_um=[2.0])
    with pytest.raises(FluoFocusError, match="has no error output"):
        refocus(stack, model, plane=2, z_um=[2.0], uncertainty=True)
    with pytest.raises(FluoFocusError, match="trained for one input plane"):
        refocus(stack, model, plane=[1, 2], z_um=[2.0])


def test_ensembles_take_all_of_it(able_model: Model, stack: xr.DataArray) -> None:
    result = refocus(stack, able_model, plane=[1, 3], z_um=[2.0], uncertainty=True, ensemble=True)
    assert result.shape == (2, 1, *stack.shape[1:])
    assert np.isfinite(result.values).all()
