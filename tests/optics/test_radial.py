"""Point spread functions along a radius agree with those of two dimensions."""

import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import preset
from fluofocus.optics.psf import point_spread_function
from fluofocus.optics.radial import RadialSamples, radial_psf

SAMPLES = RadialSamples(0.06, 300)
LENS = preset("nikon-60x-1.4-oil").model_copy(
    update={"pixel_size_um": 0.01, "emitter_depth_um": 5.0}
)


@pytest.mark.parametrize("model", ["vectorial", "scalar"])
def test_a_radius_is_that_of_the_plane(model: str) -> None:
    lens = LENS.model_copy(update={"psf_model": model, "zernike_rms_waves": {11: 0.05}})
    defocus = torch.tensor([-1.0, 0.0, 0.4])
    plane = point_spread_function(lens, defocus, (1, 133)) / 0.01**2
    along = radial_psf(lens, defocus, SAMPLES)
    largest = float(along.max())
    torch.testing.assert_close(plane[:, 0, 66::6], along[:, :12], atol=0.01 * largest, rtol=0.01)


def test_a_plane_sums_to_one_also_far_out_of_focus() -> None:
    light = (radial_psf(LENS, torch.tensor([0.0, -3.0, 6.0]), SAMPLES) * SAMPLES.weights).sum(dim=1)
    torch.testing.assert_close(light, torch.ones(3), atol=0.01, rtol=0)


def test_the_transform_of_a_gaussian_is_a_gaussian() -> None:
    frequency = torch.tensor([0.0, 0.5, 1.5])
    gaussian = torch.exp(-((SAMPLES.radii / 0.3) ** 2) / 2) / (2 * torch.pi * 0.3**2)
    transformed = gaussian @ SAMPLES.transform_to(frequency)
    expected = torch.exp(-2 * (torch.pi * 0.3 * frequency) ** 2)
    torch.testing.assert_close(transformed, expected, atol=1e-4, rtol=0)


def test_what_turns_is_refused() -> None:
    coma = LENS.model_copy(update={"zernike_rms_waves": {7: 0.1}})
    with pytest.raises(FluoFocusError, match="Noll 7"):
        radial_psf(coma, torch.zeros(1), SAMPLES)
