"""How to train a model for a microscope about which nothing but its description is known."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from fluofocus.errors import FluoFocusWarning
from fluofocus.optics.microscope import Microscope, load_microscope
from fluofocus.optics.pupil import FAINT_ABERRATION_WAVES, spherical_rms_waves
from fluofocus.optics.zernike import noll_to_radial_azimuthal
from fluofocus.units import nm_to_um

_DEPTHS_OF_FIELD = 10
_REFERENCE_PIXEL_UM = 0.325


def default_train_config(microscope: str | Path, name: str | None = None) -> dict[str, Any]:
    """Return the content of a training configuration for a microscope.

    Ten depths of field (n wavelength / NA^2) above and below, all phantoms, and optics
    drawn over what differs between samples and days. The first weights are those of the shipped
    model for spherical aberration of the same sign; behind a pupil mask, random ones.

    Parameters
    ----------
    microscope
        File with the description of the microscope.
    name
        Of the model; by default that of the file.

    Raises
    ------
    FluoFocusError
        If the file describes no microscope.
    """
    path = Path(microscope)
    described = load_microscope(path)
    reach_um = _reach_um(described)
    spherical = spherical_rms_waves(described)
    is_directional = _is_directional(described)
    if abs(spherical) < FAINT_ABERRATION_WAVES and not is_directional:
        warnings.warn(
            f"{described.name} has next to no aberration ({spherical:+.3f} waves rms spherical): "
            "the two sides of focus look alike, so a model can hardly tell them apart; calibrate "
            "with a bead stack if the real objective is not that good",
            FluoFocusWarning,
            stacklevel=2,
        )
    return {
        "name": name or re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]+", "-", path.stem).strip("-"),
        "title": f"General model for {described.name}",
        "architecture": "swift",
        "architecture_config": {"distance_range_um": reach_um},
        "limits": _limits(spherical),
        "microscope": path.name,
        "start_from": _start_from(described, spherical),
        "simulation": {
            "phantoms": _phantoms(described, reach_um),
            "optics": _optics(described, reach_um, spherical),
            "flips_and_rotations": not is_directional,
            "defocus_um": reach_um,
            "depth_um": reach_um,
            "z_step_um": [round(0.04 * reach_um, 3), round(0.06 * reach_um, 3)],
        },
        "training": {"scheme": "regression"},
    }


def _reach_um(microscope: Microscope) -> float:
    wavelength_um = nm_to_um(microscope.emission_wavelength_nm)
    depth_of_field_um = (
        microscope.immersion_index * wavelength_um / microscope.numerical_aperture**2
    )
    return float(min(20, max(1, round(_DEPTHS_OF_FIELD * depth_of_field_um))))


def _is_directional(microscope: Microscope) -> bool:
    """Whether a mask, astigmatism, coma and the like give images a direction, to be kept."""
    return microscope.pupil_mask is not None or any(
        abs(waves) > FAINT_ABERRATION_WAVES and noll_to_radial_azimuthal(noll)[1] != 0 and noll > 4
        for noll, waves in microscope.zernike_rms_waves.items()
    )


def _start_from(microscope: Microscope, spherical: float) -> str | None:
    """Name the shipped model that refocuses most alike, distances taken in depths of field."""
    if microscope.pupil_mask is not None:
        return None
    return "oil63x-microtubules" if spherical <= -FAINT_ABERRATION_WAVES else "air20x-nuclei"


def _limits(spherical: float) -> list[str]:
    limits = ["Trained on simulated specimens only."]
    if abs(spherical) >= FAINT_ABERRATION_WAVES:
        sign = "positive" if spherical > 0 else "negative"
        limits.append(
            f"For {sign} spherical aberration ({spherical:+.2f} waves rms described): with the "
            "opposite sign it refocuses in the wrong direction."
        )
    return limits


def _phantoms(microscope: Microscope, reach_um: float) -> list[dict[str, Any]]:
    """Mix all phantoms, about as many objects in a field whatever the pixel size."""
    finer = _REFERENCE_PIXEL_UM / microscope.pixel_size_um
    per_area = min(max(finer**2, 0.1), 10.0)
    crowded = min(per_area, 3.0)
    thickness_um = [0.4 * reach_um, 2 * reach_um]
    beads = {
        "count_per_1000_um2": [0.7 * per_area, 8 * per_area],
        "diameter_um": [0.1, 0.6],
        "brightness_spread": [0.1, 0.6],
    }
    depths_um = [-0.95 * reach_um, 0.95 * reach_um]
    return [
        _phantom("beads", 2, beads | {"surface": "volume"}),
        _phantom("beads", 1, beads | {"surface": "plane", "plane_depth_um": depths_um}),
        _phantom(
            "nuclei",
            4,
            {
                "count_per_1000_um2": [4 * crowded, 50 * crowded],
                "diameter_um": [2.0, 4.5],
                "thickness_um": thickness_um,
                "brightness_spread": [0.2, 0.7],
                "clustering": [0.0, 0.8],
                "texture": [0.05, 0.5],
            },
        ),
        _phantom(
            "filaments",
            1,
            {
                "length_per_1000_um2_um": [60 * crowded, 1500 * crowded],
                "thickness_um": thickness_um,
                "persistence_um": [8, 60],
                "flatness": [0.05, 0.6],
            },
        ),
        _phantom(
            "cells",
            1,
            {
                "mitochondria_per_1000_um2": [5 * crowded, 80 * crowded],
                "actin_length_per_1000_um2_um": [100 * crowded, 1500 * crowded],
                "height_um": [0.2 * reach_um, 1.2 * reach_um],
            },
        ),
    ]


def _phantom(name: str, weight: float, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"phantom": name, "weight": weight, "parameters": parameters}


def _optics(microscope: Microscope, reach_um: float, spherical: float) -> dict[str, Any]:
    uncertain = min(0.05, max(0.01, 0.5 * abs(spherical)))  # never so much that the sign turns
    largest = min(1.02, 0.99 * microscope.immersion_index / microscope.numerical_aperture)
    has_coverslip = microscope.coverslip_thickness_um > 0
    return {
        "spherical_rms_waves": [-uncertain, uncertain],
        "other_zernike_rms_waves": 0.02,
        **({"coverslip_error_um": [-10, 10]} if has_coverslip else {}),
        "emitter_depth_um": [0, max(1.5 * reach_um, 2 * microscope.emitter_depth_um)],
        "amplitude_falloff": [0.0, max(0.4, microscope.amplitude_falloff)],
        "relative_numerical_aperture": [min(0.97, largest), largest],
        "relative_wavelength": [0.95, 1.05],
        "scalar_share": 0.1,
    }
