"""A refocusing prepared: checked input, network, targets, and how the work is cut up."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import VoxelSize
from fluofocus.models.bundle import Model, load_model
from fluofocus.models.ensemble import TurnEnsemble
from fluofocus.prepare.normalise import Normalisation, normalisation_from_image
from fluofocus.refocus.grid import Grid, Resample, fit_grid
from fluofocus.refocus.memory import FLOAT_BYTES, Network, Plan, make_plan, measure_footprint
from fluofocus.refocus.request import (
    Targets,
    as_images,
    extrapolation_um,
    find_targets,
    square_pixel_size_um,
)
from fluofocus.refocus.surface import Surface
from fluofocus.units import AnyArray


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to refocus; `fluofocus.refocus.engine.refocus` says what each of them means."""

    z_um: Sequence[float] | None = None
    surface: Surface | str | None = None
    pixel_size_um: float | None = None
    plane: int | None = None
    allow_extrapolation: bool = False
    resample: Resample = "auto"
    ensemble: bool = False
    memory_gb: float = 4.0
    device: str = "auto"


@dataclass(frozen=True)
class Job:
    """All that is needed to compute any plane of any frame."""

    images: xr.DataArray
    pixel_size_um: float
    targets: Targets
    grid: Grid
    network: Network
    device: torch.device
    plan: Plan
    normalisations: list[Normalisation]
    provenance: dict[str, Any]

    @property
    def frames(self) -> list[tuple[int, ...]]:
        """Indices of the images over the input's T and C axes, as far as it has them."""
        return list(np.ndindex(self.images.shape[:-2]))

    @property
    def is_identified(self) -> bool:
        """Whether the provenance tells this model from all others: it was saved once."""
        return bool(self.provenance["model"]["sha256"])

    @property
    def dims(self) -> str:
        """Axis letters of the result."""
        leading = "".join(str(dim) for dim in self.images.dims[:-2])
        return leading + ("YX" if self.targets.z_um is None else "ZYX")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        planes = () if self.targets.z_um is None else (len(self.targets.z_um),)
        return (*self.images.shape[:-2], *planes, *self.grid.input_yx)

    @property
    def voxel_size_um(self) -> VoxelSize:
        """Size (z, y, x) of the result's voxels; z is nan for fewer than two planes."""
        z_um = self.targets.z_um or []
        step = (z_um[-1] - z_um[0]) / (len(z_um) - 1) if len(z_um) > 1 else math.nan
        return step, self.pixel_size_um, self.pixel_size_um

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, where the input has them."""
        if "C" not in self.images.coords:
            return None
        return [str(name) for name in np.ravel(self.images.coords["C"].values)]

    def index(self, frame: tuple[int, ...], plane: int) -> tuple[int, ...]:
        """Return where a plane lies over the leading axes of the result."""
        return frame if self.targets.z_um is None else (*frame, plane)

    def load(self, frame: tuple[int, ...], normalisation: Normalisation) -> Tensor:
        """Read one image and return it normalised on the network's padded grid."""
        counts = torch.from_numpy(_read_frame(self.images, frame).astype(np.float32))
        return self.grid.to_network(normalisation.apply(counts), "bicubic")

    def padded_dpm(self) -> Tensor:
        """Return the targets as ``(1, T)``, or ``(1, 1, H, W)`` on the padded grid, in µm."""
        dpm = torch.from_numpy(self.targets.dpm_um)
        return dpm[None] if dpm.ndim == 1 else self.grid.to_network(dpm, "bilinear")


def prepare_job(
    image: xr.DataArray | AnyArray, model: str | Path | Model, options: Options, *, in_memory: bool
) -> Job:
    """Check everything that can be checked before the first plane is computed.

    Every frame is read once to be normalised, so that a bad one is found now.

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
    images = as_images(image, pixel_size_um=options.pixel_size_um, plane=options.plane)
    pixel_size_um = options.pixel_size_um or square_pixel_size_um(images)
    input_yx = (images.sizes["Y"], images.sizes["X"])
    targets = find_targets(
        options.z_um, options.surface, shape_yx=input_yx, pixel_size_um=pixel_size_um
    )
    bundle = model if isinstance(model, Model) else load_model(model)
    # a copy, because the caller's network may be in training
    module = copy.deepcopy(bundle.network).cpu().float().eval()
    if options.ensemble:
        _require_no_orientation(bundle)
        module = TurnEnsemble(module).eval()
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = cast(Network, module)
    grid = fit_grid(
        input_yx,
        pixel_size_um=pixel_size_um,
        model_pixel_size_um=bundle.card.training.pixel_size_um,
        size_multiple=network.size_multiple,
        resample=options.resample,
    )
    provenance = _provenance(images, bundle, targets, options)
    if options.ensemble:
        provenance["ensemble"] = True
    if grid.is_resampled:
        provenance["resampled_to_um"] = bundle.card.training.pixel_size_um
    result_bytes = FLOAT_BYTES * math.prod(images.shape) * targets.count
    plan = make_plan(
        network,
        measure_footprint(network, dpm_is_image=targets.dpm_um.ndim == 2),
        grid,
        planes=targets.count,
        memory_gb=options.memory_gb,
        held_bytes=result_bytes if in_memory else 0,
        on_cpu=device.type == "cpu",
    )
    normalisations = _normalise_frames(images)
    provenance["normalisation"] = [dataclasses.asdict(each) for each in normalisations]
    module.to(device)
    return Job(
        images, pixel_size_um, targets, grid, network, device, plan, normalisations, provenance
    )


def _require_no_orientation(bundle: Model) -> None:
    if not bundle.card.training.flips_and_rotations:
        raise FluoFocusError(
            f"Model {bundle.card.name} was trained for aberrations with a direction, so turned "
            "images mean nothing to it: leave out --ensemble (ensemble=)."
        )


def choose_device(name: str) -> torch.device:
    """Return the device of this name; ``"auto"`` is a CUDA GPU where there is one.

    Raises
    ------
    FluoFocusError
        If there is no such device here.
    """
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise FluoFocusError(f"{name!r} is no device: choose auto, cpu or cuda.") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not has_cuda):
        raise FluoFocusError(f"There is no device {name!r} here: choose auto or cpu.")
    return device


def _read_frame(images: xr.DataArray, frame: tuple[int, ...]) -> AnyArray:
    return np.asarray(images.data[frame])


def _normalise_frames(images: xr.DataArray) -> list[Normalisation]:
    frames = list(np.ndindex(images.shape[:-2]))
    normalisations = []
    for frame in frames:
        try:
            normalisations.append(normalisation_from_image(_read_frame(images, frame)))
        except FluoFocusError as error:
            if len(frames) == 1:
                raise
            leading = zip(images.dims, frame, strict=False)
            where = ", ".join(f"{dim} {index}" for dim, index in leading)
            raise FluoFocusError(f"{error} (This is the frame at {where}.)") from error
    return normalisations


def _provenance(
    images: xr.DataArray, bundle: Model, targets: Targets, options: Options
) -> dict[str, Any]:
    trained = bundle.card.training
    record: dict[str, Any] = {
        "software": f"fluofocus {importlib.metadata.version('fluofocus')}",
        "model": {"name": bundle.card.name, "sha256": bundle.card.weights_sha256},
        "input": None if images.name is None else str(images.name),
        **targets.provenance,
    }
    if images.attrs.get("provenance"):
        record["input_provenance"] = images.attrs["provenance"]
    if options.plane is not None:
        record["plane"] = options.plane
    extrapolated_um = extrapolation_um(
        targets.dpm_um,
        trained.defocus_um,
        allow=options.allow_extrapolation,
        model_name=bundle.card.name,
    )
    if extrapolated_um is not None:
        record["extrapolated_um"] = extrapolated_um
        record["trained_um"] = list(trained.defocus_um)
    return record
