"""The error output of a network, made honest on held-out pairs."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fluofocus.data.simulated import SimulationConfig
from fluofocus.models import build_network
from fluofocus.models.bundle import ErrorCalibration
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.optics.description import PARAMETERS
from fluofocus.optics.microscope import preset
from fluofocus.simulate.draws import OpticsDraws
from fluofocus.train import data
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


def test_errors_are_as_honest_near_the_input_as_far_from_it() -> None:
    generator = torch.Generator().manual_seed(0)
    distance_um = torch.linspace(-10, 10, 81).repeat(8, 1)
    spread = (0.5 + 0.2 * distance_um.abs() + 0.1 * distance_um)[..., None, None]
    target = spread * torch.randn((8, 81, 32, 32), generator=generator)
    batch = {
        "image": torch.ones(8, 1, 32, 32),  # the network expects the same error everywhere
        "target": target,
        "dpm_um": distance_um[:, None],
        "optics": torch.zeros(8, PARAMETERS),
    }
    found = calibrate_error(Guess(), [batch], torch.device("cpu"))
    assert found is not None
    expected = 0.5 * found.scale_at(distance_um[0].numpy())[:, None]
    assert expected.mean() == pytest.approx(float(target.abs().mean()), rel=0.01)
    width = found.half_widths[found.probabilities.index(0.9)]
    held = (target[0].flatten(1).abs().numpy() <= width * expected).mean(axis=1)
    assert held == pytest.approx(0.9, abs=0.07)
    even = float(target.abs().quantile(0.9))
    assert np.ptp((target[0].flatten(1).abs() <= even).float().mean(dim=1).numpy()) > 0.4


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"factors": (1.0, 2.0)}, "each distance needs its factor"),
        ({"distances_um": (), "factors": ()}, "each distance needs its factor"),
        ({"distances_um": (1.0, 1.0), "factors": (1.0, 2.0)}, "distances must increase"),
        ({"factors": (0.0,)}, "greater than 0"),
        ({"half_widths": (1.0,)}, "each probability needs its half width"),
    ],
)
def test_calibrations_that_contradict_themselves_are_refused(
    fields: dict[str, Any], complaint: str
) -> None:
    whole = {"scale": 1.0, "probabilities": (0.5, 0.9), "half_widths": (1.0, 3.0)}
    with pytest.raises(ValidationError, match=complaint):
        ErrorCalibration.model_validate(whole | fields)


def test_a_network_without_error_output_has_no_calibration() -> None:
    network = build_network("deep_z", {"width": "compact"})
    assert calibrate_error(network, [], torch.device("cpu")) is None


def _small_config(**simulation: Any) -> TrainConfig:
    small = {
        "crop_px": 32,
        "depth_um": 2,
        "specimens_in_memory": 2,
        "microscopes_in_memory": 2,
        "specimens_per_microscope": 1,
    }
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "microscope": "olympus-20x-0.75",
            "validation_batches": 2,
            "simulation": small | simulation,
            "training": {"batch_size": 4},
        }
    )


def test_pairs_to_calibrate_on_are_of_one_plane_through_wider_optics_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[OpticsDraws] = []
    monkeypatch.setattr(
        OpticsDraws, "draw", lambda draws, microscope, _: (drawn.append(draws), microscope)[1]
    )
    optics = OpticsDraws(spherical_rms_waves=(-0.02, 0.02))
    config = _small_config(
        phantoms=[{"phantom": "beads"}],
        optics=optics.model_dump(),
        known_optics_share=1,
        wider_known_optics=True,
        input_planes=3,
    )
    batches = TrainingData(config, preset(config.microscope), workers=0).calibration_batches()
    assert len(batches) == 2
    assert set(drawn) == {optics.widened()}
    for batch in batches:
        assert batch["image"].shape[1] == 1
        assert not batch["optics"].any()


@pytest.mark.parametrize(("nuclei", "kinds"), [(2, {"beads", "nuclei"}), (5, {"nuclei"})])
def test_pairs_to_calibrate_on_are_of_what_most_of_a_mixture_is(
    nuclei: float, kinds: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SimulationConfig] = []

    def pairs(_: Any, simulation: SimulationConfig, **__: Any) -> list[Any]:
        asked.append(simulation)
        return []

    monkeypatch.setattr(data, "SimulatedPairs", pairs)
    mixture = [
        {"phantom": "beads", "weight": 1.0},
        {"phantom": "beads", "weight": 1.0},
        {"phantom": "nuclei", "weight": nuclei / 2},
        {"phantom": "nuclei", "weight": nuclei / 2},
    ]
    config = _small_config(phantoms=mixture)
    TrainingData(config, preset(config.microscope), workers=0).calibration_batches()
    assert {draw.phantom for draw in asked[0].phantoms} == kinds
    assert len(asked[0].phantoms) == 2 * len(kinds)


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
