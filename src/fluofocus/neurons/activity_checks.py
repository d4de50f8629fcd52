"""Recordings from which no activity can be read, said in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

BACKGROUND_SHARE = 0.25
"""Share of a frame's blocks, the darkest, whose mean is its background."""

_UNEVEN = 0.5
"""Of the median interval: frames that come so much earlier or later are out of step."""

_JUMP_DEVIATIONS, _LEAST_JUMP = 8.0, 0.0005
"""How far a jump of the background stands out from its other steps, and of the range."""

_UNIFORM = 0.7
"""Share of a frame's change that one factor and one offset explain, when exposure changed."""

_BLOCK_PX = 8
_SHOWN_FRAMES = 10


def check_channels(red: AnyArray, green: AnyArray) -> None:
    """Refuse channels that are no time-lapses of stacks of one shape, or hold NaN.

    Raises
    ------
    FluoFocusError
        With the shapes, or the frames.
    """
    for name, channel in (("red", red), ("green", green)):
        if channel.ndim != 4 or 0 in channel.shape:
            raise FluoFocusError(
                f"The {name} channel must be a time-lapse of stacks (T, Z, Y, X), not an array "
                f"of shape {channel.shape}: give single planes an axis Z of one."
            )
    if len(red) != len(green):
        raise FluoFocusError(
            f"The red channel has {len(red)} frames and the green one {len(green)}: leave out "
            "the frames of which only one channel was recorded."
        )
    if red.shape != green.shape:
        raise FluoFocusError(
            f"The red channel is {red.shape[1:]} and the green one {green.shape[1:]} (Z, Y, X): "
            "bring both to the same planes and pixels."
        )
    for name, channel in (("red", red), ("green", green)):
        bad = [index for index, frame in enumerate(channel) if not np.isfinite(frame).all()]
        if bad:
            raise FluoFocusError(
                f"The {name} channel holds NaN or infinite values in frames {_listed(bad)}: "
                "leave out or replace these."
            )


def checked_times_s(times_s: npt.ArrayLike, frames: int) -> Array:
    """Return the frames' times, or say where frames were dropped.

    Raises
    ------
    FluoFocusError
        If there is not one time per frame, they do not increase, or one interval is longer
        or shorter than the median by half of it.
    """
    times = np.asarray(times_s, dtype=np.float64)
    if times.shape != (frames,) or not np.isfinite(times).all():
        raise FluoFocusError(
            f"There must be one time for each of the {frames} frames, in seconds, not an array "
            f"of shape {times.shape}."
            if times.shape != (frames,)
            else "The times of the frames hold NaN or infinite values: give seconds for all."
        )
    intervals = np.diff(times)
    if not len(intervals):
        return times
    usual = float(np.median(intervals))
    odd = np.flatnonzero((np.abs(intervals - usual) > _UNEVEN * usual) | (intervals <= 0)) + 1
    if len(odd):
        raise FluoFocusError(
            f"The times of the frames are uneven: frames {_listed(odd)} do not follow the one "
            f"before by the usual {usual:.3g} s; frames may have been dropped, so analyse the "
            "parts between them one by one, or give a frame rate if the times are wrong."
        )
    return times


def background_levels(green: AnyArray) -> Array:
    """Return the background of each frame, the mean of its darkest quarter, ``(T,)``.

    Of the means of blocks, since the darkest of single pixels owe it to noise.
    """
    levels = np.empty(len(green))
    for index, frame in enumerate(green):
        values = _in_blocks(frame).ravel()
        count = max(1, int(BACKGROUND_SHARE * values.size))
        levels[index] = np.partition(values, count - 1)[:count].mean()
    return levels


def block_means(stack: AnyArray) -> Array:
    """Return the means over z of square blocks of a frame, ``(B,)``."""
    return np.asarray(_in_blocks(stack).mean(axis=0).ravel())


def _in_blocks(stack: AnyArray) -> Array:
    """Return the means of square blocks of each plane, or small planes as they are."""
    planes, *size = stack.shape
    block = _BLOCK_PX if min(size) >= 4 * _BLOCK_PX else 1
    rows, columns = (length // block for length in size)
    whole = np.asarray(stack)[:, : rows * block, : columns * block]
    blocks = whole.reshape(planes, rows, block, columns, block)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float64))


def check_exposure(levels: Array, blocks: AnyArray) -> None:
    """Refuse a time-lapse whose exposure changed between frames.

    The background jumps, more than it usually moves from frame to frame; and the whole
    field, dark and bright, changes by one factor and one offset. Activity brightens some
    neurons only.

    Parameters
    ----------
    levels : ndarray (T,)
        Of the background, from `background_levels`.
    blocks : ndarray (T, B)
        From `block_means`, of frames that are in register.

    Raises
    ------
    FluoFocusError
        With the frames before which it changed.
    """
    steps = np.diff(levels)
    if len(steps) < 2:
        return
    spread = 1.4826 * float(np.median(np.abs(steps - np.median(steps))))
    least = max(_JUMP_DEVIATIONS * spread, _LEAST_JUMP * float(np.ptp(blocks)))
    jumps = [
        frame
        for frame in (np.flatnonzero(np.abs(steps) > least) + 1).tolist()
        if _uniform_share(blocks[frame - 1], blocks[frame]) > _UNIFORM
    ]
    if jumps:
        raise FluoFocusError(
            f"The brightness of the whole green channel jumps at frames {_listed(jumps)}, as "
            "when exposure or lamp change: analyse the parts between them one by one, or "
            "bring all frames to one exposure first."
        )


def _uniform_share(before: AnyArray, after: AnyArray) -> float:
    """Return the share of a change that one factor and one offset explain."""
    change = after - before
    terms = np.column_stack([np.ones(len(before)), before])
    fitted, *_ = np.linalg.lstsq(terms, change, rcond=None)
    left = change - terms @ fitted
    return 1 - float(left @ left) / max(float(change @ change), 1e-300)


def _listed(frames: Iterable[int]) -> str:
    numbers = [str(frame) for frame in frames]
    more = f" and {len(numbers) - _SHOWN_FRAMES} more" if len(numbers) > _SHOWN_FRAMES else ""
    return ", ".join(numbers[:_SHOWN_FRAMES]) + more
