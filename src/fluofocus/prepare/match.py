"""Two focus scans of one field in two modalities, brought together in x, y and z."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import zoom

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.manifest import RegistrationRecord
from fluofocus.prepare.regions import Region
from fluofocus.prepare.registration import register
from fluofocus.prepare.scan import PreparedScan
from fluofocus.prepare.transform import Transform, translation
from fluofocus.prepare.zero_point import focus_curve, is_reversed, zero_point
from fluofocus.units import AnyArray

_PIXEL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Match:
    """A target scan and where it lies in its input scan.

    ``planes`` ``(Z', Y', X')`` are the target's, from low to high, with pixels of the
    input's size; ``z_um`` and ``target_z_um`` are the heights of the planes of both, from
    their common zero point.
    """

    planes: AnyArray
    coarse: Transform
    z_um: AnyArray
    target_z_um: AnyArray
    record: RegistrationRecord
    config: PrepareConfig

    def target(self, region: Region, planes: AnyArray) -> AnyArray:
        """Return the target's planes of a region, registered finely to the input's.

        Parameters
        ----------
        planes
            ``(Z, size, size)``, the input's.

        Raises
        ------
        FluoFocusError
            If the residual is too large.
        """
        offset = self.coarse.matrix @ translation((region.top_px, region.left_px))
        shape = (region.size_px, region.size_px)
        coarse = replace(self.coarse, matrix=offset, fixed_shape_yx=shape, shift_z=0.0)
        warped = coarse.apply(self.planes)
        if self.config.registration == "none":
            return warped
        fine = register(*_compared(warped, planes, self.config), method=self.config.registration)
        _require_small(fine.residual_px, self.config)
        return replace(coarse, matrix=offset @ fine.matrix).apply(self.planes)


def match(scan: PreparedScan, target: PreparedScan, config: PrepareConfig) -> Match:
    """Bring a target scan onto an input scan.

    A target whose planes run the other way is turned over. The zero points are the peaks of
    the focus curves; the method ``psf`` finds the distance in z itself.

    Raises
    ------
    FluoFocusError
        If the two do not match, or one has no plane in focus.
    """
    z_step, pixel, _ = scan.record.voxel_size_um
    target_step, target_pixel, _ = target.record.voxel_size_um
    planes, fused = (_resized(x, target_pixel / pixel) for x in (target.planes, target.fused))
    if config.registration == "none":
        coarse = Transform(np.eye(3), _size(scan.fused), _size(fused), "shift", 0.0, 1.0)
        if coarse.fixed_shape_yx != coarse.moving_shape_yx:
            raise FluoFocusError(
                f"The fields have {coarse.fixed_shape_yx} and {coarse.moving_shape_yx} pixels and "
                "so are not registered: choose another registration than none."
            )
    else:
        coarse = register(fused, scan.fused, method="features")
    backwards = is_reversed(scan.planes, coarse.apply(planes))
    if backwards:
        planes = planes[::-1]
    zero = zero_point(focus_curve(scan.planes, scan.fused))
    target_zero = zero_point(focus_curve(planes, fused))
    if config.registration == "psf":
        in_space = register(planes, scan.planes, method="psf")
        _require_small(in_space.residual_px, config)
        coarse, target_zero = replace(in_space, shift_z=0.0), zero + in_space.shift_z
    _require_small(coarse.residual_px, config)
    record = RegistrationRecord(
        method=config.registration,
        matrix=coarse.matrix.tolist(),
        residual_px=coarse.residual_px,
        is_reversed=backwards,
        zero_point_um=zero * z_step,
        target_zero_point_um=target_zero * target_step,
    )
    z_um = (np.arange(len(scan.planes)) - zero) * z_step
    target_z_um = (np.arange(len(planes)) - target_zero) * target_step
    return Match(planes, coarse, z_um, target_z_um, record, config)


def _compared(
    moving: AnyArray, fixed: AnyArray, config: PrepareConfig
) -> tuple[AnyArray, AnyArray]:
    """Return what a method compares: stacks, or for those in 2D their brightest projections."""
    if config.registration == "psf":
        return moving, fixed
    return moving.max(axis=0), fixed.max(axis=0)


def _require_small(residual_px: float, config: PrepareConfig) -> None:
    if residual_px > config.largest_residual_px:
        raise FluoFocusError(
            f"Input and target do not match: the residual of their registration is "
            f"{residual_px:.2f} px, above largest_residual_px {config.largest_residual_px:g}."
        )


def _resized(images: AnyArray, factor: float) -> AnyArray:
    if abs(factor - 1) < _PIXEL_TOLERANCE:
        return images
    along = (*(1.0 for _ in images.shape[:-2]), factor, factor)
    resized: AnyArray = zoom(images, along, order=3)
    return resized


def _size(image: AnyArray) -> tuple[int, int]:
    return int(image.shape[-2]), int(image.shape[-1])
