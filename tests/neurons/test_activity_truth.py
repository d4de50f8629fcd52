"""Measures of recovered activity, on hand-made cases."""

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity_truth import (
    adjusted_rand_index,
    find_events,
    score_events,
    trace_correlations,
)


def test_correlations_are_one_per_neuron_and_free_of_units() -> None:
    true = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 2.0, 2.0]])
    found = np.array([[5.0, 7.0, 9.0], [0.0, 3.0, 0.0], [1.0, 2.0, 3.0]])
    np.testing.assert_allclose(trace_correlations(found, true), [1, -1, np.nan])
    with pytest.raises(FluoFocusError, match=r"shapes \(3, 3\) and \(2, 3\)"):
        trace_correlations(found, true[:2])


def test_rand_index_of_a_case_worked_out_by_hand() -> None:
    # Table [[2, 1], [0, 2]]: together 2, in rows 3 + 1, in columns 1 + 3, of 10 pairs:
    # (2 - 1.6) / (4 - 1.6).
    assert adjusted_rand_index([0, 0, 0, 1, 1], [0, 0, 1, 1, 1]) == pytest.approx(1 / 6)


def test_rand_index_ignores_the_names_of_groups() -> None:
    assert adjusted_rand_index([0, 0, 2, 2], [7, 7, -1, -1]) == 1
    assert adjusted_rand_index([3, 3, 3], [0, 0, 0]) == 1
    random = np.random.default_rng(0).integers(0, 3, (2, 3000))
    assert abs(adjusted_rand_index(*random)) < 0.01
    with pytest.raises(FluoFocusError, match="one group for each"):
        adjusted_rand_index([0, 1], [0, 1, 1])


def test_events_are_found_where_a_trace_rises() -> None:
    t = np.arange(100.0)
    trace = 5 + 0.02 * np.random.default_rng(0).standard_normal(100)
    for onset in (10.3, 40.0, 47.0):
        trace += np.where(t > onset, np.exp(-(t - onset) / 6), 0)
    np.testing.assert_allclose(find_events(trace), [10.3, 40, 47], atol=1)
    assert len(find_events(trace + 5 * np.random.default_rng(1).standard_normal(100))) == 0
    assert len(find_events(np.full(50, 3.0))) == 0
    assert len(find_events(np.array([1.0, 9.0]))) == 0


def test_rises_far_below_the_largest_are_none() -> None:
    trace = np.zeros(60)
    trace[10:20], trace[40:] = 10.0, 1.0
    assert len(find_events(trace)) == 1
    assert len(find_events(trace, least_rise=0.05)) == 2


def test_events_are_matched_once_within_the_tolerance() -> None:
    traces = np.zeros((2, 60))
    traces[0, 10:], traces[0, 30:] = 1.0, 2.0
    traces[1, 20:] = 1.0
    neuron, frame = np.array([0, 0, 1, 1]), np.array([9.5, 10.0, 20.5, 50.0])
    score = score_events(traces, neuron, frame)
    # Found: 2 and 1. Of the two near frame 10 one is matched; 30 is false, 50 missed.
    assert (score.true_count, score.found_count, score.matched_count) == (4, 3, 2)
    assert score.missed_share == 0.5
    assert score.false_share == pytest.approx(1 / 3)
    assert np.isnan(score_events(np.zeros((1, 9)), [], []).missed_share)
