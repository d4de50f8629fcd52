"""Calibration: known aberrations come back, bad stacks are refused, a real bead is fitted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.optics.bead import find_single_bead
from fluofocus.optics.calibrate import Calibration, calibrate
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function

VOXEL_UM = (0.5, 0.16, 0.16)
SHAPE = (11, 61, 61)
ABERRATIONS = {5: -0.04, 8: 0.05, 10: 0.03, 11: 0.09, 22: -0.03}
REAL_BEAD = (
    Path(__file__).parents[3]
    / "shared/data/bead-air-na085/psf_wl520nm_z300nm_x130nm_na0.85_n1.0.tif"
)


def air(**changes: object) -> Microscope:
    return Microscope.model_validate(
        {
            "numerical_aperture": 0.75,
            "emission_wavelength_nm": 520,
            "pixel_size_um": VOXEL_UM[1],
            **changes,
        }
    )


def bead_stack(*, light: float = 200_000.0, **changes: object) -> np.ndarray:
    """Return counts of a point in a noisy focus scan, focused between planes 5 and 6."""
    planes_um = (torch.arange(SHAPE[0]) - 5) * VOXEL_UM[0] - 0.2
    psf = point_spread_function(air(**changes), planes_um, SHAPE[1:]).numpy()
    rng = np.random.default_rng(0)
    return (rng.poisson(psf * light + 20) + rng.normal(100, 2, SHAPE)).round().astype(np.uint16)


@dataclass(frozen=True)
class Fit:
    calibration: Calibration
    progress: list[tuple[int, int]]


@pytest.fixture(scope="module")
def fit() -> Fit:
    progress: list[tuple[int, int]] = []
    stack = bead_stack(zernike_rms_waves=ABERRATIONS, amplitude_falloff=0.2)
    calibration = calibrate(
        stack,
        air(),
        voxel_size_um=VOXEL_UM,
        max_noll=22,
        steps=40,
        bead_diameter_um=0.01,
        progress=lambda done, total: progress.append((done, total)),
    )
    return Fit(calibration, progress)


def test_known_aberrations_come_back(fit: Fit) -> None:
    waves = fit.calibration.microscope.zernike_rms_waves
    assert set(waves) == set(range(5, 23))
    errors = [abs(waves[noll] - ABERRATIONS.get(noll, 0.0)) for noll in waves]
    assert max(errors) < 0.02


def test_position_falloff_and_counts_come_back(fit: Fit) -> None:
    calibration = fit.calibration
    assert calibration.position_um == pytest.approx((2.7, 30 * 0.16, 30 * 0.16), abs=0.1)
    assert calibration.microscope.amplitude_falloff == pytest.approx(0.2, abs=0.1)
    assert calibration.background_counts == pytest.approx(120, abs=2)
    assert calibration.brightness_counts == pytest.approx(200_000, rel=0.05)
    assert calibration.bead_diameter_um == pytest.approx(0.01)


def test_the_fit_is_shown_in_counts_and_scored(fit: Fit) -> None:
    calibration = fit.calibration
    assert calibration.fitted.shape == calibration.measured.shape == SHAPE
    both = np.corrcoef(calibration.measured.ravel(), calibration.fitted.ravel())[0, 1]
    assert calibration.correlation == pytest.approx(both, abs=1e-6)
    assert calibration.correlation > 0.995
    assert calibration.plane_correlation.shape == SHAPE[:1]


def test_progress_rises_to_its_total(fit: Fit) -> None:
    done, totals = zip(*fit.progress, strict=True)
    assert set(totals) == {80}
    assert list(done) == sorted(done)
    assert done[-1] == 80


def test_the_description_is_kept_but_for_what_was_fitted() -> None:
    given = air(name="mine", pixel_size_um=0.2, zernike_rms_waves={40: 0.01})
    fitted = calibrate(
        bead_stack(light=50_000.0), given, voxel_size_um=VOXEL_UM, max_noll=11, steps=2
    ).microscope
    assert fitted.name == "mine"
    assert fitted.pixel_size_um == VOXEL_UM[1]
    assert fitted.zernike_rms_waves[40] == 0.01


def test_brightest_voxel_is_found() -> None:
    assert find_single_bead(bead_stack(), separation_px=8).centre_px == (5, 30, 30)


def without_bead() -> np.ndarray:
    return np.random.default_rng(1).poisson(100, SHAPE).astype(np.uint16)


def two_beads() -> np.ndarray:
    stack = bead_stack()
    return np.roll(stack, (0, 10, 12), (0, 1, 2)) // 2 + np.roll(stack, (2, -8, -9), (0, 1, 2)) // 2


def with_nan() -> np.ndarray:
    stack = bead_stack().astype(np.float32)
    stack[3, 4, 5] = np.nan
    return stack


@pytest.mark.parametrize(
    ("stack", "complaint"),
    [
        (without_bead(), "No bead in the stack"),
        (np.full(SHAPE, 7, np.uint16), "No bead in the stack"),
        (two_beads(), "2 beads in the stack, another at pixel"),
        (np.minimum(bead_stack(), 4095), "The bead is saturated: .* 4095 counts"),
        ((bead_stack() / bead_stack().max() * 255).astype(np.uint8), "saturated: 1 voxel"),
        (bead_stack()[:5], "has 5 planes; calibration needs at least 7"),
        (bead_stack()[:, :10], "10 x 61 pixels"),
        (bead_stack()[0], "three axes"),
        (with_nan(), "NaN or infinite"),
        (bead_stack()[6:].repeat(2, axis=0), "first or last plane"),
        (bead_stack()[:, :, 28:], "2 pixels from the edge"),
    ],
)
def test_bad_stacks_are_refused(stack: np.ndarray, complaint: str) -> None:
    with pytest.raises(FluoFocusError, match=complaint):
        calibrate(stack, air(), voxel_size_um=VOXEL_UM)


@pytest.mark.parametrize(
    ("voxel", "complaint"),
    [
        (None, "no voxel size"),
        ((0.5, 0.0, 0.16), "three positive numbers"),
        ((0.5, float("nan"), 0.16), "three positive numbers"),
        ((0.5, 0.16, 0.2), "not square"),
    ],
)
def test_bad_voxels_are_refused(voxel: tuple[float, float, float], complaint: str) -> None:
    with pytest.raises(FluoFocusError, match=complaint):
        calibrate(bead_stack(), air(), voxel_size_um=voxel)


def test_confocal_and_too_few_polynomials_are_refused() -> None:
    confocal = air(modality="confocal", excitation_wavelength_nm=488)
    with pytest.raises(FluoFocusError, match="wide-field stacks"):
        calibrate(bead_stack(), confocal, voxel_size_um=VOXEL_UM)
    with pytest.raises(FluoFocusError, match="between 11 and 120"):
        calibrate(bead_stack(), air(), voxel_size_um=VOXEL_UM, max_noll=6)


@pytest.mark.skipif(not REAL_BEAD.exists(), reason="the measured bead is not at ../shared/data")
def test_a_measured_bead_is_fitted() -> None:
    import tifffile

    lens = Microscope(
        numerical_aperture=0.85, emission_wavelength_nm=520, pixel_size_um=0.13, psf_model="scalar"
    )
    calibration = calibrate(
        tifffile.imread(REAL_BEAD), lens, voxel_size_um=(0.3, 0.13, 0.13), steps=20
    )
    assert calibration.correlation >= 0.98
    assert calibration.plane_correlation[9:16].min() > 0.98
