"""Images with and without a double-helix mask, told apart by their power spectra."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fluofocus.errors import FluoFocusWarning
from fluofocus.io import make_stack
from fluofocus.models.bundle import Model, save_model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.refocus import refocus_to_file
from fluofocus.refocus.mask_check import (
    MASK_ODDS,
    PAIR_ODDS,
    check_mask,
    find_mask,
    mask_log_odds,
    pair_log_odds,
)
from fluofocus.refocus.microscope_check import warn_of_differences
from fluofocus.simulate.stack import simulate_stack

HELIX = preset("leica-63x-1.4-oil-double-helix")
PLAIN = HELIX.model_copy(update={"pupil_mask": None})
PIXEL_UM = HELIX.pixel_size_um
SIDE_PX = 400


def beads(microscope: Microscope, defocus_um: float, seed: int = 0) -> np.ndarray:
    stack = simulate_stack(
        microscope,
        "beads",
        shape_yx=(SIDE_PX, SIDE_PX),
        planes_um=[defocus_um],
        seed=seed,
        peak_photons=500,
        phantom_parameters={
            "surface": "plane",
            "count_per_1000_um2": 30,
            "diameter_um": 0.05,
            "brightness_spread": 0.5,
        },
    )
    return stack.counts[0]


def filaments_and_nuclei() -> list[np.ndarray]:
    """Draw straight filaments in all directions, and discs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    filaments, nuclei = np.full((2, SIDE_PX, SIDE_PX), 20.0)
    for _ in range(25):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-SIDE_PX, SIDE_PX)
        distance = np.cos(angle) * y + np.sin(angle) * x - offset
        filaments += 200 * np.exp(-(distance**2) / 8)
        away = np.hypot(y - rng.uniform(0, SIDE_PX), x - rng.uniform(0, SIDE_PX))
        nuclei += 200 / (1 + np.exp(away - rng.uniform(20, 40)))
    return [rng.poisson(filaments), rng.poisson(nuclei)]


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """Return the same beads with and without the mask, 1 µm from focus."""
    return {"helix": beads(HELIX, 1.0), "plain": beads(PLAIN, 1.0)}


@pytest.fixture
def model_for(random_model: Callable[..., Model]) -> Callable[[Microscope], Model]:
    def make(microscope: Microscope) -> Model:
        model = random_model()
        named = microscope.pupil_mask and Path(microscope.pupil_mask.name)
        training = model.card.training.model_copy(
            update={"defocus_um": (-4.0, 4.0), "pixel_size_um": PIXEL_UM}
        )
        return replace(
            model,
            card=model.card.model_copy(
                update={
                    "microscope": microscope.model_copy(update={"pupil_mask": named}),
                    "training": training,
                }
            ),
        )

    return make


def as_stack(image: np.ndarray) -> xr.DataArray:
    return make_stack(image, "YX", (1.0, PIXEL_UM, PIXEL_UM))


def warned(image: np.ndarray, model: Model) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_mask(as_stack(image).expand_dims("Z"), PIXEL_UM, model)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("defocus_um", [-2.5, 0.0, 2.5])
def test_lobes_are_seen_at_any_depth_and_only_through_the_mask(defocus_um: float) -> None:
    helix, plain = beads(HELIX, defocus_um, seed=3), beads(PLAIN, defocus_um, seed=3)
    assert mask_log_odds(helix, PIXEL_UM, HELIX, (-4, 4)) > 3 * PAIR_ODDS
    assert mask_log_odds(plain, PIXEL_UM, HELIX, (-4, 4)) < MASK_ODDS
    odds, spacing_um = pair_log_odds(helix, PIXEL_UM, PLAIN)
    assert odds > PAIR_ODDS
    assert 1.3 < spacing_um < 2.3
    assert pair_log_odds(plain, PIXEL_UM, PLAIN)[0] < PAIR_ODDS


def test_what_does_not_fit_the_model_is_warned_about_in_one_sentence(
    images: dict[str, np.ndarray], model_for: Callable[[Microscope], Model]
) -> None:
    (lacking,) = warned(images["plain"], model_for(HELIX))
    assert "as if taken without the pupil mask double-helix-63x.npz" in lacking
    (doubled,) = warned(images["helix"], model_for(PLAIN))
    assert "come in pairs" in doubled
    assert "trained without a mask" in doubled


def test_what_fits_and_what_cannot_be_judged_is_not_warned_about(
    images: dict[str, np.ndarray], model_for: Callable[[Microscope], Model]
) -> None:
    assert not warned(images["helix"], model_for(HELIX))
    assert not warned(images["plain"], model_for(PLAIN))
    noise = np.random.default_rng(0).poisson(100, (SIDE_PX, SIDE_PX))
    flat = np.full((SIDE_PX, SIDE_PX), 100)
    small = images["plain"][:256, :256]
    for image in (noise, flat, small):
        assert not warned(image, model_for(HELIX))
    for image in (noise, flat, images["helix"][:256, :256], *filaments_and_nuclei()):
        assert not warned(image, model_for(PLAIN))


def test_a_mask_is_found_beside_the_model_or_among_the_presets(
    model_for: Callable[[Microscope], Model], tmp_path: Path
) -> None:
    model = model_for(HELIX)
    assert find_mask(model.card, model) == HELIX.pupil_mask
    (tmp_path / "double-helix-63x.npz").touch()
    beside = find_mask(model.card, tmp_path / "m.safetensors")
    assert beside == tmp_path / "double-helix-63x.npz"
    own = HELIX.model_copy(update={"pupil_mask": Path("own.npz")})
    assert find_mask(model_for(own).card, model_for(own)) is None
    assert find_mask(model_for(PLAIN).card, model) is None
    assert not warned(np.ones((SIDE_PX, SIDE_PX)), model_for(own))


def test_the_middle_image_of_a_time_lapse_is_judged(
    images: dict[str, np.ndarray], model_for: Callable[[Microscope], Model]
) -> None:
    frames = np.stack([images["plain"], images["helix"], images["plain"]])
    lapse = make_stack(frames[:, None], "TZYX", (1.0, PIXEL_UM, PIXEL_UM))
    with pytest.warns(FluoFocusWarning, match="come in pairs"):
        check_mask(lapse, PIXEL_UM, model_for(PLAIN))


def test_refocusing_into_a_file_warns_and_goes_on(
    images: dict[str, np.ndarray], model_for: Callable[[Microscope], Model], tmp_path: Path
) -> None:
    save_model(model_for(HELIX), tmp_path / "m.safetensors")
    with pytest.warns(FluoFocusWarning, match="as if taken without the pupil mask"):
        refocus_to_file(
            as_stack(images["plain"]),
            tmp_path / "m.safetensors",
            tmp_path / "o.ome.tif",
            z_um=[0.0],
        )
    assert (tmp_path / "o.ome.tif").is_file()


def test_a_told_microscope_with_a_mask_differs_from_one_without(
    model_for: Callable[[Microscope], Model],
) -> None:
    with pytest.warns(FluoFocusWarning, match=r"no pupil mask \(model: a mask\)"):
        warn_of_differences(PLAIN, model_for(HELIX).card)
    with pytest.warns(FluoFocusWarning, match=r"a pupil mask \(model: no mask\)"):
        warn_of_differences(HELIX, model_for(PLAIN).card)
