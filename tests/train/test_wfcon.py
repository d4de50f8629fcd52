"""The scheme ``wfcon``: equation 1, its settings, a tiny training, and its end in a model file."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import load_stack_model, read_any_card
from fluofocus.models.cards import StackCard
from fluofocus.optics.microscope import Microscope
from fluofocus.train.checkpoints import AtomicCheckpointIO
from fluofocus.train.config import TrainConfig, WfconTrainingConfig
from fluofocus.train.perceptual import FluorescenceEncoder, PerceptualLoss, Vgg19
from fluofocus.train.run import make_training, run_training
from fluofocus.train.wfcon import WfconTraining

SCHEME: dict[str, Any] = {
    "scheme": "wfcon",
    "steps": 3,
    "batch_size": 2,
    "perceptual_weight": 0.0,
    "discriminator_width": "compact",
}
STACKS: dict[str, Any] = {
    "phantoms": [{"phantom": "beads", "parameters": {"count_per_1000_um2": 60}}],
    "planes": 4,
    "z_step_um": 1.0,
    "crop_px": 32,
    "field_px": 32,
    "depth_um": [-3.0, 3.0],
    "stacks_in_memory": 1,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_stacks(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(section: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
        content: dict[str, Any] = {
            "name": "tiny",
            "architecture": "wfcon",
            "architecture_config": {"width": "compact", "dimensions": 2},
            "microscope": "olympus-20x-0.75",
            "simulated_stacks": STACKS,
            "training": SCHEME | (section or {}),
            "precision": "32-true",
            "validate_every": 3,
            "validation_batches": 1,
            "output_dir": tmp_path / "runs",
        }
        return TrainConfig.model_validate(content | changes)

    return make


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file(FluorescenceEncoder().state_dict(), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


def _train(config: TrainConfig, microscope: Microscope, **options: Any) -> Path:
    options = {"workers": 0, "show_progress": False} | options
    return run_training(config, microscope, accelerator="cpu", **options)


def test_the_losses_are_those_of_equation_1(
    tiny_stacks: Callable[..., TrainConfig], encoder_file: Path, microscope: Microscope
) -> None:
    weights = {"perceptual_weight": 0.5, "perceptual_weights": str(encoder_file)}
    training = make_training(tiny_stacks(weights), microscope)
    assert isinstance(training, WfconTraining)
    output, target = torch.rand(2, 2, 1, 4, 16, 16)
    with torch.no_grad():
        verdicts = [training.discriminator(stack) for stack in (output, target)]
        perceived = training.perceptual(output, target)
        generator = training.generator_loss(output, target)
        discriminator = training.discriminator_loss(output, target)
    l1 = (output - target).abs().mean()
    torch.testing.assert_close(
        generator, ((verdicts[0] - 1) ** 2).mean() + 2 * l1 + 0.5 * perceived
    )
    torch.testing.assert_close(
        discriminator, (verdicts[0] ** 2).mean() + ((verdicts[1] - 1) ** 2).mean()
    )


def test_without_verdict_and_perception_it_is_plain_regression(
    tiny_stacks: Callable[..., TrainConfig], microscope: Microscope
) -> None:
    training = make_training(tiny_stacks({"adversarial_weight": 0, "l1_weight": 1}), microscope)
    assert isinstance(training, WfconTraining)
    assert (training.discriminator, training.perceptual) == (None, None)
    assert training.updates_per_step == 1
    output, target = torch.rand(2, 1, 1, 4, 16, 16)
    torch.testing.assert_close(
        training.generator_loss(output, target), (output - target).abs().mean()
    )


def test_the_defaults_are_the_papers() -> None:
    config = WfconTrainingConfig()
    assert (config.steps, config.batch_size) == (6000, 24)
    assert (config.l1_weight, config.perceptual_weight, config.adversarial_weight) == (2, 0.01, 1)


def test_a_training_ends_in_a_model_that_says_what_it_was(
    tiny_stacks: Callable[..., TrainConfig], microscope: Microscope, encoder_file: Path
) -> None:
    perceptual = {"perceptual_weight": 0.01, "perceptual_weights": str(encoder_file)}
    stacks = STACKS | {"plane_subsampling": [1, 2]}
    path = _train(tiny_stacks(perceptual, simulated_stacks=stacks), microscope)
    model = load_stack_model(path)
    trained = model.card.training
    assert (trained.planes, trained.crop_px, trained.z_step_um) == (4, 32, 1.0)
    assert trained.plane_subsampling == (1, 2)
    assert trained.perceptual_encoder == "fluorescence"
    assert trained.target_modality == "confocal"
    assert model.card.steps == 3
    wanted = {f"validation_{name}" for name in ("mae", "rmse", "ssim", "pearson")}
    assert wanted <= set(model.card.scores)
    assert "every 1, 2-th plane" in model.card.data
    (picture,) = (path.parent / "samples").iterdir()
    assert 1000 < picture.stat().st_size < 60_000
    rows = list(csv.DictReader((path.parent / "log" / "version_0" / "metrics.csv").open()))
    assert any(row["val_ssim"] for row in rows)
    again = tiny_stacks(perceptual, name="again", start_from=str(path), simulated_stacks=stacks)
    started = make_training(again, microscope).kept.state_dict()
    assert all(
        torch.equal(started[key], value) for key, value in model.network.state_dict().items()
    )


def test_an_interrupted_training_resumes_exactly(
    tiny_stacks: Callable[..., TrainConfig],
    microscope: Microscope,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"averaging_decay": 0.3, "decay_share": 1.0}
    whole = load_stack_model(_train(tiny_stacks(changes, name="whole"), microscope))
    plain = AtomicCheckpointIO.save_checkpoint

    def failing(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        plain(self, checkpoint, path, storage_options)
        raise FluoFocusError("the power is cut")

    config = tiny_stacks(changes, name="cut", checkpoint_minutes=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", failing)
        with pytest.raises(FluoFocusError, match="power"):
            _train(config, microscope)
    resumed = load_stack_model(_train(config, microscope, resume=True))
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[key], value, rtol=0, atol=1e-7)
    assert resumed.card.scores == pytest.approx(whole.card.scores, abs=1e-5)


SETTINGS: dict[str, Any] = {
    "steps": 2,
    "batch_size": 3,
    "l1_weight": 9.0,
    "adversarial_weight": 9.0,
    "relative_weight": 9.0,
    "perceptual_weight": 5.0,
    "generator_learning_rate": 1e-3,
    "discriminator_learning_rate": 1e-2,
    "discriminator_width": "paper",
    "decay_share": 1.0,
    "gradient_clip": 1e-6,
    "averaging_decay": 0.9,
    "best_by": "pearson",
}


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """Weights of the training with which the others are compared, once it has been."""
    return {}


def test_every_setting_has_a_case() -> None:
    others = {"scheme", "perceptual_encoder", "perceptual_weights"}
    assert set(SETTINGS) | others == set(WfconTrainingConfig.model_fields)


@pytest.mark.parametrize("field", sorted(set(SETTINGS) - {"discriminator_width", "best_by"}))
def test_a_setting_has_an_effect(
    field: str,
    tiny_stacks: Callable[..., TrainConfig],
    microscope: Microscope,
    encoder_file: Path,
    plain: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    def weights(**changes: Any) -> dict[str, torch.Tensor]:
        base = {"perceptual_weights": str(encoder_file)}
        path = _train(tiny_stacks(base | changes), microscope)
        return load_stack_model(path).network.state_dict()

    if not plain:
        plain.update(weights())
        shutil.rmtree(tmp_path / "runs")
    changed = weights(**{field: SETTINGS[field]})
    assert not all(torch.equal(plain[key], changed[key]) for key in plain)


def test_the_kept_network_is_chosen_by_the_score_that_is_named(
    tiny_stacks: Callable[..., TrainConfig], microscope: Microscope
) -> None:
    for score, mode in (("rmse", "min"), ("ssim", "max")):
        config = tiny_stacks({"best_by": score}, name=score)
        _train(config, microscope)
        content = torch.load(
            config.output_dir / score / "checkpoints" / "last.ckpt", weights_only=True
        )
        monitors = [key for key in content["callbacks"] if key.startswith("ModelCheckpoint")]
        assert f"'val_{score}', 'mode': '{mode}'" in monitors[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "swift", "architecture_config": {}}, "set architecture to one of wfcon"),
        ({"simulated_stacks": None}, "give either simulated_stacks or prepared_stacks"),
        ({"simulation": {"phantoms": [{"phantom": "beads"}]}}, "no use for simulation"),
        ({"training": {"scheme": "regression"}}, "give either simulation or prepared"),
        ({"training": SCHEME | {"perceptual_weight": 1, "perceptual_encoder": "vgg19"}}, "vgg19"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    changes: dict[str, Any], message: str, tiny_stacks: Callable[..., TrainConfig]
) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_stacks(**changes)


# The perceptual loss -------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vgg_weights_are_read_in_torchvisions_form(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    weights = Vgg19().state_dict() | {"classifier.0.weight": torch.zeros(3, 4)}
    path = tmp_path / f"vgg19{suffix}"
    if suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    loss = PerceptualLoss("vgg19", path)
    assert torch.equal(
        loss.encoder.state_dict()["features.16.weight"], weights["features.16.weight"]
    )
    assert loss.encoder.features[16].weight.shape == (256, 256, 3, 3)
    stack = torch.rand(1, 1, 2, 16, 16, requires_grad=True)
    value = loss(stack, torch.rand(1, 1, 2, 16, 16))
    value.backward()
    assert value > 0
    assert stack.grad.abs().sum() > 0
    assert loss(stack, stack.detach()) == 0


def test_files_without_weights_are_refused(tmp_path: Path, encoder_file: Path) -> None:
    with pytest.raises(FluoFocusError, match="no file"):
        PerceptualLoss("vgg19", tmp_path / "missing.pth")
    with pytest.raises(FluoFocusError, match="no weights of the perceptual encoder vgg19"):
        PerceptualLoss("vgg19", encoder_file)
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(FluoFocusError, match="damaged"):
        PerceptualLoss("vgg19", tmp_path / "text.pth")


def test_the_shipped_encoder_sees_blur() -> None:
    loss = PerceptualLoss("fluorescence")
    torch.manual_seed(0)
    sharp = (torch.rand(1, 1, 2, 48, 48) > 0.97).float()
    blurred = [sharp]
    for _ in range(3):
        blurred.append(torch.nn.functional.avg_pool3d(blurred[-1], (1, 3, 3), 1, (0, 1, 1)))
    values = [float(loss(image, sharp)) for image in blurred]
    assert values[0] == 0
    assert sorted(values) == values
    assert values[1] > 0.01


def test_a_refocusing_model_is_no_model_of_stacks() -> None:
    assert not isinstance(read_any_card("air20x-beads"), StackCard)
    with pytest.raises(FluoFocusError, match="restores no stack"):
        load_stack_model("air20x-beads")
