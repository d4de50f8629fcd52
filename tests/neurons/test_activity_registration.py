"""Frames brought together, against motion that is known."""

import math

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity_registration import register_frames

SHAPE = (7, 64, 80)


def worm(
    shift_px: tuple[float, float, float] = (0.0, 0.0, 0.0),
    angle: float = 0.0,
    *,
    noise: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Return blobs turned about the field's centre, then shifted, on a noisy background."""
    rng = np.random.default_rng(7)
    centres = rng.uniform((2, 14, 14), (5, 50, 66), (25, 3))
    middle = (np.array(SHAPE[1:]) - 1) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = (centres[:, 1:] - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    centres = np.column_stack([centres[:, 0], turned]) + shift_px
    z, y, x = np.indices(SHAPE, sparse=True)
    stack = np.full(SHAPE, 20.0)
    for at in centres:
        stack += 100 * np.exp(
            -((z - at[0]) ** 2) / 3 - ((y - at[1]) ** 2 + (x - at[2]) ** 2) / (2 * 2.0**2)
        )
    return np.random.default_rng(seed).normal(stack, noise)


def test_shifts_are_found_to_a_part_of_a_pixel_and_taken_back() -> None:
    shifts = [(0.0, -6.3, 2.1), (0.0, 0.4, -0.3), (0.0, 0.0, 0.0), (0.0, 3.7, -5.4)]
    red = np.stack([worm(shift, seed=index) for index, shift in enumerate(shifts)])
    motion = register_frames(red)
    assert motion.reference == 2
    np.testing.assert_allclose(motion.shift_px[:, 1:], np.array(shifts)[:, 1:], atol=0.05)
    np.testing.assert_array_equal(motion.rotation_rad, 0)
    assert motion.correlation.min() > 0.9
    inside = (slice(None), slice(10, -10), slice(10, -10))
    still = worm(noise=0.0)[inside]
    for index, frame in enumerate(red):
        left = motion.apply(frame, index)[inside] - still
        assert left.std() < 1.5  # of which noise is 1
        assert abs(left.mean()) < 0.1
    assert (red[0][inside] - still).std() > 20


def test_axial_shifts_are_found_and_taken_back() -> None:
    shifts = [(0.8, 0.0, 0.0), (0.0, 0.0, 0.0), (-1.3, 1.0, -2.0)]
    red = np.stack([worm(shift, seed=index) for index, shift in enumerate(shifts)])
    motion = register_frames(red)
    np.testing.assert_allclose(motion.shift_px, shifts, atol=0.15)
    inside = (slice(2, -2), slice(10, -10), slice(10, -10))
    taken_back = motion.apply(red[2], 2)[inside]
    assert np.corrcoef(taken_back.ravel(), worm(noise=0.0)[inside].ravel())[0, 1] > 0.99
    assert not register_frames(red, axial=False).shift_px[:, 0].any()


def test_turns_are_found_and_taken_back() -> None:
    red = np.stack([worm((0, 1.5, -0.8), 0.06), worm(seed=1), worm((0, 0, 0), -0.04, seed=2)])
    motion = register_frames(red, model="rigid")
    np.testing.assert_allclose(motion.rotation_rad, [0.06, 0.0, -0.04], atol=0.003)
    np.testing.assert_allclose(motion.shift_px[:, 1:], [[1.5, -0.8], [0, 0], [0, 0]], atol=0.1)
    inside = (slice(None), slice(12, -12), slice(12, -12))
    left = motion.apply(red[0], 0)[inside] - worm(noise=0.0)[inside]
    assert left.std() < 1.5


def test_a_specimen_that_stays_is_left_alone() -> None:
    red = np.stack([worm(seed=seed) for seed in range(3)])
    motion = register_frames(red)
    np.testing.assert_array_equal(motion.shift_px, 0)
    np.testing.assert_array_equal(motion.apply(red[0], 0), red[0].astype(np.float32))


def test_single_planes_are_registered() -> None:
    red = np.stack([worm((0, 0, s), seed=s)[3:4] for s in range(3)])
    np.testing.assert_allclose(register_frames(red).shift_px[:, 2], [-1, 0, 1], atol=0.05)


def test_what_cannot_be_registered_is_said() -> None:
    red = np.stack([worm(seed=seed) for seed in range(4)])
    red[1] = np.random.default_rng(3).normal(20, 1, SHAPE)
    with pytest.raises(FluoFocusError, match="red channel of frames 1 shares no detail"):
        register_frames(red)
    with pytest.raises(FluoFocusError, match="at least 16 x 16 pixels"):
        register_frames(red[..., :10])
