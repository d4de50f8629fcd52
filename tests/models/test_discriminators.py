"""The Deep-Z discriminator against its Methods section."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fluofocus.models.discriminators import DeepZDiscriminator, HalvingBlock


def test_layers_are_those_of_the_methods() -> None:
    with torch.device("meta"):
        network = DeepZDiscriminator()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        *((1, 48), (48, 96), (96, 96), (96, 192), (192, 192), (192, 384)),
        *((384, 384), (384, 768), (768, 768), (768, 1536), (1536, 1536), (1536, 3072)),
    ]
    assert [c.stride[0] for c in convolutions] == [1, 2] * 6
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(3072, 3072), (3072, 1)]


def test_block_is_equation_3() -> None:
    torch.manual_seed(0)
    block = HalvingBlock(2, 3, 4)
    x = torch.randn(1, 2, 9, 8)

    def convolve(x: torch.Tensor, layer: nn.Conv2d, stride: int) -> torch.Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.leaky_relu(F.conv2d(padded, layer.weight, layer.bias, stride), 0.01)

    expected = convolve(convolve(x, block.first, 1), block.second, 2)
    assert expected.shape == (1, 4, 5, 4)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("size", [(256, 256), (64, 64), (40, 50)])
def test_scores_lie_between_false_and_true_and_depend_on_the_image(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = DeepZDiscriminator("compact")
    scores = network(torch.rand(3, 1, *size))
    assert scores.shape == (3,)
    assert torch.all((scores > 0) & (scores < 1))
    assert scores.unique().numel() == 3


def test_a_few_updates_tell_sharp_from_flat() -> None:
    torch.manual_seed(0)
    network = DeepZDiscriminator("compact")
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-5)
    sharp = (torch.rand(4, 1, 32, 32) > 0.9).float()
    flat = torch.full_like(sharp, 0.1)
    for _ in range(15):
        loss = (network(sharp) - 1).square().mean() + network(flat).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert network(sharp).min() > network(flat).max()
