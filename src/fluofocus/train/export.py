"""From a finished training to a model file with its card."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from fluofocus.data.prepared import PreparedConfig
from fluofocus.data.prepared_stacks import StackPreparedConfig
from fluofocus.data.simulated import SimulationConfig
from fluofocus.data.simulated_stacks import StackSimulationConfig
from fluofocus.data.stack_pairs import StackPatches
from fluofocus.models.bundle import Model, StackModel, save_model
from fluofocus.models.cards import (
    Card,
    ErrorCalibration,
    ModelCard,
    OutputModality,
    StackCard,
    TrainedStacks,
    TrainingRange,
)
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.stack_network import StackNetwork
from fluofocus.optics.microscope import Microscope
from fluofocus.prepare.dataset import read_manifest
from fluofocus.simulate.draws import OpticsDraws, PhantomDraw
from fluofocus.train.config import TrainConfig, WfconTrainingConfig


def _named(microscope: Microscope) -> Microscope:
    """Name the pupil mask without the folder it lay in; the card says which one it was."""
    mask = microscope.pupil_mask
    return microscope.model_copy(update={"pupil_mask": mask and Path(mask.name)})


def write_model(
    config: TrainConfig,
    microscope: Microscope,
    network: RefocusingNetwork,
    path: Path,
    *,
    error: ErrorCalibration | None,
    **made: Any,
) -> Card:
    """Write a trained network as a model file; return its card.

    Parameters
    ----------
    made
        ``steps``, ``scores`` and ``device`` of the training.
    """
    reach = config.data.defocus_um
    simulation = config.simulation
    training = TrainingRange(
        defocus_um=(-reach, reach),
        peak_photons=simulation.peak_photons if simulation else None,
        pixel_size_um=microscope.pixel_size_um,
        phantoms=_phantoms(simulation.phantoms) if simulation else (),
        flips_and_rotations=config.data.flips_and_rotations,
        input_planes=config.data.input_planes if network.fuses_planes else 1,
        optics_told=network.takes_optics
        and simulation is not None
        and simulation.known_optics_share > 0,
        target_modality=_target_modality(config.data),
    )
    about = _about(config, microscope, network.config, **made)
    return save_model(Model(ModelCard(training=training, error=error, **about), network), path)


def write_stack_model(
    config: TrainConfig,
    microscope: Microscope,
    network: StackNetwork,
    path: Path,
    **made: Any,
) -> Card:
    """Write a trained network of stacks as a model file; return its card (see `write_model`)."""
    stacks, simulation, scheme = config.stacks, config.simulated_stacks, config.training
    assert stacks is not None
    assert isinstance(scheme, WfconTrainingConfig)
    training = TrainedStacks(
        z_step_um=stacks.z_step_um,
        planes=stacks.planes,
        crop_px=stacks.crop_px,
        plane_subsampling=stacks.plane_subsampling,
        peak_photons=simulation.peak_photons if simulation else None,
        pixel_size_um=microscope.pixel_size_um,
        phantoms=_phantoms(simulation.phantoms) if simulation else (),
        flips_and_rotations=stacks.flips_and_rotations,
        target_modality=simulation.target_modality if simulation else "other",
        perceptual_encoder=scheme.perceptual_encoder if scheme.perceptual_weight > 0 else "",
    )
    about = _about(config, microscope, network.config, **made)
    return save_model(StackModel(StackCard(training=training, **about), network), path)


def _about(
    config: TrainConfig,
    microscope: Microscope,
    sizes: BaseModel,
    *,
    steps: int,
    scores: dict[str, float],
    device: torch.device,
) -> dict[str, Any]:
    """Return what a card says of a model of any kind."""
    return {
        "name": config.name,
        "title": config.title or f"{config.architecture} for {microscope.name}",
        "architecture": config.architecture,
        "architecture_config": sizes.model_dump(mode="json"),
        "microscope": _named(microscope),
        "description": config.description,
        "data": describe_data(config),
        "seeds": (config.seed,),
        "steps": steps,
        "hardware": describe_hardware(device),
        "created": datetime.now(UTC),
        "fluofocus_version": version("fluofocus"),
        "scores": {name: value for name, value in scores.items() if math.isfinite(value)},
        "limits": config.limits,
    }


def _phantoms(draws: Sequence[PhantomDraw]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(draw.phantom for draw in draws))


def _target_modality(data: SimulationConfig | PreparedConfig) -> OutputModality:
    if isinstance(data, SimulationConfig):
        return data.target_modality
    return "other" if read_manifest(data.dataset).has_targets else "widefield"


def describe_data(config: TrainConfig) -> str:
    """Say in a few sentences what a training's images are, from its configuration."""
    data = config.stacks or config.data
    if isinstance(data, SimulationConfig | StackSimulationConfig):
        text = _describe_simulation(data)
    else:
        text = _describe_dataset(data)
    if config.stacks is not None:
        text += _describe_patches(config.stacks)
    if config.start_from is not None:
        text += f" Started from {config.start_from}"
        share = config.start_share
        text += f", {share:.0%} of whose weights are mixed in." if share > 0 else "."
    return text


def _describe_patches(stacks: StackPatches) -> str:
    text = f" Patches of {stacks.planes} planes, {stacks.z_step_um:g} µm apart."
    if set(stacks.plane_subsampling) == {1}:
        return text
    listed = ", ".join(str(every) for every in sorted(set(stacks.plane_subsampling)))
    return f"{text} Of the input every {listed}-th plane was left, the others interpolated."


def _describe_dataset(data: PreparedConfig | StackPreparedConfig) -> str:
    manifest = read_manifest(data.dataset)
    used = [field for field in manifest.fields if field.regions]
    names = ", ".join(Path(field.input.source).name for field in used[:5] if field.input)
    more = f" and {len(used) - 5} more" if len(used) > 5 else ""
    trained, kept = (len(manifest.regions(split)) for split in ("training", "validation"))
    text = (
        f"Focus scans prepared by {manifest.software}: {names}{more}; {trained} regions of "
        f"{manifest.config.region_px} pixels to train on and {kept} for validation, fields of "
        f"{data.crop_px} pixels from them."
    )
    return f"{text} Targets of another modality." if manifest.has_targets else text


def _describe_simulation(simulation: SimulationConfig | StackSimulationConfig) -> str:
    whole = sum(draw.weight for draw in simulation.phantoms)
    shares: dict[str, float] = {}
    for draw in simulation.phantoms:
        shares[draw.phantom] = shares.get(draw.phantom, 0.0) + draw.weight / whole
    mixture = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
    low, high = simulation.peak_photons
    dim, bright = simulation.background_photons
    modality = simulation.target_modality
    targets = "" if modality == "widefield" else f" Targets are {modality} images."
    optics = _describe_optics(simulation.optics)
    if isinstance(simulation, SimulationConfig) and simulation.wider_known_optics:
        optics += " Optics that were told: with three times these aberrations."
    return (
        f"Simulated while training, no measured images: {mixture}; fields of "
        f"{simulation.crop_px} pixels; {low:g} to {high:g} photons at the peak over a "
        f"background of {dim:g} to {bright:g}.{targets} {optics}"
    )


def _describe_optics(optics: OpticsDraws) -> str:
    default = OpticsDraws()
    changed = {
        name: getattr(optics, name)
        for name in OpticsDraws.model_fields
        if getattr(optics, name) != getattr(default, name)
    }
    if not changed:
        return "Optics as in the microscope's description."
    listed = ", ".join(
        f"{name} {value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else f"{name} {value:g}"
        for name, value in changed.items()
    )
    return f"Optics drawn around the microscope's description: {listed}."


def describe_hardware(device: torch.device) -> str:
    """Say what a training ran on."""
    import psutil

    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    memory_gib = psutil.virtual_memory().total / 2**30
    chip = platform.processor() or platform.machine()
    text = f"{cores} CPU cores ({chip}), {memory_gib:.0f} GiB memory, {platform.system()}"
    if device.type == "cuda":
        text = f"{torch.cuda.get_device_name(device)}; {text}"
    return f"{text}, PyTorch {torch.__version__}"
