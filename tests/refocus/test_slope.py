"""How steep surfaces are, and the warning where that is too much."""

import warnings

import numpy as np
import pytest

from fluofocus.errors import FluoFocusWarning
from fluofocus.refocus import from_array, refocus, tilt
from fluofocus.refocus.slope import STEEPEST_DEG, steepness_deg


@pytest.mark.parametrize("axis_deg", [0.0, 90.0, 35.0])
@pytest.mark.parametrize("angle_deg", [1.5, 60.0])
def test_a_tilt_is_as_steep_as_its_angle(angle_deg: float, axis_deg: float) -> None:
    dpm_um = tilt(angle_deg, axis_deg=axis_deg).dpm((20, 30), 0.325)
    np.testing.assert_allclose(steepness_deg(dpm_um, 0.325), angle_deg, rtol=1e-3)


def test_a_single_row_has_a_slope_too() -> None:
    heights_um = np.arange(10.0)[None]
    np.testing.assert_allclose(steepness_deg(heights_um, 1.0), 45.0)
    assert steepness_deg(np.ones((1, 1)), 1.0) == 0


def test_steep_surfaces_are_warned_of_with_both_numbers(random_model, random_counts) -> None:
    image = random_counts(32, 32)
    angle_deg = STEEPEST_DEG + 5
    steep = from_array(np.clip(tilt(angle_deg).dpm((32, 32), 0.325), -10, 10))
    with pytest.warns(FluoFocusWarning, match=rf"up to {angle_deg:.0f}°.* {STEEPEST_DEG:g}°"):
        refocus(image, random_model(), surface=steep, pixel_size_um=0.325)


def test_gentle_surfaces_and_planes_are_not(random_model, random_counts) -> None:
    image = random_counts(32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for surface in (tilt(STEEPEST_DEG - 1), "plane:3um"):
            refocus(image, random_model(), surface=surface, pixel_size_um=0.325)
        refocus(image, random_model(), z_um=[-1, 1], pixel_size_um=0.325)
