"""What is written beside the refocused image: the intermediate image, alone and with errors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from fluofocus.data.tiling import round_up
from fluofocus.errors import FluoFocusError
from fluofocus.io import read_stack
from fluofocus.models.bundle import ErrorCalibration, Model
from fluofocus.models.network import Refocused
from fluofocus.prepare.normalise import Normalisation
from fluofocus.refocus import refocus, refocus_to_file, tilt
from fluofocus.refocus.outputs import Outputs

SMALL = {"encoder_channels": [8, 8], "decoder_channels": [8, 8], "residual_blocks": 1}
W_NET = {"refocusing": SMALL, "sharpening": SMALL}
CALIBRATION = ErrorCalibration(scale=2.0, probabilities=(0.5,), half_widths=(0.7,))


@pytest.fixture
def w_net(random_model: Callable[..., Model]) -> Model:
    return random_model("w_net", W_NET)


@pytest.fixture
def first_network(w_net: Model) -> Model:
    """Return the first of the two networks, as a model by itself."""
    card = w_net.card.model_copy(update={"architecture": "swift"})
    return replace(w_net, card=card, network=w_net.network.refocusing)


@pytest.mark.parametrize("where", [{"z_um": [-2.0, 3.0]}, {"surface": tilt(2.0)}])
@pytest.mark.parametrize(("pixel_um", "shape_yx"), [(0.325, (64, 48)), (0.4, (52, 39))])
@pytest.mark.filterwarnings("ignore:The image's pixels")
def test_the_intermediate_image_is_what_the_first_network_makes(
    w_net: Model,
    first_network: Model,
    random_image: Callable[..., xr.DataArray],
    where: dict,
    pixel_um: float,
    shape_yx: tuple[int, int],
) -> None:
    image = random_image(*shape_yx, pixel_um=pixel_um)  # both networks pad it alike
    result = refocus(image, w_net, intermediate=True, **where)
    assert result.dims[0] == "C"
    assert list(result.coords["C"].values) == ["refocused", "refocused, intermediate"]
    np.testing.assert_array_equal(result.values[0], refocus(image, w_net, **where).values)
    alone = refocus(image, first_network, **where)
    np.testing.assert_allclose(result.values[1], alone.values, rtol=1e-4, atol=1e-2)
    assert not np.allclose(result.values[0], result.values[1], rtol=1e-2)


def test_tiles_of_both_images_equal_the_whole(
    w_net: Model, random_image: Callable[..., xr.DataArray], force_tiles: Callable[..., None]
) -> None:
    multiple = w_net.network.size_multiple
    tile = 2 * round_up(w_net.network.receptive_field_px, multiple) + multiple
    image = random_image(tile + 2 * multiple, 16)
    whole = refocus(image, w_net, z_um=[-1.0, 0.0, 2.0], intermediate=True)
    force_tiles(tile)
    tiled = refocus(image, w_net, z_um=[-1.0, 0.0, 2.0], intermediate=True)
    np.testing.assert_allclose(tiled.values, whole.values, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_intermediate_images_of_several_channels_follow_them(
    w_net: Model, random_image: Callable[..., xr.DataArray], tmp_path: Path, ending: str
) -> None:
    image = random_image(2, 3, 32, 36, dims="TCYX").assign_coords(C=["a", "b", "c"])
    output = tmp_path / f"o.ome.{ending}"
    refocus_to_file(image, w_net, output, z_um=[0.0, 1.0], intermediate=True)
    written = read_stack(output)
    assert written.dims == ("T", "C", "Z", "Y", "X")
    names = [str(name) for name in written.coords["C"].values]
    assert names == ["a", "b", "c", "a, intermediate", "b, intermediate", "c, intermediate"]
    single = refocus(image[1, 2], w_net, z_um=[0.0, 1.0], intermediate=True)
    np.testing.assert_allclose(written.values[1, 2], single.values[0], rtol=1e-5)
    np.testing.assert_allclose(written.values[1, 5], single.values[1], rtol=1e-5)


def test_an_ensemble_averages_both_images(
    w_net: Model, first_network: Model, random_image: Callable[..., xr.DataArray]
) -> None:
    image = random_image(32, 32)
    result = refocus(image, w_net, z_um=[1.0], intermediate=True, ensemble=True)
    alone = refocus(image, first_network, z_um=[1.0], ensemble=True)
    np.testing.assert_allclose(result.values[1], alone.values, rtol=1e-4, atol=1e-2)


def test_one_network_has_no_intermediate_image(
    random_model: Callable[..., Model], random_image: Callable[..., xr.DataArray]
) -> None:
    with pytest.raises(FluoFocusError, match=r"leave out --intermediate \(intermediate=\)"):
        refocus(random_image(32, 32), random_model(), z_um=[1.0], intermediate=True)


def test_intermediate_images_come_before_errors() -> None:
    outputs = Outputs(intermediate=True, error=CALIBRATION)
    assert outputs.channel_names(["a", "b"], 2) == [
        *("a", "b"),
        *("a, intermediate", "b, intermediate"),
        *("a, expected absolute error", "b, expected absolute error"),
    ]
    given = Refocused(*(torch.full((1, 1, 2, 2), value) for value in (1.0, 2.0, 3.0)))
    far, normalisation = torch.full((1, 1, 1), 5.0), Normalisation(background=100.0, scale=10.0)
    results = outputs.in_counts(given, far, normalisation, (0,))
    assert [float(each[0, 0, 0]) for each in results] == [110.0, 130.0, 40.0]
    plain = Outputs().in_counts(given, far, normalisation, (0,))
    assert [float(each[0, 0, 0]) for each in plain] == [110.0]


def test_errors_are_scaled_by_the_distance_from_the_nearest_input() -> None:
    factors = {"distances_um": (-4.0, 0.0, 2.0), "factors": (3.0, 0.5, 1.5)}
    outputs = Outputs(error=CALIBRATION.model_copy(update=factors))
    given = Refocused(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2))
    planes_um = torch.tensor([[[-6.0, -1.0, 9.0], [-2.0, 3.0, 13.0]]])  # two inputs, three targets
    normalisation = Normalisation(background=0.0, scale=10.0)
    expected = 10 * CALIBRATION.scale * np.array([1.75, 1.125, 1.5])
    _, errors = outputs.in_counts(given, planes_um, normalisation, (0,))
    np.testing.assert_allclose(errors[:, 0, 0], expected)
    surface_um = planes_um[..., None, None].expand(1, 2, 3, 2, 2).clone()
    surface_um[..., 1, 1] = 2.0
    _, errors = outputs.in_counts(given, surface_um, normalisation, (0, slice(None), slice(1, 2)))
    np.testing.assert_allclose(errors[:, 0, 0], expected)
    np.testing.assert_allclose(errors[:, 0, 1], 10 * CALIBRATION.scale * 1.5)
