"""Spectra, shell correlations and sharpness against images whose content is known."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.measure.sharpness import sharpness
from fluofocus.measure.spectrum import (
    Shells,
    fourier_shell_correlation,
    power_spectrum,
    resolution_um,
    support_per_um,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("period_um", [1.0, 2.5])
def test_a_grating_has_its_power_at_its_frequency(period_um: float) -> None:
    x = np.arange(256) * 0.1
    image = np.broadcast_to(np.sin(2 * np.pi * x / period_um), (128, 256))
    spectrum = power_spectrum(image, (0.1, 0.1))
    strongest = spectrum.frequency_per_um[np.nanargmax(spectrum.value)]
    assert strongest == pytest.approx(1 / period_um, abs=0.06)


def test_two_images_agree_as_far_as_they_share_detail() -> None:
    shared = gaussian_filter(RNG.normal(size=(128, 128)), 2.0) * 20
    images = [shared + RNG.normal(size=shared.shape) for _ in range(2)]
    shells = fourier_shell_correlation(*images, (0.1, 0.1))
    assert shells.value[1] > 0.95
    assert abs(shells.value[len(shells.value) * 3 // 4 :].mean()) < 0.1
    sharper = gaussian_filter(RNG.normal(size=(128, 128)), 1.0) * 20
    finer = fourier_shell_correlation(
        *(sharper + RNG.normal(size=sharper.shape) for _ in range(2)), (0.1, 0.1)
    )
    assert resolution_um(finer) < 0.7 * resolution_um(shells)


def test_an_image_agrees_with_itself_and_not_with_its_negative() -> None:
    image = RNG.normal(size=(16, 32, 32))
    voxel = (0.3, 0.1, 0.1)
    np.testing.assert_allclose(fourier_shell_correlation(image, 3 * image, voxel).value, 1)
    np.testing.assert_allclose(fourier_shell_correlation(image, -image, voxel).value, -1)
    assert fourier_shell_correlation(image, image, voxel).frequency_per_um[-1] < 0.5 / 0.3


def test_resolution_is_where_the_correlation_falls() -> None:
    frequency = np.array([1.0, 2.0, 3.0])
    assert resolution_um(Shells(frequency, np.array([1.0, 0.5, 0.0])), 0.25) == pytest.approx(0.4)
    assert resolution_um(Shells(frequency, np.ones(3))) == pytest.approx(1 / 3)
    assert resolution_um(Shells(frequency, np.zeros(3))) == math.inf


@pytest.mark.parametrize("seed", range(4))
def test_blur_along_one_axis_shortens_the_support_along_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(64, 64, 64))
    blurred = gaussian_filter(volume, (3.0, 1.0, 1.0)) + 1e-4 * rng.normal(size=volume.shape)
    z, y, x = support_per_um(blurred, (0.2, 0.2, 0.2))
    assert z < 0.75 * y
    assert y == pytest.approx(x, rel=0.15)


def test_sharpness_finds_the_sharpest_and_the_flattest_patch() -> None:
    images = torch.zeros(2, 64, 96)
    images[0, 32:, 64:] = torch.arange(32.0)  # rises by one from column to column
    images[1] = 5.0
    images[1, :32, :32] += torch.arange(32.0)[:, None] * 2
    found = sharpness(images)
    torch.testing.assert_close(found.signal, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(found.background, torch.zeros(2))
    assert torch.isinf(found.contrast).all()


def test_blur_lowers_sharpness() -> None:
    image = RNG.normal(size=(64, 64))
    sharp, blurred = (
        sharpness(torch.from_numpy(x)).signal for x in (image, gaussian_filter(image, 2.0))
    )
    assert blurred < 0.3 * sharp


def test_images_that_do_not_suit_are_refused() -> None:
    with pytest.raises(FluoFocusError, match="crop them"):
        fourier_shell_correlation(np.zeros((8, 8)), np.zeros((8, 9)), (0.1, 0.1))
    with pytest.raises(FluoFocusError, match="one spacing for each axis"):
        power_spectrum(np.zeros((8, 8)), (0.1, 0.1, 0.1))
    with pytest.raises(FluoFocusError, match="NaN"):
        power_spectrum(np.full((8, 8), np.nan), (0.1, 0.1))
    with pytest.raises(FluoFocusError, match="patches of 32"):
        sharpness(torch.zeros(16, 64))
    with pytest.raises(FluoFocusError, match="NaN"):
        sharpness(torch.full((64, 64), torch.nan))
