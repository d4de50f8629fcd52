"""Two focus scans of one field in two modalities, brought together in x, y and z."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import zoom

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.fusion import fuse
from fluofocus.prepare.manifest import RegistrationRecord
from fluofocus.prepare.regions import Region, middle_plane
from fluofocus.prepare.registration import register
from fluofocus.prepare.scan import PreparedScan
from fluofocus.prepare.transform import Transform, translation
from fluofocus.prepare.zero_point import axial_shift, focus_curve, is_reversed, zero_point
from fluofocus.units import AnyArray

_PIXEL_TOLERANCE = 1e-3
_STEP_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Match:
    """A target scan and where it lies in its input scan.

    ``planes`` ``(Z', Y', X')`` are the target's, from low to high, with pixels of the
    input's size; ``z_um`` and ``target_z_um`` are the heights of the planes of both, from
    their common zero point.
    """

    planes: AnyArray
    transform: Transform
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
        RegistrationError
            If they do not match.
        """
        corner = self.transform.matrix @ translation((region.top_px, region.left_px))
        shape = (region.size_px, region.size_px)
        coarse = replace(self.transform, matrix=corner, fixed_shape_yx=shape)
        warped = coarse.apply(self.planes)
        if self.config.registration == "none":
            return warped
        fine = _registered(warped, planes, self.config)
        return replace(coarse, matrix=corner @ fine.matrix).apply(self.planes)


def match(scan: PreparedScan, target: PreparedScan, config: PrepareConfig) -> Match:
    """Bring a target scan onto an input scan.

    A target whose planes run the other way is turned over. Heights belong together by the planes
    that look alike, or by the peaks of the focus curves; the method ``psf`` finds the distance in
    z itself.

    Raises
    ------
    FluoFocusError
        If the two do not match, or one has no plane in focus.
    """
    z_step, pixel, _ = scan.record.voxel_size_um
    target_step, target_pixel, _ = target.record.voxel_size_um
    planes, fused = (_resized(x, target_pixel / pixel) for x in (target.planes, target.fused))
    transform = _coarse(fused, scan.fused, config)
    backwards = is_reversed(scan.planes, transform.apply(planes))
    if backwards:
        planes = planes[::-1]
    if config.axial_match == "focus_curve":
        zero = zero_point(focus_curve(scan.planes, scan.fused))
        target_zero = zero_point(focus_curve(planes, fused))
    else:
        zero = float(middle_plane(scan.planes))
        first = axial_shift(scan.planes, transform.apply(planes), (z_step, target_step))
        target_zero = (zero - first) * z_step / target_step
    if config.registration == "psf":
        if abs(target_step / z_step - 1) > _STEP_TOLERANCE:
            raise FluoFocusError(
                f"Registration psf needs equal steps in z, these are {z_step:g} and "
                f"{target_step:g} µm: choose registration features."
            )
        in_space = _registered(transform.apply(planes), scan.planes, config)
        transform = replace(transform, matrix=transform.matrix @ in_space.matrix)
        target_zero = zero + in_space.shift_z
    record = RegistrationRecord(
        method=config.registration,
        matrix=transform.matrix.tolist(),
        residual_px=transform.residual_px,
        is_reversed=backwards,
        zero_point_um=zero * z_step,
        target_zero_point_um=target_zero * target_step,
    )
    z_um = (np.arange(len(scan.planes)) - zero) * z_step
    target_z_um = (np.arange(len(planes)) - target_zero) * target_step
    return Match(planes, transform, z_um, target_z_um, record, config)


def _coarse(moving: AnyArray, fixed: AnyArray, config: PrepareConfig) -> Transform:
    """Register two fused images over the whole field."""
    if config.registration != "none":
        return register(moving, fixed, "features", max_residual_px=config.largest_residual_px)
    if moving.shape != fixed.shape:
        raise FluoFocusError(
            f"The fields have {moving.shape} and {fixed.shape} pixels and so are not registered: "
            "choose another registration than none."
        )
    height, width = fixed.shape
    return Transform(np.eye(3), (height, width), (height, width), "shift", 0.0, 1.0)


def _registered(moving: AnyArray, fixed: AnyArray, config: PrepareConfig) -> Transform:
    """Register stacks by the method chosen, those in 2D by their fused images."""
    method = config.registration
    if method == "psf":
        common = min(len(moving), len(fixed))
        compared = moving[:common], fixed[:common]
    else:
        compared = fuse(moving).image, fuse(fixed).image
    return register(*compared, method, max_residual_px=config.largest_residual_px)


def _resized(images: AnyArray, factor: float) -> AnyArray:
    if abs(factor - 1) < _PIXEL_TOLERANCE:
        return images
    along = (*(1.0 for _ in images.shape[:-2]), factor, factor)
    resized: AnyArray = zoom(images, along, order=3)
    return resized
