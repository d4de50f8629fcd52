"""An endless stream of training batches, each a function of a seed and its number."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info


class PairSource(Protocol):
    """Training pairs by number."""

    def pair(self, number: int) -> dict[str, Tensor]:
        """Return one input with its targets: ``image``, ``dpm_um`` and ``target``."""


class PairStream(IterableDataset[dict[str, Tensor]], ABC):
    """Batches of inputs and targets without end.

    Each batch holds ``image`` ``(B, 1, H, W)``, normalised by itself as in inference;
    ``dpm_um`` ``(B, T)``; and ``target`` ``(B, T, H, W)``, on the input's scale. Batch ``n``
    is a function of the seed and ``n`` alone, so a training that was stopped goes on
    with the very pairs it would have seen.

    Parameters
    ----------
    seed
        Decides everything drawn.
    start_batch
        Number of the first batch.
    stream, streams
        Which of several disjoint streams this is, when several processes train.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        seed: int,
        start_batch: int = 0,
        stream: int = 0,
        streams: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.start_batch = start_batch
        self.stream = stream
        self.streams = streams

    @abstractmethod
    def source(self, seed: int) -> PairSource:
        """Open where the pairs come from; called once in each process that draws them."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Draw batches for ever, shared among the loader's workers."""
        worker = get_worker_info()
        workers, worker_id = (worker.num_workers, worker.id) if worker else (1, 0)
        if worker is not None:
            torch.set_num_threads(1)
        source = self.source(self.seed * self.streams + self.stream)
        for batch in itertools.count(self.start_batch + worker_id, workers):
            first = batch * self.batch_size
            pairs = [source.pair(first + index) for index in range(self.batch_size)]
            yield {key: torch.stack([pair[key] for pair in pairs]) for key in pairs[0]}
