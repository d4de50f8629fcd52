"""What runs at the workers of a Dask cluster."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.heap import kept_heap
from fluofocus.io.shared import SharedWriter
from fluofocus.models.bundle import load_model
from fluofocus.models.network import RefocusingNetwork
from fluofocus.prepare.normalise import Normalisation
from fluofocus.refocus.job import Job, field_normalisation
from fluofocus.refocus.network import make_network
from fluofocus.refocus.work import FrameWork, compute

_one_at_a_time = threading.Lock()
"""The tasks of one worker take turns: each uses all of its threads, and the memory budget."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """What all shares of a run have in common."""

    job: Job
    model: str
    ensemble: bool
    writer: SharedWriter


def as_it_is(recipe: Recipe) -> Recipe:
    """Return a recipe, as a task whose result the workers share."""
    return recipe


def portable(job: Job) -> Job:
    """Return a job without its network, which each worker loads for itself."""
    return replace(job, network=cast(RefocusingNetwork, None))


def compute_share(share: FrameWork, recipe: Recipe) -> None:
    """Compute and write a share."""
    from distributed import get_worker

    worker = get_worker()
    with _one_at_a_time, kept_heap():
        torch.set_num_threads(worker.state.nthreads)  # counts in the thread that sets it
        try:
            job, dpm_um = _ready(recipe)
            image = _frame(recipe, share.frame, share.normalisation)
            for _ in compute(job, dpm_um, image, share, recipe.writer):
                pass
        except FluoFocusError as error:
            raise said_by(worker.address, error) from error


@lru_cache(maxsize=1)
def _ready(recipe: Recipe) -> tuple[Job, Tensor]:
    """Return the job with its network on the worker's device, and the targets in µm."""
    bundle = load_model(recipe.model)
    if bundle.card.weights_sha256 != recipe.job.provenance["model"]["sha256"]:
        raise FluoFocusError(
            f"The model {recipe.model} is not the same file here: copy it to all machines."
        )
    network = make_network(bundle, ensemble=recipe.ensemble).to(recipe.job.device)
    job = replace(recipe.job, network=network)
    return job, job.padded_dpm()


@lru_cache(maxsize=1)
def _frame(recipe: Recipe, frame: tuple[int, ...], normalisation: Normalisation) -> Tensor:
    """Return a frame as the network takes it, and make sure that it is the right one."""
    try:
        planes = recipe.job.read(frame)
        found = field_normalisation(planes)
    except (OSError, FluoFocusError) as error:
        raise _other_image() from error
    # a Zarr that is not there reads as zeros; other processors may round otherwise
    if not (
        math.isclose(found.background, normalisation.background, rel_tol=1e-6)
        and math.isclose(found.scale, normalisation.scale, rel_tol=1e-6)
    ):
        raise _other_image()
    return recipe.job.prepare(planes, normalisation)


def _other_image() -> FluoFocusError:
    return FluoFocusError(
        "The image cannot be read, or is another one here: keep it, unchanged, in a folder that "
        "all machines reach by the same name."
    )


def said_by(address: str, error: FluoFocusError) -> FluoFocusError:
    """Return a worker's error with its address."""
    return FluoFocusError(f"{error} (So says worker {address}.)")
