"""Two networks in a row, and what each of them is trained towards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.models import build_network
from fluofocus.models.network import RefocusingNetwork

SMALL = {"encoder_channels": [4, 4], "decoder_channels": [4, 4], "residual_blocks": 1}
CONFIGS: list[dict[str, Any]] = [
    {"refocusing": SMALL, "sharpening": SMALL},
    {"refocusing": {"width": "compact"}, "sharpening": {"width": "compact"}},
]


@pytest.fixture(params=CONFIGS, ids=["swift", "deep_z"])
def network(request: pytest.FixtureRequest) -> RefocusingNetwork:
    torch.manual_seed(0)
    network = build_network("w_net", request.param).eval()
    torch.nn.init.normal_(network.last_layer.weight, std=0.1)
    return network


def test_the_second_network_sees_what_the_first_one_refocuses(network: RefocusingNetwork) -> None:
    image, dpm_um = torch.rand(2, 1, 32, 32), torch.tensor([[[1.0, -2.0, 3.0]], [[0.0, 4.0, 5.0]]])
    with torch.inference_mode():
        refocused = network.predict(image, dpm_um)
        alone = network.refocusing(image, dpm_um)
        torch.testing.assert_close(refocused.intermediate, alone)
        assert refocused.image.shape == alone.shape == (2, 3, 32, 32)
        one = network.sharpening(alone[1, 2][None, None], 0.0)
        torch.testing.assert_close(refocused.image[1, 2], one[0, 0])


def test_its_output_starts_dark() -> None:
    network = build_network("w_net", CONFIGS[0]).eval()
    refocused = network.predict(torch.rand(1, 1, 32, 32), 1.0)
    assert refocused.intermediate.std() > 0
    assert not refocused.image.any()


def test_its_reach_is_that_of_both(network: RefocusingNetwork) -> None:
    both = network.receptive_field_px
    assert both > network.refocusing.receptive_field_px
    size = 2 * both + 16 + network.size_multiple
    size += -size % network.size_multiple
    image = torch.rand(1, 1, 16, size, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[..., -8:] += 1
    reach = size - 8 - both
    with torch.inference_mode():
        difference = (network(image, 1.0) - network(changed, 1.0)).abs()
    assert float(difference[..., :reach].max()) == 0
    assert float(difference[..., -8:].max()) > 0


def test_each_is_trained_towards_its_own_target(
    tiny_training: Callable[..., Any], network: RefocusingNetwork
) -> None:
    training = tiny_training(network)
    batch = {
        "image": torch.rand(1, 1, 32, 32),
        "dpm_um": torch.tensor([[[1.0]]]),
        "optics": torch.zeros(1, 22),
        "target": torch.rand(1, 1, 32, 32),
        "refocused": torch.rand(1, 1, 32, 32),
    }
    loss, _ = training.network_loss(batch)
    for changed in ("target", "refocused"):
        other, _ = training.network_loss(batch | {changed: batch[changed] + 1})
        assert other.item() != loss.item()
    with pytest.raises(FluoFocusError, match="target_modality: confocal"):
        training.network_loss({k: v for k, v in batch.items() if k != "refocused"})


@pytest.fixture
def tiny_training() -> Callable[..., Any]:
    from fluofocus.train.config import RegressionConfig
    from fluofocus.train.regression import RegressionTraining

    return lambda network: RegressionTraining(network, RegressionConfig())


def test_a_width_that_is_none_is_refused() -> None:
    with pytest.raises(FluoFocusError, match="w_net"):
        build_network("w_net", {"refocusing": {"width": "huge"}})
