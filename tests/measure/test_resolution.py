import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.optimize import curve_fit

from fluofocus.errors import FluoFocusError
from fluofocus.measure import axial_fwhm, find_beads, fit_gaussians, lateral_fwhm

REAL_BEAD = Path(__file__).parents[3] / "shared/data/bead-air-na085"
PIXEL_UM = 0.325
FWHM_PER_SIGMA = 2.3548200450309493


def bead_field(sigma_yx=(1.4, 1.4), *, spacing=26, per_side=6, noise=0.0, seed=0):
    """An image of Gaussians of height 100 on a background of 20, and their positions."""
    rng = np.random.default_rng(seed)
    side = spacing * per_side
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 2, indexing="ij"), -1).reshape(-1, 2)
    yx = (grid + 0.5) * spacing + rng.uniform(-1, 1, (per_side**2, 2))
    y, x = np.indices((side, side))
    image = np.full((side, side), 20.0)
    for yc, xc in yx:
        u, v = (y - yc) / sigma_yx[0], (x - xc) / sigma_yx[1]
        image += 100 * np.exp(-0.5 * (u**2 + v**2))
    return rng.normal(image, noise), yx


@pytest.mark.parametrize("sigma", [(0.8, 0.8), (1.4, 1.4), (1.2, 2.1), (3.0, 3.0)])
def test_lateral_width_of_known_gaussians_in_noise(sigma):
    image, yx = bead_field(sigma, noise=3.0)
    widths = lateral_fwhm(image, np.round(yx), pixel_size_um=PIXEL_UM)
    expected = FWHM_PER_SIGMA * np.mean(sigma) * PIXEL_UM
    assert widths.converged.all()
    assert widths.median_um == pytest.approx(expected, rel=0.02)
    np.testing.assert_allclose(np.median(widths.fits.sigma_px, axis=0), sigma, rtol=0.03)
    np.testing.assert_allclose(widths.fits.centre_px, yx, atol=0.3)
    assert np.median(widths.fits.background) == pytest.approx(20, abs=0.5)
    assert np.median(widths.fits.residual_rms) == pytest.approx(3.0, rel=0.1)


def test_width_scales_with_the_pixel_size():
    image, yx = bead_field()
    small = lateral_fwhm(image, yx, pixel_size_um=0.1).fwhm_um
    np.testing.assert_allclose(lateral_fwhm(image, yx, pixel_size_um=0.2).fwhm_um, 2 * small)
    np.testing.assert_allclose(small, FWHM_PER_SIGMA * 1.4 * 0.1, rtol=1e-4)


def test_fit_agrees_with_scipy():
    image, yx = bead_field((1.2, 2.0), noise=8.0, per_side=1)
    window = image[2:23, 2:23]
    y, x = np.indices(window.shape)

    def gaussian(_, a, yc, xc, sy, sx, b):
        return (a * np.exp(-(((y - yc) / sy) ** 2 + ((x - xc) / sx) ** 2) / 2) + b).ravel()

    guess = [100, *(yx[0] - 2), 1, 1, 20]
    expected, _ = curve_fit(gaussian, None, window.ravel(), guess)
    fits = fit_gaussians(window[None], yx - 2)
    np.testing.assert_allclose(fits.centre_px[0], expected[1:3], rtol=1e-4)
    np.testing.assert_allclose(fits.sigma_px[0], expected[3:5], rtol=1e-4)
    np.testing.assert_allclose(fits.amplitude[0], expected[0], rtol=1e-4)


def test_neighbours_do_not_widen_overlapping_beads():
    y, x = np.indices((48, 48))
    yx = np.array([(24.0, 20.0), (24.0, 27.0)])
    image = sum(np.exp(-((y - yc) ** 2 + (x - xc) ** 2) / (2 * 1.5**2)) for yc, xc in yx)
    widths = lateral_fwhm(image, yx, pixel_size_um=1.0)
    assert widths.converged.all()
    np.testing.assert_allclose(widths.fwhm_um, FWHM_PER_SIGMA * 1.5, rtol=0.1)
    alone = lateral_fwhm(image, yx[:1], pixel_size_um=1.0)
    assert abs(alone.fits.sigma_px[0, 1] - 1.5) > 5 * abs(widths.fits.sigma_px[0, 1] - 1.5)


def test_a_bead_at_the_border_is_measured_from_the_pixels_there_are():
    y, x = np.indices((40, 40))
    image = np.exp(-((y - 1.3) ** 2 + (x - 20.2) ** 2) / (2 * 1.5**2))
    widths = lateral_fwhm(image, [(1, 20)], pixel_size_um=1.0)
    np.testing.assert_allclose(widths.fwhm_um, FWHM_PER_SIGMA * 1.5, rtol=1e-3)


def test_what_is_no_bead_stays_in_the_list_unmeasured():
    image, yx = bead_field(per_side=2)
    image[:26, :26] = 20.0  # nothing is left of the first bead
    widths = lateral_fwhm(image, yx, pixel_size_um=PIXEL_UM)
    assert widths.converged.tolist() == [False, True, True, True]
    assert np.isnan(widths.fwhm_um[0])
    assert widths.median_um == pytest.approx(FWHM_PER_SIGMA * 1.4 * PIXEL_UM, rel=0.01)


def test_constant_image_and_no_positions_give_no_width():
    constant = np.full((32, 32), 7.0)
    assert np.isnan(lateral_fwhm(constant, [(16, 16)], pixel_size_um=1.0).median_um)
    nothing = lateral_fwhm(constant, find_beads(constant).yx_px, pixel_size_um=1.0)
    assert len(nothing.fwhm_um) == 0
    assert np.isnan(nothing.median_um)


def test_axial_width_of_known_gaussians_in_noise():
    rng = np.random.default_rng(3)
    plane, yx = bead_field((1.5, 1.5), per_side=4)
    depth = np.arange(41)
    profile = np.exp(-((depth - 18.4) ** 2) / (2 * 4.0**2))
    stack = rng.normal(20 + (plane - 20) * profile[:, None, None], 3.0)
    widths = axial_fwhm(stack, yx, z_step_um=0.5)
    assert widths.converged.all()
    assert widths.median_um == pytest.approx(FWHM_PER_SIGMA * 4.0 * 0.5, rel=0.02)
    np.testing.assert_allclose(widths.fits.centre_px[:, 0], 18.4, atol=0.5)
    np.testing.assert_allclose(widths.fits.centre_px[:, 1], yx[:, 1], atol=0.3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    image, yx = bead_field(per_side=2)
    image[0, 0] = value
    with pytest.raises(FluoFocusError, match="NaN or infinite"):
        lateral_fwhm(image, yx, pixel_size_um=1.0)
    with pytest.raises(FluoFocusError, match="NaN or infinite"):
        axial_fwhm(np.stack([image] * 5), yx, z_step_um=1.0)


def test_positions_outside_the_image_are_refused():
    with pytest.raises(FluoFocusError, match="outside the image"):
        lateral_fwhm(np.zeros((32, 32)), [(40, 3)], pixel_size_um=1.0)


def test_two_thousand_beads_take_a_few_seconds():
    tile, _ = bead_field(per_side=9)
    image = np.random.default_rng(0).normal(np.tile(tile, (5, 5)), 3.0)
    start = time.process_time()
    widths = lateral_fwhm(image, find_beads(image).yx_px, pixel_size_um=PIXEL_UM)
    assert time.process_time() - start < 10
    assert widths.converged.sum() == 2025


def test_real_bead():
    path = REAL_BEAD / "psf_wl520nm_z300nm_x130nm_na0.85_n1.0.tif"
    if not path.exists():
        pytest.skip(f"the measured bead stack is not at {REAL_BEAD}")
    stack = tifffile.imread(path).astype(float)
    focus = stack.max(axis=(1, 2)).argmax()
    bead = find_beads(stack[focus]).yx_px[:1]
    lateral = lateral_fwhm(stack[focus], bead, pixel_size_um=0.13)
    axial = axial_fwhm(stack, bead, z_step_um=0.3)
    assert lateral.median_um == pytest.approx(0.415, rel=0.15)
    assert axial.median_um == pytest.approx(1.39, rel=0.15)
