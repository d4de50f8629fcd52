"""The error output of a network, made honest on held-out pairs."""

import math

import pytest
import torch

from fluofocus.models import build_network
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.optics.description import NOLL_INDICES, PARAMETERS
from fluofocus.optics.microscope import preset
from fluofocus.simulate.draws import OpticsDraws
from fluofocus.train.config import TrainConfig
from fluofocus.train.data import TrainingData
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


def test_simulated_pairs_to_calibrate_on_are_of_other_and_wider_optics() -> None:
    config = TrainConfig.model_validate(
        {
            "name": "tiny",
            "microscope": "olympus-20x-0.75",
            "validation_batches": 2,
            "simulation": {
                "phantoms": [{"phantom": "beads"}],
                "optics": {"spherical_rms_waves": [-0.02, 0.02]},
                "crop_px": 32,
                "depth_um": 2,
                "specimens_in_memory": 2,
                "microscopes_in_memory": 2,
                "specimens_per_microscope": 1,
                "known_optics_share": 1,
            },
            "training": {"batch_size": 4},
        }
    )
    data = TrainingData(config, preset(config.microscope), workers=0)
    wide, narrow = data.calibration_batches(), data.validation_batches()
    assert len(wide) == len(narrow) == 2
    spherical = 4 + NOLL_INDICES.index(11)
    spread = [
        float(torch.cat([batch["optics"][:, spherical] for batch in batches]).std())
        for batches in (wide, narrow)
    ]
    assert spread[0] > 1.5 * spread[1]


def test_wider_draws_stay_possible() -> None:
    draws = OpticsDraws(
        spherical_rms_waves=(-0.03, 0.05),
        other_zernike_rms_waves=0.02,
        emitter_depth_um=(5, 15),
        sample_index=(1.33, 1.45),
        relative_wavelength=(0.9, 1.1),
    )
    wide = draws.widened()
    assert wide.spherical_rms_waves == pytest.approx((-0.11, 0.13))
    assert wide.other_zernike_rms_waves == 0.04
    assert wide.emitter_depth_um == (0, 25)
    assert wide.sample_index == (1.33, 1.515)
    assert wide.relative_wavelength == draws.relative_wavelength
    assert wide.amplitude_falloff is None
