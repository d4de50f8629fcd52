"""Data that a network cannot take are refused before it is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.models import STACK_MODELS, build_network, build_stack_network
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig, load_train_config
from fluofocus.train.run import make_training
from fluofocus.train.sizes import require_possible_sizes

CONFIGS = Path(__file__).parents[2] / "configs"
PHANTOMS = [{"phantom": "beads"}]
STACKS: dict[str, Any] = {
    "name": "stacks",
    "architecture": "wfcon",
    "architecture_config": {"width": "compact"},
    "microscope": "olympus-20x-0.75",
    "training": {"scheme": "wfcon", "perceptual_weight": 0, "adversarial_weight": 0},
}


@pytest.mark.parametrize(
    ("architecture", "simulation", "message"),
    [
        ("swift", {"crop_px": 102}, "crop_px is 102, .* multiple of 16: set crop_px to 112"),
        ("deep_z", {"crop_px": 40}, "crop_px is 40, .* deep_z .*: set crop_px to 48"),
        ("deep_z", {"input_planes": 3}, "input_planes is 3, .*: set input_planes to 1"),
    ],
)
def test_impossible_fields_are_refused(
    architecture: str,
    simulation: dict[str, Any],
    message: str,
    tiny: Callable[..., TrainConfig],
    microscope: Microscope,
) -> None:
    config = tiny(
        architecture=architecture,
        architecture_config={},
        simulation={"phantoms": PHANTOMS} | simulation,
    )
    with pytest.raises(FluoFocusError, match=message):
        make_training(config, microscope)


@pytest.mark.parametrize(
    ("stacks", "message"),
    [
        ({"planes": 6}, "planes is 6, but this network wfcon .* multiple of 4: set planes to 8"),
        ({"crop_px": 40}, "crop_px is 40, .* multiple of 16: set crop_px to 48"),
    ],
)
def test_impossible_stacks_are_refused(
    stacks: dict[str, Any], message: str, microscope: Microscope
) -> None:
    simulated = {"simulated_stacks": {"phantoms": PHANTOMS} | stacks}
    config = TrainConfig.model_validate(STACKS | simulated)
    with pytest.raises(FluoFocusError, match=message):
        make_training(config, microscope)


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="configurations come with the source only")
def test_shipped_configurations_are_possible() -> None:
    paths = list(CONFIGS.glob("*.yaml"))
    assert paths
    for path in paths:
        config, _ = load_train_config(path)
        build = build_stack_network if config.architecture in STACK_MODELS else build_network
        with torch.device("meta"):
            network = build(config.architecture, config.architecture_config)
        require_possible_sizes(config, network)
