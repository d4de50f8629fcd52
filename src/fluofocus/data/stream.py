"""An endless stream of training batches, each a function of a seed and its number."""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

_SHARE_OF_SEVERAL = 0.35
"""Share of the batches with several input planes, where there may be several."""


class PairSource(Protocol):
    """Training pairs by number."""

    def pair(self, number: int, inputs: int) -> dict[str, Tensor]:
        """Return one field with its targets, as `PairStream` describes them."""


class PairStream(IterableDataset[dict[str, Tensor]], ABC):
    """Batches of inputs and targets without end.

    Each batch holds ``image`` ``(B, N, H, W)``, N input planes of each field, normalised
    by themselves as in inference; ``dpm_um`` ``(B, N, T)``, the distances of the targets
    from each of them; ``target`` ``(B, T, H, W)``, on the inputs' scale; and ``optics``
    ``(B, P)``, the blur parameters, all zero where they are to be unknown. Where targets are
    of another modality, ``refocused`` ``(B, T, H, W)`` is the inputs' at the same planes.
    Batch ``n`` is a function of the seed and ``n`` alone, so a training that was stopped goes
    on with the very pairs it would have seen.

    Parameters
    ----------
    seed
        Decides everything drawn.
    start_batch
        Number of the first batch.
    stream, streams
        Which of several disjoint streams this is, when several processes train.
    most_inputs
        About a third of the batches have several input planes per field, up to so many.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        seed: int,
        start_batch: int = 0,
        stream: int = 0,
        streams: int = 1,
        most_inputs: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.start_batch = start_batch
        self.stream = stream
        self.streams = streams
        self.most_inputs = most_inputs

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
            inputs = self._inputs(batch)
            pairs = [source.pair(first + index, inputs) for index in range(self.batch_size)]
            yield {key: torch.stack([pair[key] for pair in pairs]) for key in pairs[0]}

    def _inputs(self, batch: int) -> int:
        """Draw how many input planes the fields of a batch have."""
        drawn = random.Random(int(np.random.SeedSequence([self.seed, batch]).generate_state(1)[0]))
        several = self.most_inputs > 1 and drawn.random() < _SHARE_OF_SEVERAL
        return drawn.randint(2, self.most_inputs) if several else 1
