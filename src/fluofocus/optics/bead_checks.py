"""What must hold before a microscope can be learnt from the focus scan of one bead."""

from __future__ import annotations

import math

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope


def checked_voxel(
    voxel_size_um: tuple[float, float, float] | None,
) -> tuple[float, float, float]:
    """Return the voxel (z, y, x) in µm.

    Raises
    ------
    FluoFocusError
        If it is not known or not possible, or its pixels are not square.
    """
    if voxel_size_um is None:
        raise FluoFocusError("The bead stack has no voxel size; give its pixel size and z step.")
    z, y, x = voxel_size_um
    if not all(math.isfinite(side) and side > 0 for side in (z, y, x)):
        raise FluoFocusError(
            f"The voxel (z, y, x) of the bead stack, {z:g} x {y:g} x {x:g} µm, must be three "
            "positive numbers: give a focus scan of several planes, its pixel size and its z step."
        )
    if abs(y - x) > 0.01 * x:
        raise FluoFocusError(f"Pixels of {y:g} by {x:g} µm are not square; resample the stack.")
    return z, y, x


def check_bead_imaging(
    microscope: Microscope, bead_diameter_um: float | None, field_um: float
) -> None:
    """Check that the microscope is wide-field and that the bead, if it is known, fits the field.

    Raises
    ------
    FluoFocusError
        If not.
    """
    if microscope.modality == "confocal":
        raise FluoFocusError(
            "Calibration models wide-field stacks: describe the microscope with modality "
            "widefield, and record the bead with an open pinhole."
        )
    if bead_diameter_um is not None and not 0 < bead_diameter_um < field_um / 2:
        raise FluoFocusError(
            f"A bead of {bead_diameter_um:g} µm is not possible in a field of {field_um:.3g} µm: "
            "give its diameter in µm."
        )
