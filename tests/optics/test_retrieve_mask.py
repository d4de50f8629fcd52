"""A double-helix mask comes back from the scan of one bead."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.optics.double_helix import design_double_helix
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.optics.retrieve_mask import retrieve_mask

DRY = Microscope(numerical_aperture=0.8, emission_wavelength_nm=600, pixel_size_um=0.15)
SHAPE_YX = (56, 58)


def through(mask: Path, z_um: np.ndarray, **changes: object) -> np.ndarray:
    microscope = DRY.model_copy(update={"pupil_mask": mask} | changes)
    return point_spread_function(
        microscope, torch.tensor(z_um, dtype=torch.float32), SHAPE_YX
    ).numpy()


def test_a_retrieved_mask_predicts_planes_that_it_has_not_seen(tmp_path: Path) -> None:
    design_double_helix(DRY, 4.0, kind="rings", refinement_steps=10).save(tmp_path / "true.npz")
    aberrations = {5: 0.05, 8: -0.04, 11: 0.06}
    scanned_um, between_um = np.arange(-4, 4.1, 0.5), np.arange(-3.75, 4, 0.5)
    psf = through(tmp_path / "true.npz", scanned_um, zernike_rms_waves=aberrations)
    counts = np.random.default_rng(0).poisson(100 + 3000 * psf / psf.max())
    found = retrieve_mask(counts, DRY, voxel_size_um=(0.5, 0.15, 0.15), steps=60)
    assert found.correlation > 0.98
    found.mask.save(tmp_path / "found.npz")
    truth = through(tmp_path / "true.npz", between_um, zernike_rms_waves=aberrations)
    again = through(tmp_path / "found.npz", between_um)
    for plane, other in zip(truth, again, strict=True):
        assert np.corrcoef(plane.ravel(), other.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("stack", "complaint"),
    [
        (np.zeros((5, 40, 40)), "9 planes or more"),
        (np.zeros((15, 40, 10)), "24 pixels"),
        (np.full((15, 40, 40), np.nan), "NaN"),
        (np.ones((15, 40, 40)), "No bead"),
    ],
)
def test_scans_that_tell_nothing_are_refused(stack: np.ndarray, complaint: str) -> None:
    with pytest.raises(FluoFocusError, match=complaint):
        retrieve_mask(stack, DRY, voxel_size_um=(0.5, 0.15, 0.15))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"bead_diameter_um": float("nan")}, "nan µm is not possible"),
        ({"bead_diameter_um": -0.2}, "-0.2 µm is not possible"),
        ({"bead_diameter_um": 0.0}, "0 µm is not possible"),
        ({"bead_diameter_um": 4.0}, "field of 6 µm"),
        ({"voxel_size_um": (float("nan"), 0.15, 0.15)}, "three positive numbers"),
        ({"voxel_size_um": (0.5, 0.15, 0.2)}, "not square"),
    ],
)
def test_impossible_beads_and_voxels_are_refused(settings: dict[str, Any], complaint: str) -> None:
    stack = np.ones((9, 40, 40))
    stack[4, 20, 20] = 100
    with pytest.raises(FluoFocusError, match=complaint):
        retrieve_mask(stack, DRY, **{"voxel_size_um": (0.5, 0.15, 0.15)} | settings)
