"""What any point spread function must obey, against analytic answers."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, point_spread_function

PLANES_UM = torch.linspace(-6, 6, 13, dtype=torch.float64)
BREAK_SYMMETRY = [
    {"zernike_rms_waves": {11: 0.05}},
    {"zernike_rms_waves": {6: 0.05}},
    {"emitter_depth_um": 10.0},
    {"coverslip_thickness_um": 180.0},
]


def air(**changes: object) -> Microscope:
    return Microscope.model_validate(
        {
            "numerical_aperture": 0.75,
            "emission_wavelength_nm": 520,
            "pixel_size_um": 0.325,
            **changes,
        }
    )


def image(microscope: Microscope, size: int = 65) -> torch.Tensor:
    return point_spread_function(microscope, PLANES_UM, (size, size), dtype=torch.float64)


@pytest.mark.parametrize("model", PSF_MODELS)
@pytest.mark.parametrize("changes", [{}, {"zernike_rms_waves": {11: 0.15}}])
def test_light_is_neither_negative_nor_lost_by_defocus(model: str, changes: dict) -> None:
    psf = image(air(psf_model=model, **changes), size=97)
    sums = psf.sum(dim=(1, 2))
    assert psf.min() >= 0
    assert sums.max() <= 1.001
    assert sums.min() > 0.97
    assert (sums.max() - sums.min()) < 0.015


@pytest.mark.parametrize("modality", ["widefield", "confocal"])
@pytest.mark.parametrize("model", PSF_MODELS)
def test_symmetric_in_z_when_nothing_breaks_it(model: str, modality: str) -> None:
    psf = image(air(psf_model=model, modality=modality, excitation_wavelength_nm=488))
    torch.testing.assert_close(psf, psf.flip(0), atol=1e-9, rtol=0)


@pytest.mark.parametrize("model", PSF_MODELS)
@pytest.mark.parametrize("changes", BREAK_SYMMETRY)
def test_aberration_and_mismatch_break_the_symmetry(model: str, changes: dict) -> None:
    psf = image(air(psf_model=model, **changes))
    assert (psf - psf.flip(0)).abs().max() > 0.02 * psf.max()


@pytest.mark.parametrize("model", PSF_MODELS)
def test_mirror_law(model: str) -> None:
    """The image at (x, z) of a pupil is that at (-x, -z) of its conjugate."""
    generator = torch.Generator().manual_seed(1)
    waves = (0.03 * torch.randn(32, generator=generator)).tolist()
    aberration = dict(enumerate(waves, start=5))
    opposite = {noll: -value for noll, value in aberration.items()}
    psf = image(air(psf_model=model, zernike_rms_waves=aberration))
    mirrored = image(air(psf_model=model, zernike_rms_waves=opposite)).flip(0, 1, 2)
    torch.testing.assert_close(psf, mirrored, atol=float(1e-5 * psf.max()), rtol=0)
    assert (psf - psf.flip(0, 1, 2)).abs().max() > 0.05 * psf.max()


def half_width(profile: np.ndarray, step: float) -> float:
    """Return the full width at half maximum of a profile centred in the array."""
    x = (np.arange(len(profile)) - len(profile) // 2) * step
    half = profile.max() / 2
    edge = float(brentq(lambda at: np.interp(at, x, profile) - half, 0, x[-1] / 4))
    return 2 * edge


def test_lateral_width_at_low_aperture() -> None:
    lens = air(numerical_aperture=0.2, pixel_size_um=0.05, psf_model="scalar")
    profile = point_spread_function(lens, torch.zeros(1), (1, 161), dtype=torch.float64)[0, 0]
    expected = 0.51 * 0.52 / 0.2
    assert half_width(profile.numpy(), 0.05) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("immersion", "aperture"), [(1.0, 0.2), (1.515, 0.25)])
def test_axial_nulls_in_the_paraxial_limit(immersion: float, aperture: float) -> None:
    spacing = 2 * immersion * 0.52 / aperture**2
    lens = air(
        numerical_aperture=aperture,
        immersion_index=immersion,
        pixel_size_um=0.02,
        psf_model="scalar",
    )
    defocus = torch.linspace(0.8 * spacing, 2.2 * spacing, 141, dtype=torch.float64)
    on_axis = point_spread_function(lens, defocus, (1, 1), dtype=torch.float64)[:, 0, 0]
    nulls = [
        float(defocus[part][on_axis[part].argmin()]) for part in (slice(0, 60), slice(80, None))
    ]
    assert nulls[0] == pytest.approx(spacing, rel=0.02)
    assert nulls[1] - nulls[0] == pytest.approx(spacing, rel=0.02)


def test_focus_lies_at_zero_defocus_also_with_mismatch() -> None:
    planes = torch.linspace(-3, 3, 61)
    psf = point_spread_function(air(emitter_depth_um=3.0), planes, (17, 17))
    assert abs(float(planes[psf[:, 8, 8].argmax()])) < 0.4


def test_a_confocal_microscope_sections_and_sharpens() -> None:
    wide = image(air(pixel_size_um=0.1))
    confocal = image(
        air(
            pixel_size_um=0.1,
            modality="confocal",
            excitation_wavelength_nm=488,
            pinhole_airy_units=0.25,
        )
    )
    sums = confocal.sum(dim=(1, 2))
    assert sums[0] < 0.1 * sums[6]
    row, wide_row = confocal[6, 32].numpy(), wide[6, 32].numpy()
    assert half_width(row, 0.1) < 0.85 * half_width(wide_row, 0.1)


def test_an_open_pinhole_leaves_the_excitation() -> None:
    lens = air(pixel_size_um=0.1, modality="confocal", excitation_wavelength_nm=488)
    lens = lens.model_copy(update={"pinhole_airy_units": 6.0})
    row = image(lens)[6, 32].numpy()
    excitation = air(pixel_size_um=0.1, emission_wavelength_nm=488)
    expected = half_width(image(excitation)[6, 32].numpy(), 0.1)
    assert half_width(row, 0.1) == pytest.approx(expected, rel=0.03)


def test_on_axis_strehl_ratio_of_a_small_aberration() -> None:
    """Maréchal: an rms error of w waves lowers the peak to exp(-(2 pi w)²)."""
    sharp = image(air(pixel_size_um=0.1, psf_model="scalar", numerical_aperture=0.3))[6].max()
    blurred = image(
        air(
            pixel_size_um=0.1,
            psf_model="scalar",
            numerical_aperture=0.3,
            zernike_rms_waves={6: 0.05},
        )
    )[6].max()
    expected = math.exp(-((2 * math.pi * 0.05) ** 2))
    assert float(blurred / sharp) == pytest.approx(expected, rel=0.02)
