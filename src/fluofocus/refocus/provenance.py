"""What a refocused image records of how it was made."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np
import xarray as xr

from fluofocus.models.bundle import Model
from fluofocus.refocus.options import Options
from fluofocus.refocus.request import Targets, extrapolation_um


def provenance_of(
    images: xr.DataArray,
    bundle: Model,
    targets: Targets,
    input_z_um: list[float],
    options: Options,
) -> dict[str, Any]:
    """Return the record of a refocusing, and check that its targets may be computed.

    Parameters
    ----------
    images
        The input planes.
    input_z_um
        Their positions in µm above the first of them.

    Raises
    ------
    FluoFocusError
        If targets are outside the model's training range and that is not allowed.
    """
    trained = bundle.card.training
    record: dict[str, Any] = {
        "software": f"fluofocus {importlib.metadata.version('fluofocus')}",
        "model": {"name": bundle.card.name, "sha256": bundle.card.weights_sha256},
        "input": None if images.name is None else str(images.name),
        **targets.provenance,
    }
    if trained.target_modality != "widefield":
        record["output_modality"] = trained.target_modality
    if images.attrs.get("provenance"):
        record["input_provenance"] = images.attrs["provenance"]
    if options.plane is not None:
        record["plane"] = options.plane
    if len(input_z_um) > 1:
        record["input_z_um"] = input_z_um
    if options.uncertainty and bundle.card.error is not None:
        record["error_calibration"] = bundle.card.error.model_dump(mode="json")
    distances = np.subtract.outer(targets.dpm_um.ravel(), np.asarray(input_z_um, np.float32))
    extrapolated_um = extrapolation_um(
        distances,  # from every input: trainings have no target beyond the range of one
        trained.defocus_um,
        allow=options.allow_extrapolation,
        model_name=bundle.card.name,
        inputs=len(input_z_um),
    )
    if extrapolated_um is not None:
        record["extrapolated_um"] = extrapolated_um
        record["trained_um"] = list(trained.defocus_um)
    return record
