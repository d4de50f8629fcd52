"""A microscope in numbers: invariant to where aberrations come from, and turned with images."""

import pytest
import torch

from fluofocus.optics.description import (
    NOLL_INDICES,
    PARAMETERS,
    blur_parameters,
    turned_parameters,
)
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.prepare.turns import TURNS, turned

BARE = Microscope(
    numerical_aperture=0.75,
    emission_wavelength_nm=520,
    pixel_size_um=0.325,
    coverslip_thickness_um=0,
    design_coverslip_thickness_um=0,
    psf_model="scalar",
)
FIRST = PARAMETERS - len(NOLL_INDICES)


def _with(waves: dict[int, float]) -> Microscope:
    return BARE.model_copy(update={"zernike_rms_waves": waves})


def test_each_difference_has_its_number() -> None:
    told = blur_parameters(BARE, BARE)
    assert told.shape == (PARAMETERS,)
    assert told.tolist() == pytest.approx([1.0] + [0.0] * (PARAMETERS - 1), abs=1e-3)
    for position, update in enumerate(
        [
            {"numerical_aperture": 0.76},
            {"emission_wavelength_nm": 530.0},
            {"amplitude_falloff": 0.3},
        ],
        start=1,
    ):
        other = blur_parameters(BARE.model_copy(update=update), BARE)
        assert (other - told).abs().argmax() == position
    for position, index in enumerate(NOLL_INDICES, start=FIRST):
        other = blur_parameters(_with({index: 0.05}), BARE)
        assert (other - told).abs().argmax() == position
        scale = 0.1 if index == 11 else 0.03
        assert float(other[position]) == pytest.approx(0.05 / scale, rel=0.02)


def test_only_the_sum_of_the_aberrations_is_told() -> None:
    deep = BARE.model_copy(update={"emitter_depth_um": 30.0, "sample_index": 1.33})
    told = blur_parameters(deep, BARE)
    assert told[FIRST:].abs().max() > 0.1
    in_zernikes = _with(
        {
            index: float(value) * (0.1 if index == 11 else 0.03)
            for index, value in zip(NOLL_INDICES, told[FIRST:], strict=True)
        }
    )
    torch.testing.assert_close(blur_parameters(in_zernikes, BARE), told, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("turn", TURNS)
def test_parameters_turn_with_the_point_spread_function(turn: tuple[int, bool]) -> None:
    generator = torch.Generator().manual_seed(0)
    waves = dict(
        zip(NOLL_INDICES, (torch.randn(18, generator=generator) * 0.04).tolist(), strict=True)
    )
    told = turned_parameters(blur_parameters(_with(waves), BARE), *turn)
    turned_waves = {
        index: float(value) * (0.1 if index == 11 else 0.03)
        for index, value in zip(NOLL_INDICES, told[FIRST:], strict=True)
    }
    z_um = torch.tensor([2.0, -1.0])
    psf = point_spread_function(_with(waves), z_um, (33, 33))
    other = point_spread_function(_with(turned_waves), z_um, (33, 33))
    assert float((turned(psf, *turn) - other).abs().max()) < 0.01 * float(psf.max())
