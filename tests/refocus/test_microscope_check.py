"""Whoever names a microscope hears where the model does not suit it."""

import warnings
from collections.abc import Callable

import pytest
import xarray as xr

from fluofocus.errors import FluoFocusWarning
from fluofocus.models.bundle import Model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.refocus import refocus

TRAINED_FOR = preset("olympus-20x-0.75")


@pytest.fixture
def image(random_image: Callable[..., xr.DataArray]) -> xr.DataArray:
    return random_image(48, 48)


def said_of(microscope: Microscope, image: xr.DataArray, model: Model) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FluoFocusWarning)
        refocus(image, model, z_um=[1.0], microscope=microscope)
    return [str(each.message) for each in caught]


def test_the_models_own_microscope_needs_no_word(
    image: xr.DataArray, random_model: Callable[..., Model]
) -> None:
    assert said_of(TRAINED_FOR, image, random_model()) == []


def test_another_aperture_is_named_with_both_values(
    image: xr.DataArray, random_model: Callable[..., Model]
) -> None:
    other = TRAINED_FOR.model_copy(update={"numerical_aperture": 0.5})
    (said, *_) = said_of(other, image, random_model())
    assert "numerical_aperture 0.5 (model: 0.75)" in said


@pytest.mark.parametrize(
    ("noll_11_waves", "consequence"),
    [(-0.3, "in the wrong direction"), (0.0, "too little to tell"), (0.1, None)],
)
def test_spherical_aberration_decides_the_sides_of_focus(
    image: xr.DataArray,
    random_model: Callable[..., Model],
    noll_11_waves: float,
    consequence: str | None,
) -> None:
    model = random_model()
    told = TRAINED_FOR.model_copy(
        update={"zernike_rms_waves": {11: noll_11_waves}, "emitter_depth_um": 0.0}
    )
    trained = TRAINED_FOR.model_copy(
        update={"zernike_rms_waves": {11: 0.15}, "emitter_depth_um": 0.0}
    )
    card = model.card.model_copy(update={"microscope": trained})
    said = said_of(told, image, Model(card, model.network))
    assert [consequence in each for each in said] == [True] if consequence else said == []
