"""The engine: tiles agree with the whole, counts and coordinates are right."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import make_stack
from fluofocus.models.bundle import Model, load_model, save_model
from fluofocus.models.device import choose_device
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.refocus import from_array, refocus, tilt

TOLERANCE = 1e-4


def share_of_range(result: xr.DataArray, expected: xr.DataArray) -> float:
    return float(abs(result - expected).max() / (expected.max() - expected.min()))


@pytest.mark.parametrize(
    ("architecture", "config", "shape", "tile_px"),
    [
        ("swift", None, (203, 170), 120),
        ("swift", {}, (700, 90), 560),
        ("deep_z", {"width": "compact"}, (430, 75), 384),
    ],
)
@pytest.mark.parametrize("where", [{"z_um": [-4.0, 0.5, 7.0]}, {"surface": tilt(3, axis_deg=20)}])
def test_tiled_equals_whole(
    random_model, random_image, force_tiles, architecture, config, shape, tile_px, where
) -> None:
    model = random_model(architecture, config)
    image = random_image(*shape)
    whole = refocus(image, model, **where)
    force_tiles(tile_px)
    assert share_of_range(refocus(image, model, **where), whole) <= TOLERANCE


def test_tiles_without_halo_would_not_equal_the_whole(
    random_model, random_image, force_tiles
) -> None:
    model, image = random_model(), random_image(203, 170)
    whole = refocus(image, model, z_um=[2.0])
    force_tiles(120, halo_px=0)
    assert share_of_range(refocus(image, model, z_um=[2.0]), whole) > TOLERANCE


def test_result_is_the_network_in_the_counts_of_the_input(random_model, random_counts) -> None:
    model = random_model()
    counts = random_counts(64, 48)
    result = refocus(counts, model, z_um=[-1.0, 3.0], pixel_size_um=0.325)
    normalisation = normalisation_from_image(counts)
    image = torch.from_numpy(normalisation.apply(counts.astype(np.float32)))[None, None]
    with torch.no_grad():
        expected = model.network(image, torch.tensor([[-1.0, 3.0]]))[0]
    np.testing.assert_allclose(result, normalisation.invert(expected), rtol=1e-4, atol=1e-2)
    assert result.dtype == np.float32


def test_brighter_input_gives_as_much_brighter_output(random_model, random_counts) -> None:
    counts = random_counts(64, 64).astype(np.float32)
    options = {"z_um": [2.0], "pixel_size_um": 0.325}
    once = refocus(counts, random_model(), **options)
    scaled = refocus(3 * counts + 50, random_model(), **options)
    np.testing.assert_allclose(scaled, 3 * once + 50, rtol=1e-3)


def test_odd_sizes_are_padded_at_the_bottom_and_right_only(random_model, random_counts) -> None:
    counts = random_counts(61, 47)
    padded = np.pad(counts, ((0, 3), (0, 1)), mode="edge").astype(np.float32)
    model = random_model()
    normalisation = normalisation_from_image(counts)
    with torch.no_grad():
        image = torch.from_numpy(normalisation.apply(padded))[None, None]
        expected = normalisation.invert(model.network(image, 1.5))[0, 0, :61, :47]
    result = refocus(counts, model, z_um=[1.5], pixel_size_um=0.325)[0]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-2)


def test_stack_has_coordinates_and_provenance(random_model, random_image) -> None:
    result = refocus(random_image(40, 44), random_model(), z_um=[-1, -0.5, 0, 0.5])
    assert result.dims == ("Z", "Y", "X")
    np.testing.assert_allclose(result.Z, [-1, -0.5, 0, 0.5])
    np.testing.assert_allclose(result.X[1] - result.X[0], 0.325)
    provenance = result.attrs["provenance"]
    assert provenance["software"].startswith("fluofocus ")
    assert provenance["model"]["name"] == "random"
    assert provenance["input"] == "field.ome.tif"
    assert provenance["z_um"] == [-1, -0.5, 0, 0.5]
    assert provenance["normalisation"][0]["scale"] > 0
    assert "extrapolated_um" not in provenance


def test_surface_gives_one_plane_like_a_stack_where_it_is_flat(random_model, random_image) -> None:
    image, model = random_image(40, 44), random_model()
    flat = refocus(image, model, surface="plane:2um")
    assert flat.dims == ("Y", "X")
    np.testing.assert_allclose(flat, refocus(image, model, z_um=[2.0])[0])
    assert flat.attrs["provenance"]["surface"] == "plane:2um"
    bent = np.full((40, 44), 2.0)
    bent[:, 40:] = 3.0
    almost = refocus(image, model, surface=from_array(bent))
    assert share_of_range(almost[:, :2], flat[:, :2]) < 0.01
    assert share_of_range(almost[:, 40:], flat[:, 40:]) > TOLERANCE


def test_time_lapse_of_channels_is_refocused_frame_by_frame(random_model, random_image) -> None:
    image, model = random_image(2, 3, 32, 36, dims="TCYX"), random_model()
    result = refocus(image, model, z_um=[0.0, 1.0])
    assert result.dims == ("T", "C", "Z", "Y", "X")
    alone = refocus(image[1, 2], model, z_um=[0.0, 1.0])
    np.testing.assert_allclose(result[1, 2], alone, rtol=1e-5)
    assert len(result.attrs["provenance"]["normalisation"]) == 6


def test_other_pixels_are_resampled_with_notice(random_model) -> None:
    y, x = np.mgrid[:80, :80] * 0.65
    coarse = (100 + 900 * np.exp(-((y - 26) ** 2 + (x - 20) ** 2) / 50)).astype(np.float32)
    identity = identity_model(random_model())
    with pytest.warns(FluoFocusWarning, match="resampled"):
        result = refocus(coarse, identity, z_um=[0.0], pixel_size_um=0.65)
    assert result.shape == (1, 80, 80)
    np.testing.assert_allclose(result[0], coarse, atol=5)


def test_network_sees_the_pixels_it_was_trained_on(random_model, random_image) -> None:
    model = identity_model(random_model())
    with pytest.warns(FluoFocusWarning, match="resampled"):
        refocus(random_image(40, 44, pixel_um=0.65), model, z_um=[0.0])
    assert seen_shapes(model)[-1] == (80, 88)


def test_surface_is_resampled_with_the_image(random_model, random_image) -> None:
    model = identity_model(random_model(), returns_dpm=True)
    surface = tilt(4, axis_deg=30)
    image = random_image(60, 64, pixel_um=0.5)
    with pytest.warns(FluoFocusWarning, match="resampled"):
        result = refocus(image, model, surface=surface)
    normalisation = result.attrs["provenance"]["normalisation"][0]
    heights = (result - normalisation["background"]) / normalisation["scale"]
    np.testing.assert_allclose(
        heights[4:-4, 4:-4], surface.dpm((60, 64), 0.5)[4:-4, 4:-4], atol=0.01
    )


def identity_model(model: Model, *, returns_dpm: bool = False) -> Model:
    return replace(model, network=Copy(returns_dpm))


def seen_shapes(model: Model) -> list[tuple[int, int]]:
    return model.network.shapes


class Copy(RefocusingNetwork):
    """Returns the image or, as an image, the DPM; remembers the shapes it was given."""

    size_multiple = 4
    receptive_field_px = 0
    shapes: list[tuple[int, int]] = []  # noqa: RUF012 (shared with the engine's copies)

    def __init__(self, returns_dpm: bool) -> None:
        super().__init__()
        self.returns_dpm = returns_dpm
        self.pass_on = torch.nn.Conv2d(1, 1, 1)
        torch.nn.init.ones_(self.pass_on.weight)
        torch.nn.init.zeros_(self.pass_on.bias)

    def encode(self, image, optics=None):
        self.shapes.append(tuple(image.shape[-2:]))
        return (self.pass_on(image),)

    def decode(self, features, dpm_um, *, with_error=False):
        image, dpm_um = self.pass_on(features[0]), dpm_um[:, 0]
        targets = dpm_um.shape[1]
        return Refocused(dpm_um if self.returns_dpm else image.expand(-1, targets, -1, -1))


def test_plane_of_a_stack_must_be_chosen(random_model, random_image) -> None:
    stack, model = random_image(5, 40, 44, dims="ZYX"), random_model()
    with pytest.raises(FluoFocusError, match=r"stack of 5 planes.*--plane"):
        refocus(stack, model, z_um=[0.0])
    with pytest.raises(FluoFocusError, match="no plane 5"):
        refocus(stack, model, z_um=[0.0], plane=5)
    chosen = refocus(stack, model, z_um=[0.0], plane=3)
    np.testing.assert_array_equal(chosen, refocus(stack[3], model, z_um=[0.0]))
    assert chosen.attrs["provenance"]["plane"] == 3


def test_extrapolation_is_refused_or_marked(random_model, random_image) -> None:
    image, model = random_image(40, 44), random_model()
    with pytest.raises(FluoFocusError, match=r"outside the range.*--allow-extrapolation"):
        refocus(image, model, z_um=[-12.0, 0.0])
    with pytest.raises(FluoFocusError, match="outside the range"):
        refocus(image, model, surface="plane:10.5um")
    result = refocus(image, model, z_um=[-12.0, 0.0], allow_extrapolation=True)
    assert result.attrs["provenance"]["extrapolated_um"] == [-12.0, 0.0]


def test_bad_images_are_refused(random_model, random_counts) -> None:
    def refused(image: np.ndarray, message: str, **options: object) -> None:
        with pytest.raises(FluoFocusError, match=message):
            refocus(image, random_model(), **{"z_um": [0.0], "pixel_size_um": 0.325, **options})

    counts = random_counts(40, 44)
    with_nan = counts.astype(np.float32)
    with_nan[3, 3] = np.nan
    refused(with_nan, "NaN")
    refused(np.zeros((40, 44), np.uint16), "empty")
    refused(np.minimum(counts, 101), "saturated")
    refused(counts[None], "make_stack")
    refused(np.zeros((0, 4), np.uint16), "no pixels")
    refused(counts, "--pixel-size", pixel_size_um=None)
    refused(counts, "not possible", pixel_size_um=-1.0)
    refused(counts, "trained on pixels", pixel_size_um=0.5, resample="refuse")
    refused(counts, "4x5 pixels", z_um=None, surface=from_array(np.zeros((4, 5))))
    refused(counts, "either planes", surface="plane:1um")
    refused(counts, "either planes", z_um=None)
    refused(counts, "low to high", z_um=[1.0, 0.0])
    refused(counts, "finite", z_um=[np.nan])
    refused(counts, "no device", device="tpu")


def test_oblong_pixels_are_refused(random_model, random_counts) -> None:
    image = make_stack(random_counts(40, 44), "YX", (1.0, 0.325, 0.4))
    with pytest.raises(FluoFocusError, match="square"):
        refocus(image, random_model(), z_um=[0.0])


def test_pixels_within_two_percent_are_taken_as_they_are(
    random_model, random_image, recwarn
) -> None:
    refocus(random_image(40, 44, pixel_um=0.33), random_model(), z_um=[0.0])
    assert not [warning for warning in recwarn if warning.category is FluoFocusWarning]


def test_the_callers_network_is_left_alone(random_model, random_image) -> None:
    model = random_model()
    model.network.train()
    refocus(random_image(40, 44), model, z_um=[0.0])
    assert model.network.training


def test_model_is_loaded_by_its_file(random_model, random_image, tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(random_model(), path)
    image = random_image(40, 44)
    result = refocus(image, path, z_um=[1.0])
    np.testing.assert_array_equal(result, refocus(image, load_model(path), z_um=[1.0]))
    assert len(result.attrs["provenance"]["model"]["sha256"]) == 64


def test_device_is_the_cpu_where_there_is_no_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert choose_device("auto").type == "cpu"
    with pytest.raises(FluoFocusError, match="choose auto or cpu"):
        choose_device("cuda")


def test_progress_counts_planes_of_tiles(random_model, random_image, force_tiles) -> None:
    force_tiles(120)
    calls: list[tuple[int, int]] = []
    refocus(
        random_image(150, 130),
        random_model(),
        z_um=[0.0, 1.0, 2.0],
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@pytest.mark.parametrize("where", [{"z_um": [-4.0, 7.0]}, {"surface": tilt(3, axis_deg=20)}])
def test_an_ensemble_in_tiles_equals_the_whole(
    random_model, random_image, force_tiles, where
) -> None:
    model, image = random_model(), random_image(203, 170)
    whole = refocus(image, model, ensemble=True, **where)
    assert whole.attrs["provenance"]["ensemble"] is True
    assert share_of_range(refocus(image, model, **where), whole) > TOLERANCE
    force_tiles(120)
    assert share_of_range(refocus(image, model, ensemble=True, **where), whole) <= TOLERANCE


def test_an_ensemble_of_a_model_with_an_orientation_is_refused(random_model, random_image) -> None:
    model = random_model()
    training = model.card.training.model_copy(update={"flips_and_rotations": False})
    model = Model(model.card.model_copy(update={"training": training}), model.network)
    with pytest.raises(FluoFocusError, match="direction"):
        refocus(random_image(40, 40), model, z_um=[1.0], ensemble=True)
