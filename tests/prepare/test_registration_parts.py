"""What registration is made of: resampling, correlation, peaks, fits to matches and PSFs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.correlation import fitted_peak, normalised_cross_correlation
from fluofocus.prepare.projective import best_fit, consensus
from fluofocus.prepare.psf_between import LagSums, along, estimate_psf, summed_products
from fluofocus.prepare.transform import Transform, mapped, translation

SIMILARITY = np.array([[1.2, -0.1, 40], [0.1, 1.2, -80], [0, 0, 1]])
AFFINE = np.array([[1.03, 0.01, 2], [0.02, 0.97, -4], [0, 0, 1]])
PROJECTIVE = np.array([[0.97, 0.03, 5], [-0.03, 0.96, 9], [2e-4, -1e-4, 1]])


def gaussian_about(shift_zyx: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """Return a Gaussian of one sample over periodic shifts, zero first, that sums to one."""
    kernel = torch.ones(1)
    for axis, (size, shift) in enumerate(zip(shape, shift_zyx, strict=True)):
        distance = torch.fft.fftfreq(size, 1 / size) - shift
        kernel = kernel * along(torch.exp(-(distance**2) / 2), axis)
    return kernel / kernel.sum()


def test_a_transform_takes_fixed_to_moving_and_resamples_moving_onto_fixed() -> None:
    rng = np.random.default_rng(0)
    stack = gaussian_filter(rng.normal(size=(9, 60, 70)), 2).astype(np.float32)
    moving = stack[1:, 3:, :-5]  # what fixed has at (z, y, x) is here at (z - 1, y - 3, x)
    transform = Transform(translation((-3, 0)), (60, 70), (57, 65), "shift", 0.0, 1.0, shift_z=-1.0)
    np.testing.assert_allclose(transform.to_moving([10, 20]), [7, 20])
    warped = transform.apply(moving)
    assert warped.shape == (8, 60, 70)
    valid = transform.valid
    assert valid.sum() == 57 * 65
    assert valid[3:, :65].all()
    np.testing.assert_allclose(warped[1:][:, valid], stack[1:8][:, valid], atol=1e-4)
    assert not warped[:, ~valid].any()


def test_apply_refuses_what_was_not_registered() -> None:
    transform = Transform(np.eye(3), (60, 70), (57, 65), "shift", 0.0, 1.0, shift_z=0.5)
    with pytest.raises(FluoFocusError, match="57, 65"):
        transform.apply(np.zeros((5, 60, 70)))
    with pytest.raises(FluoFocusError, match="stack"):
        transform.apply(np.zeros((57, 65)))


def test_correlation_over_shifts_is_pearsons_of_the_overlap() -> None:
    rng = np.random.default_rng(1)
    moving, fixed = rng.normal(size=(2, 24, 31)) + np.linspace(0, 5, 31)
    found = normalised_cross_correlation(moving, fixed, 6)
    for dy, dx in ((0, 0), (3, -5), (-6, 6)):
        a = moving[max(0, dy) : 24 + min(0, dy), max(0, dx) : 31 + min(0, dx)]
        b = fixed[max(0, -dy) : 24 + min(0, -dy), max(0, -dx) : 31 + min(0, -dx)]
        expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert found[6 + dy, 6 + dx] == pytest.approx(expected, abs=1e-4)


def test_products_at_each_shift_are_summed_across_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn((2, 4, 6, 300), generator=generator)
    sums = summed_products(first, second, (1, 2, 3))
    assert sums.shape == (3, 5, 7)
    expected = (first[1:, :4, 3:] * second[:-1, 2:, :-3]).sum()
    assert float(sums[1 - 1, 2 + 2, 3 - 3]) == pytest.approx(float(expected), rel=1e-4)


def test_the_psf_between_two_stacks_is_the_one_that_blurred() -> None:
    generator = torch.Generator().manual_seed(0)
    sharp = (torch.rand((24, 64, 64), generator=generator) > 0.99).float()
    spread = torch.fft.rfftn(gaussian_about((1, -1, 0), (24, 64, 64)))
    blurred = torch.fft.irfftn(torch.fft.rfftn(sharp) * spread, s=sharp.shape)
    sums = LagSums(sharp - sharp.mean(), blurred - blurred.mean(), (4, 6, 6))
    plain, smooth = (
        estimate_psf(*sums.around((0, 0, 0)), smoothness=weight, energy=10, iterations=60)
        for weight in (0.0, 3e-3)
    )
    kernel = gaussian_about((1, -1, 0), (16, 24, 24))
    assert np.corrcoef(plain.flatten(), kernel.flatten())[0, 1] > 0.97
    assert float(plain.sum()) == pytest.approx(1, abs=0.02)
    assert sums.explained(plain, (0, 0, 0)) > 0.8
    steps = [[f.diff(dim=axis).abs().sum() for axis in range(3)] for f in (plain, smooth)]
    rough, even = (float(sum(each)) for each in steps)
    assert even < 0.8 * rough


def test_a_polynomial_is_located_exactly_and_slopes_have_no_top() -> None:
    z, y, x = np.indices((7, 8, 9))
    top = np.array([3.2, 4.4, 3.9])
    values = 5 - (z - top[0]) ** 2 - 2 * (y - top[1]) ** 2 - (x - top[2]) ** 2 * 0.5
    peak = fitted_peak(values, (3, 4, 4), 1)
    assert peak is not None
    np.testing.assert_allclose(peak.position, top, atol=1e-9)
    assert peak.height == pytest.approx(5)
    np.testing.assert_allclose(peak.curvature, np.diag([2, 4, 1]), atol=1e-9)
    assert peak.error < 1e-6
    assert fitted_peak(z + 0.0, (3, 4, 4), 1) is None
    assert fitted_peak(values, (0, 4, 4), 1) is None


@pytest.mark.parametrize(
    ("model", "matrix"),
    [
        ("shift", translation((3.3, -1.2))),
        ("similarity", SIMILARITY),
        ("affine", AFFINE),
        ("projective", PROJECTIVE),
    ],
)
def test_the_simplest_model_that_matches_warrant_is_fitted_despite_outliers(model, matrix) -> None:
    rng = np.random.default_rng(2)
    fixed = rng.uniform(0, 255, (60, 2))
    moving = mapped(matrix, fixed) + rng.normal(0, 0.1, (60, 2))
    moving[:12] += rng.uniform(-30, 30, (12, 2))
    fit = best_fit(np.stack([fixed, moving], axis=1))
    assert fit.model == model
    assert fit.kept[12:].mean() > 0.9
    corners = np.array([[0.0, 0], [0, 255], [255, 0], [255, 255]])
    np.testing.assert_allclose(mapped(fit.matrix, corners), mapped(matrix, corners), atol=0.25)


def test_few_matches_allow_no_wild_model() -> None:
    fixed = np.random.default_rng(3).uniform(0, 255, (15, 2))
    matches = np.stack([fixed, mapped(PROJECTIVE, fixed)], axis=1)
    assert best_fit(np.concatenate([matches, matches + 1e-3])).model == "projective"
    assert best_fit(matches).model in ("affine", "similarity", "shift")
    assert best_fit(matches[:8]).model in ("similarity", "shift")
    assert best_fit(matches[:4]).model == "shift"


def test_consensus_finds_the_few_matches_that_agree() -> None:
    rng = np.random.default_rng(4)
    matches = rng.uniform(0, 1023, (100, 2, 2))
    matches[:25, 1] = mapped(SIMILARITY, matches[:25, 0])
    agree = consensus(matches, 12, seed=0)
    assert agree[:25].sum() >= 20
    assert agree[25:].sum() <= 2
