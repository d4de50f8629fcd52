"""Sampling, apertures and gradients of the point spread functions."""

import pytest
import torch

from fluofocus.optics.aperture import Aperture, average_over_aperture
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, intensity_from_pupil, point_spread_function
from fluofocus.optics.pupil import pupil_function, pupil_grid


def microscope(**changes: object) -> Microscope:
    return Microscope.model_validate(
        {
            "numerical_aperture": 0.75,
            "emission_wavelength_nm": 520,
            "pixel_size_um": 0.3,
            "zernike_rms_waves": {8: 0.05, 11: 0.08},
            **changes,
        }
    )


@pytest.mark.parametrize("modality", ["widefield", "confocal"])
@pytest.mark.parametrize("shape_yx", [(20, 24), (21, 25)])
def test_oversampling_adds_points_between(modality: str, shape_yx: tuple[int, int]) -> None:
    lens = microscope(modality=modality, excitation_wavelength_nm=488, pixel_size_um=0.1)
    defocus = torch.tensor([-1.0, 0.5])
    coarse = point_spread_function(lens, defocus, shape_yx, dtype=torch.float64)
    fine = point_spread_function(
        lens, defocus, (3 * shape_yx[0], 3 * shape_yx[1]), oversampling=3, dtype=torch.float64
    )
    start = [3 * points // 2 - 3 * (points // 2) for points in shape_yx]
    taken = fine[:, start[0] :: 3, start[1] :: 3]
    torch.testing.assert_close(taken, coarse, atol=float(2e-3 * coarse.max()), rtol=0)


def test_a_pixel_holds_the_light_of_the_small_pixels_in_it() -> None:
    defocus = torch.tensor([0.0, 2.0])
    large = point_spread_function(microscope(), defocus, (21, 21), dtype=torch.float64)
    small = point_spread_function(
        microscope(pixel_size_um=0.1), defocus, (63, 63), dtype=torch.float64
    )
    summed = small.reshape(2, 21, 3, 21, 3).sum(dim=(2, 4))
    torch.testing.assert_close(summed, large, atol=float(2e-3 * large.max()), rtol=0)


@pytest.mark.parametrize(
    ("aperture", "variance_um2"),
    [
        (Aperture(pixel_um=0.6), 0.6**2 / 12),
        (Aperture(pinhole_radius_um=0.5), 0.5**2 / 4),
        (Aperture(ball_diameter_um=0.8), 0.8**2 / 20),
        (Aperture(ball_diameter_um=torch.tensor(0.8, dtype=torch.float64)), 0.8**2 / 20),
    ],
)
def test_apertures_blur_by_their_second_moment(aperture: Aperture, variance_um2: float) -> None:
    x = (torch.arange(128, dtype=torch.float64) - 64) * 0.1
    spot = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 0.4**2))[None]
    blurred = average_over_aperture(spot, 0.1, aperture)[0]
    assert float(blurred.sum()) == pytest.approx(float(spot.sum()))
    variance = (blurred.sum(dim=0) * x**2).sum() / blurred.sum()
    assert float(variance) == pytest.approx(0.4**2 + variance_um2, rel=1e-6)


@pytest.mark.parametrize("model", PSF_MODELS)
def test_gradients_through_zernike_coefficients_and_position(model: str) -> None:
    lens = microscope(psf_model=model)
    grid = pupil_grid(lens, 16, dtype=torch.float64)
    waves = torch.tensor([0.03, -0.05, 0.1], dtype=torch.float64, requires_grad=True)
    position = torch.tensor([0.2, 0.05, -0.1], dtype=torch.float64, requires_grad=True)

    def image(waves: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        aberrations = dict(zip((5, 8, 11), waves, strict=True))
        pupil = pupil_function(lens, grid, zernike_rms_waves=aberrations)
        fields = PSF_MODELS[model](lens, grid, pupil)
        defocus = torch.tensor([-1.0, 0.5], dtype=torch.float64) - position[0]
        centre = (position[1], position[2])
        return 100 * intensity_from_pupil(fields, grid, 1.0, defocus, (5, 4), 0.2, centre)

    assert torch.autograd.gradcheck(image, (waves, position))


def test_planes_do_not_depend_on_their_batch() -> None:
    planes = torch.linspace(-2, 2, 5)
    together = point_spread_function(microscope(), planes, (15, 15))
    alone = point_spread_function(microscope(), planes[-1:], (15, 15))
    torch.testing.assert_close(together[-1:], alone, atol=1e-6, rtol=1e-4)


def test_result_follows_the_wanted_type() -> None:
    image = point_spread_function(microscope(), torch.zeros(1), (9, 9), dtype=torch.float64)
    assert image.dtype == torch.float64
