"""What weights may be taken over from another network, and what would mean something else."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fluofocus.errors import FluoFocusError
from fluofocus.models import STACK_MODELS, build_network, build_stack_network
from fluofocus.models.bundle import read_any_card, shipped_models
from fluofocus.train.config import load_train_config
from fluofocus.train.first_weights import load_first_weights, require_same_meaning

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL: dict[str, Any] = {"encoder_channels": [4, 4], "decoder_channels": [4, 4]}


def _config(described: Any) -> Any:
    build = build_stack_network if described.architecture in STACK_MODELS else build_network
    with torch.device("meta"):
        return build(described.architecture, described.architecture_config).config


def test_a_range_that_was_not_set_is_refused() -> None:
    message = (
        r"start_from oil63x-microtubules was trained with distance_range_um 1\.6, and this "
        r"configuration has 10\.0: set distance_range_um in architecture_config to 1\.6, or to"
    )
    with pytest.raises(FluoFocusError, match=message):
        load_first_weights(build_network("swift"), "oil63x-microtubules")


def test_a_range_that_was_set_scales_distances() -> None:
    network = build_network("swift", {"distance_range_um": 1.6})
    load_first_weights(network, "air20x-nuclei")


def test_another_output_is_refused_even_if_it_was_set() -> None:
    network = build_network("swift", {"output": "linear"})
    with pytest.raises(FluoFocusError, match=r"has linear: set output in \S+ to sinh\.$"):
        load_first_weights(network, "air20x-nuclei")


@pytest.mark.parametrize("part", ["refocusing", "sharpening"])
def test_both_of_two_networks_are_compared(part: str) -> None:
    wanted = {"refocusing": {}, "sharpening": {}, part: {"output": "linear"}}
    with pytest.raises(FluoFocusError, match=rf"with {part}\.output sinh"):
        load_first_weights(build_network("w_net", wanted), "air20x-nuclei")


def test_the_range_of_a_network_that_refocuses_by_nothing_does_not_count() -> None:
    own, first = (
        build_network("w_net", {"sharpening": SMALL | scale}).config
        for scale in ({}, {"distance_range_um": 3.0})
    )
    require_same_meaning(own, first, "a model")


def test_filters_are_compared() -> None:
    first, other = (
        build_network("filtered", {"pupil_cells": 16, "noise_shares": shares}).config
        for shares in ([1e-3, 0.1], [2e-3, 0.1])
    )
    own = build_network("filtered", {"pupil_cells": 16}).config
    require_same_meaning(own, other, "a model")
    with pytest.raises(FluoFocusError, match=r"noise_shares \(0\.001, 0\.1\)"):
        require_same_meaning(own, first, "a model")


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_checkpoint_is_compared_with_what_its_folder_says(tmp_path: Path, is_noted: bool) -> None:
    first, network = (
        build_network("swift", SMALL | {"output": output}) for output in ("linear", "sinh")
    )
    weights = {f"network.{name}": value for name, value in first.state_dict().items()}
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": weights, "global_step": 1}, path)
    if not is_noted:
        load_first_weights(network, str(path))
        return
    noted = {"architecture": "swift", "architecture_config": SMALL | {"output": "linear"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(noted))
    with pytest.raises(FluoFocusError, match="trained with output linear"):
        load_first_weights(network, str(path))


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="configurations come with the source only")
def test_shipped_configurations_start_from_what_means_the_same() -> None:
    compared = 0
    for path in CONFIGS.glob("*.yaml"):
        source = yaml.safe_load(path.read_text(encoding="utf-8")).get("start_from")
        if source is None:
            continue
        if source in shipped_models():
            first = _config(read_any_card(source))
        else:  # runs/NAME/..., trained from the configuration of that name
            first_path = CONFIGS / f"{Path(source).parts[1]}.yaml"
            first = _config(load_train_config(first_path)[0])
        require_same_meaning(_config(load_train_config(path)[0]), first, source)
        compared += 1
    assert compared > 10
