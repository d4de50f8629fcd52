"""Traces of a recording, from stacks as they are, virtual stacks, or the film itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity_checks import background_levels, block_means, check_exposure
from fluofocus.neurons.activity_registration import FrameMotion
from fluofocus.neurons.demixing import Demixing
from fluofocus.neurons.traces import Haze, neuron_traces, surroundings
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]
Refocus = Callable[[AnyArray], AnyArray]
Progress = Callable[[int, int], None]


def read_traces(
    green: AnyArray,
    labels: AnyArray,
    motion: FrameMotion,
    *,
    refocus: Refocus | None,
    demix: Demixing | None,
    background: float | None,
    brightest: int,
    less_haze: bool,
    voxel_size_um: tuple[float, float, float] | None,
    progress: Progress,
) -> tuple[npt.NDArray[np.int64], Array, float]:
    """Return labels, traces without background, and that; see `analyse_activity`.

    Raises
    ------
    FluoFocusError
        If exposure changed, no neuron is labelled, or ``less_haze`` lacks a voxel size.
    """
    levels = background_levels(green)
    if demix is not None:
        film = _checked_frames(green, motion, levels, None, progress)
        ids, traces = demix((plane for (plane,) in film), labels)
        return ids, traces, 0.0
    subtracted = float(levels.mean()) if background is None else background
    haze = _haze(labels, voxel_size_um, subtracted) if less_haze else None
    frames = _checked_frames(green, motion, levels, refocus, progress)
    ids, traces = neuron_traces(frames, labels, brightest=brightest, haze=haze)
    return ids, traces - subtracted, subtracted


def _checked_frames(
    green: AnyArray,
    motion: FrameMotion,
    levels: Array,
    refocus: Refocus | None,
    progress: Progress,
) -> Iterator[AnyArray]:
    """Yield frames brought together, as virtual stacks if asked for; refuse changes of exposure.

    Refocusing takes long, so films are checked before it.
    """
    blocks: list[Array] = []

    def aligned() -> Iterator[AnyArray]:
        for index, frame in enumerate(green):
            moved = motion.apply(frame, index)
            blocks.append(block_means(moved))
            yield moved

    frames = aligned()
    if refocus is not None:
        film = list(frames)
        check_exposure(levels, np.array(blocks))
        frames = (refocus(plane) for (plane,) in film)
    for done, frame in enumerate(frames, start=1):
        yield frame
        progress(done, len(green))
    check_exposure(levels, np.array(blocks))


def _haze(
    labels: AnyArray, voxel_size_um: tuple[float, float, float] | None, background: float
) -> Haze:
    if voxel_size_um is None:
        raise FluoFocusError("To subtract the haze around neurons, give voxel_size_um (z, y, x).")
    return Haze(surroundings(labels, voxel_size_um), background)
