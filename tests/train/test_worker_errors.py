"""An error in a loader's worker reaches the user as the sentence that it is."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig
from fluofocus.train.run import run_training
from fluofocus.train.worker_errors import ErrorsLast


class _TwoPartError(Exception):
    """Cannot be unpickled: that gives it one part only."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


class _Failing(IterableDataset[dict[str, torch.Tensor]]):
    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        yield {"image": torch.zeros(1)}
        raise self.error()


def _sentence() -> Exception:
    return FluoFocusError("All is dark: light it.")


def _missing() -> Exception:
    return FileNotFoundError(2, "No such file", "scan.tif")


def _two_parts() -> Exception:
    return _TwoPartError("one", "other")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_sentence, _sentence()),
        (_missing, _missing()),
        (_two_parts, RuntimeError("_TwoPartError: one and other")),
    ],
)
def test_what_stops_a_worker_comes_last_as_it_was(
    error: Callable[[], Exception], expected: Exception
) -> None:
    loader = DataLoader(ErrorsLast(_Failing(error)), batch_size=None, num_workers=1)
    batch, last = loader
    assert isinstance(batch, dict)
    assert type(last) is type(expected)
    assert str(last) == str(expected)
    if not isinstance(last, RuntimeError):
        assert "raise self.error()" in last.__notes__[0]  # where, for --debug


def test_without_workers_it_is_raised_at_once() -> None:
    with pytest.raises(FluoFocusError, match=r"^All is dark: light it\.$"):
        list(ErrorsLast(_Failing(_sentence)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_says_what_stopped_its_worker(
    workers: int, tiny: Callable[..., TrainConfig], microscope: Microscope
) -> None:
    dark: dict[str, Any] = {"peak_photons": [1e-9, 1e-9], "background_photons": [1e-9, 1e-9]}
    noiseless = microscope.camera.model_copy(update={"read_noise_electrons": 0.0})
    config = tiny()
    assert config.simulation is not None
    simulation = config.simulation.model_dump() | dark
    with pytest.raises(FluoFocusError, match=r"^The simulated images are all empty: [^\n]*$"):
        run_training(
            tiny(simulation=simulation),
            microscope.model_copy(update={"camera": noiseless}),
            accelerator="cpu",
            workers=workers,
            show_progress=False,
        )
