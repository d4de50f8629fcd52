"""What the page says of the slices, the truth, the scores and the models."""

from __future__ import annotations

from fluofocus.models.bundle import StackModel
from fluofocus.prepare.normalise import BRIGHT_FRACTION, DARK_FRACTION
from fluofocus.reproduce.reproduction import Request
from fluofocus.reproduce.wfcon_net.bench import Bench
from fluofocus.reproduce.wfcon_net.slices import (
    BACKGROUND_PHOTONS,
    MICROSCOPE,
    PEAK_PHOTONS,
    REGIONS,
    SIDE_PX,
    STEP_UM,
    THICKNESS_UM,
)

SCORED = (
    "The truth is the confocal stack without noise, where the paper's was recorded with noise. "
    "Each stack is normalised by itself, as the networks' inputs and targets are: "
    f"{100 * DARK_FRACTION:g} % of its voxels below 0, {100 * BRIGHT_FRACTION:g} % above 1. What a "
    "network of stacks makes is in the units of its targets and is taken as it comes. 'Fitted' "
    "scores are those after the one gain and offset that bring a stack closest to the truth, "
    "which forgives even haze. RMSE and SSIM are means over planes; ± is half of the 95 % "
    "interval over fields, which differ in kind."
)


def patches_named(bench: Bench, *roles: str) -> str:
    """Return a sentence on how many planes the networks of some roles learnt from at a time."""
    models = {role: bench.model(role) for role in roles}
    planes = {
        role: model.card.training.planes
        for role, model in models.items()
        if isinstance(model, StackModel)
    }
    told = ", ".join(f"{role} {number}" for role, number in planes.items())
    return f"Planes of the patches that they learnt from: {told}." if told else ""


def described(request: Request) -> str:
    """Return a paragraph on what was simulated."""
    kinds = "; ".join(kind.described for kind in REGIONS[: request.fields])
    return (
        f"{request.fields} held-out slices of {THICKNESS_UM:g} µm, {SIDE_PX} x {SIDE_PX} pixels, "
        f"planes {STEP_UM:g} µm apart, through the preset {MICROSCOPE}: neurons and microglia in "
        f"scattering tissue. {kinds}; further fields repeat these kinds. The wide-field stack is "
        f"recorded with {PEAK_PHOTONS:g} photons in its brightest voxel over "
        f"{BACKGROUND_PHOTONS:g} of background."
    )
