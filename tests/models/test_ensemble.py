"""Averaging over the eight turns of an image."""

import pytest
import torch

from fluofocus.models import build_network
from fluofocus.models.ensemble import TurnEnsemble
from fluofocus.prepare.turns import TURNS

SMALL = {"encoder_channels": [8, 8], "decoder_channels": [8, 8], "residual_blocks": 1}


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network("swift", SMALL).eval()


@torch.inference_mode()
def test_the_result_turns_with_the_image(network: torch.nn.Module) -> None:
    torch.manual_seed(1)
    image, dpm = torch.rand(1, 1, 32, 48), 5 * torch.randn(1, 2, 32, 48)
    ensemble = TurnEnsemble(network)
    plain = ensemble(image, dpm)
    for quarter_turns, mirrored in TURNS:

        def turned(x: torch.Tensor, k: int = quarter_turns, m: bool = mirrored) -> torch.Tensor:
            return x.rot90(k, (-2, -1)).flip(-1) if m else x.rot90(k, (-2, -1))

        torch.testing.assert_close(
            ensemble(turned(image), turned(dpm)), turned(plain), rtol=1e-4, atol=1e-5
        )
    alone = network(image, dpm)
    assert float((network(image.flip(-1), dpm.flip(-1)).flip(-1) - alone).abs().max()) > 1e-4


@torch.inference_mode()
def test_it_is_the_mean_of_the_single_results(network: torch.nn.Module) -> None:
    image, distances = torch.rand(1, 1, 16, 16), torch.tensor([[-2.0, 3.0]])
    answers = [network(image.rot90(k, (-2, -1)), distances).rot90(-k, (-2, -1)) for k in range(4)]
    mirrored = image.flip(-1)
    answers += [
        network(mirrored.rot90(k, (-2, -1)), distances).rot90(-k, (-2, -1)).flip(-1)
        for k in range(4)
    ]
    torch.testing.assert_close(
        TurnEnsemble(network)(image, distances), torch.stack(answers).mean(0), rtol=1e-4, atol=1e-5
    )
