"""Refocusing by the workers of a Dask cluster, into one OME-Zarr that all of them reach."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fluofocus.errors import FluoFocusError
from fluofocus.io.writers import StackWriter
from fluofocus.models.bundle import Model, shipped_models
from fluofocus.models.device import choose_device
from fluofocus.refocus.cluster_worker import Recipe, as_it_is, compute_share, portable, said_by
from fluofocus.refocus.job import Job
from fluofocus.refocus.shares import regions, share_out
from fluofocus.refocus.work import Progress, pending_work

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
                raise said_by(address, answer)
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
            as_it_is, Recipe(portable(job), self.model, ensemble, writer.shared()), pure=False
        )
        futures = self.client.map(compute_share, shares, recipe=recipe, pure=False)
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
