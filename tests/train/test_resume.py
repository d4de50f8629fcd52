"""A training that is stopped, by whatever, goes on to the very result it would have had."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import load_model
from fluofocus.optics.microscope import Microscope
from fluofocus.train import run
from fluofocus.train.checkpoints import AtomicCheckpointIO
from fluofocus.train.config import TrainConfig
from fluofocus.train.module import RefocusingTraining
from fluofocus.train.run import run_training

EVERY_STEP = 1e-9
"""A checkpoint interval in minutes, so that there is one after each step."""

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from fluofocus.train.checkpoints import AtomicCheckpointIO
from fluofocus.train.config import load_train_config
from fluofocus.train.run import run_training

class Power(AtomicCheckpointIO):
    left = {saves}
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        path = Path(path)
        if path.name == "last.ckpt":
            Power.left -= 1
        if Power.left < 0:
            path.with_name("last.ckpt.partial").write_bytes(b"half a checkpoint")
            os.kill(os.getpid(), signal.SIGKILL)
        super().save_checkpoint(checkpoint, path, storage_options)

if __name__ == "__main__":
    torch.set_num_threads(1)
    import fluofocus.train.run
    fluofocus.train.run.AtomicCheckpointIO = Power
    config, microscope = load_train_config(sys.argv[1])
    run_training(config, microscope, accelerator="cpu", workers={workers}, show_progress=False)
"""


class _PowerCutError(Exception):
    pass


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[dict[str, torch.Tensor], dict[str, float]]]:
    return {}


@pytest.fixture
def uninterrupted(
    results: dict[str, Any], tiny: Callable[..., TrainConfig], microscope: Microscope
) -> Callable[[str], tuple[dict[str, torch.Tensor], dict[str, float]]]:
    """Weights and scores of a training that nothing stopped."""

    def result(scheme: str) -> Any:
        if scheme not in results:
            config = tiny(scheme, name=f"whole-{scheme}")
            results[scheme] = _result(_train(config, microscope))
        return results[scheme]

    return result


def _train(config: TrainConfig, microscope: Microscope, **options: Any) -> Path:
    options = {"workers": 0, "show_progress": False} | options
    return run_training(config, microscope, accelerator="cpu", **options)


def _result(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    model = load_model(path)
    return model.network.state_dict(), model.card.scores


def _require_equal(path: Path, expected: tuple[Any, Any]) -> None:
    weights, scores = _result(path)
    for name, value in expected[0].items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-7, msg=name)
    assert scores == pytest.approx(expected[1], abs=1e-5)


@pytest.mark.parametrize(("saves", "workers"), [(3, 0), (4, 1)])
def test_a_killed_training_resumes_exactly(
    saves: int,
    workers: int,
    tmp_path: Path,
    tiny: Callable[..., TrainConfig],
    microscope: Microscope,
    uninterrupted: Callable[[str], Any],
) -> None:
    config = tiny(checkpoint_minutes=EVERY_STEP)
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (tmp_path / "killed.py").write_text(KILLED.format(saves=saves, workers=workers))
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "train.yaml")]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    directory = config.output_dir / config.name
    steps = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert steps == saves
    assert not (directory / "tiny.safetensors").exists()
    _require_equal(_train(config, microscope, resume=True), uninterrupted("regression"))


@pytest.mark.parametrize("saves", [2, 3])
@pytest.mark.parametrize("scheme", ["regression", "adversarial", "deep_z"])
def test_every_scheme_resumes_exactly(
    scheme: str,
    saves: int,
    tiny: Callable[..., TrainConfig],
    microscope: Microscope,
    uninterrupted: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(scheme, checkpoint_minutes=EVERY_STEP)
    expected = uninterrupted(scheme)
    with monkeypatch.context() as patched:
        patched.setattr(run, "AtomicCheckpointIO", _failing_after(saves))
        with pytest.raises(_PowerCutError):
            _train(config, microscope)
    _require_equal(_train(config, microscope, resume=True), expected)


def _failing_after(saves: int) -> type[AtomicCheckpointIO]:
    class Failing(AtomicCheckpointIO):
        left = saves

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            Failing.left -= Path(path).name == "last.ckpt"
            if Failing.left < 0:
                raise _PowerCutError
            super().save_checkpoint(checkpoint, path, storage_options)

    return Failing


@pytest.mark.parametrize(
    ("number", "step", "workers"),
    [(signal.SIGINT, 2, 0), (signal.SIGINT, 3, 0), (signal.SIGTERM, 2, 1), (signal.SIGTERM, 3, 0)],
)
def test_ctrl_c_and_sigterm_save_and_say_how_to_go_on(
    number: signal.Signals,
    step: int,
    workers: int,
    tiny: Callable[..., TrainConfig],
    microscope: Microscope,
    uninterrupted: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny()
    expected = uninterrupted("regression")
    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        patched.setattr(run, "make_training", _interrupting_at(step, number))
        with pytest.raises(KeyboardInterrupt, match=rf"stopped at step {step} of 6.*--resume"):
            _train(config, microscope, workers=workers)
    assert signal.getsignal(number) is before
    _require_equal(_train(config, microscope, resume=True), expected)


def _interrupting_at(step: int, number: signal.Signals) -> Callable[..., RefocusingTraining]:
    """Return training that is signalled in a step as by a terminal: all its processes are."""
    make = run.make_training

    def make_interrupting(*inputs: Any, **options: Any) -> RefocusingTraining:
        training = make(*inputs, **options)
        usual = training.training_step

        def training_step(batch: Any, batch_idx: int) -> Any:
            if batch_idx + 1 == step:
                everyone = [os.getpid(), *(child.pid for child in active_children())]
                subprocess.run(["kill", f"-{number.value}", *map(str, everyone)], check=True)
            return usual(batch, batch_idx)

        training.training_step = training_step  # type: ignore[method-assign]
        return training

    return make_interrupting


def test_the_folder_of_a_training_is_kept_from_others(
    tiny: Callable[..., TrainConfig], microscope: Microscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny()
    path = _train(config, microscope, resume=True)  # nothing there yet: starts
    content = path.read_bytes()
    with pytest.raises(FluoFocusError, match="holds a training already: go on with it by --resume"):
        _train(config, microscope)
    other = config.model_copy(update={"seed": 7})
    with pytest.raises(FluoFocusError, match="of another configuration already: give this one"):
        _train(other, microscope)
    with pytest.raises(FluoFocusError, match=r"cannot be resumed .*seed: 0 is now 7.*start_from"):
        _train(other, microscope, resume=True)
    longer = microscope.model_copy(update={"emission_wavelength_nm": 600.0})
    with pytest.raises(FluoFocusError, match=r"microscope.emission_wavelength_nm: 584.0 is now"):
        _train(config, longer, resume=True)
    monkeypatch.setattr(run, "make_training", None)  # what has ended is not trained again
    assert _train(config, microscope, resume=True) == path
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_reported(
    tiny: Callable[..., TrainConfig], microscope: Microscope, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FluoFocusError, match=r"Cannot write into .* set another output_dir"):
        _train(tiny(output_dir=tmp_path / "file"), microscope)


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FluoFocusError, match=r"Cannot write checkpoint .*No space left.*--resume"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert [path.name for path in target.parent.iterdir()] == ["last.ckpt"]


def test_the_best_network_is_kept_where_the_folder_has_moved(
    tiny: Callable[..., TrainConfig],
    microscope: Microscope,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny()
    with monkeypatch.context() as patched:
        patched.setattr(run, "make_training", _interrupting_at(4, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            _train(config, microscope)
    moved = config.output_dir.rename(tmp_path / "moved")
    checkpoints = moved / config.name / "checkpoints"
    state = torch.load(checkpoints / "last.ckpt", weights_only=True)
    (key,) = (key for key in state["callbacks"] if key.startswith("ModelCheckpoint{"))
    unbeatable = torch.tensor(-1.0)
    (path,) = state["callbacks"][key]["best_k_models"]
    state["callbacks"][key] |= {
        "best_model_score": unbeatable,
        "kth_value": unbeatable,
        "best_k_models": {path: unbeatable},
    }
    torch.save(state, checkpoints / "last.ckpt")
    best = (checkpoints / "best.ckpt").read_bytes()
    _train(config.model_copy(update={"output_dir": moved}), microscope, resume=True)
    assert (checkpoints / "best.ckpt").read_bytes() == best
    (found,) = torch.load(checkpoints / "last.ckpt", weights_only=True)["callbacks"][key][
        "best_k_models"
    ]
    assert Path(found) == (checkpoints / "best.ckpt").resolve()


def test_half_a_checkpoint_is_reported(
    tiny: Callable[..., TrainConfig], microscope: Microscope
) -> None:
    config = tiny()
    path = _train(config, microscope)
    path.unlink()
    last = path.parent / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    message = r"last\.ckpt is damaged: delete it .* start_from: .*best\.ckpt\.$"
    with pytest.raises(FluoFocusError, match=message):
        _train(config, microscope, resume=True)
    last.unlink()
    assert _train(config, microscope, resume=True) == path
