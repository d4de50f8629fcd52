"""Pairs of wide-field and confocal stacks, and what is known of where they lie."""

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.measure.sharpness import sharpness
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.prepare.registration import register
from fluofocus.simulate.brain_slice import BrainSlice
from fluofocus.simulate.pair import Misregistration, PairImaging, StackPair

MICROSCOPE = preset("nikon-60x-1.4-oil").model_copy(update={"emitter_depth_um": 7.0})
SMALL_CELLS = BrainSlice(thickness_um=14.0, soma_diameter_um=3.0, neurons_per_1e6_um3=3000.0)
SHAPE = (112, 128)


def pair_of(
    microscope: Microscope = MICROSCOPE,
    phantom: BrainSlice = SMALL_CELLS,
    *,
    planes: int = 24,
    **changes: object,
) -> StackPair:
    planes_um = 0.5 * (np.arange(planes) - planes // 2)
    arguments = {"shape_yx": SHAPE, "planes_um": planes_um, "depth_dependent": False} | changes
    return PairImaging(microscope, phantom.tissue, **arguments)(phantom, seed=2)  # type: ignore


def test_registration_finds_the_shift_that_is_known() -> None:
    known = Misregistration(shift_zyx=(1.5, 2.3, -3.6))
    pair = pair_of(misregistration=known)
    found = register(pair.confocal.counts, pair.widefield.counts, "psf")
    assert found.shift_z == pytest.approx(1.5, abs=0.35)
    np.testing.assert_allclose(found.matrix[:2, 2], known.matrix(SHAPE)[:2, 2], atol=0.25)


def test_whole_shifts_move_whole_pixels_and_planes() -> None:
    still = pair_of(planes=4)
    moved = pair_of(planes=4, misregistration=Misregistration(shift_zyx=(1.0, 0.0, 0.0)))
    one, other = (pair.confocal.clean_counts - 100 for pair in (still, moved))
    relative = one[:-1] / one[:-1].mean(), other[1:] / other[1:].mean()
    np.testing.assert_allclose(relative[0], relative[1], atol=0.02)


def test_a_turn_is_about_the_centre() -> None:
    known = Misregistration(shift_zyx=(0.0, 4.0, 0.0), turn_deg=90.0, scale=1.1)
    spot = torch.zeros(1, 241, 241)
    spot[0, 120, 130] = 1.0  # 10 px to the right of the centre
    moved = known.moved(spot, (201, 201))[0]
    peak = np.unravel_index(int(moved.argmax()), (201, 201))
    expected = known.matrix((201, 201)) @ [100.0, 110.0, 1.0]
    np.testing.assert_allclose(expected[:2], (93.0, 100.0), atol=1e-9)
    np.testing.assert_allclose(peak, expected[:2], atol=0.6)


def test_the_confocal_stack_is_sharper_over_its_background() -> None:
    slice_of_brain = BrainSlice(thickness_um=14.0, neurons_per_1e6_um3=300.0, neuropil=0.1)
    pair = pair_of(phantom=slice_of_brain, planes=12)
    widefield, confocal = (
        sharpness(torch.from_numpy(stack.counts.astype(np.float32))).contrast.mean()
        for stack in (pair.widefield, pair.confocal)
    )
    assert confocal > 1.1 * widefield


def test_truth_counts_from_the_corner_of_the_widefield_image() -> None:
    phantom = SMALL_CELLS.model_copy(update={"dendrites_per_neuron": 0, "neuropil": 0.0})
    pair = pair_of(phantom=phantom, misregistration=Misregistration(shift_zyx=(0.0, 6.0, 5.0)))
    stack = pair.widefield.clean_counts
    at_cells = []
    for cell in pair.widefield.truth:
        plane, y, x = cell["z_um"] / 0.5 + 12, cell["y_um"] / 0.1083, cell["x_um"] / 0.1083
        if 0 <= plane < 23.5 and 2 <= y < SHAPE[0] - 3 and 2 <= x < SHAPE[1] - 3:
            at_cells.append(stack[round(plane), round(y), round(x)])
    assert len(at_cells) > 5
    assert np.mean(at_cells) > 1.3 * stack.mean()


@pytest.mark.parametrize(
    ("microscope", "changes", "message"),
    [
        ({"excitation_wavelength_nm": None}, {}, "excitation_wavelength_nm"),
        ({"zernike_rms_waves": {6: 0.1}}, {}, "Noll 6"),
        ({}, {"planes_um": (1.0, 0.0)}, "from low to high"),
        (
            {},
            {"planes_um": (0.0,), "misregistration": Misregistration(shift_zyx=(1.0, 0, 0))},
            "more than one",
        ),
    ],
)
def test_impossible_pairs_are_refused(
    microscope: dict[str, object], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        pair_of(MICROSCOPE.model_copy(update=microscope), **changes)


def test_a_slice_of_another_tissue_is_refused() -> None:
    images = PairImaging(
        MICROSCOPE, SMALL_CELLS.tissue, shape_yx=(32, 32), planes_um=(0.0,), depth_dependent=False
    )
    with pytest.raises(FluoFocusError, match="tissue differs"):
        images(BrainSlice(thickness_um=14.0, scattering_length_um=20.0), seed=0)
