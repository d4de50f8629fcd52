"""Axis letters, array aliases, sign conventions and the only unit conversions.

Sign of defocus
---------------
``z`` grows away from the objective. ``defocus_um`` is always
``z_target - z_input``: positive when the target plane lies further from the
objective than the input plane. For a point spread function the "input" is the
emitter and the "target" is the focal plane: ``defocus_um = z_focus - z_emitter``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

AXES = "TCZYX"
"""Axis letters of every image, in this order."""

FloatArray = npt.NDArray[np.float32]
"""A NumPy array of float32 (intensities, distances)."""

AnyArray = npt.NDArray[Any]
"""A NumPy array of whatever type came from a file."""

NM_PER_UM = 1000.0


def nm_to_um(length_nm: float) -> float:
    """Convert nanometres to micrometres."""
    return length_nm / NM_PER_UM


def um_to_nm(length_um: float) -> float:
    """Convert micrometres to nanometres."""
    return length_um * NM_PER_UM
