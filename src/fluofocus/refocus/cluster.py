"""Refocusing by the workers of a Dask cluster, into one OME-Zarr that all of them reach."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.heap import kept_heap
from fluofocus.io.shared import SharedWriter
from fluofocus.io.writers import StackWriter
from fluofocus.models.bundle import Model, load_model, shipped_models
from fluofocus.models.device import choose_device
from fluofocus.models.network import RefocusingNetwork
from fluofocus.prepare.normalise import Normalisation
from fluofocus.refocus.job import Job, field_normalisation
from fluofocus.refocus.network import make_network
from fluofocus.refocus.shares import regions, share_out
from fluofocus.refocus.work import FrameWork, Progress, compute, pending_work

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_TIMEOUT_S = 10.0
NO_WORKERS_TIMEOUT_S = 30.0
CHECK_INTERVAL_S = 2.0
"""How often it is checked, while no share is done, that there are workers."""

_KEPT = "what is done is kept, run the same again to go on"


@dataclass(frozen=True)
class Cluster:
    """Workers that are reached and run the same FluoFocus, and the model that they load."""

    client: Client
    model: str

    def device(self, name: str) -> torch.device:
        """Return the one device on which all workers compute, so that all planes come out alike.

        Raises
        ------
        FluoFocusError
            If a worker has no such device.
        """
        answers = self.client.run(choose_device, name, on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, FluoFocusError):
                raise _at(address, answer)
        found = {answer for answer in answers.values() if isinstance(answer, torch.device)}
        return found.pop() if len(found) == 1 else torch.device("cpu")

    def run(
        self, job: Job, writer: StackWriter, progress: Progress | None, *, ensemble: bool
    ) -> None:
        """Compute all that is not done yet, and record it share by share.

        On any way out, what no worker has begun is called off.

        Raises
        ------
        FluoFocusError
            If the cluster is lost, or a worker cannot read, compute or write.
        """
        pending, total = pending_work(job, writer)
        done = total - sum(work.planes for work in pending)
        shares = share_out(job, pending, len(self.client.nthreads()))
        # a task, not scattered data: it is made again if the workers that hold it die
        recipe = self.client.submit(
            _as_it_is, _Recipe(_portable(job), self.model, ensemble, writer.shared()), pure=False
        )
        futures = self.client.map(_compute_share, shares, recipe=recipe, pure=False)
        waited_for = {
            future.key: (future, share) for future, share in zip(futures, shares, strict=True)
        }
        del futures
        finished: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
        try:
            for future, _ in waited_for.values():
                future.add_done_callback(finished.put)
            while waited_for:
                future = self._next(finished)
                _raise_if_failed(future)
                _, share = waited_for.pop(future.key)
                for region in regions(job, share):
                    writer.note_region(*region)
                future.release()  # or it would be computed again if its worker died now
                done += share.planes
                if progress is not None:
                    progress(done, total)
        finally:
            with suppress(OSError, CancelledError):
                self.client.cancel([future for future, _ in waited_for.values()], force=True)

    def _next(self, finished: queue.SimpleQueue[Future[None]]) -> Future[None]:
        """Wait for a share, but not without workers."""
        last_seen_s = time.monotonic()
        while True:
            with suppress(queue.Empty):
                return finished.get(timeout=CHECK_INTERVAL_S)
            try:
                workers = self.client.nthreads()
            except (OSError, CancelledError) as error:
                raise _lost_scheduler() from error
            if workers:
                last_seen_s = time.monotonic()
            elif time.monotonic() - last_seen_s > NO_WORKERS_TIMEOUT_S:
                raise FluoFocusError(
                    f"The cluster has had no worker for {NO_WORKERS_TIMEOUT_S:g} s: start workers "
                    f"and look at the logs of the last ones ({_KEPT})."
                )


@contextmanager
def open_cluster(
    scheduler: str | Client, model: str | Path | Model, output: str | Path
) -> Iterator[Cluster]:
    """Connect to a cluster and check that it can do the work.

    Parameters
    ----------
    scheduler
        Address of a Dask scheduler, or a client of it, which is left open.
    model
        Name or file; a loaded model is refused.
    output
        What is to be written, an OME-Zarr.

    Raises
    ------
    FluoFocusError
        If something is missing; the message says what to do.
    """
    reference = _model_reference(model)
    if not str(output).lower().endswith(".ome.zarr"):
        raise FluoFocusError(
            f"Several workers cannot write into {output} at once: name the output .ome.zarr."
        )
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise FluoFocusError(
            "Working on a cluster needs dask.distributed, which is not installed: "
            "run  pip install 'fluofocus[cluster]'  and try again."
        ) from error
    if isinstance(scheduler, distributed.Client):
        _require_like_workers(scheduler)
        yield Cluster(scheduler, reference)
        return
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise FluoFocusError(
            f"No Dask scheduler answers at {scheduler} within {CONNECT_TIMEOUT_S:g} s: start one "
            "with 'dask scheduler' and give the address that it prints, like tcp://host:8786."
        ) from error
    # a lost scheduler is told in one sentence, not in tracebacks too
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with client:
        _require_like_workers(client)
        yield Cluster(client, reference)


def _model_reference(model: str | Path | Model) -> str:
    """Return a name or a whole path that means the same to every worker."""
    if isinstance(model, Model):
        raise FluoFocusError(
            "On a cluster each worker loads the model for itself: give its name or file, "
            "not a loaded model."
        )
    return str(model) if model in shipped_models() else str(Path(model).resolve())


def _require_like_workers(client: Client) -> None:
    try:
        client.wait_for_workers(1, timeout=NO_WORKERS_TIMEOUT_S)
    except TimeoutError as error:
        raise FluoFocusError(
            f"The Dask scheduler has no workers after {NO_WORKERS_TIMEOUT_S:g} s: start some with "
            "'dask worker ADDRESS', each on a machine that reaches image, model and output."
        ) from error
    own = version("fluofocus")
    answers = client.run(version, "fluofocus", on_error="return")
    for address, answer in answers.items():
        found = "no version" if isinstance(answer, PackageNotFoundError) else answer
        if found != own and not isinstance(answer, OSError):  # that one has just died
            raise FluoFocusError(
                f"Worker {address} has {found} of FluoFocus but this process has {own}: "
                "install the same on all machines, the scheduler's too."
            )


def _raise_if_failed(future: Future[None]) -> None:
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        return
    error = future.exception() if future.status == "error" else None
    if error is None:
        raise _lost_scheduler()
    if isinstance(error, KilledWorker):
        raise FluoFocusError(
            "Several workers died of the same planes: see their logs; if they lack memory, start "
            f"them with more, or lower the budget (--memory, memory_gb=) ({_KEPT})."
        ) from error
    raise error


def _lost_scheduler() -> FluoFocusError:
    return FluoFocusError(f"The Dask scheduler is lost: start it and its workers ({_KEPT}).")


# What follows runs at the workers.

_one_at_a_time = threading.Lock()
"""The tasks of one worker take turns: each uses all of its threads, and the memory budget."""


@dataclass(frozen=True, eq=False)
class _Recipe:
    """What all shares of a run have in common."""

    job: Job
    model: str
    ensemble: bool
    writer: SharedWriter


def _as_it_is(recipe: _Recipe) -> _Recipe:
    return recipe


def _portable(job: Job) -> Job:
    """Return a job without its network, which each worker loads for itself."""
    return replace(job, network=cast(RefocusingNetwork, None))


def _compute_share(share: FrameWork, recipe: _Recipe) -> None:
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
            raise _at(worker.address, error) from error


@lru_cache(maxsize=1)
def _ready(recipe: _Recipe) -> tuple[Job, Tensor]:
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
def _frame(recipe: _Recipe, frame: tuple[int, ...], normalisation: Normalisation) -> Tensor:
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


def _at(address: str, error: FluoFocusError) -> FluoFocusError:
    return FluoFocusError(f"{error} (So says worker {address}.)")
