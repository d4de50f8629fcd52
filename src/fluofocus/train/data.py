"""Training and validation batches for Lightning."""

from __future__ import annotations

import itertools
import math
import signal
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from fluofocus.data.prepared import PreparedPairs
from fluofocus.data.prepared_stacks import PreparedStackPairs
from fluofocus.data.simulated import SimulatedPairs, SimulationConfig
from fluofocus.data.simulated_stacks import SimulatedStackPairs, StackSimulationConfig
from fluofocus.data.stream import PairStream
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.draws import PhantomDraw
from fluofocus.train.config import TrainConfig
from fluofocus.train.module import Batch
from fluofocus.train.worker_errors import ErrorsLast

_VALIDATION_SEED = 1_000_003
_VALIDATION_MICROSCOPES = 8
_CALIBRATION_SEED = 2_000_003
_BATCHES_AHEAD = 8


class TrainingData(LightningDataModule):
    """Endless training pairs, and a fixed set of validation pairs from other seeds.

    Each of several processes trains on a stream of its own and validates on its share.
    """

    def __init__(self, config: TrainConfig, microscope: Microscope, *, workers: int) -> None:
        super().__init__()
        self.config = config
        self.microscope = microscope
        self.workers = workers
        self._validation: list[Batch] | None = None

    def train_dataloader(self) -> DataLoader[Batch | Exception]:
        """Go on at the batch where the training stands."""
        trainer = self.trainer
        pairs = self._pairs(
            held_out=False,
            seed=self.config.seed,
            start_batch=trainer.fit_loop.total_batch_idx + 1 if trainer is not None else 0,
            stream=trainer.global_rank if trainer is not None else 0,
            streams=trainer.world_size if trainer is not None else 1,
        )
        return DataLoader(
            ErrorsLast(pairs),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=_BATCHES_AHEAD if self.workers else None,
            worker_init_fn=_leave_interrupts_to_the_main_process,
        )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Raise what went wrong in a worker."""
        if isinstance(batch, Exception):
            raise batch
        return batch

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the same held-out pairs each time."""
        return DataLoader(self.validation_batches(), batch_size=None)  # type: ignore[arg-type]

    def validation_batches(self) -> list[Batch]:
        """Draw this process's share of the held-out pairs, once; all shares are equal."""
        if self._validation is None:
            pairs = self._pairs(held_out=True, seed=self.config.seed + _VALIDATION_SEED)
            processes = self.trainer.world_size if self.trainer is not None else 1
            rank = self.trainer.global_rank if self.trainer is not None else 0
            share = math.ceil(self.config.validation_batches / processes)
            self._validation = list(itertools.islice(pairs, rank, share * processes, processes))
        return self._validation

    def calibration_batches(self) -> list[Batch]:
        """Draw held-out pairs to calibrate expected errors on, as many as for validation.

        Simulated ones have one input plane, as most images do, and are of many microscopes, which
        the network is not told of, with wider draws of their optics than the training's: users'
        microscopes lie anywhere. If most of a mixture is one kind of specimen, all are of this
        kind, since others, darker or emptier, would make intervals too narrow for it, or too wide.
        """
        data = self.config.data
        if not isinstance(data, SimulationConfig):
            return self.validation_batches()
        wide = data.model_copy(
            update={
                "phantoms": _main_phantoms(data.phantoms),
                "optics": data.optics.widened(),
                "known_optics_share": 0.0,
                "wider_known_optics": False,
                "images_per_specimen": 1,
                "input_planes": 1,
            }
        )
        pairs = SimulatedPairs(
            self.microscope,
            wide,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed + _CALIBRATION_SEED,
        )
        return list(itertools.islice(pairs, self.config.validation_batches))

    def _pairs(self, *, held_out: bool, **position: int) -> PairStream:
        if self.config.stacks is not None:
            return self._stack_pairs(held_out=held_out, **position)
        batch_size = self.config.training.batch_size
        data = self.config.data
        if isinstance(data, SimulationConfig):
            if held_out:
                microscopes = min(_VALIDATION_MICROSCOPES, data.microscopes_in_memory)
                data = data.model_copy(update={"microscopes_in_memory": microscopes})
            return SimulatedPairs(self.microscope, data, batch_size=batch_size, **position)
        pixel_um = self.microscope.pixel_size_um
        pairs = PreparedPairs(data, pixel_um, held_out=held_out, batch_size=batch_size, **position)
        pairs.source(0)  # complains of a bad dataset here, not in a worker
        return pairs

    def _stack_pairs(self, *, held_out: bool, **position: int) -> PairStream:
        batch_size = self.config.training.batch_size
        data = self.config.stacks
        assert data is not None
        if isinstance(data, StackSimulationConfig):
            return SimulatedStackPairs(self.microscope, data, batch_size=batch_size, **position)
        pairs = PreparedStackPairs(
            data,
            self.microscope.pixel_size_um,
            held_out=held_out,
            batch_size=batch_size,
            **position,
        )
        pairs.source(0)
        return pairs


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a batch system sends SIGTERM to all processes
        signal.signal(number, signal.SIG_IGN)


def _main_phantoms(phantoms: tuple[PhantomDraw, ...]) -> tuple[PhantomDraw, ...]:
    """Return the draws of the kind that has more than half of the weight, or all."""
    half = sum(draw.weight for draw in phantoms) / 2
    for kind in {draw.phantom for draw in phantoms}:
        own = tuple(draw for draw in phantoms if draw.phantom == kind)
        if sum(draw.weight for draw in own) > half:
            return own
    return phantoms
