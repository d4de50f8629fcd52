"""Where each point of one image is found in another, and resampling by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray, FloatArray

Array = npt.NDArray[np.float64]
Shape = tuple[int, int]

_EDGE_PX = 1e-6
"""Rounding allowed where a point lies on the border of an image."""


class RegistrationError(FluoFocusError):
    """Two recordings could not be brought together; carries what a picture of why needs.

    Attributes
    ----------
    fixed, moving : ndarray
        The recordings as given.
    matches : ndarray (N, 2, 2) or None
        Pairs of points (y, x) held to be the same, in ``fixed`` and in ``moving``.
    curve : ndarray or None
        What was searched for a peak: a correlation over shifts (y, x), or a point spread
        function over shifts (z, y, x).
    """

    def __init__(
        self,
        message: str,
        *,
        fixed: AnyArray,
        moving: AnyArray,
        matches: Array | None = None,
        curve: AnyArray | None = None,
    ) -> None:
        super().__init__(message)
        self.fixed, self.moving = fixed, moving
        self.matches, self.curve = matches, curve

    @property
    def pictures(self) -> dict[str, AnyArray]:
        """What there is to look at: images and a curve ``(Y, X)``, matches ``(N, 2, 2)``."""
        shown = {"fixed": self.fixed, "moving": self.moving, "curve": self.curve}
        flat = {
            name: array.max(axis=0) if array.ndim == 3 else array
            for name, array in shown.items()
            if array is not None
        }
        return flat if self.matches is None else {**flat, "matches": self.matches}


@dataclass(frozen=True)
class Transform:
    """Where each point of the fixed recording is found in the moving one.

    Attributes
    ----------
    matrix : ndarray (3, 3)
        Projective, in pixels: ``(y, x, 1)`` of fixed to ``(y, x, 1)`` of moving, up to a
        factor; 0 is the centre of the first pixel.
    fixed_shape_yx, moving_shape_yx : tuple of int
        Size of the two, in pixels.
    model : str
        ``"shift"``, ``"similarity"``, ``"affine"`` or ``"projective"``.
    residual_px : float
        How far the transform may be off, or the places that it was fitted to are: the method
        says which.
    correlation : float
        Of what the method compared, 0 to 1.
    places : int
        Places in the image that the fit rests on; 1 where the whole image is one.
    shift_z : float
        Planes: fixed plane ``k`` shows what lies in moving plane ``k + shift_z``.
    """

    matrix: Array
    fixed_shape_yx: Shape
    moving_shape_yx: Shape
    model: str
    residual_px: float
    correlation: float
    places: int = 1
    shift_z: float = 0.0

    def to_moving(self, points_yx: npt.ArrayLike) -> Array:
        """Return where points ``(..., 2)`` (y, x) of fixed are in moving, in pixels."""
        return mapped(self.matrix, np.asarray(points_yx, dtype=np.float64))

    def apply(self, moving: AnyArray, *, order: int = 3) -> FloatArray:
        """Resample a moving image or stack onto the pixels and planes of fixed.

        Parameters
        ----------
        moving
            ``(Y, X)`` or ``(..., Y, X)``; with a shift in z its third axis from the end is z.
        order
            Degree of the splines between pixels and planes.

        Returns
        -------
        ndarray of float32 (..., fixed Y, fixed X)
            Zero where moving does not reach, see `valid`; beyond the first and last plane
            these are repeated.

        Raises
        ------
        FluoFocusError
            If moving has another size than what was registered, or no z axis to shift along.
        """
        planes = np.asarray(moving, dtype=np.float32)
        if planes.shape[-2:] != self.moving_shape_yx:
            raise FluoFocusError(
                f"The moving image is {planes.shape[-2:]} pixels, but the transform is for "
                f"{self.moving_shape_yx}: apply it to the recording that was registered."
            )
        if self.shift_z:
            if planes.ndim < 3:
                raise FluoFocusError(
                    "The transform shifts along z: apply it to a stack, not to one plane."
                )
            along_z = np.zeros(planes.ndim)
            along_z[-3] = -self.shift_z
            planes = ndimage.shift(planes, along_z, order=order, mode="nearest")
        where = np.moveaxis(self._grid_in_moving(), -1, 0)
        warped = np.empty((*planes.shape[:-2], *self.fixed_shape_yx), dtype=np.float32)
        for index in np.ndindex(planes.shape[:-2]):
            ndimage.map_coordinates(planes[index], where, warped[index], order, mode="constant")
        return warped

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Pixels ``(Y, X)`` of fixed that lie within moving."""
        last = np.array(self.moving_shape_yx) - 1
        where = self._grid_in_moving()
        return np.asarray(((where >= -_EDGE_PX) & (where <= last + _EDGE_PX)).all(axis=-1))

    def _grid_in_moving(self) -> Array:
        axes = [np.arange(size, dtype=np.float64) for size in self.fixed_shape_yx]
        return self.to_moving(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def mapped(matrix: Array, points_yx: Array) -> Array:
    """Apply a projective matrix to points ``(..., 2)`` (y, x)."""
    lifted = points_yx @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(lifted[..., :2] / lifted[..., 2:])


def translation(shift_yx: npt.ArrayLike) -> Array:
    """Return the matrix ``(3, 3)`` that adds a shift (y, x), in pixels."""
    matrix = np.eye(3)
    matrix[:2, 2] = shift_yx
    return matrix
