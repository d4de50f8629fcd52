"""The filters and fits below the segmentations, against analytic answers."""

import numpy as np
import pytest

from fluofocus.neurons.peaks import noise_after, quadratic_fit, standing_out, typical_height
from fluofocus.neurons.spots import laplacian_of_gaussian


def gaussian(shape, centre, sigma):
    indices = np.indices(shape, float)
    offsets = [(i - c) / s for i, c, s in zip(indices, centre, sigma, strict=True)]
    return np.exp(-0.5 * sum(offset**2 for offset in offsets)).astype(np.float32)


def test_the_laplacian_of_a_gaussian_blob_is_the_analytic_one():
    own, sigma = np.array([2.0, 3.0, 4.0]), np.array([1.5, 2.25, 3.0])
    blob = gaussian((41, 51, 61), (20, 25, 30), own)
    response = laplacian_of_gaussian(blob, sigma)
    wide2 = own**2 + sigma**2
    expected = np.prod(own / np.sqrt(wide2)) * np.sum(sigma**2 / wide2)
    assert response.max() == pytest.approx(expected, rel=5e-3)
    assert np.unravel_index(response.argmax(), response.shape) == (20, 25, 30)


def test_the_laplacian_answers_to_no_constant_and_rightly_to_a_parabola():
    _, y, x = np.indices((30, 40, 40), float)
    sigma = np.array([0.7, 1.9, 2.0])
    values = (500 + 3 * y + 0.2 * (x - 20) ** 2).astype(np.float32)
    response = laplacian_of_gaussian(values, sigma)[10:20, 10:30, 10:30]
    np.testing.assert_allclose(response, -(2.0**2) * 0.4, atol=2e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_response_is_largest_for_balls_of_sigma_times_the_root_of_the_dimensions(ndim):
    indices = np.indices((49,) * ndim) - 24
    ball = (np.sqrt((indices**2).sum(axis=0)) <= 6).astype(np.float32)
    middle = (24,) * ndim
    sigmas = np.arange(2.5, 6.0, 0.25)
    heights = [laplacian_of_gaussian(ball, np.full(ndim, sigma))[middle] for sigma in sigmas]
    assert sigmas[int(np.argmax(heights))] == pytest.approx(6 / np.sqrt(ndim), abs=0.26)


def test_the_fit_is_exact_for_a_tilted_quadratic_function():
    curvature = np.array([[2.0, 0.5, -0.3], [0.5, 1.5, 0.4], [-0.3, 0.4, 1.0]])
    top = np.array([4.3, 4.8, 5.2])
    offsets = np.moveaxis(np.indices((10, 10, 10)), 0, -1) - top
    response = -np.einsum("...i,ij,...j", offsets, curvature, offsets)
    peak = np.array(np.unravel_index(response.argmax(), response.shape))
    np.testing.assert_allclose(quadratic_fit(response, peak[None]), top[None], atol=1e-9)
    # A parabola along each axis alone would miss it, for it is tilted.
    z, y, x = peak
    along_z = response[z - 1 : z + 2, y, x]
    parabola = z + (along_z[0] - along_z[2]) / (2 * (along_z[0] - 2 * along_z[1] + along_z[2]))
    assert abs(parabola - top[0]) > 0.05


def test_at_the_border_the_fit_stays_in_the_voxel():
    response = gaussian((9, 9), (-0.4, 4.3), (2.0, 2.0))
    fitted = quadratic_fit(response, np.array([[0, 4]]))
    np.testing.assert_allclose(fitted, [[0, 4.3]], atol=0.02)


def test_maxima_are_those_of_their_surroundings_highest_first():
    response = np.zeros((5, 40, 40), np.float32)
    response += np.random.default_rng(0).normal(0, 0.01, response.shape).astype(np.float32)
    for voxel, height in (((2, 10, 10), 5.0), ((2, 10, 13), 4.0), ((2, 30, 30), 6.0)):
        response[voxel] = height
    near, far = (np.array([1.0, across, across]) for across in (2.0, 4.0))
    first, second, third = [2, 30, 30], [2, 10, 10], [2, 10, 13]

    def found(across_px, noise=0.01, threshold=0.1):
        maxima = standing_out(response, across_px, noise=noise, threshold=threshold)
        return maxima.tolist()

    assert found(near) == [first, second, third]
    assert found(far) == [first, second]
    assert found(near, noise=0.75) == [first, second]  # six of it are 4.5
    assert found(near, threshold=0.9) == [first, second]  # 5 is the typical height


@pytest.mark.parametrize(("mean", "height"), [(0.05, 0.0), (400.0, 3000.0)])
def test_the_noise_after_a_filter_is_foretold_whatever_the_haze(mean, height):
    rng, sigma = np.random.default_rng(1), np.array([0.9, 1.3, 1.3])
    noise = rng.poisson(mean, (30, 80, 90)).astype(np.float32)
    haze = height * gaussian(noise.shape, (15, 40, 45), (12, 20, 20))
    foretold = noise_after(noise + haze, lambda values: laplacian_of_gaussian(values, sigma))
    assert foretold == pytest.approx(laplacian_of_gaussian(noise, sigma).std(), rel=0.3)


def test_one_bright_or_many_dim_maxima_do_not_change_the_typical_height():
    neurons = np.linspace(80, 120, 50)
    assert typical_height(neurons) == pytest.approx(100, abs=3)
    with_noise = np.concatenate([neurons, np.full(400, 1.0), [1000.0]])
    assert typical_height(with_noise) == pytest.approx(100, abs=8)
