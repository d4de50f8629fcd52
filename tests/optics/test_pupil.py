"""The pupil: index mismatch, masks, aberrations at two wavelengths."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.optics.pupil import (
    aberration_um,
    gibson_lanni_path_um,
    pupil_function,
    pupil_grid,
    ray_blur_um,
    spherical_rms_waves,
)
from fluofocus.optics.zernike import zernike

AIR = Microscope(numerical_aperture=0.75, emission_wavelength_nm=520, pixel_size_um=0.15)


def with_changes(**changes: object) -> Microscope:
    return Microscope.model_validate({**AIR.model_dump(), **changes})


def spherical_part(microscope: Microscope) -> float:
    grid = pupil_grid(microscope, 128, dtype=torch.float64)
    path = gibson_lanni_path_um(microscope, grid).real
    mode = zernike(11, grid.rho, grid.phi)
    return float((path * mode * grid.weight).sum() / grid.weight.sum())


def test_no_path_difference_as_designed() -> None:
    grid = pupil_grid(AIR, 64, dtype=torch.float64)
    assert gibson_lanni_path_um(AIR, grid).abs().max() < 1e-9


def test_depth_and_a_thick_coverslip_give_positive_spherical_aberration_in_air() -> None:
    assert spherical_part(with_changes(emitter_depth_um=10.0)) > 0.01
    assert spherical_part(with_changes(coverslip_thickness_um=180.0)) > 0.01
    assert spherical_part(with_changes(coverslip_thickness_um=160.0)) < -0.01


def test_oil_immersed_lens_sees_the_opposite_sign_in_water() -> None:
    oil = with_changes(numerical_aperture=1.2, immersion_index=1.515, emitter_depth_um=10.0)
    assert spherical_part(oil) < -0.01


def test_zernike_waves_are_of_the_emission_wavelength() -> None:
    microscope = with_changes(zernike_rms_waves={11: 0.1})
    emission = pupil_grid(microscope, 64, dtype=torch.float64)
    excitation = pupil_grid(microscope, 64, wavelength_nm=400, dtype=torch.float64)
    # glass delays by the same length whatever passes through it
    torch.testing.assert_close(
        aberration_um(microscope, emission), aberration_um(microscope, excitation)
    )
    squared = aberration_um(microscope, emission).real ** 2
    rms = torch.sqrt((squared * emission.weight).sum() / emission.weight.sum())
    assert float(rms) == pytest.approx(0.1 * 0.52, rel=0.01)


def test_ray_blur_of_a_tilt_is_its_shift() -> None:
    # rms of 1 wave of tilt: W = 2 waves * rho, so x = dW / d(sine) = 2 * 0.52 / 0.75
    assert ray_blur_um(with_changes(zernike_rms_waves={2: 1.0})) == pytest.approx(
        2 * 0.52 / 0.75, rel=0.01
    )


def test_amplitude_falls_off_towards_the_rim() -> None:
    microscope = with_changes(amplitude_falloff=0.5)
    grid = pupil_grid(microscope, 64)
    ratio = pupil_function(microscope, grid).abs() / pupil_function(AIR, grid).abs()
    inside = grid.weight == 1
    expected = torch.exp(-0.5 * grid.rho**2)
    torch.testing.assert_close(ratio[inside], expected[inside])


def psf_with_mask(path: Path) -> torch.Tensor:
    return point_spread_function(with_changes(pupil_mask=path), torch.zeros(1), (33, 33))


def test_a_flat_mask_changes_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.full((50, 50), 0.7))
    torch.testing.assert_close(
        psf_with_mask(tmp_path / "flat.npy"), point_spread_function(AIR, torch.zeros(1), (33, 33))
    )


def test_a_phase_ramp_moves_the_image(tmp_path: Path) -> None:
    columns = (np.arange(256) + 0.5) / 128 - 1
    shift_um = 3 * AIR.pixel_size_um
    cycles = shift_um * AIR.numerical_aperture / 0.52
    ramp = np.exp(-2j * np.pi * cycles * columns) * np.ones((256, 1))
    np.save(tmp_path / "ramp.npy", ramp)
    image = psf_with_mask(tmp_path / "ramp.npy")[0]
    assert divmod(int(image.argmax()), 33) == (16, 19)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((4, 5)), "square 2D"),
        (np.zeros(9), "square 2D"),
        (np.full((4, 4), np.nan), "finite"),
        (np.array([[None]], dtype=object), "Cannot read pupil mask"),
    ],
)
def test_bad_masks_are_refused(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    np.save(tmp_path / "mask.npy", array)
    with pytest.raises(FluoFocusError, match=complaint):
        psf_with_mask(tmp_path / "mask.npy")


def test_missing_and_foreign_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("phase")
    for name in ("absent.npy", "text.npy"):
        with pytest.raises(FluoFocusError, match="Cannot read pupil mask"):
            psf_with_mask(tmp_path / name)


def test_spherical_aberration_of_objective_and_layers_add_up() -> None:
    assert spherical_rms_waves(AIR) == pytest.approx(0, abs=1e-4)
    objective = with_changes(zernike_rms_waves={11: 0.12, 6: 0.3, 22: 0.05})
    assert spherical_rms_waves(objective) == pytest.approx(0.12, abs=0.01)
    thick = with_changes(coverslip_thickness_um=180.0)
    thin = with_changes(coverslip_thickness_um=160.0)
    assert spherical_rms_waves(thick) > 0.02
    assert spherical_rms_waves(thin) == pytest.approx(-spherical_rms_waves(thick), rel=1e-3)
    deep = with_changes(emitter_depth_um=15.0)
    both = with_changes(emitter_depth_um=15.0, zernike_rms_waves={11: -0.1})
    assert spherical_rms_waves(deep) > 0.02
    assert spherical_rms_waves(both) == pytest.approx(spherical_rms_waves(deep) - 0.1, abs=0.005)
