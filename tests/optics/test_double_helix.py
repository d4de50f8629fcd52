"""Masks with two lobes that turn with depth: designed, measured, written and read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.optics.double_helix import DESIGNS, design_double_helix
from fluofocus.optics.lobes import Lobes, lobes_over_range, measure_lobes, warn_if_ambiguous
from fluofocus.optics.mask_file import PupilMask, load_mask, transmission
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function

pytestmark = pytest.mark.filterwarnings("ignore:pixel_size_um")
HALF_RANGE_UM = 4.0
DRY = Microscope(
    numerical_aperture=0.8, emission_wavelength_nm=600, pixel_size_um=0.15, immersion_index=1.0
)


@pytest.fixture(scope="module", params=DESIGNS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def refined(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masks") / "mask.npz"
    design_double_helix(DRY, HALF_RANGE_UM, kind=kind, refinement_steps=40).save(path)
    return path


def test_the_lobes_turn_steadily_by_less_than_half_a_turn(refined: Path) -> None:
    z_um, psf, lobes, _ = lobes_over_range(DRY, refined, HALF_RANGE_UM)
    steps = np.diff(lobes.angle_rad[::4])
    assert (np.sign(steps) == np.sign(lobes.turn_deg)).all()
    assert 150 < abs(lobes.turn_deg) < 185
    assert lobes.separation_um.std() < 0.1 * lobes.separation_um.mean()
    assert (psf.sum(axis=(1, 2)) > 0.6).all()
    assert len(z_um) == len(lobes.efficiency)


def test_refinement_makes_the_lobes_brighter(kind: str, refined: Path, tmp_path: Path) -> None:
    design_double_helix(DRY, HALF_RANGE_UM, kind=kind, refinement_steps=0).save(
        tmp_path / "first.npz"
    )
    _, before, _, _ = lobes_over_range(DRY, tmp_path / "first.npz", HALF_RANGE_UM)
    _, after, _, _ = lobes_over_range(DRY, refined, HALF_RANGE_UM)
    assert after.max(axis=(1, 2)).mean() > 1.2 * before.max(axis=(1, 2)).mean()


def test_a_wider_range_turns_more_slowly(tmp_path: Path) -> None:
    turns = []
    for half_range_um in (2.0, 4.0):
        mask = design_double_helix(DRY, half_range_um, kind="rings", refinement_steps=0)
        mask.save(tmp_path / "mask.npz")
        turns.append(abs(lobes_over_range(DRY, tmp_path / "mask.npz", 1.0)[2].turn_deg))
    assert turns[1] == pytest.approx(turns[0] / 2, rel=0.2)


def test_lobes_are_measured_where_they_are() -> None:
    y, x = np.indices((41, 41)) - 20
    planes = []
    for degrees in (80, 100, 120):  # passes 90, and atan2's cut after half a turn
        ly, lx = 6 * np.sin(np.radians(degrees)), 6 * np.cos(np.radians(degrees))
        planes.append(sum(np.exp(-((y - s * ly) ** 2 + (x - s * lx) ** 2) / 4) for s in (-1, 1)))
    lobes = measure_lobes(np.array(planes), pixel_um=0.1)
    np.testing.assert_allclose(np.degrees(np.diff(lobes.angle_rad)), 20, atol=1)
    np.testing.assert_allclose(lobes.separation_um, 1.2, atol=0.02)
    np.testing.assert_allclose(lobes.efficiency, 1.0, atol=0.01)


def test_more_than_half_a_turn_is_said() -> None:
    z_um = np.linspace(-4, 4, 9)
    lobes = Lobes(np.linspace(0, np.radians(240), 9), np.ones(9), np.ones(9))
    with pytest.warns(FluoFocusWarning, match=r"turn by 240° .* beyond ±3\.0 µm"):
        warn_if_ambiguous(lobes, z_um)


def test_a_file_gives_back_the_mask_and_what_it_is_for(tmp_path: Path) -> None:
    phase = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    PupilMask(phase, 600, 0.8).save(tmp_path / "m.npz")
    mask = load_mask(tmp_path / "m.npz")
    np.testing.assert_array_equal(mask.phase_rad, phase)
    assert (mask.wavelength_nm, mask.numerical_aperture) == (600, 0.8)
    np.testing.assert_allclose(transmission(tmp_path / "m.npz", 0.8, 600), np.exp(1j * phase))


def test_a_plate_delays_all_colours_alike(tmp_path: Path) -> None:
    PupilMask(np.full((8, 8), 1.0, np.float32), 600, 0.8).save(tmp_path / "m.npz")
    with pytest.warns(FluoFocusWarning, match="made for 600 nm, not for 500 nm"):
        field = transmission(tmp_path / "m.npz", 0.8, 500)
    np.testing.assert_allclose(np.angle(field), 1.2, rtol=1e-5)


def test_a_smaller_pupil_sees_the_middle_of_a_mask(tmp_path: Path) -> None:
    phase = np.zeros((64, 64), np.float32)
    phase[16:48, 16:48] = 1.0
    PupilMask(phase, 600, 0.8).save(tmp_path / "m.npz")
    np.testing.assert_allclose(np.angle(transmission(tmp_path / "m.npz", 0.4, 600)), 1.0)


def test_a_mask_that_does_not_fill_the_pupil_is_refused(tmp_path: Path) -> None:
    PupilMask(np.zeros((8, 8), np.float32), 600, 0.5).save(tmp_path / "m.npz")
    microscope = DRY.model_copy(update={"pupil_mask": tmp_path / "m.npz"})
    with pytest.raises(FluoFocusError, match=r"does not fill the pupil.* NA 0\.5"):
        point_spread_function(microscope, torch.zeros(1), (17, 17))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"kind": "triple"}, "choose one of gauss-laguerre, rings"),
        ({"half_range_um": 0.3}, "shorter than the depth of field"),
        ({"refinement_steps": -1}, "give 0 or more"),
    ],
)
def test_impossible_designs_are_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(FluoFocusError, match=complaint):
        design_double_helix(DRY, **({"half_range_um": 2.0} | arguments))  # type: ignore[arg-type]


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FluoFocusError, match="Cannot read pupil mask"):
        load_mask(tmp_path / "other.npz")
    np.save(tmp_path / "plain.npy", np.zeros((8, 8)))
    with pytest.raises(FluoFocusError, match="does not say what it was made for"):
        load_mask(tmp_path / "plain.npy")
    with pytest.raises(FluoFocusError, match=r"must be named \*\.npz"):
        PupilMask(np.zeros((8, 8), np.float32), 600, 0.8).save(tmp_path / "mask.npy")
