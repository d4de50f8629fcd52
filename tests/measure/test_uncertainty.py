"""Expected errors: scale, intervals and coverage, on residuals whose law is known."""

import numpy as np
import pytest

from fluofocus.measure.uncertainty import (
    PROBABILITIES,
    coverage,
    error_scale,
    interval_half_widths,
)


@pytest.fixture
def expected() -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(size=200_000)).astype(np.float32)


@pytest.fixture
def errors(expected: np.ndarray) -> np.ndarray:
    laplace = np.random.default_rng(1).laplace(size=expected.shape)
    return np.abs(laplace * expected).astype(np.float32)


def test_scale_makes_the_mean_right(errors: np.ndarray, expected: np.ndarray) -> None:
    assert error_scale(errors, expected / 3) == pytest.approx(3, rel=0.02)


def test_a_few_huge_predictions_do_not_decide_on_the_scale(
    errors: np.ndarray, expected: np.ndarray
) -> None:
    lost = expected.copy()
    lost[: len(lost) // 5000] = 1e4
    assert error_scale(errors, lost) == pytest.approx(1, rel=0.02)


def test_half_widths_of_laplace_residuals(errors: np.ndarray, expected: np.ndarray) -> None:
    widths = interval_half_widths(errors, expected)
    assert widths == pytest.approx([-np.log(1 - p) for p in PROBABILITIES], rel=0.03)


def test_coverage_is_nominal_on_other_pixels_and_falls_with_doubled_errors(
    errors: np.ndarray, expected: np.ndarray
) -> None:
    half = len(errors) // 2
    widths = interval_half_widths(errors[:half], expected[:half])
    assert coverage(errors[half:], expected[half:], widths) == pytest.approx(
        PROBABILITIES, abs=0.01
    )
    assert coverage(2 * errors[half:], expected[half:], widths)[3] < 0.75
