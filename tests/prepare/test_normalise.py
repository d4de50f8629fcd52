"""Normalisation as in the Methods of Deep-Z."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.normalise import (
    Normalisation,
    normalisation_from_image,
    normalisation_from_stack,
)


def discs(seed: int = 0) -> np.ndarray:
    """Noise around 100 with bright squares of 500 to 1500 counts."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 3, (128, 128))
    for y, x in rng.integers(8, 120, (30, 2)):
        image[y - 3 : y + 3, x - 3 : x + 3] += rng.uniform(400, 1400)
    return image.round().astype(np.uint16)


def test_background_is_the_mean_below_the_threshold_and_one_percent_saturates() -> None:
    image = discs()
    normalisation = normalisation_from_image(image)
    assert normalisation.background == pytest.approx(100, abs=2)
    normalised = normalisation.apply(image.astype(float))
    foreground = normalised[image > 250]
    assert np.mean(foreground > 1) == pytest.approx(0.01, abs=0.01)
    assert float(np.abs(normalised[image < 115]).max()) < 0.02


def test_counts_come_back() -> None:
    image = discs().astype(np.float32)
    normalisation = normalisation_from_image(image)
    back = normalisation.invert(normalisation.apply(image))
    np.testing.assert_allclose(back, image, rtol=1e-5)
    tensor = torch.tensor([100.0, 200.0])
    assert torch.equal(Normalisation(100, 50).apply(tensor), torch.tensor([0.0, 2.0]))


def test_gain_and_offset_do_not_matter() -> None:
    image = discs().astype(float)
    plain = normalisation_from_image(image).apply(image)
    changed = 3 * image + 40
    np.testing.assert_allclose(normalisation_from_image(changed).apply(changed), plain, atol=0.02)


@pytest.mark.parametrize("gain", [1e-12, 1e9])
@pytest.mark.parametrize("normalise", [normalisation_from_image, normalisation_from_stack])
def test_the_unit_of_the_values_does_not_matter(normalise: Callable, gain: float) -> None:
    image = discs().astype(np.float64)
    plain = normalise(image).apply(image)
    np.testing.assert_allclose(normalise(image * gain).apply(image * gain), plain, rtol=1e-6)


def test_a_hot_pixel_of_32_bits_takes_no_memory() -> None:
    image = discs().astype(np.uint32)
    image[0, 0] = 2**32 - 1
    tracemalloc.start()
    normalisation_from_image(image)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_few_bright_voxels_are_scaled_by_the_range() -> None:
    stack = np.zeros((4, 64, 64))
    stack[1, 5, 5:8] = 3.0
    assert normalisation_from_stack(stack).scale == 3.0


def test_images_without_information_are_refused() -> None:
    image = discs()
    for bad, message in (
        (np.zeros((0, 5)), "no pixels"),
        (np.full((20, 20), 7), "empty"),
        (np.where(image > 400, np.nan, image.astype(float)), "NaN"),
        (np.minimum(image, 100), "saturated"),
        (np.minimum(image, 100).astype(np.float32), "saturated"),
    ):
        with pytest.raises(FluoFocusError, match=message):
            normalisation_from_image(bad)


def test_few_photons_are_no_saturation() -> None:
    counts = np.random.default_rng(0).poisson(0.5, (64, 64)).astype(np.uint8)
    normalisation_from_image(counts)
    normalisation_from_image(np.arange(16).reshape(4, 4))


def test_a_stack_is_scaled_by_its_darkest_and_brightest_voxels() -> None:
    stack = np.random.default_rng(3).permutation(np.arange(10_000)).reshape(10, 20, 50)
    normalised = normalisation_from_stack(3.0 * stack + 40).apply(3.0 * stack + 40)
    assert np.mean(normalised < 0) == pytest.approx(0.01, abs=2e-4)
    assert np.mean(normalised > 1) == pytest.approx(0.001, abs=2e-4)
    with pytest.raises(FluoFocusError, match="empty"):
        normalisation_from_stack(np.full((3, 4, 5), 7))
