"""Training and validation batches for Lightning."""

from __future__ import annotations

import itertools
import math
import signal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from fluofocus.data.dataset import SimulatedPairs
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig
from fluofocus.train.module import Batch

_VALIDATION_SEED = 1_000_003
_VALIDATION_MICROSCOPES = 8
_BATCHES_AHEAD = 8


class SimulatedData(LightningDataModule):
    """Endless training pairs, and a fixed set of validation pairs from other seeds.

    Each of several processes trains on a stream of its own and validates on its share.
    """

    def __init__(self, config: TrainConfig, microscope: Microscope, *, workers: int) -> None:
        super().__init__()
        self.config = config
        self.microscope = microscope
        self.workers = workers
        self._validation: list[Batch] | None = None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Go on at the batch where the training stands."""
        trainer = self.trainer
        pairs = SimulatedPairs(
            self.microscope,
            self.config.simulation,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            start_batch=trainer.fit_loop.total_batch_idx + 1 if trainer is not None else 0,
            stream=trainer.global_rank if trainer is not None else 0,
            streams=trainer.world_size if trainer is not None else 1,
        )
        return DataLoader(
            pairs,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=_BATCHES_AHEAD if self.workers else None,
            worker_init_fn=_leave_interrupts_to_the_main_process,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the same held-out pairs each time."""
        return DataLoader(self.validation_batches(), batch_size=None)  # type: ignore[arg-type]

    def validation_batches(self) -> list[Batch]:
        """Draw this process's share of the held-out pairs, once; all shares are equal."""
        if self._validation is None:
            simulation = self.config.simulation
            microscopes = min(_VALIDATION_MICROSCOPES, simulation.microscopes_in_memory)
            pairs = SimulatedPairs(
                self.microscope,
                simulation.model_copy(update={"microscopes_in_memory": microscopes}),
                batch_size=self.config.training.batch_size,
                seed=self.config.seed + _VALIDATION_SEED,
            )
            processes = self.trainer.world_size if self.trainer is not None else 1
            rank = self.trainer.global_rank if self.trainer is not None else 0
            share = math.ceil(self.config.validation_batches / processes)
            self._validation = list(itertools.islice(pairs, rank, share * processes, processes))
        return self._validation


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
