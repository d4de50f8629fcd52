"""Whether a model suits the microscope that took an image."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import xarray as xr

from fluofocus.errors import FluoFocusWarning
from fluofocus.io.stack import known_voxel_size_um
from fluofocus.models.bundle import ModelCard, read_card
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.pupil import FAINT_ABERRATION_WAVES, spherical_rms_waves

TOLERANCES = {
    "numerical_aperture": 0.05,
    "immersion_index": 0.02,
    "emission_wavelength_nm": 0.1,
}
"""Fields compared, and the relative difference from which they matter."""


def warn_of_differences(microscope: Microscope, card: ModelCard) -> None:
    """Warn where a microscope differs from the one that a model was trained for."""
    trained = card.microscope
    differing = [
        f"{field} {getattr(microscope, field):g} (model: {getattr(trained, field):g})"
        for field, tolerance in TOLERANCES.items()
        if abs(getattr(microscope, field) / getattr(trained, field) - 1) > tolerance
    ]
    if microscope.modality != trained.modality:
        differing.append(f"modality {microscope.modality} (model: {trained.modality})")
    if (microscope.pupil_mask is None) != (trained.pupil_mask is None):
        kinds = ["no" if each.pupil_mask is None else "a" for each in (microscope, trained)]
        differing.append(f"{kinds[0]} pupil mask (model: {kinds[1]} mask)")
    if differing:
        warnings.warn(
            f"model {card.name} was trained for another microscope, so check its results or "
            f"train one for yours: {', '.join(differing)}",
            FluoFocusWarning,
            stacklevel=2,
        )
    _warn_of_lost_sides(spherical_rms_waves(microscope), spherical_rms_waves(trained), card.name)


def _warn_of_lost_sides(waves: float, trained_waves: float, model_name: str) -> None:
    """Warn where spherical aberration does not tell the sides of focus apart as it did."""
    if abs(trained_waves) < FAINT_ABERRATION_WAVES:
        return  # then the model tells them apart by something else, or not at all
    if abs(waves) < FAINT_ABERRATION_WAVES:
        consequence = "too little to tell the two sides of focus apart"
    elif waves * trained_waves < 0:
        consequence = "so the model refocuses in the wrong direction"
    else:
        return
    warnings.warn(
        f"spherical aberration (Noll 11, objective and layers) is {waves:+.2f} waves rms here and "
        f"{trained_waves:+.2f} in the training of model {model_name}: {consequence}; "
        "train a model for this microscope",
        FluoFocusWarning,
        stacklevel=3,
    )


def advice(model: str | Path, microscope: Microscope | None) -> str | None:
    """Say what a model would do better with, None where it has what it can use.

    Raises
    ------
    FluoFocusError
        If the model cannot be read.
    """
    card = read_card(model)
    if not card.training.optics_told or (microscope is not None and microscope.is_calibrated):
        return None
    given = "no microscope" if microscope is None else f"{microscope.name}, which is not calibrated"
    return (
        f"Model {card.name} was given {given}: it works with an average over the microscopes it "
        "was trained on. It does better with yours: 'fluofocus calibrate', then --microscope."
    )


def lacking_pixel_size_um(image: xr.DataArray, microscope: Microscope) -> float | None:
    """Return a microscope's pixel size in µm for its image, None if that states its own."""
    _, y_um, x_um = known_voxel_size_um(image)
    stated = math.isfinite(y_um) and math.isfinite(x_um)
    return None if stated else microscope.pixel_size_um
