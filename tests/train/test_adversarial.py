"""The Deep-Z scheme against equations 4 and 5 and the settings of its Methods."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from fluofocus.optics.description import PARAMETERS
from fluofocus.optics.microscope import Microscope
from fluofocus.train.adversarial import AdversarialRegressionTraining, DeepZTraining
from fluofocus.train.config import AdversarialConfig, TrainConfig
from fluofocus.train.losses import deep_z_generator_loss, discriminator_loss
from fluofocus.train.run import make_training


def test_defaults_are_those_of_the_methods() -> None:
    config = AdversarialConfig()
    assert config.alpha == 0.02
    assert (config.generator_updates, config.discriminator_updates) == (6, 3)
    assert config.generator_learning_rate == 1e-4
    assert config.discriminator_learning_rate == 3e-5
    assert config.batch_size == 20
    assert config.best_by == "mae"


def test_validation_is_every_50_iterations_unless_said(tiny: Callable[..., TrainConfig]) -> None:
    content = tiny("deep_z").model_dump(exclude={"validate_every"})
    assert TrainConfig.model_validate(content).validate_every == 50
    content["training"] = {}
    assert TrainConfig.model_validate(content).validate_every == 500


@pytest.mark.parametrize("reading", ["mean", "sum"])
def test_generator_loss_is_equation_4(reading: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, generator=generator)
    output, target = torch.rand((2, 3, 1, 4, 5), generator=generator)
    total = 0.0
    for score, refocused, wanted in zip(scores, output, target, strict=True):
        error = float((refocused - wanted).abs().sum()) / (20 if reading == "mean" else 1)
        total += float(score - 1) ** 2 / 6 + 0.02 * error / 6
    loss = deep_z_generator_loss(scores, output, target, alpha=0.02, mae_reading=reading)
    assert float(loss) == pytest.approx(total)


def test_discriminator_loss_is_equation_5() -> None:
    fake, real = torch.tensor([0.2, 0.4]), torch.tensor([0.7, 1.0])
    expected = (0.2**2 + 0.4**2) / 4 + (0.3**2 + 0.0) / 4
    assert float(discriminator_loss(fake, real)) == pytest.approx(expected)


class _Counting:
    """Stands for Lightning around a training: optimises, and counts whose turn it was."""

    def __init__(self, training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns: list[str] = []
        configured = training.configure_optimizers()
        optimizers = [c["optimizer"] if isinstance(c, dict) else c for c in configured]
        for name, optimizer in zip(("generator", "discriminator"), optimizers, strict=True):
            optimizer.optimizer = optimizer
            optimizer.register_step_post_hook(lambda *_, name=name: self.turns.append(name))
        monkeypatch.setattr(training, "optimizers", lambda: optimizers)
        monkeypatch.setattr(training, "manual_backward", lambda loss: loss.backward())
        monkeypatch.setattr(training, "toggle_optimizer", lambda optimizer: None)
        monkeypatch.setattr(training, "untoggle_optimizer", lambda optimizer: None)
        monkeypatch.setattr(training, "clip_gradients", lambda *_: None)
        monkeypatch.setattr(training, "log", lambda *_: None)
        schedulers = [c["lr_scheduler"] for c in configured if isinstance(c, dict) and len(c) > 1]
        if schedulers:
            monkeypatch.setattr(training, "lr_schedulers", lambda: schedulers[0]["scheduler"])


def _batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.rand((2, 1, 16, 16), generator=generator),
        "dpm_um": torch.tensor([[[1.0, -2.0]], [[0.5, 3.0]]]),
        "optics": torch.zeros(2, PARAMETERS),
        "target": torch.rand((2, 2, 16, 16), generator=generator),
    }


def test_an_iteration_updates_generator_then_discriminator(
    tiny: Callable[..., TrainConfig],
    schemes: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    microscope: Microscope,
) -> None:
    paper = schemes["deep_z"] | {"generator_updates": 6, "discriminator_updates": 3}
    training = make_training(tiny(paper), microscope)
    assert isinstance(training, DeepZTraining)
    assert training.updates_per_step == 9
    lightning = _Counting(training, monkeypatch)
    training.training_step(_batch(), 0)
    assert lightning.turns == ["generator"] * 6 + ["discriminator"] * 3


def test_fine_tuning_pulls_the_output_towards_what_passes_for_real(
    tiny: Callable[..., TrainConfig],
    schemes: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    microscope: Microscope,
) -> None:
    only_verdict = {"l1": 0.0, "rms": 0.0, "spectral": 0.0}
    torch.manual_seed(0)
    scheme = schemes["adversarial"] | {"loss": only_verdict, "steps": 100, "learning_rate": 1e-2}
    training = make_training(tiny(scheme | {"discriminator_learning_rate": 1e-12}), microscope)
    assert isinstance(training, AdversarialRegressionTraining)
    lightning = _Counting(training, monkeypatch)
    batch = _batch()

    def verdict() -> float:
        with torch.no_grad():
            output = training.network(batch["image"], batch["dpm_um"])
            return float(training._verdict(output).mean())

    before = verdict()
    for index in range(8):
        training.training_step(batch, index)
    assert lightning.turns == ["generator", "discriminator"] * 8
    assert abs(verdict() - 1) < abs(before - 1)
    assert int(training.averaged.n_averaged) == 8


def test_fine_tuning_in_scaled_half_precision_is_refused(tiny: Callable[..., TrainConfig]) -> None:
    with pytest.raises(ValidationError, match="use precision bf16-mixed or 32-true"):
        tiny("adversarial", precision="16-mixed")
