"""Registration finds transforms that are known, and says when it cannot."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.prepare.register_psf import register_psf
from fluofocus.prepare.registration import (
    REGISTRATIONS,
    RegistrationError,
    Transform,
    register,
)
from fluofocus.prepare.transform import mapped, translation
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.phantoms import Filaments
from fluofocus.simulate.specimen import SpecimenGrid

WIDEFIELD = Microscope(
    numerical_aperture=1.4,
    emission_wavelength_nm=525,
    excitation_wavelength_nm=488,
    pixel_size_um=0.108,
    immersion_index=1.515,
    sample_index=1.515,
    psf_model="scalar",
)
CONFOCAL = WIDEFIELD.model_copy(update={"modality": "confocal"})
STEP_UM = 0.5


def about_centre(
    side: int, *, turn_deg: float, scale: float, shift: tuple[float, float], lean: float = 0
) -> np.ndarray:
    """Return a matrix that turns, scales, shifts and leans by ``lean`` px, about the centre."""
    cosine, sine = (scale * f(math.radians(turn_deg)) for f in (math.cos, math.sin))
    inner = np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [0, 0, 1]])
    inner[2, :2] = lean / (side / 2) ** 2
    centre = (side - 1) / 2
    return translation((centre, centre)) @ inner @ translation((-centre, -centre))


def exposed(photons: np.ndarray, peak: float, seed: int) -> np.ndarray:
    """Record with shot noise, so that the brightest pixels have ``peak`` photons."""
    rng = np.random.default_rng(seed)
    mean = np.maximum(photons, 0) * (peak / np.quantile(photons, 0.999)) + 5
    return (rng.poisson(mean) + rng.normal(0, 1.5, mean.shape)).astype(np.float32)


@functools.cache
def thin_images(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image thin filaments by both microscopes, 64 px larger than ``side``."""
    grid = SpecimenGrid((side + 64, side + 64), 0.108, (-0.5, 0.0, 0.5), oversampling=1)
    specimen = Filaments(thickness_um=1.0, length_per_1000_um2_um=900.0).draw(
        grid, torch.Generator().manual_seed(side)
    )
    wide, confocal = (
        ImageFormation(microscope, grid, torch.zeros(1))(specimen)[0].numpy()
        for microscope in (WIDEFIELD, CONFOCAL)
    )
    return wide, confocal


def image_pair(side: int, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a confocal image warped by a matrix, and the wide-field image."""
    wide, confocal = thin_images(side)
    pixels = np.indices((side, side)).reshape(2, -1).T.astype(float)
    where = mapped(np.linalg.inv(matrix), pixels).T.reshape(2, side, side) + 32
    warped = map_coordinates(confocal, where, order=3, mode="mirror")
    return exposed(warped, 60, 1), exposed(wide[32:-32, 32:-32], 400, 2)


def grid_errors(transform: Transform, matrix: np.ndarray) -> np.ndarray:
    """Return how far the transform is off at 9 x 9 points over the field, in pixels."""
    axes = [np.linspace(0, size - 1, 9) for size in transform.fixed_shape_yx]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.linalg.norm(transform.to_moving(points) - mapped(matrix, points), axis=1)


@functools.cache
def stack_pair(thick: bool, shift_zyx: tuple[float, float, float]):
    """Return a confocal stack, moved, and a wide-field stack of the same specimen."""
    side, planes = 128, 28
    reach_um = 8.0 if thick else 1.5
    depths = tuple(np.arange(-32, 33) * 0.25)
    grid = SpecimenGrid((side, side), 0.108, depths, oversampling=1)
    generator = torch.Generator().manual_seed(5)
    length = 4000.0 if thick else 1200.0
    specimen = Filaments(
        thickness_um=2 * reach_um, length_per_1000_um2_um=length, flatness=0.6 if thick else 0.1
    ).draw(grid, generator)
    at_um = (torch.arange(planes) - planes // 2) * STEP_UM
    wide = ImageFormation(WIDEFIELD, grid, at_um)(specimen).numpy()
    confocal = ImageFormation(CONFOCAL, grid, at_um - shift_zyx[0] * STEP_UM)(specimen)
    fy, fx = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    phase = torch.exp(-2j * math.pi * (fy * shift_zyx[1] + fx * shift_zyx[2]))
    moved = torch.fft.irfft2(torch.fft.rfft2(confocal) * phase, s=(side, side)).numpy()
    if thick:
        haze = gaussian_filter(wide, (3, 30, 30), mode="nearest", truncate=2)
        share = np.linspace(0.3, 0.8, planes)[:, None, None]
        wide = (1 - share) * wide + 1.5 * share * haze
    inner = (slice(None), slice(8, -8), slice(8, -8))
    return exposed(moved[inner], 50, 3), exposed(wide[inner], 300, 4)


def helix_pair(seed: int, lobes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sharp beads, the same beads with one or two lobes each, and the shift."""
    rng = np.random.default_rng(seed)
    side = 256
    centres, light = rng.uniform(0, side, (60, 2)), rng.lognormal(0, 0.4, 60)
    shift, half = rng.uniform(-8, 8, 2), np.array([3.3, 4.6]) * (lobes - 1)
    background = np.linspace(0, 2, side)
    helix = spots(centres - half, light, 1.7, side) + spots(centres + half, light, 1.7, side)
    helix += background[:, None]
    sharp = spots(centres + shift, light, 1.2, side) + 0.3 * background
    return exposed(sharp, 40, seed), exposed(helix, 40, seed + 1), shift


def spots(centres: np.ndarray, light: np.ndarray, sigma: float, side: int) -> np.ndarray:
    """Draw Gaussian spots."""
    pixels = np.arange(side)
    along = np.exp(-((pixels - centres[..., None]) ** 2) / (2 * sigma**2))
    return np.einsum("n,ny,nx->yx", light, along[:, 0], along[:, 1])


@pytest.mark.parametrize(
    ("side", "matrix"),
    [
        (256, about_centre(256, turn_deg=0.4, scale=1.004, shift=(2.6, -3.3))),
        (1024, about_centre(1024, turn_deg=-2.5, scale=0.97, shift=(14.2, -19.7), lean=5)),
    ],
)
def test_features_bring_two_modalities_together(side: int, matrix: np.ndarray) -> None:
    moving, fixed = image_pair(side, matrix)
    transform = register(moving, fixed, "features")
    errors = grid_errors(transform, matrix)
    assert np.median(errors) < 0.15
    assert errors.max() < 0.3
    assert transform.residual_px < 0.5
    warped, valid = transform.apply(moving), transform.valid
    after = np.corrcoef(warped[valid], fixed[valid])[0, 1]
    assert after > 0.7 > np.corrcoef(moving[valid], fixed[valid])[0, 1]


def test_a_region_without_features_is_shifted_only() -> None:
    spot = spots(np.array([[60.0, 70], [75, 50]]), np.array([1.0, 0.7]), 3, 128)
    moved = spots(np.array([[63.4, 68.3], [78.4, 48.3]]), np.array([1.0, 0.7]), 3, 128)
    transform = register(exposed(moved, 200, 0), exposed(spot, 200, 1), "features")
    assert transform.model == "shift"
    np.testing.assert_allclose(transform.matrix[:2, 2], [3.4, -1.7], atol=0.15)


def test_two_unlike_images_are_refused_with_what_shows_why() -> None:
    moving, fixed = image_pair(256, np.eye(3))
    with pytest.raises(RegistrationError, match="resemble") as caught:
        register(moving[::-1].copy(), fixed, "features")
    assert caught.value.fixed is fixed
    assert caught.value.moving.shape == moving.shape
    assert caught.value.matches is not None


@pytest.mark.parametrize("thick", [False, True])
def test_the_psf_between_two_stacks_gives_their_shift(thick: bool) -> None:
    shift = (1.5, 2.3, -3.6)
    moving, fixed = stack_pair(thick, shift)
    transform = register(moving, fixed, "psf")
    assert transform.shift_z == pytest.approx(shift[0], abs=0.25)
    np.testing.assert_allclose(transform.matrix[:2, 2], shift[1:], atol=0.2)
    swapped = register(fixed, moving, "psf", sharp="fixed")
    assert swapped.shift_z == pytest.approx(-transform.shift_z, abs=1e-6)


def test_stacks_of_different_specimens_are_refused() -> None:
    moving, fixed = stack_pair(True, (1.5, 2.3, -3.6))
    with pytest.raises(RegistrationError, match="No peak") as caught:
        register(moving[::-1, :, ::-1].copy(), fixed, "psf")
    assert caught.value.curve is not None
    assert caught.value.curve.shape == (17, 25, 25)
    with pytest.raises(RegistrationError, match="border"):
        register_psf(moving[..., 4:], fixed[..., :-4], reach_zyx=(4, 6, 6), least_prominence=0)
    with pytest.raises(FluoFocusError, match="no room"):
        register_psf(moving, fixed, reach_zyx=(3, 6, 6))


@pytest.mark.parametrize("seed", range(3))
def test_the_middle_of_two_peaks_is_the_shift(seed: int) -> None:
    sharp, helix, shift = helix_pair(seed)
    transform = register(sharp, helix, "dual_peak")
    np.testing.assert_allclose(transform.matrix[:2, 2], shift, atol=0.1)
    backwards = register(helix, sharp, "dual_peak")
    np.testing.assert_allclose(backwards.matrix[:2, 2], -shift, atol=0.1)


def test_one_peak_or_none_is_no_double_helix() -> None:
    sharp, blurred, _ = helix_pair(0, lobes=1)
    with pytest.raises(RegistrationError, match="one peak") as caught:
        register(sharp, blurred, "dual_peak")
    assert caught.value.curve is not None
    noise = np.random.default_rng(0).normal(size=(2, 256, 256))
    with pytest.raises(RegistrationError, match="nothing in common"):
        register(*noise, "dual_peak")


def test_unsuitable_recordings_are_refused_in_one_sentence() -> None:
    flat, stack = np.zeros((200, 200)), np.zeros((20, 64, 64))
    noise = np.random.default_rng(0).normal(size=(200, 200))
    for arguments, message in (
        ((noise, noise, "shape"), "features, psf, dual_peak"),
        ((flat, noise, "features"), "flat"),
        ((stack, noise, "features"), "96 pixels"),
        ((noise, noise, "psf"), "two stacks"),
        ((stack[:10], stack[:10], "psf"), "too small"),
        ((stack * np.nan, stack, "psf"), "NaN"),
        ((stack, stack, "psf"), "flat"),
        ((noise, noise[:90], "dual_peak"), "one size"),
        ((noise[:80, :80], noise[:80, :80], "dual_peak"), "max_shift_px"),
        ((noise * np.inf, noise, "dual_peak"), "NaN"),
    ):
        with pytest.raises(FluoFocusError, match=message):
            register(*arguments)
    assert set(REGISTRATIONS) == {"features", "psf", "dual_peak"}
