"""A restoration prepared: checked stack, network, planes, and how the work is cut up."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
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
from fluofocus.models.bundle import StackModel, load_stack_model
from fluofocus.models.device import choose_device
from fluofocus.models.footprint import FLOAT_BYTES
from fluofocus.models.stack_network import StackNetwork
from fluofocus.prepare.normalise import Normalisation
from fluofocus.restore.options import Options
from fluofocus.restore.plan import Plan, make_plan
from fluofocus.restore.request import Planes, as_stack, find_planes
from fluofocus.restore.survey import Survey, survey, warn_of_sectioning
from fluofocus.units import AnyArray


@dataclass(frozen=True)
class Job:
    """All that is needed to restore any block of planes of any stack."""

    stack: xr.DataArray
    pixel_size_um: float
    planes: Planes
    grid: Grid
    network: StackNetwork
    device: torch.device
    plan: Plan
    normalisations: list[Normalisation]
    provenance: dict[str, Any]

    @property
    def frames(self) -> list[tuple[int, ...]]:
        """Indices of the stacks over the input's T and C axes, as far as it has them."""
        return list(np.ndindex(self.stack.shape[:-3]))

    @property
    def is_identified(self) -> bool:
        """Whether the provenance tells this model from all others: it was saved once."""
        return bool(self.provenance["model"]["sha256"])

    @property
    def dims(self) -> str:
        """Axis letters of the result."""
        return "".join(str(dim) for dim in self.stack.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return (*self.stack.shape[:-3], self.planes.count, *self.grid.input_yx)

    @property
    def voxel_size_um(self) -> VoxelSize:
        """Size (z, y, x) of the result's voxels; z is nan for a single plane."""
        z_um = self.planes.z_um or []
        step = (z_um[-1] - z_um[0]) / (len(z_um) - 1) if len(z_um) > 1 else math.nan
        return step, self.pixel_size_um, self.pixel_size_um

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, where the input has them."""
        if "C" not in self.stack.coords:
            return None
        return [str(name) for name in np.ravel(self.stack.coords["C"].values)]

    def read(self, frame: tuple[int, ...], block: slice) -> AnyArray:
        """Return the recorded planes that a block of the network's planes is made of."""
        return loaded(self.stack.data[(*frame, self.planes.network.needed(block))])

    def prepare(self, recorded: AnyArray, block: slice, normalisation: Normalisation) -> Tensor:
        """Return a block of the network's planes ``(Z, Y, X)``, normalised on its padded grid."""
        seen = torch.empty(block.stop - block.start, *self.grid.padded_yx)
        for plane, counts in zip(seen, self.planes.network.each(recorded, block), strict=True):
            normalised = normalisation.apply(torch.from_numpy(counts))
            plane.copy_(self.grid.to_network(normalised, "bicubic")[0, 0])
        return seen


def prepare_job(
    stack: xr.DataArray | AnyArray,
    model: str | Path | StackModel,
    options: Options,
    *,
    in_memory: bool,
) -> Job:
    """Check everything that can be checked before the first tile is computed.

    Every plane is read once, so that a bad one is found now.

    Parameters
    ----------
    in_memory
        Whether the result will be held in memory, at the expense of the budget.

    Raises
    ------
    FluoFocusError
        If anything asked for is not possible; the message says what to do.
    """
    device = choose_device(options.device)
    bundle = model if isinstance(model, StackModel) else load_stack_model(model)
    # a copy, because the caller's network may be in training
    network = copy.deepcopy(bundle.network).cpu().float().eval()
    bundle = dataclasses.replace(bundle, network=network)
    images = as_stack(stack, pixel_size_um=options.pixel_size_um)
    planes = find_planes(images, bundle, options.resample)
    pixel_size_um = options.pixel_size_um or square_pixel_size_um(images)
    multiple = max(network.size_multiple.y, network.size_multiple.x)
    grid = fit_grid(
        (images.sizes["Y"], images.sizes["X"]),
        pixel_size_um=pixel_size_um,
        model_pixel_size_um=bundle.card.training.pixel_size_um,
        size_multiple=multiple,
        resample=options.resample,
    )
    if network.depends_on_tile:  # which needs several voxels, even where it has shrunk most
        rows, columns = (max(length, 2 * multiple) for length in grid.padded_yx)
        grid = dataclasses.replace(grid, padded_yx=(rows, columns))
    result_bytes = FLOAT_BYTES * math.prod(images.shape[:-3]) * planes.count
    plan = make_plan(
        bundle,
        grid,
        planes.network,
        recorded_bytes=images.dtype.itemsize,
        frames=math.prod(images.shape[:-3]),
        memory_gb=options.memory_gb,
        held_bytes=result_bytes * math.prod(grid.input_yx) if in_memory else 0,
    )
    surveys = _surveys(images)
    recorded_um = images.coords["Z"].values.ravel().tolist() if "Z" in images.coords else None
    warn_of_sectioning(surveys[0].centre, recorded_um, pixel_size_um, bundle.card)
    normalisations = [each.normalisation for each in surveys]
    return Job(
        images,
        pixel_size_um,
        planes,
        grid,
        network.to(device, memory_format=torch.channels_last_3d),  # type: ignore[call-overload]
        device,
        plan,
        normalisations,
        _provenance(images, bundle, planes, grid, plan, normalisations),
    )


def _surveys(images: xr.DataArray) -> list[Survey]:
    frames = list(np.ndindex(images.shape[:-3]))
    surveys = []
    for frame in frames:
        try:
            surveys.append(survey(images, frame))
        except FluoFocusError as error:
            if len(frames) == 1:
                raise
            leading = zip(images.dims, frame, strict=False)
            where = ", ".join(f"{dim} {index}" for dim, index in leading)
            raise FluoFocusError(f"{error} (This is the stack at {where}.)") from error
    return surveys


def _provenance(
    images: xr.DataArray,
    bundle: StackModel,
    planes: Planes,
    grid: Grid,
    plan: Plan,
    normalisations: list[Normalisation],
) -> dict[str, Any]:
    card = bundle.card
    record: dict[str, Any] = {
        "software": f"fluofocus {importlib.metadata.version('fluofocus')}",
        "model": {"name": card.name, "sha256": card.weights_sha256},
        "input": None if images.name is None else str(images.name),
        "output_modality": card.training.target_modality,
        "normalisation": [dataclasses.asdict(each) for each in normalisations],
        "tile_zyx": list(plan.tile),
    }
    if images.attrs.get("provenance"):
        record["input_provenance"] = images.attrs["provenance"]
    if planes.interpolated:
        record["interpolated_from_z_um"] = images.coords["Z"].values.tolist()
    if grid.is_resampled:
        record["resampled_to_um"] = card.training.pixel_size_um
    return record
