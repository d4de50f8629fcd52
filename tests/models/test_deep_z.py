"""The Deep-Z generator against its Methods section."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fluofocus.models.deep_z import DeepZ, DeepZConfig
from fluofocus.models.u_net import DownBlock, ReplicateConv2d, UpBlock


def compact() -> DeepZ:
    torch.manual_seed(0)
    return DeepZ(DeepZConfig(width="compact")).eval()


def paper_on_meta() -> DeepZ:
    with torch.device("meta"):
        return DeepZ(DeepZConfig())


def convolutions(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def channels(network: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_channels, layer.out_channels) for layer in convolutions(network)]


def test_channels_are_those_of_the_methods() -> None:
    network = paper_on_meta()
    assert channels(network.generator.down) == [
        *((2, 25), (25, 48), (48, 72), (72, 96), (96, 144), (144, 192)),
        *((192, 288), (288, 384), (384, 576), (576, 768)),
    ]
    assert channels(network.generator.up) == [
        *((768, 384), (768, 576), (576, 384), (384, 192), (384, 288), (288, 192)),
        *((192, 96), (192, 144), (144, 96), (96, 48), (96, 72), (72, 48)),
    ]
    assert channels(network.generator.to_image) == [(48, 1)]


def test_compact_has_a_quarter_of_the_channels() -> None:
    quarters = [(i // 4, o // 4) for i, o in channels(paper_on_meta())]
    quarters[0], quarters[-1] = (2, 6), (12, 1)
    assert channels(compact()) == quarters


def test_one_plane_of_256_pixels_takes_65_gflop() -> None:
    network = paper_on_meta()
    image = torch.empty(1, 1, 256, 256, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(image, 3.0)
    # equations 1 and 2 summed over the levels, and 2x2 up-convolutions
    assert counter.get_total_flops() / 1e9 == pytest.approx(65.1, rel=0.002)


def test_initial_weights_are_xavier_and_biases_a_tenth() -> None:
    layers = convolutions(compact())
    assert len(layers) == 23
    for layer in layers:
        assert layer.bias is not None
        assert torch.all(layer.bias == 0.1)
        weight = layer.weight
        fans = sum(nn.init._calculate_fan_in_and_fan_out(weight))
        assert weight.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.2)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 6)])
def test_replicate_convolution_is_torch_s_with_and_without_gradient(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = ReplicateConv2d(3, 4)
    theirs = nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate")
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x), theirs(x))


def test_down_block_is_equation_1() -> None:
    torch.manual_seed(0)
    block = DownBlock(2, 5, 6)
    x = torch.randn(1, 2, 8, 8)
    expected = F.relu(block.second(F.relu(block.first(x))))
    expected += torch.cat([x, torch.zeros(1, 4, 8, 8)], dim=1)
    torch.testing.assert_close(block(x), expected)


def test_up_block_is_equation_2() -> None:
    torch.manual_seed(0)
    block = UpBlock(8, 6, 4)
    skip, coarser = torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)
    merged = torch.cat([skip, block.enlarge(coarser)], dim=1)
    expected = F.relu(block.second(F.relu(block.first(merged))))
    torch.testing.assert_close(block(skip, coarser), expected)


def test_dpm_is_the_second_channel_divided_by_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    network = compact()
    seen = []

    def record(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x[:, :1]

    monkeypatch.setattr(network.generator, "forward", record)
    image = torch.rand(2, 1, 16, 32)
    dpm_um = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
    output = network(image, dpm_um)
    assert output.shape == (2, 3, 16, 32)
    torch.testing.assert_close(output, image.expand(2, 3, 16, 32))
    (x,) = seen
    expected = (dpm_um.flatten() / 10).view(6, 1, 1).expand(6, 16, 32)
    torch.testing.assert_close(x[:, 1], expected)


def test_targets_of_one_call_equal_a_call_each_and_a_uniform_image_equals_a_number() -> None:
    network = compact()
    image = torch.rand(2, 1, 32, 16)
    with torch.inference_mode():
        together = network(image, torch.tensor([[-5.0, 0.0, 7.5]]))
        for target, distance_um in enumerate((-5.0, 0.0, 7.5)):
            alone = network(image, distance_um)
            surface = network(image, torch.full((2, 1, 32, 16), distance_um))
            torch.testing.assert_close(together[:, target : target + 1], alone)
            torch.testing.assert_close(surface, alone)
        assert not torch.allclose(together[:, 0], together[:, 2])


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        compact().encode(torch.zeros(1, 1, 32, 40))


def gradient_columns(network: DeepZ, column: int, *, brighter_to_the_left: bool) -> torch.Tensor:
    """Input columns that an output column depends on, for an image as steep as it goes."""
    ramp = torch.linspace(1, 2, 272, dtype=torch.float64)
    ramp = ramp.flip(0) if brighter_to_the_left else ramp
    image = ramp.expand(1, 1, 16, 272).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(image, 0.0)[0, 0, 8, column], image)
    return gradient[0, 0].abs().sum(dim=0).nonzero().flatten()


def test_receptive_field_is_reached_and_never_exceeded() -> None:
    # Positive weights let nothing cancel; a ramp makes pooling take the outermost pixel.
    network = compact().double()
    for parameter in network.parameters():
        parameter.data.abs_()
    distances = []
    for column in range(128, 128 + network.size_multiple):
        left = gradient_columns(network, column, brighter_to_the_left=True)
        right = gradient_columns(network, column, brighter_to_the_left=False)
        distances += [column - int(left.min()), int(right.max()) - column]
    assert max(distances) == network.receptive_field_px
