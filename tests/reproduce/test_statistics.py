"""Numbers of fields: their mean with an interval, and the best gain and offset."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from fluofocus.reproduce.statistics import brought_to, with_interval


def test_a_mean_comes_with_half_of_its_interval() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 7)
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    mean, half = (float(part) for part in with_interval(values).split(" ± "))
    assert mean == pytest.approx(values.mean(), abs=5e-5)
    assert half == pytest.approx((high - low) / 2, abs=5e-5)
    assert with_interval([0.123456], 2) == "0.12"


@pytest.mark.parametrize(("value", "mean"), [(np.inf, "inf"), (np.nan, "nan")])
def test_what_is_not_finite_has_no_interval(value: float, mean: str) -> None:
    with np.errstate(invalid="raise"):
        assert with_interval([value, 2, 3], 2) == mean


@pytest.mark.parametrize("gain", [40.0, -2.0])
def test_a_stack_is_brought_to_the_truth_by_gain_and_offset(gain: float) -> None:
    truth = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(brought_to(truth, truth * gain + 100), truth, atol=1e-4)


def test_an_even_stack_is_brought_to_the_mean() -> None:
    truth = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(brought_to(truth, np.ones_like(truth)), truth.mean(), atol=1e-6)
