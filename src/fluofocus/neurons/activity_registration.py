"""Frames of a time-lapse brought onto each other by its structural channel.

Every frame is registered to the same reference, so that errors do not add up over time:
laterally by its maximum along z, then axially by the detail of its planes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray, FloatArray

Array = npt.NDArray[np.float64]
Model = Literal["translation", "rigid"]

_FINE_SIGMA_PX, _COARSE_SIGMA_PX = 1.5, 6.0
"""Gaussians between which detail is kept."""

_LEAST_SIDE_PX = 16
_LEAST_CORRELATION = 0.3
"""Correlation of a frame's detail with the reference's below which it is refused."""

_WORTH_PX, _WORTH_PLANES = 0.25, 0.25
"""Motion of some frame from which frames are resampled: registration errs by less."""

_PASSES, _MOST_STEPS, _STEP_DONE_PX = 2, 10, 0.005
_FEWEST_PLANES, _BIN_PX = 5, 4
_TAPS = 8
"""Neighbours on either side by which a spline between samples is taken."""


@dataclass(frozen=True)
class FrameMotion:
    """Where the points of the reference frame are found in each frame.

    A point is turned by ``rotation_rad`` about the field's centre, then ``shift_px`` added.

    Attributes
    ----------
    shift_px : ndarray (T, 3)
        z (in planes), y, x.
    rotation_rad : ndarray (T,)
        Positive from the y axis towards the x axis.
    correlation : ndarray (T,)
        Of each frame's detail, moved back, with the reference's.
    reference : int
        The frame whose place the others are brought to.
    """

    shift_px: Array
    rotation_rad: Array
    correlation: Array
    reference: int

    def apply(self, stack: AnyArray, frame: int) -> FloatArray:
        """Resample one frame's stack ``(Z, Y, X)`` with cubic splines to the reference's place.

        Where the frame does not reach, its border is repeated.
        """
        z, y, x = self.shift_px[frame]
        values = np.asarray(stack, dtype=np.float32)
        angle = float(self.rotation_rad[frame])
        if angle == 0:
            return _shifted(_shifted(_shifted(values, x, 2), y, 1), z, 0)
        turned = np.empty_like(values)
        for plane, output in zip(values, turned, strict=True):
            _sample(plane, angle, np.array([y, x]), output, order=3, mode="nearest")
        return _shifted(turned, z, 0)


def register_frames(
    red: AnyArray, *, model: Model = "translation", axial: bool = True
) -> FrameMotion:
    """Find how a specimen moves through a time-lapse; the middle frame is the reference.

    Wu et al. register frames with a projective transformation (Methods, "Tracking and
    quantification of C. elegans neuron activity"); here the worm moves as a rigid body.
    Motion below a quarter of a pixel, or of a plane, in all frames is taken for none.

    Parameters
    ----------
    red : ndarray (T, Z, Y, X)
        Of a channel that does not change, such as nuclei.
    model : {"translation", "rigid"}
        Whether the specimen only shifts, or turns about z too (slower to resample).
    axial : bool
        Whether to look for shifts in z; needs five planes at least.

    Raises
    ------
    FluoFocusError
        If frames are too small, or share no detail with the others.
    """
    frames = np.asarray(red)
    if frames.ndim != 4 or min(frames.shape[2:], default=0) < _LEAST_SIDE_PX or not len(frames):
        raise FluoFocusError(
            f"Frames (T, Z, Y, X) of at least {_LEAST_SIDE_PX} x {_LEAST_SIDE_PX} pixels can be "
            f"registered, not an array of shape {frames.shape}."
        )
    reference = len(frames) // 2
    details = [_detail(frame.max(axis=0)) for frame in frames]
    shift_yx, rotation, correlation = _lateral(details, reference, turning=model == "rigid")
    _check_correlation(correlation)
    shift_z = np.zeros(len(frames))
    if axial and frames.shape[1] >= _FEWEST_PLANES:
        shift_z = _axial(frames, np.rint(shift_yx).astype(int), reference)
    turned_px = np.abs(rotation) * math.hypot(*frames.shape[2:]) / math.sqrt(12)
    if max(np.abs(shift_yx).max(), turned_px.max()) < _WORTH_PX:
        shift_yx, rotation = np.zeros_like(shift_yx), np.zeros_like(rotation)
    if np.abs(shift_z).max() < _WORTH_PLANES:
        shift_z = np.zeros_like(shift_z)
    return FrameMotion(np.column_stack([shift_z, shift_yx]), rotation, correlation, reference)


def _detail(image: AnyArray) -> FloatArray:
    values = image.astype(np.float32)
    fine = ndimage.gaussian_filter(values, _FINE_SIGMA_PX)
    detail: FloatArray = fine - ndimage.gaussian_filter(values, _COARSE_SIGMA_PX)
    return detail


def _lateral(
    details: list[FloatArray], reference: int, *, turning: bool
) -> tuple[Array, Array, Array]:
    """Register to the reference frame, then to the mean of all, whose noise is less."""
    fixed = details[reference]
    shift, rotation, correlation = (np.zeros((len(details), n)) for n in (2, 1, 1))
    for turn in range(_PASSES):
        template = _Template(fixed, turning=turning)
        moved_sum = np.zeros_like(fixed)
        for frame, detail in enumerate(details):
            if turn == 0:
                shift[frame] = template.nearest_shift(detail)
            angle, shift[frame], correlation[frame], moved = template.register(
                detail, float(rotation[frame, 0]), shift[frame]
            )
            rotation[frame] = angle
            moved_sum += moved
        fixed = np.asarray(moved_sum / len(details), dtype=np.float32)
    return shift - shift[reference], rotation[:, 0] - rotation[reference, 0], correlation[:, 0]


class _Template:
    """Detail to which that of others is registered, by inverse compositional steps.

    Baker & Matthews, Int. J. Comput. Vis. 56, 221 (2004).
    """

    def __init__(self, detail: FloatArray, *, turning: bool) -> None:
        self._detail, self._turning = detail, turning
        self._spectrum = np.conj(fft.rfft2(detail))
        slopes = [*np.gradient(detail)]
        y, x = (np.arange(n) - (n - 1) / 2 for n in detail.shape)
        if turning:
            slopes.append(slopes[1] * y[:, None] - slopes[0] * x)
        self._slopes = np.stack(slopes).reshape(len(slopes), -1).astype(np.float32)
        self._inverse = np.linalg.pinv(self._slopes @ self._slopes.T)

    def nearest_shift(self, detail: FloatArray) -> Array:
        """Return the whole shift (y, x) at which other detail is most like this."""
        shape = np.array(detail.shape)
        correlation = fft.irfft2(self._spectrum * fft.rfft2(detail), s=detail.shape)
        peak = np.array(np.unravel_index(correlation.argmax(), detail.shape))
        return np.asarray((peak + shape // 2) % shape - shape // 2, dtype=np.float64)

    def register(
        self, detail: FloatArray, angle: float, shift: Array
    ) -> tuple[float, Array, float, FloatArray]:
        """Improve a motion; return angle, shift, correlation, and the detail moved back."""
        reach = math.hypot(*detail.shape) / math.sqrt(12)
        moved, shift, correlation = np.empty_like(detail), shift.copy(), 0.0
        for _ in range(_MOST_STEPS):
            _sample(detail, angle, shift, moved, order=1, mode="constant")
            target = np.where(np.isnan(moved), 0, self._detail)
            np.nan_to_num(moved, copy=False)
            common, power = float(np.vdot(moved, target)), float(np.vdot(target, target))
            scale = math.sqrt(power * float(np.vdot(moved, moved)))
            correlation = common / scale if scale > 0 else 0.0
            if correlation < _LEAST_CORRELATION:
                break
            wrong = moved * (power / common) - target
            step = self._inverse @ (self._slopes @ wrong.ravel())
            shift = shift - _turn(angle) @ step[:2]
            angle -= float(step[2]) if self._turning else 0.0
            if math.hypot(*step[:2], reach * step[2] if self._turning else 0) < _STEP_DONE_PX:
                break
        return angle, shift, correlation, moved


def _turn(angle: float) -> Array:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _sample(
    image: FloatArray, angle: float, shift: Array, output: FloatArray, *, order: int, mode: str
) -> None:
    """Write into ``output`` the image at where each of its points is found, NaN beyond it."""
    centre = (np.array(image.shape) - 1) / 2
    offset = centre + shift - _turn(angle) @ centre
    ndimage.affine_transform(image, _turn(angle), offset, None, output, order, mode, math.nan)


def _axial(frames: AnyArray, shift_yx: npt.NDArray[np.intp], reference: int) -> Array:
    """Return how many planes each frame lies above the reference frame."""
    details = np.stack([_plane_details(f, s) for f, s in zip(frames, shift_yx, strict=True)])
    most = max(1, frames.shape[1] // 4)
    shift = np.zeros(len(frames))
    for _ in range(_PASSES):
        moved = [_shifted(detail, s, 0) for detail, s in zip(details, shift, strict=True)]
        mean = np.mean(moved, axis=0)
        shift = np.array([_best_lag(detail, mean, most) for detail in details])
    return np.asarray(shift - shift[reference])


def _plane_details(stack: AnyArray, shift_yx: npt.NDArray[np.intp]) -> FloatArray:
    """Return unit-free detail of the planes, in bins, moved back by a whole shift; ``(Z, P)``."""
    for axis, shift in enumerate(shift_yx, start=1):
        at = np.clip(np.arange(stack.shape[axis]) + shift, 0, stack.shape[axis] - 1)
        stack = stack.take(at, axis=axis)
    rows, columns = (size // _BIN_PX for size in stack.shape[1:])
    whole = stack[:, : rows * _BIN_PX, : columns * _BIN_PX].astype(np.float32)
    bins = whole.reshape(-1, rows, _BIN_PX, columns, _BIN_PX).mean(axis=(2, 4))
    fine, coarse = (ndimage.gaussian_filter(bins, (0, s, s)) for s in (0.5, 2.0))
    detail: FloatArray = (fine - coarse).reshape(len(bins), -1)
    return detail / max(float(np.linalg.norm(detail)), 1e-9)


def _best_lag(detail: FloatArray, mean: FloatArray, most: int) -> float:
    """Return how many planes on a stack's detail ``(Z, P)`` is most like the mean's."""
    products, planes = detail @ mean.T, len(detail)
    power, mean_power = (np.square(each).sum(axis=1) for each in (detail, mean))
    lags = np.arange(-most, most + 1)
    alike = np.zeros(len(lags))
    for index, lag in enumerate(lags.tolist()):
        own = slice(max(lag, 0), planes + min(lag, 0))
        other = slice(max(-lag, 0), planes + min(-lag, 0))
        scale = math.sqrt(float(power[own].sum() * mean_power[other].sum()))
        alike[index] = np.trace(products, -lag) / max(scale, 1e-12)
    best = int(np.clip(alike.argmax(), 1, len(lags) - 2))
    before, here, after = alike[best - 1 : best + 2]
    curvature = before - 2 * here + after
    step = (before - after) / (2 * curvature) if curvature < 0 else 0.0
    return float(lags[best] + np.clip(step, -1, 1))


def _shifted(stack: FloatArray, shift: float, axis: int) -> FloatArray:
    """Return the stack along one axis at ``shift`` samples further on."""
    if shift == 0 or stack.shape[axis] == 1:
        return stack
    whole = math.floor(shift)
    size = stack.shape[axis]
    moved = stack.take(np.clip(np.arange(size) + whole, 0, size - 1), axis=axis)
    impulse = np.zeros(2 * _TAPS + 1)
    impulse[_TAPS] = 1.0
    # the spline through an impulse, seen a fraction further on: weights of the neighbours
    weights = ndimage.shift(impulse, shift - whole, order=3, mode="constant")
    weights /= weights.sum()
    filtered: FloatArray = ndimage.correlate1d(moved, weights, axis, mode="nearest")
    return filtered


def _check_correlation(correlation: Array) -> None:
    lost = np.flatnonzero(correlation < _LEAST_CORRELATION)
    if len(lost):
        raise FluoFocusError(
            f"The red channel of frames {', '.join(map(str, lost[:10]))}"
            f"{' and more' if len(lost) > 10 else ''} shares no detail with the other frames: "
            "leave out empty frames, and those in which the specimen left the field."
        )
