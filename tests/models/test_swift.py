"""What `swift` does in training, where it differs from what it does for users."""

import pytest
import torch

from fluofocus.models import build_network
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.swift_decoder import repeated, weighted
from fluofocus.train.config import RegressionConfig
from fluofocus.train.regression import RegressionTraining

SMALL = {"encoder_channels": [8, 8], "decoder_channels": [8, 8], "residual_blocks": 1}


@pytest.fixture
def network() -> RefocusingNetwork:
    torch.manual_seed(0)
    return build_network("swift", SMALL)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "image": torch.rand(2, 1, 16, 32),
        "dpm_um": torch.tensor([[[-2.0, 3.0, 5.0]], [[1.0, -4.0, 0.0]]]),
        "target": torch.rand(2, 3, 16, 32),
    }


@torch.no_grad()
def test_in_training_errors_are_those_of_the_first_target(
    network: RefocusingNetwork, batch: dict[str, torch.Tensor]
) -> None:
    learnt = network.train().predict(batch["image"], batch["dpm_um"])
    given = network.eval().predict(batch["image"], batch["dpm_um"])
    assert given.error is not None
    assert learnt.error is not None
    torch.testing.assert_close(learnt.image, given.image)
    assert learnt.error.shape == (2, 1, 16, 32)
    torch.testing.assert_close(learnt.error, given.error[:, :1])


def test_the_error_output_learns_from_the_target_that_it_saw(
    network: RefocusingNetwork, batch: dict[str, torch.Tensor]
) -> None:
    def gradient(targets: torch.Tensor) -> torch.Tensor:
        network.zero_grad()
        training = RegressionTraining(network.train(), RegressionConfig())
        batch_ = batch | {"target": targets, "optics": torch.zeros(2, 22)}
        training.network_loss(batch_)[0].backward()
        (weight,) = (
            value
            for name, value in network.named_parameters()
            if name.endswith("to_log_error.2.bias")
        )
        assert weight.grad is not None
        return weight.grad.clone()

    plain = gradient(batch["target"])
    others, first = batch["target"].clone(), batch["target"].clone()
    others[:, 1:] += 1
    first[:, :1] += 1
    torch.testing.assert_close(gradient(others), plain)
    assert not torch.allclose(gradient(first), plain)


def test_repeated_and_merged_features_stay_channels_last() -> None:
    x = torch.rand(4, 24, 8, 8).contiguous(memory_format=torch.channels_last)
    found = repeated(x, 3)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, x.repeat_interleave(3, dim=0))
    score = torch.rand(12, 1, 8, 8)
    merged = weighted(found, score, 2, 3)
    assert merged.is_contiguous(memory_format=torch.channels_last)
    share = score.reshape(2, 2, 3, 1, 8, 8).softmax(dim=1)
    expected = (x.reshape(2, 2, 1, 24, 8, 8) * share).sum(dim=1).flatten(0, 1)
    torch.testing.assert_close(merged, expected)
