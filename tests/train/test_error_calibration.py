"""The error output of a network, made honest on held-out pairs."""

import math

import pytest
import torch

from fluofocus.models import build_network
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.optics.description import PARAMETERS
from fluofocus.train.error_calibration import calibrate_error


class Guess(RefocusingNetwork):
    """Returns zeros, and half of the standard deviation of the noise as the error."""

    size_multiple = 1
    receptive_field_px = 0
    has_error = True

    def encode(self, images, optics=None):
        return (images,)

    def decode(self, features, dpm_um, *, with_error=False):
        shape = (features[0].shape[0], dpm_um.shape[2], *features[0].shape[-2:])
        return Refocused(torch.zeros(shape), features[0].expand(shape) / 2)


def test_scale_and_intervals_are_those_of_the_residuals() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand((4, 1, 64, 64), generator=generator) + 0.5
    target = spread * torch.randn((4, 2, 64, 64), generator=generator)
    batch = {
        "image": spread,
        "target": target,
        "dpm_um": torch.zeros(4, 1, 2),
        "optics": torch.zeros(4, PARAMETERS),
    }
    found = calibrate_error(Guess(), [batch], torch.device("cpu"))
    assert found is not None
    mean_of_normal = math.sqrt(2 / math.pi)
    assert found.scale == pytest.approx(2 * mean_of_normal, rel=0.03)
    widths = dict(zip(found.probabilities, found.half_widths, strict=True))
    assert widths[0.9] == pytest.approx(1.645 / mean_of_normal, rel=0.03)


def test_a_network_without_error_output_has_no_calibration() -> None:
    network = build_network("deep_z", {"width": "compact"})
    assert calibrate_error(network, [], torch.device("cpu")) is None
