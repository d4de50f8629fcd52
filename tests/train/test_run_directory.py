"""A training's folder holds all that it was made of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig, load_train_config
from fluofocus.train.run_directory import RunDirectory


def masked(microscope: Microscope, path: Path, content: bytes = b"a mask") -> Microscope:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return microscope.model_copy(update={"pupil_mask": path})


@pytest.fixture
def begun(
    tmp_path: Path, tiny: Callable[..., TrainConfig], microscope: Microscope
) -> tuple[RunDirectory, TrainConfig]:
    """A folder of a training through a mask that was begun."""
    config = tiny()
    directory = RunDirectory(config)
    directory.claim(config, masked(microscope, tmp_path / "here" / "mask.npz"), resume=False)
    directory.model_file.touch()
    return directory, config


def test_it_can_be_trained_from_where_the_mask_was_is_gone(
    tmp_path: Path, begun: tuple[RunDirectory, TrainConfig]
) -> None:
    directory, _ = begun
    (tmp_path / "here" / "mask.npz").unlink()
    moved = directory.path.rename(tmp_path / "moved")
    _, microscope = load_train_config(moved / "config.yaml")
    assert microscope.pupil_mask is not None
    assert microscope.pupil_mask.read_bytes() == b"a mask"


def test_it_is_resumed_with_the_same_mask_wherever_that_lies(
    tmp_path: Path, begun: tuple[RunDirectory, TrainConfig], microscope: Microscope
) -> None:
    directory, config = begun
    same = masked(microscope, tmp_path / "there" / "same.npz")
    directory.claim(config, same, resume=True)
    _, own = load_train_config(directory.path / "config.yaml")
    directory.claim(config, own, resume=True)


def test_it_is_not_resumed_with_another_mask_of_the_same_name(
    tmp_path: Path, begun: tuple[RunDirectory, TrainConfig], microscope: Microscope
) -> None:
    directory, config = begun
    other = masked(microscope, tmp_path / "here" / "mask.npz", b"another")
    with pytest.raises(FluoFocusError, match="pupil_mask: SHA-256"):
        directory.claim(config, other, resume=True)
