"""Zero points and directions of two scans of a field."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.zero_point import axial_shift, focus_curve, is_reversed, zero_point


def scan(focus: float, seed: int = 0, planes: int = 13) -> np.ndarray:
    """Return blurred spots, in focus at a plane that need not be a whole one."""
    random = np.random.default_rng(seed)
    spots = (random.random((64, 64)) > 0.97) * 20.0
    return np.stack(
        [
            gaussian_filter(spots, 1 + 0.4 * abs(z - focus)) + random.normal(0, 0.01, spots.shape)
            for z in range(planes)
        ]
    )


@pytest.mark.parametrize("focus", [5.0, 6.3, 6.5, 7.8])
def test_the_zero_point_is_where_the_scan_is_in_focus(focus: float) -> None:
    stack = scan(focus)
    sharp = gaussian_filter((np.random.default_rng(0).random((64, 64)) > 0.97) * 20.0, 1)
    assert zero_point(focus_curve(stack, sharp)) == pytest.approx(focus, abs=0.25)


@pytest.mark.parametrize("curve", [np.arange(10.0), np.arange(10.0)[::-1]])
def test_a_scan_that_does_not_pass_the_focus_is_refused(curve: np.ndarray) -> None:
    with pytest.raises(FluoFocusError, match="above and below"):
        zero_point(curve)


def test_too_few_planes_are_refused() -> None:
    with pytest.raises(FluoFocusError, match="at least 4"):
        zero_point(np.array([0.1, 0.3, 0.2]))


def layered(seed: int) -> np.ndarray:
    """Return a scan of a thick sample: other spots in each layer."""
    random = np.random.default_rng(seed)
    layers = [(random.random((64, 64)) > 0.98) * 20.0 for _ in range(12)]
    return np.stack(
        [
            sum(gaussian_filter(layer, 1 + abs(z - d)) for d, layer in enumerate(layers))
            for z in range(12)
        ]
    )


@pytest.mark.parametrize("seed", range(4))
def test_reversed_scans_are_told(seed: int) -> None:
    stack = layered(seed)
    noisy = stack + np.random.default_rng(9).normal(0, 0.05, stack.shape)
    assert not is_reversed(stack, noisy[2:])
    assert is_reversed(stack, noisy[::-1][:-2])


@pytest.mark.parametrize("first", [-3, 0, 4])
def test_planes_that_look_alike_tell_the_shift(first: int) -> None:
    stack = layered(3)
    other = stack[max(0, first) : 12 + min(0, first)]
    noisy = other + np.random.default_rng(9).normal(0, 0.05, other.shape)
    position = axial_shift(stack, noisy, (0.5, 0.5))
    assert position == pytest.approx(max(0, first), abs=0.1)
    assert axial_shift(noisy, stack, (0.5, 0.5)) == pytest.approx(-max(0, first), abs=0.1)


def test_planes_of_another_distance_are_matched_too() -> None:
    stack = layered(5)
    thinned = stack[1::2]
    assert axial_shift(stack, thinned, (0.3, 0.6)) == pytest.approx(1, abs=0.2)
    assert axial_shift(thinned, stack, (0.6, 0.3)) == pytest.approx(-0.5, abs=0.2)


def test_shifts_are_found_to_a_fraction_of_a_plane() -> None:
    fine = scan(12.0, planes=25)
    assert axial_shift(fine[::2], fine[1::2], (1.0, 1.0)) == pytest.approx(0.5, abs=0.1)


def test_scans_that_cannot_be_matched_are_refused() -> None:
    with pytest.raises(FluoFocusError, match="too short"):
        axial_shift(layered(1)[:3], layered(1)[:3], (1.0, 1.0))
    ramp = np.stack([layered(1)[0]] * 8)
    ramp[0] = layered(2)[5]
    with pytest.raises(FluoFocusError, match="only at their ends"):
        axial_shift(ramp[:5] * 0, layered(2), (1.0, 1.0))
