"""What a training leaves behind, what it starts from, and how it ends."""

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fluofocus.errors import FluoFocusError
from fluofocus.models import build_network
from fluofocus.models.bundle import load_model, read_card
from fluofocus.optics.microscope import Microscope
from fluofocus.train import run
from fluofocus.train.checkpoints import kept_weights
from fluofocus.train.config import TrainConfig, load_train_config
from fluofocus.train.first_weights import load_first_weights
from fluofocus.train.run import make_training, run_training

Tiny = Callable[..., TrainConfig]


def _train(config: TrainConfig, microscope: Microscope, **options: Any) -> Path:
    options = {"workers": 0, "show_progress": False} | options
    return run_training(config, microscope, accelerator="cpu", **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a finished tiny training is put for all tests here to look at."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def model_file(trained: Path, tiny: Tiny, microscope: Microscope) -> Path:
    path = trained / "tiny" / "tiny.safetensors"
    if not path.exists():
        assert _train(tiny(output_dir=trained, limits=["too small"]), microscope) == path
    return path


def test_it_is_silent_but_for_its_scores(
    tiny: Tiny, microscope: Microscope, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _train(tiny(), microscope, show_progress=True)
    said = capfd.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 3 of 6", "step 6 of 6"]
    assert all("loss" in line and "pearson" in line for line in lines)


def test_the_card_says_what_was_trained(model_file: Path, microscope: Microscope) -> None:
    card = read_card(model_file)
    assert (card.name, card.steps, card.seeds, card.limits) == ("tiny", 6, (0,), ("too small",))
    assert card.microscope == microscope
    assert card.training.defocus_um == (-3.0, 3.0)
    assert card.training.pixel_size_um == microscope.pixel_size_um
    assert card.training.phantoms == ("beads",)
    assert "100% beads" in card.data
    assert "PyTorch" in card.hardware
    assert "GiB" in card.hardware
    assert {"validation_mae", "validation_loss"} <= set(card.scores)


def test_logs_and_pictures_are_small_and_complete(model_file: Path) -> None:
    folder = model_file.parent
    rows = list(csv.DictReader((folder / "log" / "version_0" / "metrics.csv").open()))
    validated = [int(row["step"]) + 1 for row in rows if row["val_loss"]]
    assert validated == [3, 6]
    assert list((folder / "tensorboard").glob("*/events*"))
    pictures = sorted((folder / "samples").iterdir())
    assert [picture.name for picture in pictures] == ["step-0000003.png", "step-0000006.png"]
    assert all(picture.stat().st_size < 20_000 for picture in pictures)
    pixels = np.asarray(Image.open(pictures[0]), dtype=float)
    height, width = pixels.shape
    assert width > height
    thirds = pixels[:, : width - width % 3].reshape(height, 3, -1).std(axis=(0, 2))
    assert (thirds > 10).all()  # three panels, none of them empty


def test_the_noted_configuration_can_be_trained_from(model_file: Path, tiny: Tiny) -> None:
    config, _ = load_train_config(model_file.parent / "config.yaml")
    expected = tiny(output_dir=model_file.parents[1], limits=["too small"])
    assert config == expected.model_copy(update={"microscope": "microscope.yaml"})


@pytest.mark.parametrize("is_best_better", [True, False])
def test_the_better_of_best_and_last_weights_is_kept(
    is_best_better: bool, tiny: Tiny, microscope: Microscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([{"loss": 1.0}, {"loss": 0.5 if is_best_better else 2.0}])
    monkeypatch.setattr(run, "_validate", lambda *_: next(scores))
    path = _train(tiny(validate_every=4), microscope)
    model = load_model(path)
    checkpoints = path.parent / "checkpoints"
    best, last = (kept_weights(checkpoints / f"{name}.ckpt")[0] for name in ("best", "last"))
    name = "decoder.to_pixels.weight"
    assert not torch.equal(best[name], last[name])
    expected = best if is_best_better else last
    torch.testing.assert_close(model.network.state_dict()[name], expected[name])
    assert model.card.steps == (4 if is_best_better else 6)


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_first_weights_come_from_a_model_or_a_checkpoint(
    kind: str, model_file: Path, tiny: Tiny, microscope: Microscope
) -> None:
    source = model_file if kind == "model" else model_file.parent / "checkpoints" / "last.ckpt"
    training = make_training(tiny(start_from=str(source)), microscope)
    expected = load_model(model_file).network.state_dict()
    for network in (training.network, training.kept):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, expected[name], msg=name)


def test_a_share_of_the_first_weights_is_mixed_in(
    model_file: Path, tiny: Tiny, microscope: Microscope, tmp_path: Path
) -> None:
    trained, mixed = (
        load_model(
            _train(
                tiny(start_from=str(model_file), start_share=share, output_dir=tmp_path / name),
                microscope,
            )
        )
        for name, share in (("trained", 0.0), ("mixed", 0.25))
    )
    first = load_model(model_file).network.state_dict()
    for name, value in mixed.network.state_dict().items():
        expected = 0.75 * trained.network.state_dict()[name] + 0.25 * first[name]
        torch.testing.assert_close(value, expected, msg=name)
    assert mixed.card.scores != trained.card.scores
    assert f"Started from {model_file}, 25% of whose weights are mixed in." in mixed.card.data
    assert f"Started from {model_file}." in trained.card.data


def test_both_of_two_networks_start_from_one_that_refocuses(model_file: Path) -> None:
    source = load_model(model_file)
    assert source.network.has_error
    sizes = source.card.architecture_config
    network = build_network("w_net", {"refocusing": sizes, "sharpening": sizes})
    load_first_weights(network, str(model_file))
    expected = source.network.state_dict()
    found = network.state_dict()
    assert len(found) == 2 * sum("to_log_error" not in name for name in expected)
    for name, value in found.items():
        first, _, part = name.partition(".")
        if first == "sharpening" and part.startswith("decoder.to_pixels."):
            assert not value.any()  # its output starts dark
        else:
            torch.testing.assert_close(value, expected[part], msg=name)


def test_first_weights_of_another_network_are_refused(
    model_file: Path, tiny: Tiny, microscope: Microscope
) -> None:
    wider = tiny().architecture_config | {"embedding_channels": 6}
    with pytest.raises(FluoFocusError, match=r"holds another network .* set architecture"):
        make_training(tiny(start_from=str(model_file), architecture_config=wider), microscope)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.ckpt", None, "Cannot read checkpoint"),
        ("text.ckpt", b"no checkpoint", "is no checkpoint"),
        ("missing.safetensors", None, "There is no model file"),
        ("air99x", None, "no shipped model of that name"),
    ],
)
def test_bad_first_weights_are_reported(
    name: str,
    content: bytes | None,
    message: str,
    tmp_path: Path,
    tiny: Tiny,
    microscope: Microscope,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    source = name if "." not in name else str(tmp_path / name)
    with pytest.raises(FluoFocusError, match=message):
        make_training(tiny(start_from=source), microscope)


def test_checkpoints_run_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"state_dict": Trap(), "global_step": 1}, tmp_path / "trap.ckpt")
    with pytest.raises(FluoFocusError, match="is no checkpoint"):
        load_first_weights(torch.nn.Linear(1, 1), str(tmp_path / "trap.ckpt"))
    torch.save({"state_dict": {"other": torch.ones(1)}, "global_step": 1}, tmp_path / "other.ckpt")
    with pytest.raises(FluoFocusError, match="holds no network"):
        load_first_weights(torch.nn.Linear(1, 1), str(tmp_path / "other.ckpt"))
    assert not (tmp_path / "sprung").exists()


def test_it_stops_early_when_nothing_improves(tiny: Tiny, microscope: Microscope) -> None:
    still = {"steps": 50, "batch_size": 2, "learning_rate": 1e-30}
    config = tiny(still, validate_every=2, early_stopping_checks=2)
    path = _train(config, microscope)
    step = torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step == 6


def test_a_diverging_training_is_told(tiny: Tiny, microscope: Microscope) -> None:
    wild = {"steps": 6, "batch_size": 2, "learning_rate": 1e36, "warmup_steps": 0}
    with pytest.raises(FluoFocusError, match=r"diverged.*lower learning rate"):
        _train(tiny(wild), microscope)


@pytest.mark.parametrize(
    ("precision", "is_native", "expected"),
    [
        ("bf16-mixed", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_mixed_precision_trains_in_low_and_keeps_full_precision(
    precision: str,
    is_native: bool,
    expected: torch.dtype,
    tiny: Tiny,
    microscope: Microscope,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "computes_in_bfloat16", lambda device: is_native)
    seen = []
    make = run.make_training

    def watched(*inputs: Any, **options: Any) -> Any:
        training = make(*inputs, **options)
        training.network.encoder.levels[0][0].register_forward_hook(
            lambda module, inputs, output: seen.append(output.dtype)
        )
        return training

    monkeypatch.setattr(run, "make_training", watched)
    path = _train(tiny(precision=precision), microscope)
    assert set(seen) == {expected}
    weights = load_model(path).network.state_dict().values()
    assert {weight.dtype for weight in weights} == {torch.float32}
