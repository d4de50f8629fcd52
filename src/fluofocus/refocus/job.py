"""A refocusing prepared: checked input, network, targets, and how the work is cut up."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fluofocus.data.grid import Grid, fit_grid, square_pixel_size_um
from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import VoxelSize, loaded
from fluofocus.models.bundle import Model, load_model
from fluofocus.models.device import choose_device
from fluofocus.models.footprint import FLOAT_BYTES
from fluofocus.models.network import RefocusingNetwork
from fluofocus.prepare.normalise import (
    Normalisation,
    common_normalisation,
    normalisation_from_image,
)
from fluofocus.refocus.memory import Plan, make_plan, measure_footprint
from fluofocus.refocus.microscope_check import warn_of_differences
from fluofocus.refocus.network import make_network, require_abilities, told_optics
from fluofocus.refocus.options import Options
from fluofocus.refocus.outputs import Outputs
from fluofocus.refocus.provenance import provenance_of
from fluofocus.refocus.request import (
    Targets,
    as_images,
    find_targets,
    input_positions_um,
)
from fluofocus.units import AnyArray


@dataclass(frozen=True)
class Job:
    """All that is needed to compute any plane of any frame."""

    images: xr.DataArray
    input_z_um: list[float]
    pixel_size_um: float
    targets: Targets
    optics: Tensor | None
    outputs: Outputs
    grid: Grid
    network: RefocusingNetwork
    device: torch.device
    plan: Plan
    normalisations: list[Normalisation]
    provenance: dict[str, Any]

    @property
    def frames(self) -> list[tuple[int, ...]]:
        """Indices of the fields over the input's T and C axes, as far as it has them."""
        return list(np.ndindex(self.images.shape[:-3]))

    @property
    def is_identified(self) -> bool:
        """Whether the provenance tells this model from all others: it was saved once."""
        return bool(self.provenance["model"]["sha256"])

    @property
    def dims(self) -> str:
        """Axis letters of the result."""
        leading = "".join(str(dim) for dim in self.images.dims[:-3])
        if len(self.outputs.labels) > 1 and "C" not in leading:
            leading += "C"
        return leading + ("YX" if self.targets.z_um is None else "ZYX")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        sizes = {**self.images.sizes, "C": self._channels * len(self.outputs.labels)}
        sizes["Z"] = len(self.targets.z_um or [0.0])
        return (*(sizes[dim] for dim in self.dims[:-2]), *self.grid.input_yx)

    @property
    def _channels(self) -> int:
        return self.images.sizes.get("C", 1)

    @property
    def voxel_size_um(self) -> VoxelSize:
        """Size (z, y, x) of the result's voxels; z is nan for fewer than two planes."""
        z_um = self.targets.z_um or []
        step = (z_um[-1] - z_um[0]) / (len(z_um) - 1) if len(z_um) > 1 else math.nan
        return step, self.pixel_size_um, self.pixel_size_um

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, where the input has them or more than the image is written."""
        names = None
        if "C" in self.images.coords:
            names = [str(name) for name in np.ravel(self.images.coords["C"].values)]
        return self.outputs.channel_names(names, self._channels)

    def indices(self, frame: tuple[int, ...], plane: int) -> list[tuple[int, ...]]:
        """Return where the outputs of a plane lie over the leading axes of the result."""
        leading = [frame]
        outputs = len(self.outputs.labels)
        if outputs > 1:
            rest, channel = (frame[:-1], frame[-1]) if "C" in self.images.dims else (frame, 0)
            leading = [(*rest, channel + self._channels * output) for output in range(outputs)]
        return leading if self.targets.z_um is None else [(*each, plane) for each in leading]

    def read(self, frame: tuple[int, ...]) -> AnyArray:
        """Return the input planes of one field as they were recorded, ``(N, Y, X)`` in counts."""
        return loaded(self.images.data[frame])

    def prepare(self, planes: AnyArray, normalisation: Normalisation) -> Tensor:
        """Return ``(N, Y, X)`` input planes normalised on the network's padded grid, batched."""
        counts = torch.from_numpy(planes.astype(np.float32))
        images = [self.grid.to_network(normalisation.apply(plane), "bicubic") for plane in counts]
        return torch.cat(images, dim=1)

    def padded_dpm(self) -> Tensor:
        """Return the targets' distances from each input plane in µm.

        ``(1, N, T)``, or ``(1, N, 1, H, W)`` on the padded grid.
        """
        dpm = torch.from_numpy(self.targets.dpm_um)
        if dpm.ndim == 2:
            dpm = self.grid.to_network(dpm, "bilinear")[0]
        inputs = torch.tensor(self.input_z_um).view(-1, *[1] * dpm.ndim)
        return (dpm - inputs)[None]


def prepare_job(
    image: xr.DataArray | AnyArray,
    model: str | Path | Model,
    options: Options,
    *,
    in_memory: bool,
    workers_device: torch.device | None = None,
) -> Job:
    """Check everything that can be checked before the first plane is computed.

    Every frame is read once to be normalised, so that a bad one is found now.

    Parameters
    ----------
    in_memory
        Whether the result will be held in memory, at the expense of the budget.
    workers_device
        The device of the workers of a cluster, if they shall do the work; the network
        then stays on the CPU here.

    Raises
    ------
    FluoFocusError
        If anything asked for is not possible; the message says what to do.
    """
    device = workers_device or choose_device(options.device)
    images = as_images(image, pixel_size_um=options.pixel_size_um, plane=options.plane)
    pixel_size_um = options.pixel_size_um or square_pixel_size_um(images)
    input_yx = (images.sizes["Y"], images.sizes["X"])
    targets = find_targets(
        options.z_um, options.surface, shape_yx=input_yx, pixel_size_um=pixel_size_um
    )
    bundle = model if isinstance(model, Model) else load_model(model)
    module = make_network(bundle, ensemble=options.ensemble)
    network = module
    grid = fit_grid(
        input_yx,
        pixel_size_um=pixel_size_um,
        model_pixel_size_um=bundle.card.training.pixel_size_um,
        size_multiple=network.size_multiple,
        resample=options.resample,
    )
    if options.microscope is not None:
        warn_of_differences(options.microscope, bundle.card)
    input_z_um = input_positions_um(images)
    require_abilities(bundle, options, len(input_z_um))
    outputs = Outputs(options.intermediate, bundle.card.error if options.uncertainty else None)
    optics = told_optics(bundle.card, options.microscope)
    provenance = provenance_of(images, bundle, targets, input_z_um, options)
    if bundle.card.training.optics_told:
        provenance["optics"] = "average" if optics is None else "as calibrated"
    if optics is not None:  # so that a run is not resumed with another calibration
        provenance["blur_parameters"] = [round(value, 4) for value in optics[0].tolist()]
    if options.ensemble:
        provenance["ensemble"] = True
    if grid.is_resampled:
        provenance["resampled_to_um"] = bundle.card.training.pixel_size_um
    images_out = math.prod(images.shape) // len(input_z_um) * len(outputs.labels)
    result_bytes = FLOAT_BYTES * images_out * targets.count
    plan = make_plan(
        network,
        measure_footprint(
            network,
            inputs=len(input_z_um),
            dpm_is_image=targets.dpm_um.ndim == 2,
            with_error=options.uncertainty,
        ),
        grid,
        planes=targets.count,
        images=math.prod(images.shape[:-3]),
        outputs=len(outputs.labels),
        memory_gb=options.memory_gb,
        held_bytes=result_bytes if in_memory else 0,
        on_cpu=device.type == "cpu",
    )
    normalisations = _normalise_frames(images)
    provenance["normalisation"] = [dataclasses.asdict(each) for each in normalisations]
    if workers_device is None:
        module.to(device)
    return Job(
        images,
        input_z_um,
        pixel_size_um,
        targets,
        optics,
        outputs,
        grid,
        network,
        device,
        plan,
        normalisations,
        provenance,
    )


def field_normalisation(planes: AnyArray) -> Normalisation:
    """Return the one normalisation of a field's ``(N, Y, X)`` input planes."""
    return common_normalisation([normalisation_from_image(plane) for plane in planes])


def _normalise_frames(images: xr.DataArray) -> list[Normalisation]:
    frames = list(np.ndindex(images.shape[:-3]))
    normalisations = []
    for frame in frames:
        try:
            normalisations.append(field_normalisation(loaded(images.data[frame])))
        except FluoFocusError as error:
            if len(frames) == 1:
                raise
            leading = zip(images.dims, frame, strict=False)
            where = ", ".join(f"{dim} {index}" for dim, index in leading)
            raise FluoFocusError(f"{error} (This is the frame at {where}.)") from error
    return normalisations
