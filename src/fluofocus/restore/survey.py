"""One look at every plane before the work begins: values, their scale, whether it is wide-field."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io.stack import loaded
from fluofocus.measure.sectioning import LEAST_PLANES, cone_share
from fluofocus.models.cards import StackCard
from fluofocus.prepare.normalise import Normalisation, normalisation_from_stack
from fluofocus.units import AnyArray, nm_to_um

MOST_SAMPLES = 2**23
"""Voxels, spread evenly, that background and scale are found from, at most."""

CENTRE_PX = 256
"""Rows and columns in the middle that are looked at for optical sectioning."""

SECTIONED_SHARE = 0.17
"""Of the spectrum in the missing cone, from which a stack counts as sectioned.

Measured on parts of six simulated slices of brain (60x/1.40, 24 to 81 planes): wide-field up to
0.16, with a median of 0.03; confocal with a median of 0.15 (24 planes) to 0.31 (81), and 0.35 and
more of filaments. So many a short confocal stack of hazy tissue is not noticed.
"""


@dataclass(frozen=True)
class Survey:
    """What a look at one stack tells: its normalisation, and its middle ``(Z, y, x)``."""

    normalisation: Normalisation
    centre: AnyArray


def survey(stack: xr.DataArray, frame: tuple[int, ...]) -> Survey:
    """Look at all planes of a stack, one after another.

    Raises
    ------
    FluoFocusError
        If it holds values that are not finite, is flat, or is mostly saturated.
    """
    depth, height, width = stack.shape[-3:]
    every = max(1, math.ceil(math.sqrt(depth * height * width / MOST_SAMPLES)))
    rows, columns = (_middle(length) for length in (height, width))
    samples, centre = [], []
    for plane in range(depth):
        pixels = loaded(stack.data[(*frame, plane)])
        if not np.isfinite(pixels).all():
            raise FluoFocusError(
                f"Plane {plane} of the stack holds NaN or infinite values: mask or crop them "
                "before restoring."
            )
        samples.append(pixels[::every, ::every])
        centre.append(pixels[rows, columns])
    return Survey(normalisation_from_stack(np.stack(samples)), np.stack(centre))


def warn_of_sectioning(
    centre: AnyArray, recorded_um: list[float] | None, pixel_size_um: float, card: StackCard
) -> None:
    """Warn where a stack seems to be confocal already."""
    gaps = np.diff(recorded_um or [])
    if len(centre) < LEAST_PLANES or np.ptp(gaps) > 0.02 * np.median(gaps):
        return
    optics = card.microscope
    share = cone_share(
        centre,
        (float(gaps.mean()), pixel_size_um, pixel_size_um),
        numerical_aperture=optics.numerical_aperture,
        immersion_index=optics.immersion_index,
        emission_wavelength_um=nm_to_um(optics.emission_wavelength_nm),
    )
    if share > SECTIONED_SHARE:
        warnings.warn(
            "The stack seems to be optically sectioned already, as by a confocal microscope (it "
            f"holds {min(share, 1):.0%} of the axial detail that wide-field stacks do not have), "
            f"and model {card.name} was trained on wide-field stacks: check the input.",
            FluoFocusWarning,
            stacklevel=2,
        )


def _middle(length: int) -> slice:
    start = max(0, (length - CENTRE_PX) // 2)
    return slice(start, start + CENTRE_PX)
