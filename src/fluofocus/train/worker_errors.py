"""Brings an error in a loader's worker to the training as it was raised."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator

from torch.utils.data import IterableDataset, get_worker_info

from fluofocus.train.module import Batch


class ErrorsLast(IterableDataset[Batch | Exception]):
    """A stream of batches; what stops it in a worker is its last item, to be raised by who gets it.

    A loader would put the whole traceback of the worker into the error's message; here it is a
    note of the error.
    """

    def __init__(self, batches: IterableDataset[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch | Exception]:
        """Yield the batches, and the error if there is one."""
        try:
            yield from self.batches
        except Exception as error:
            if get_worker_info() is None:
                raise
            error.add_note(traceback.format_exc())
            yield _sendable(error)


def _sendable(error: Exception) -> Exception:
    """Return the error, or what says the same where another process cannot make it again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
