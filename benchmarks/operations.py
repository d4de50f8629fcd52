"""How many operations a network takes."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from fluofocus.models.network import RefocusingNetwork

COUNTED_SIDE_PX = 256


@torch.inference_mode()
def gflop(network: RefocusingNetwork, side: int, planes: int) -> float:
    """Count those of a stack of planes from one image (a multiply-add is two)."""
    device = next(network.parameters()).device
    image = torch.zeros(1, 1, COUNTED_SIDE_PX, COUNTED_SIDE_PX, device=device)
    with FlopCounterMode(display=False) as encode:
        features = network.encode(image)
    with FlopCounterMode(display=False) as decode:
        network.decode(features, torch.zeros(1, 1, 1, device=device))
    flops: int = encode.get_total_flops() + planes * decode.get_total_flops()
    return flops * (side / COUNTED_SIDE_PX) ** 2 / 1e9
