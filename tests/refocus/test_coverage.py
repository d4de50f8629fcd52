"""Coverage counted over images."""

import numpy as np
import pytest

from fluofocus.models.bundle import ErrorCalibration
from fluofocus.refocus.coverage import CoverageCount

CALIBRATION = ErrorCalibration(scale=1.0, probabilities=(0.5, 0.9), half_widths=(1.0, 3.0))


def test_shares_are_counted_over_all_and_over_bright_pixels() -> None:
    truth = np.zeros((10, 10), np.float32)
    truth[0] = 100.0  # ten bright pixels
    output = truth.copy()
    output[0] += 2.0  # inside the wider interval only
    output[1] -= 5.0  # outside both
    count = CoverageCount(CALIBRATION)
    count.add(output, np.ones_like(truth), truth)
    result = count.result()
    assert result.nominal == (0.5, 0.9)
    assert result.all_pixels == pytest.approx((0.8, 0.9))
    assert result.bright_pixels == pytest.approx((0.0, 1.0))
    count.add(truth, np.ones_like(truth), truth)
    assert count.result().all_pixels == pytest.approx((0.9, 0.95))
    assert "90%            95.0%" in count.result().table()
