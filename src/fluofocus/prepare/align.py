"""Axial alignment: the planes of a focus scan, which drift and turn, brought onto each other.

Rigid registration on an image pyramid, from plane to plane outwards from the middle, as in
Thévenaz, Ruttimann & Unser (IEEE Trans. Image Process. 7, 27, 1998), by the inverse
compositional steps of Baker & Matthews (Int. J. Comput. Vis. 56, 221, 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray, FloatArray

Array = npt.NDArray[np.float64]

JUMP_PX = 2.0
"""Motion between neighbouring planes up to which it is never called a jump."""

_JUMP_DEVIATIONS, _LEAST_DEVIATION_PX = 5.0, 0.1
"""How many robust deviations a jump is above the median step, and the least of these."""

_FINE_SIGMA, _COARSE_SIGMA = 1.0, math.sqrt(2.0)
"""Gaussians, in pixels of each pyramid level, between which detail is kept."""

_BORDER = 4
"""Bins that the filters reach into, where the border of the field shows."""

_LEAST_SIDE_PX = 16
_COARSEST_SIDE_PX = 96
_WHOLE_SIDE_PX = 1024
"""Sides: of images, of a pyramid's coarsest level, and up to which its finest is unbinned."""

_LEAST_CORRELATION = 0.3
"""Correlation of two planes' details below which their motion is not believed."""

_WORTH_PX = 0.25
"""Motion of some plane from which a stack is resampled: registration errs by less."""

_MOST_STEPS, _STEP_DONE_PX = 20, 0.003


@dataclass(frozen=True)
class _Motion:
    """Where a point is found: turned about the field's centre, then shifted (y, x), pixels."""

    rotation_rad: float
    shift_px: Array

    @property
    def matrix(self) -> Array:
        cosine, sine = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        return np.array([[cosine, -sine], [sine, cosine]])

    def after(self, first: _Motion) -> _Motion:
        """Return the motion that does ``first``, then this one."""
        angle = self.rotation_rad + first.rotation_rad
        return _Motion(angle, self.matrix @ first.shift_px + self.shift_px)

    @property
    def inverse(self) -> _Motion:
        return _Motion(-self.rotation_rad, -self.matrix.T @ self.shift_px)

    def mean_px(self, shape_yx: npt.ArrayLike) -> float:
        """Root mean square of how far the points of a field move."""
        turned = self.rotation_rad**2 * float(np.square(shape_yx).sum()) / 12
        return math.sqrt(float(self.shift_px @ self.shift_px) + turned)


_STILL = _Motion(0.0, np.zeros(2))


@dataclass(frozen=True)
class Alignment:
    """Where the points of the middle plane are found in each plane of a focus scan.

    A point is turned by ``rotation_rad`` about the field's centre, then ``shift_px`` added.

    Attributes
    ----------
    shift_px : ndarray (Z, 2)
        y, x.
    rotation_rad : ndarray (Z,)
        Positive from the y axis towards the x axis.
    shape_yx : tuple of int
        Size of the field, in pixels.
    """

    shift_px: Array
    rotation_rad: Array
    shape_yx: tuple[int, int]

    @property
    def step_px(self) -> Array:
        """How far the field moves from the plane before, rms; ``(Z,)``, the first is 0."""
        motions = self._motions()
        pairs = zip(motions, [motions[0], *motions[:-1]], strict=True)
        return np.array([at.after(last.inverse).mean_px(self.shape_yx) for at, last in pairs])

    @property
    def jumps(self) -> tuple[int, ...]:
        """Planes that moved from the one before by more than 2 px and far more than others do.

        A plane that alone lies elsewhere makes two: itself and the next one.
        """
        steps = self.step_px
        others = steps[1:] if len(steps) > 1 else steps
        typical = np.median(others)
        spread = max(1.4826 * np.median(np.abs(others - typical)), _LEAST_DEVIATION_PX)
        outlying = max(JUMP_PX, float(typical + _JUMP_DEVIATIONS * spread))
        return tuple(np.flatnonzero(steps > outlying).tolist())

    def apply(self, stack: AnyArray) -> FloatArray:
        """Resample the planes ``(Z, Y, X)`` with cubic splines into the middle plane's frame.

        Where a plane does not reach, its border is repeated.

        Raises
        ------
        FluoFocusError
            If the stack has another shape than the one that was aligned.
        """
        planes = np.asarray(stack)
        shape = (len(self.rotation_rad), *self.shape_yx)
        if planes.shape != shape:
            raise FluoFocusError(f"The alignment is for a stack {shape}: align {planes.shape} too.")
        aligned = np.empty(planes.shape, dtype=np.float32)
        centre = (np.array(self.shape_yx) - 1) / 2
        for plane, motion, output in zip(planes, self._motions(), aligned, strict=True):
            _sample(plane.astype(np.float32), motion, output, centre, 3, "nearest")
        return aligned

    def _motions(self) -> list[_Motion]:
        pairs = zip(self.rotation_rad, self.shift_px, strict=True)
        return [_Motion(float(angle), shift) for angle, shift in pairs]


def align_planes(stack: AnyArray) -> Alignment:
    """Find how the planes of a focus scan are shifted and turned against the middle one.

    Each plane is registered to its neighbour nearer to the middle, by the detail of each
    scale of a pyramid, and the motions are composed outwards. Planes that share no detail
    with it, such as empty ones, go along with it. Where no plane is off by a quarter of a
    pixel, about the error of registration, all are left where they are.

    Halos that grow and overlap seem to move: planes beyond the specimen may be off by a
    pixel, and a tilted specimen seems to drift along its tilt (at 11° by a tenth of a pixel
    from plane to plane).

    Parameters
    ----------
    stack
        ``(Z, Y, X)``, of any real type.

    Raises
    ------
    FluoFocusError
        If it is no stack, is smaller than 16 x 16 pixels, or holds NaN or infinity.
    """
    planes = np.asarray(stack)
    if planes.ndim != 3 or len(planes) == 0 or min(planes.shape[1:]) < _LEAST_SIDE_PX:
        raise FluoFocusError(
            f"Planes of a focus scan (Z, Y, X) of at least {_LEAST_SIDE_PX} x {_LEAST_SIDE_PX} "
            f"pixels can be aligned, not an array of shape {planes.shape}."
        )
    motions = _chained([_pyramid(plane) for plane in planes])
    if all(motion.mean_px(planes.shape[1:]) < _WORTH_PX for motion in motions):
        motions = [_STILL] * len(planes)
    return Alignment(
        shift_px=np.stack([motion.shift_px for motion in motions]),
        rotation_rad=np.array([motion.rotation_rad for motion in motions]),
        shape_yx=(planes.shape[1], planes.shape[2]),
    )


@dataclass(frozen=True)
class _Level:
    """Detail of a plane in bins of ``scale`` pixels; ``centre`` is the field's, in bins."""

    detail: FloatArray
    scale: int
    centre: Array

    def moved(self, motion: _Motion) -> FloatArray:
        """Return the detail where the motion finds it, NaN beyond the field."""
        output = np.empty_like(self.detail)
        in_bins = _Motion(motion.rotation_rad, motion.shift_px / self.scale)
        _sample(self.detail, in_bins, output, self.centre, 1, "constant")
        return output


def _sample(
    image: FloatArray, motion: _Motion, output: FloatArray, centre: Array, order: int, mode: str
) -> None:
    """Write into ``output`` the image at where each of its points is found."""
    offset = centre + motion.shift_px - motion.matrix @ centre
    ndimage.affine_transform(image, motion.matrix, offset, None, output, order, mode, math.nan)


def _pyramid(plane: AnyArray) -> list[_Level]:
    """Return the levels of a plane from coarse to fine."""
    values = plane.astype(np.float32)
    if not np.isfinite(values).all():
        raise FluoFocusError("The focus scan holds NaN or infinite values: mask or crop them.")
    side = min(plane.shape)
    scale = 1 if side <= _WHOLE_SIDE_PX else 2
    levels: list[_Level] = []
    while not levels or side // scale >= _COARSEST_SIDE_PX:
        rows, columns = (size // scale for size in plane.shape)
        bins = values[: rows * scale, : columns * scale].reshape(rows, scale, columns, scale)
        binned = bins.mean(axis=(1, 3))
        fine, coarse = (ndimage.gaussian_filter(binned, s) for s in (_FINE_SIGMA, _COARSE_SIGMA))
        centre = np.array(plane.shape) / (2 * scale) - 0.5 - _BORDER
        inside = (slice(_BORDER, -_BORDER),) * 2
        levels.append(_Level((fine - coarse)[inside], scale, centre))
        scale *= 2
    return levels[::-1]


class _Template:
    """A level to which others are registered; its slopes are worked out once."""

    def __init__(self, level: _Level) -> None:
        self._level = level
        y, x = (np.arange(n) - c for n, c in zip(level.detail.shape, level.centre, strict=True))
        along_y, along_x = np.gradient(level.detail)
        turning = along_x * y[:, None] - along_y * x
        slopes = np.stack([turning, along_y, along_x]).reshape(3, -1).astype(np.float32)
        self._slopes, self._inverse = slopes, np.linalg.pinv(slopes @ slopes.T)

    def nearest_shift(self, moving: _Level) -> _Motion:
        """Return the whole shift at which another level is most like this one."""
        shape = moving.detail.shape
        product = np.conj(fft.rfft2(self._level.detail)) * fft.rfft2(moving.detail)
        peak = np.unravel_index(fft.irfft2(product, s=shape).argmax(), shape)
        half = np.array(shape) // 2
        return _Motion(0.0, ((np.array(peak) + half) % shape - half) * float(moving.scale))

    def register(self, moving: _Level, motion: _Motion) -> tuple[_Motion, float]:
        """Improve a motion from this level to another; return it and their correlation."""
        level, correlation = self._level, 0.0
        for _ in range(_MOST_STEPS):
            moved = moving.moved(motion)
            target = np.where(np.isnan(moved), 0, level.detail)
            moved = np.nan_to_num(moved, copy=False)
            common, power = float(np.vdot(moved, target)), float(np.vdot(target, target))
            scale = math.sqrt(power * float(np.vdot(moved, moved)))
            correlation = common / scale if scale > 0 else 0.0
            if correlation < _LEAST_CORRELATION:
                break
            # scaled to one brightness, for blur and bleaching would slow the descent
            step = self._inverse @ (self._slopes @ (moved * (power / common) - target).ravel())
            update = _Motion(float(step[0]), step[1:] * level.scale)
            motion = motion.after(update.inverse)
            if update.mean_px(2 * level.centre * level.scale) < _STEP_DONE_PX * level.scale:
                break
        return motion, correlation


def _registered(templates: list[_Template], levels: list[_Level]) -> _Motion | None:
    """Return the motion between two planes, coarse to fine; None where they share no detail."""
    motion, believed = templates[0].nearest_shift(levels[0]), False
    for template, level in zip(templates, levels, strict=True):
        better, correlation = template.register(level, motion)
        if correlation >= _LEAST_CORRELATION:
            motion, believed = better, True
    return motion if believed else None


def _chained(pyramids: list[list[_Level]]) -> list[_Motion]:
    """Register each plane to its inner neighbour, or to the last one inwards with detail."""
    motions = [_STILL] * len(pyramids)
    start = _first_with_detail(pyramids)
    for planes in (range(start + 1, len(pyramids)), range(start - 1, -1, -1)):
        inner, templates = start, [_Template(level) for level in pyramids[start]]
        for plane in planes:
            motion = _registered(templates, pyramids[plane])
            if motion is None:
                motions[plane] = motions[inner]
            else:
                motions[plane] = motion.after(motions[inner])
                inner, templates = plane, [_Template(level) for level in pyramids[plane]]
    back = motions[len(pyramids) // 2].inverse
    return [motion.after(back) for motion in motions]


def _first_with_detail(pyramids: list[list[_Level]]) -> int:
    """Return the plane nearest to the middle that shares detail with the next one."""
    middle = len(pyramids) // 2
    for plane in sorted(range(len(pyramids) - 1), key=lambda index: abs(index - middle)):
        templates = [_Template(level) for level in pyramids[plane]]
        if _registered(templates, pyramids[plane + 1]) is not None:
            return plane
    return middle
