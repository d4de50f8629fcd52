"""The surface of a sample, found in one image of it."""

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import preset
from fluofocus.refocus.automatic_surface import find_surface, fit_surface, tile_sharpness
from fluofocus.refocus.surface import polynomial, tilt
from fluofocus.simulate.stack import simulate_stack

Z_UM = np.arange(-10, 10.1, 0.5)
TILES, TILE_UM = 14, 15.0


def sharpness_of(coefficients: list[float], wrong_share: float) -> np.ndarray:
    """Return what tiles on a polynomial would look like, some of them somewhere else."""
    random = np.random.default_rng(4)
    height = polynomial(coefficients).dpm((TILES, TILES), TILE_UM)
    wrong = random.random(height.shape) < wrong_share
    height = np.where(wrong, random.uniform(-10, 10, height.shape), height)
    peaks = np.exp(-(((Z_UM[:, None, None] - height) / 2.0) ** 2))
    return random.uniform(1, 100, height.shape) * (peaks + 0.1)


@pytest.mark.parametrize(
    "coefficients",
    [[3.0], [-0.5, 0.03, -0.02], [1.0, 0.0, 0.02, 3e-4, 0.0, -2e-4]],
)
def test_a_polynomial_is_found_among_parts_that_mislead(coefficients: list[float]) -> None:
    found = fit_surface(sharpness_of(coefficients, 0.4), Z_UM, TILE_UM, order=2)
    shape = (TILES, TILES)
    off = found.surface.dpm(shape, TILE_UM) - polynomial(coefficients).dpm(shape, TILE_UM)
    assert float(np.sqrt(np.mean(off**2))) < 0.15
    assert 0.5 < found.agreement < 0.85
    assert np.isfinite(found.heights_um).all()


def test_parts_without_light_do_not_count() -> None:
    sharpness = sharpness_of([1.0, 0.02, 0.0], 0.0)
    dark = np.random.default_rng(5).random((TILES, TILES)) < 0.7
    haze = 1e-4 * np.exp((Z_UM - Z_UM[-1]) / 2.0)[:, None]
    sharpness[:, dark] = haze * np.ones(int(dark.sum()))
    found = fit_surface(sharpness, Z_UM, TILE_UM, order=1)
    off = (found.surface.dpm((TILES, TILES), TILE_UM)) - polynomial([1.0, 0.02, 0.0]).dpm(
        (TILES, TILES), TILE_UM
    )
    assert float(np.abs(off).max()) < 0.2
    assert np.isnan(found.heights_um[dark]).all()


def test_sharpness_is_greatest_where_light_is_gathered() -> None:
    sharp = np.full((64, 64), 10.0, np.float32)
    sharp[16, 16] += 900
    spread = np.full((64, 64), 10.0, np.float32)
    spread[15:18, 15:18] += 100
    measured = tile_sharpness(np.stack([sharp, spread, spread + 50]), 32)
    assert measured.shape == (3, 2, 2)
    assert measured[0, 0, 0] == pytest.approx(9 * measured[1, 0, 0])
    assert measured[2, 0, 0] == pytest.approx(measured[1, 0, 0])
    assert measured[:, 1, 1].max() == 0


def test_the_tilt_of_a_slide_is_found_in_one_image() -> None:
    microscope = preset("olympus-20x-0.75")
    image = simulate_stack(
        microscope,
        "beads",
        shape_yx=(512, 512),
        planes_um=[0.0],
        seed=9_700_001,
        peak_photons=3000,
        phantom_parameters={"surface": "tilt", "tilt_deg": 3.0, "count_per_1000_um2": 2.5},
    )
    found = find_surface(
        image.counts[0], "air20x-beads", pixel_size_um=microscope.pixel_size_um, order=1
    )
    heights, truth = (
        each.dpm((512, 512), microscope.pixel_size_um) for each in (found.surface, tilt(3.0))
    )
    assert float(np.sqrt(np.mean((heights - truth) ** 2))) <= 0.5


def test_images_without_contrast_are_refused() -> None:
    with pytest.raises(FluoFocusError, match="No surface can be found"):
        fit_surface(np.ones((41, 8, 8)), Z_UM, TILE_UM, order=1)


def test_the_budget_of_memory_is_kept() -> None:
    image = np.ones((64, 64), np.uint16)
    with pytest.raises(FluoFocusError, match=r"budget of 0\.1 GiB"):
        find_surface(image, "air20x-beads", pixel_size_um=0.325, memory_gb=0.1)
