"""Shot noise, read noise, gain, offset, rounding and saturation."""

import pytest
import torch

from fluofocus.optics.microscope import Camera
from fluofocus.simulate.camera import expected_counts, record

CAMERA = Camera(
    quantum_efficiency=0.5,
    gain_counts_per_electron=4.0,
    read_noise_electrons=2.0,
    offset_counts=50.0,
    bit_depth=12,
)


def exposed(photons: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return record(torch.full((200, 200), photons), CAMERA, generator)


def test_mean_and_variance_follow_the_photon_transfer_curve() -> None:
    for photons in (0.0, 20.0, 200.0):
        counts = exposed(photons)
        mean = 50 + 4 * 0.5 * photons
        variance = 4**2 * (0.5 * photons + 2**2) + 1 / 12
        assert float(counts.mean()) == pytest.approx(mean, abs=0.3)
        assert float(counts.var()) == pytest.approx(variance, rel=0.05)
        assert float(expected_counts(torch.tensor(photons), CAMERA)) == mean


def test_counts_are_whole_and_saturate() -> None:
    assert bool((exposed(100.0) == exposed(100.0).round()).all())
    assert float(exposed(1e5).max()) == 2**12 - 1
    assert float(exposed(0.0).min()) >= 0


def test_the_seed_decides_the_noise() -> None:
    assert torch.equal(exposed(50.0, seed=1), exposed(50.0, seed=1))
    assert not torch.equal(exposed(50.0, seed=1), exposed(50.0, seed=2))
