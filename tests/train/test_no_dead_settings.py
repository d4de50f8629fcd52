"""Every field of a training configuration changes something; a new one needs a case here."""

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from fluofocus.data.simulated import SimulatedPairs, SimulationConfig
from fluofocus.io import make_stack, write_stack
from fluofocus.models import build_network
from fluofocus.models.bundle import read_card
from fluofocus.models.discriminators import DeepZDiscriminator
from fluofocus.optics.description import PARAMETERS
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.run import prepare_dataset
from fluofocus.simulate.draws import OpticsDraws, PhantomDraw
from fluofocus.simulate.stack import simulate_stack
from fluofocus.train import run
from fluofocus.train.adversarial import DeepZTraining
from fluofocus.train.checkpoints import AtomicCheckpointIO
from fluofocus.train.config import AdversarialConfig, RegressionConfig, TrainConfig
from fluofocus.train.losses import LossConfig, refocusing_loss
from fluofocus.train.run import make_training, run_training

BEADS = {"phantom": "beads", "parameters": {"count_per_1000_um2": 60}}
NUCLEI = {"phantom": "nuclei", "parameters": {"count_per_1000_um2": 40, "thickness_um": 3.0}}

PHANTOM_DRAW = {"phantom": "nuclei", "weight": 1e6, "parameters": {"count_per_1000_um2": 30}}
OPTICS = {
    "spherical_rms_waves": (0.2, 0.2),
    "other_zernike_rms_waves": 0.1,
    "coverslip_error_um": (30.0, 30.0),
    "emitter_depth_um": (40.0, 40.0),
    "sample_index": (1.45, 1.45),
    "amplitude_falloff": (2.0, 2.0),
    "relative_numerical_aperture": (0.8, 0.8),
    "relative_wavelength": (1.2, 1.2),
    "scalar_share": 1.0,
}
SIMULATION = {
    "phantoms": [NUCLEI],
    "optics": {"relative_numerical_aperture": [0.8, 0.8]},
    "peak_photons": (100.0, 100.0),
    "background_photons": (500.0, 500.0),
    "defocus_um": 1.0,
    "depth_um": 3.0,
    "z_step_um": (0.8, 0.8),
    "crop_px": 48,
    "targets_per_image": 3,
    "planes_per_specimen": 7,
    "sharp_share": 0.0,
    "sharp_spread_um": 3.0,
    "images_per_specimen": 1,
    "specimens_in_memory": 5,
    "microscopes_in_memory": 3,
    "specimens_per_microscope": 1,
    "flips_and_rotations": False,
    "input_planes": 3,
    "known_optics_share": 0.0,
    "wider_known_optics": True,
    "target_modality": "confocal",
}
LOSS = {
    "l1": 0.1,
    "rms": 5.0,
    "squared": 5.0,
    "squared_gain": 9.0,
    "spectral": 3.0,
    "error": 5.0,
    "refocused": 5.0,
}
REGRESSION = {
    "steps": 5,
    "batch_size": 3,
    "learning_rate": 1e-2,
    "optimizer": "adamw",
    "weight_decay": 0.5,
    "warmup_steps": 0,
    "decay_share": 0.0,
    "averaging_decay": 0.9,
    "gradient_clip": 1e-6,
    "loss": LossConfig(l1=0.1),
    "adversarial_weight": 1.0,
    "discriminator_learning_rate": 1e-2,
    "best_by": "pearson",
}
DEEP_Z = {
    "steps": 5,
    "batch_size": 3,
    "alpha": 1.0,
    "mae_reading": "mean",
    "generator_updates": 3,
    "discriminator_updates": 2,
    "generator_learning_rate": 1e-2,
    "discriminator_learning_rate": 1e-2,
    "discriminator_width": "paper",
    "best_by": "pearson",
}
TRAIN = {
    "name": "other",
    "title": "Another title",
    "description": "Something",
    "limits": ("not for plants",),
    "architecture": "deep_z",
    "architecture_config": {"encoder_channels": [6], "decoder_channels": [4]},
    "microscope": "leica-40x-1.3-oil",
    "simulation": {"phantoms": [NUCLEI], "crop_px": 32, "depth_um": 2.0, "defocus_um": 3.0},
    "training": {"steps": 5, "batch_size": 2},
    "seed": 9,
    "start_from": "the baseline",
    "start_share": 0.5,
    "precision": "bf16-mixed",
    "prepared": "a dataset",
    "simulated_stacks": "pairs of stacks",
    "prepared_stacks": "pairs of stacks",
    "validate_every": 2,
    "validation_batches": 2,
    "early_stopping_checks": 1,
    "checkpoint_minutes": 1e-9,
    "output_dir": "elsewhere",
}
ELSEWHERE = {"simulated_stacks", "prepared_stacks", "start_share"}
"""Fields of `TRAIN` whose effects other tests show: below, and in test_run.py."""
TINY_SWIFT = {"encoder_channels": [4], "decoder_channels": [4]}
TINY_W_NET = {"refocusing": TINY_SWIFT, "sharpening": TINY_SWIFT}
CASES: dict[type[BaseModel], dict[str, Any]] = {
    PhantomDraw: PHANTOM_DRAW,
    OpticsDraws: OPTICS,
    SimulationConfig: SIMULATION,
    LossConfig: LOSS,
    RegressionConfig: REGRESSION,
    AdversarialConfig: DEEP_Z,
    TrainConfig: TRAIN,
}


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_every_field_has_a_case(kind: type[BaseModel]) -> None:
    assert set(CASES[kind]) == set(kind.model_fields) - {"scheme"}


# What is simulated ---------------------------------------------------------------------


def _pairs(simulation: dict[str, Any]) -> list[torch.Tensor]:
    """Draw the first pairs of a configuration."""
    config = SimulationConfig.model_validate(simulation)
    stream = SimulatedPairs(preset("olympus-20x-0.75"), config, batch_size=1, seed=7)
    return [value for batch in itertools.islice(stream, 8) for value in batch.values()]


SIMULATED: dict[str, Any] = {
    "phantoms": [BEADS, NUCLEI],
    "crop_px": 32,
    "depth_um": 2.0,
    "defocus_um": 3.0,
    "targets_per_image": 2,
    "planes_per_specimen": 5,
    "specimens_in_memory": 2,
    "microscopes_in_memory": 1,
}


@pytest.fixture(scope="module")
def pairs() -> list[torch.Tensor]:
    return _pairs(SIMULATED)


def _same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_simulation_gives_the_same_pairs(pairs: list[torch.Tensor]) -> None:
    assert _same(pairs, _pairs(SIMULATED))


@pytest.mark.parametrize("field", SIMULATION)
def test_simulation_field_has_an_effect(field: str, pairs: list[torch.Tensor]) -> None:
    assert not _same(pairs, _pairs(SIMULATED | {field: SIMULATION[field]}))


@pytest.mark.parametrize("field", OPTICS)
def test_optics_field_has_an_effect(field: str, pairs: list[torch.Tensor]) -> None:
    assert not _same(pairs, _pairs(SIMULATED | {"optics": {field: OPTICS[field]}}))


@pytest.mark.parametrize("field", PHANTOM_DRAW)
def test_phantom_field_has_an_effect(field: str, pairs: list[torch.Tensor]) -> None:
    changed = [BEADS | {field: PHANTOM_DRAW[field]}, NUCLEI]
    assert not _same(pairs, _pairs(SIMULATED | {"phantoms": changed}))


# How it is trained ---------------------------------------------------------------------


@pytest.fixture
def observe(
    microscope: Microscope, monkeypatch: pytest.MonkeyPatch
) -> Callable[[TrainConfig], dict[str, Any]]:
    """Train, and gather all that can be seen of it afterwards."""
    written: list[str] = []

    class Counting(AtomicCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            written.append(Path(path).name)
            super().save_checkpoint(checkpoint, path, storage_options)

    monkeypatch.setattr(run, "AtomicCheckpointIO", Counting)

    def result(config: TrainConfig) -> dict[str, Any]:
        written.clear()
        optics = preset(config.microscope)
        path = run_training(config, optics, accelerator="cpu", workers=0, show_progress=False)
        (log,) = path.parent.glob("log/*/metrics.csv")
        checkpoint = torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True)
        return {
            "path": path,
            "card": read_card(path).model_dump(exclude={"created"}),
            "log": list(csv.reader(log.open())),
            "checkpoints": list(written),
            "monitors": sorted(checkpoint["callbacks"]),
        }

    return result


@pytest.fixture(scope="module")
def baselines() -> dict[str, Any]:
    return {}


@pytest.fixture
def has_effect(
    observe: Callable[[TrainConfig], dict[str, Any]],
    baselines: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Callable[..., TrainConfig],
) -> Callable[..., bool]:
    """Whether changing fields of a tiny configuration changes anything that is observed."""

    def compare(training: dict[str, Any], section: dict[str, Any], **changes: Any) -> bool:
        key = repr(training)
        if key not in baselines:
            output_dir = tmp_path_factory.mktemp("baseline")
            baselines[key] = observe(tiny(training, output_dir=output_dir))
        plain = baselines[key]
        output_dir = changes.pop("output_dir", None)
        directory = tmp_path_factory.mktemp("changed") if output_dir is None else output_dir
        changed = observe(tiny(training | section, **{"output_dir": directory} | changes))
        if output_dir is None:
            changed["path"] = plain["path"].parent.parent / changed["path"].relative_to(directory)
        return changed != plain

    return compare


def test_the_same_training_gives_the_same_result(
    has_effect: Callable[..., bool], schemes: dict[str, dict[str, Any]]
) -> None:
    assert not has_effect(schemes["regression"], {})


@pytest.mark.parametrize("field", REGRESSION)
def test_regression_field_has_an_effect(
    field: str, has_effect: Callable[..., bool], schemes: dict[str, dict[str, Any]]
) -> None:
    adversarial = field == "discriminator_learning_rate"
    base = schemes["adversarial" if adversarial else "regression"]
    assert has_effect(base, {field: REGRESSION[field]})


@pytest.mark.parametrize("field", sorted(set(LOSS) - {"refocused", "squared_gain"}))
def test_loss_field_has_an_effect(
    field: str, has_effect: Callable[..., bool], schemes: dict[str, dict[str, Any]]
) -> None:
    assert has_effect(schemes["regression"], {"loss": {field: LOSS[field]}})


def test_the_gain_of_the_squared_loss_has_an_effect() -> None:
    output, target = torch.full((1, 1, 8, 8), 0.2), torch.full((1, 1, 8, 8), 0.5)
    losses = [
        refocusing_loss(output, target, LossConfig(l1=0, rms=0, spectral=0, squared=1, **gain))
        for gain in ({}, {"squared_gain": LOSS["squared_gain"]})
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_the_weight_of_the_first_of_two_networks_has_an_effect(
    weight: float,
    tiny: Callable[..., TrainConfig],
    schemes: dict[str, dict[str, Any]],
    microscope: Microscope,
) -> None:
    batch = {
        "image": torch.rand(1, 1, 16, 16),
        "dpm_um": torch.ones(1, 1, 1),
        "optics": torch.zeros(1, PARAMETERS),
        "target": torch.rand(1, 1, 16, 16),
        "refocused": torch.rand(1, 1, 16, 16),
    }
    losses = []
    for loss in ({}, {"refocused": weight}):
        torch.manual_seed(0)
        section = schemes["regression"] | {"loss": loss}
        training = make_training(
            tiny(section, architecture="w_net", architecture_config=TINY_W_NET), microscope
        )
        losses.append(training.network_loss(batch)[0].item())
    assert losses[0] != losses[1]


@pytest.mark.parametrize("field", sorted(set(DEEP_Z) - {"discriminator_width"}))
def test_deep_z_field_has_an_effect(
    field: str, has_effect: Callable[..., bool], schemes: dict[str, dict[str, Any]]
) -> None:
    assert has_effect(schemes["deep_z"], {field: DEEP_Z[field]})


def test_discriminator_width_has_an_effect() -> None:
    with torch.device("meta"):
        paper, compact = (
            DeepZTraining(build_network("deep_z"), AdversarialConfig(discriminator_width=width))
            for width in ("paper", "compact")
        )
        for training, width in ((paper, "paper"), (compact, "compact")):
            expected = DeepZDiscriminator(width).state_dict()
            (discriminator,) = training.discriminators
            found = discriminator.state_dict()
            assert {k: v.shape for k, v in found.items()} == {
                k: v.shape for k, v in expected.items()
            }
    wide, narrow = (training.discriminators[0].to_score for training in (paper, compact))
    assert wide.in_features == 4 * narrow.in_features


@pytest.mark.parametrize("field", sorted(set(TRAIN) - ELSEWHERE))
def test_train_field_has_an_effect(
    field: str,
    has_effect: Callable[..., bool],
    schemes: dict[str, dict[str, Any]],
    baselines: dict[str, Any],
    tmp_path: Path,
) -> None:
    training = schemes["regression"]
    changes = {field: TRAIN[field]}
    if field == "training":
        training, changes = training | {"steps": 5}, {}
        assert has_effect(schemes["regression"], training)
        return
    if field == "architecture":
        changes["architecture_config"] = {"width": "compact"}
    if field == "early_stopping_checks":
        training = training | {"learning_rate": 1e-30}
    if field == "start_from":
        has_effect(training, {})
        changes["start_from"] = str(baselines[repr(training)]["path"])
    if field == "prepared":
        stack = simulate_stack(
            preset("olympus-20x-0.75"),
            "beads",
            shape_yx=(200, 40),
            planes_um=[-1.5, -0.5, 0.5, 1.5],
            seed=0,
            phantom_parameters={"count_per_1000_um2": 60, "surface": "plane"},
        )
        path = tmp_path / "scan.ome.tif"
        write_stack(path, make_stack(stack.counts, "ZYX", (1.0, 0.325, 0.325)))
        prepare = PrepareConfig(region_px=32, validation_share=0.3)
        prepare_dataset([path], tmp_path / "scan.zarr", prepare)
        prepared = {"dataset": str(tmp_path / "scan.zarr"), "crop_px": 32, "defocus_um": 2.0}
        changes = {"prepared": prepared, "simulation": None}
    if field == "output_dir":
        changes["output_dir"] = tmp_path / "elsewhere"
    assert has_effect(training, {}, **changes)
