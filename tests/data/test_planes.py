"""Planes between planes, and tiles whose overlaps are blended."""

import numpy as np
import pytest

from fluofocus.data.blending import blended_spans
from fluofocus.data.planes import mixture, thinned


def test_planes_of_a_linear_stack_are_interpolated_exactly() -> None:
    recorded_um = [0.0, 1.0, 1.5, 4.0]
    stack = np.array(recorded_um)[:, None, None] * np.ones((1, 2, 3)) * 10
    wanted_um = np.arange(0, 4.01, 0.25)
    made = mixture(wanted_um, recorded_um)
    for block in (slice(0, 17), slice(5, 9), slice(16, 17)):
        planes = made.mix(stack[made.needed(block)], block)
        np.testing.assert_allclose(planes[:, 1, 2], 10 * wanted_um[block], rtol=1e-6)


def test_outer_planes_are_repeated_and_equal_positions_taken_as_they_are() -> None:
    made = mixture([-1.0, 0.0, 1.001, 2.0, 9.0], [0.0, 1.0, 2.0])
    assert made.lower.tolist() == made.upper.tolist() == [0, 0, 1, 2, 2]
    assert mixture([0.0, 1.0], [0.0, 1.0]).is_identity
    assert not mixture([0.0, 0.5], [0.0, 1.0]).is_identity


@pytest.mark.parametrize(("every", "first"), [(1, 0), (2, 0), (2, 1), (4, 3)])
def test_a_thinned_stack_keeps_some_planes(every: int, first: int) -> None:
    stack = np.random.default_rng(0).random((11, 2, 2)).astype(np.float32)
    result = thinned(stack, every, first)
    np.testing.assert_array_equal(result[first::every], stack[first::every])
    if every > 1:
        between = first + 1
        expected = stack[first] + (stack[first + every] - stack[first]) / every
        np.testing.assert_allclose(result[between], expected, rtol=1e-5)
        np.testing.assert_array_equal(result[0], result[first])


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "multiple"),
    [(16, 32, 8, 16), (64, 32, 8, 16), (100, 24, 6, 4), (76, 12, 3, 4), (48, 16, 4, 16)],
)
def test_weights_of_overlapping_tiles_add_up_to_one(
    length: int, tile: int, overlap: int, multiple: int
) -> None:
    total = np.zeros(length)
    spans = blended_spans(length, tile=tile, overlap=overlap, multiple=multiple)
    for span in spans:
        assert span.read.start % multiple == 0
        assert len(span.weight) == span.read.stop - span.read.start
        total[span.read] += span.weight
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    inner = [span for span in spans if span.read.start > 0]
    if overlap <= tile - multiple:
        assert all(span.weight[0] < 0.5 for span in inner)
