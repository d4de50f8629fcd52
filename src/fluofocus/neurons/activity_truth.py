"""How well activity was recovered, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import match_beads
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

NOISE_THRESHOLD = 5.0
"""Rise of an event, in standard deviations of rises by noise."""

LEAST_RISE = 0.2
"""Rise of an event, as a share of its trace's largest: neighbours shine in a little."""

TOLERANCE_FRAMES = 2.0
"""Most that an event's steepest rise may lie from its true onset."""

_RISE_FRAMES = 2
_SEPARATION_FRAMES = 2


@dataclass(frozen=True)
class EventScore:
    """How many events were found.

    Attributes
    ----------
    true_count, found_count, matched_count : int
        Events there were, events found, and pairs of both.
    """

    true_count: int
    found_count: int
    matched_count: int

    @property
    def missed_share(self) -> float:
        """Share of the true events that were not found; NaN when there are none."""
        return 1 - self.matched_count / self.true_count if self.true_count else float("nan")

    @property
    def false_share(self) -> float:
        """Share of the events found that are none; NaN when none was found."""
        return 1 - self.matched_count / self.found_count if self.found_count else float("nan")


def trace_correlations(found: AnyArray, true: AnyArray) -> Array:
    """Return Pearson's correlation of each trace with the true one, ``(N,)``.

    Parameters
    ----------
    found, true : ndarray (N, T)
        In any units; NaN comes out where one of the two is constant.

    Raises
    ------
    FluoFocusError
        If the traces are not of one shape.
    """
    first, second = (np.asarray(each, dtype=np.float64) for each in (found, true))
    if first.ndim != 2 or first.shape != second.shape:
        raise FluoFocusError(
            f"Traces of shapes {first.shape} and {second.shape} cannot be compared: give "
            "those of the same neurons and frames."
        )
    first, second = (each - each.mean(axis=1, keepdims=True) for each in (first, second))
    scale = np.sqrt(np.square(first).sum(axis=1) * np.square(second).sum(axis=1))
    together = (first * second).sum(axis=1)
    unknown = np.full(len(first), np.nan)
    return np.asarray(np.divide(together, scale, out=unknown, where=scale > 0))


def adjusted_rand_index(found: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Return how well two groupings agree: 1 the same, 0 as by chance.

    Hubert & Arabie, J. Classification 2, 193 (1985), equation 5.

    Parameters
    ----------
    found, true : array_like of int (N,)
        A group for each neuron; their numbers do not matter.

    Raises
    ------
    FluoFocusError
        If the groupings are not of the same, at least one, neurons.
    """
    first, second = np.asarray(found), np.asarray(true)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise FluoFocusError(
            f"Groupings of shapes {first.shape} and {second.shape} cannot be compared: give "
            "one group for each of the same neurons."
        )
    _, rows = np.unique(first, return_inverse=True)
    _, columns = np.unique(second, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    together = _pairs(table)
    in_first, in_second = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    every = _pairs(np.array([len(first)]))
    by_chance = in_first * in_second / every if every else 0.0
    most = (in_first + in_second) / 2
    return 1.0 if most == by_chance else float((together - by_chance) / (most - by_chance))


def find_events(
    trace: AnyArray, *, noise_threshold: float = NOISE_THRESHOLD, least_rise: float = LEAST_RISE
) -> Array:
    """Return the frames at which a trace rises faster than by noise, ``(E,)``.

    A rise is taken over two frames; its noise is that of the trace's second differences,
    which slow decays do not reach, by their median absolute deviation.

    Parameters
    ----------
    trace : ndarray (T,)
        F, ΔF or ΔF / F0.
    noise_threshold : float
        Standard deviations that a rise needs.
    least_rise : float
        Share of the trace's largest rise that it needs.
    """
    values = np.asarray(trace, dtype=np.float64)
    if len(values) <= _RISE_FRAMES + 1:
        return np.zeros(0)
    bends = np.diff(values, 2)
    noise = 1.4826 * float(np.median(np.abs(bends - np.median(bends)))) / np.sqrt(6)
    rise = values[_RISE_FRAMES:] - values[:-_RISE_FRAMES]
    highest = ndimage.maximum_filter1d(rise, 2 * _SEPARATION_FRAMES + 1, mode="nearest")
    least = max(
        noise_threshold * np.sqrt(2) * noise,
        least_rise * float(rise.max()),
        1e-6 * float(np.abs(values).max()),
    )
    peaks, count = ndimage.label((rise == highest) & (rise > least))
    middle = ndimage.mean(np.arange(len(rise)), peaks, range(1, count + 1))  # of equal rises
    return np.asarray(middle, dtype=np.float64) + _RISE_FRAMES / 2


def score_events(
    traces: AnyArray,
    event_neuron: AnyArray,
    event_frame: AnyArray,
    *,
    tolerance_frames: float = TOLERANCE_FRAMES,
    noise_threshold: float = NOISE_THRESHOLD,
    least_rise: float = LEAST_RISE,
) -> EventScore:
    """Look for events in traces, and count which of the true ones were found.

    Parameters
    ----------
    traces : ndarray (N, T)
    event_neuron : ndarray of int (E,)
        Row of the traces that each true event is in.
    event_frame : ndarray (E,)
        When it began, in frames, which need not be whole.
    tolerance_frames : float
        Most that a rise may lie from a true event; both are matched once at most.
    noise_threshold, least_rise : float
        See `find_events`.
    """
    true = found = matched = 0
    for neuron, trace in enumerate(np.asarray(traces)):
        known = np.asarray(event_frame, dtype=np.float64)[np.asarray(event_neuron) == neuron]
        rises = find_events(trace, noise_threshold=noise_threshold, least_rise=least_rise)
        pairs = match_beads(rises[:, None], known[:, None], tolerance=tolerance_frames)
        true, found = true + len(known), found + len(rises)
        matched += len(pairs.distance)
    return EventScore(true, found, matched)


def _pairs(counts: AnyArray) -> float:
    return float((counts * (counts - 1) / 2).sum())
