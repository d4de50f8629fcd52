"""Calcium traces drawn at random: groups of neurons that fire together, and events of their own.

An event rises and decays as the light of a calcium indicator of the GCaMP6s kind does, and
events add up. Indicator saturation and bleaching are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError

Array = npt.NDArray[np.float64]

FRAME_RATE_HZ = 3.6
"""Frames per second of the activity recordings of Deep-Z, both channels taken."""

NO_CLUSTER = -1
"""Cluster of a neuron that belongs to none."""

_FEWEST_SHARED = 3
_LEAST_GAP_S = 2.0


@dataclass(frozen=True)
class CalciumEvents:
    """Events of all neurons, by neuron and time; each attribute is ``(E,)``.

    Attributes
    ----------
    neuron : ndarray of int
        Whose event it is.
    onset_s : ndarray
        When the light begins to rise; the first frame is at zero.
    size : ndarray
        Height of the rise by itself, relative to the neuron's brightness at rest.
    is_shared : ndarray of bool
        Whether the neuron's whole cluster had it.
    """

    neuron: npt.NDArray[np.intp]
    onset_s: Array
    size: Array
    is_shared: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self.onset_s)


@dataclass(frozen=True)
class CalciumTraces:
    """Brightness of neurons over time, and what made it so.

    Attributes
    ----------
    brightness : ndarray (N, T)
        Relative to the neuron at rest, which is 1.
    cluster : ndarray of int (N,)
        From 0; `NO_CLUSTER` for neurons that belong to none.
    events : CalciumEvents
    times_s : ndarray (T,)
    """

    brightness: Array
    cluster: npt.NDArray[np.intp]
    events: CalciumEvents
    times_s: Array


def calcium_response(
    since_onset_s: npt.ArrayLike, *, rise_s: float = 0.2, decay_s: float = 1.5
) -> Array:
    """Return the course of one event, zero before its onset and one at its peak.

    ``(1 - exp(-t / rise_s)) exp(-t / decay_s)``, divided by its largest value.
    """
    t = np.maximum(np.asarray(since_onset_s, dtype=np.float64), 0.0)
    peak_s = rise_s * np.log1p(decay_s / rise_s)
    peak = (1 - np.exp(-peak_s / rise_s)) * np.exp(-peak_s / decay_s)
    return np.asarray((1 - np.exp(-t / rise_s)) * np.exp(-t / decay_s) / peak)


def draw_traces(
    neurons: int,
    frames: int,
    *,
    seed: int,
    clusters: int = 3,
    active_share: float = 0.75,
    shared_rate_hz: float = 0.15,
    private_rate_hz: float = 0.03,
    event_size: float = 1.5,
    gain_spread: float = 0.15,
    private_share: float = 0.5,
    frame_rate_hz: float = FRAME_RATE_HZ,
) -> CalciumTraces:
    """Draw traces of neurons in clusters; the same arguments give the same traces.

    Parameters
    ----------
    clusters
        Groups that share events; the active neurons are dealt out to them evenly.
    active_share
        Share of the neurons that belong to a cluster, 0 to 1. The others have private
        events only.
    shared_rate_hz, private_rate_hz
        Mean events per second of a cluster, and of a neuron by itself. A cluster has three
        events at least, those of one cluster at least 2 s apart.
    event_size
        Mean height of shared events, relative to rest.
    gain_spread
        Standard deviation of the logarithm of each neuron's own height.
    private_share
        Mean height of private events, relative to shared ones.

    Raises
    ------
    FluoFocusError
        If there are fewer active neurons than clusters, or too few frames for the events.
    """
    rng = np.random.default_rng(seed)
    times_s = np.arange(frames) / frame_rate_hz
    cluster = _dealt(neurons, clusters, active_share, rng)
    gain = np.exp(gain_spread * rng.standard_normal(neurons))
    shared = [_shared_onsets(times_s, shared_rate_hz, rng) for _ in range(clusters)]
    columns: list[tuple[int, float, float, bool]] = []
    for neuron, group in enumerate(cluster):
        onsets = shared[group] if group != NO_CLUSTER else np.zeros(0)
        own = np.sort(rng.uniform(0, times_s[-1], rng.poisson(private_rate_hz * times_s[-1])))
        for onset, height, common in [
            *((onset, event_size, True) for onset in onsets),
            *((onset, event_size * private_share, False) for onset in own),
        ]:
            size = height * gain[neuron] * float(np.exp(0.1 * rng.standard_normal()))
            columns.append((neuron, float(onset), size, common))
    columns.sort()
    events = _as_events(columns)
    return CalciumTraces(brightness_of(events, neurons, times_s), cluster, events, times_s)


def brightness_of(events: CalciumEvents, neurons: int, times_s: npt.ArrayLike) -> Array:
    """Return the brightness ``(N, T)`` that events make, 1 at rest."""
    times = np.asarray(times_s, dtype=np.float64)
    brightness = np.ones((neurons, len(times)))
    courses = events.size[:, None] * calcium_response(times - events.onset_s[:, None])
    np.add.at(brightness, events.neuron, courses)
    return brightness


def _dealt(
    neurons: int, clusters: int, active_share: float, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    active = round(active_share * neurons)
    if clusters < 1 or active < clusters:
        raise FluoFocusError(
            f"{active} active neurons cannot form {clusters} clusters: raise the number of "
            "neurons or active_share, or ask for at least one and at most so many clusters."
        )
    cluster = np.full(neurons, NO_CLUSTER, dtype=np.intp)
    cluster[:active] = np.arange(active) % clusters
    return rng.permutation(cluster)


def _shared_onsets(times_s: Array, rate_hz: float, rng: np.random.Generator) -> Array:
    """Draw onsets of one cluster: evenly, then moved apart by the least gap."""
    duration_s = float(times_s[-1]) if len(times_s) else 0.0
    count = max(_FEWEST_SHARED, int(rng.poisson(rate_hz * duration_s)))
    count = min(count, max(_FEWEST_SHARED, int(duration_s / _LEAST_GAP_S)))
    room_s = duration_s - count * _LEAST_GAP_S
    if room_s < 0:
        raise FluoFocusError(
            f"{len(times_s)} frames last {duration_s:.1f} s, too short for {count} events "
            f"{_LEAST_GAP_S:g} s apart: simulate more frames."
        )
    return np.sort(rng.uniform(0, room_s, count)) + _LEAST_GAP_S * np.arange(count)


def _as_events(columns: list[tuple[int, float, float, bool]]) -> CalciumEvents:
    neuron, onset_s, size, shared = zip(*columns, strict=True) if columns else ((),) * 4
    return CalciumEvents(
        np.array(neuron, dtype=np.intp),
        np.array(onset_s, dtype=np.float64),
        np.array(size, dtype=np.float64),
        np.array(shared, dtype=np.bool_),
    )
