"""Pupils of told microscopes, and filters made from them."""

from typing import Any

import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.models.filtered import Filtered, FilteredConfig
from fluofocus.models.known_pupil import KnownPupil, Pupil
from fluofocus.optics.description import blur_parameters, turned_parameters
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.optics.psf import point_spread_function
from fluofocus.prepare.turns import turned
from fluofocus.train.config import TrainConfig
from fluofocus.train.run import make_training

RADIUS_PX = 32
SIZES: dict[str, Any] = {
    "takes_optics": True,
    "filter_radius_px": RADIUS_PX,
    "pupil_fields": 1,
    "network": {
        "encoder_channels": (4, 4),
        "decoder_channels": (4, 4),
        "residual_blocks": 1,
        "distance_range_um": 4.0,
    },
}


@pytest.fixture(scope="module")
def described() -> Microscope:
    return preset("olympus-20x-0.75").model_copy(update={"psf_model": "scalar"})


@pytest.fixture(scope="module")
def looked_through(described: Microscope) -> Microscope:
    """Another one of the kind: aberrations of objective and sample, aperture, wavelength."""
    return described.model_copy(
        update={
            "zernike_rms_waves": {5: 0.03, 8: 0.05, 11: 0.1},
            "emitter_depth_um": 12.0,
            "amplitude_falloff": 0.3,
            "numerical_aperture": 0.74,
            "emission_wavelength_nm": 600.0,
        }
    )


def pupil_told(described: Microscope, parameters: torch.Tensor) -> Pupil:
    pupil = KnownPupil(192, 1, is_told=True)
    pupil.attune(described, range_um=6.0, radius_px=RADIUS_PX)
    return pupil.pupils(1, parameters[None])[0]


@pytest.mark.parametrize("depth_um", [-6.0, -2.0, 0.0, 3.0, 6.0])
def test_the_psf_of_what_is_told_is_that_of_the_microscope(
    described: Microscope, looked_through: Microscope, depth_um: float
) -> None:
    side = 2 * RADIUS_PX + 1
    pupil = pupil_told(described, blur_parameters(looked_through, described))
    told = pupil.psf(depth_um, RADIUS_PX)
    true, of_the_described = (
        point_spread_function(microscope, torch.tensor([-depth_um]), (side, side))[0]
        for microscope in (looked_through, described)
    )
    told, true, of_the_described = (x / x.norm() for x in (told, true, of_the_described))
    assert float((told * true).sum()) > 0.97
    if abs(depth_um) > 1:
        assert float((told * true).sum()) > float((of_the_described * true).sum()) + 0.02


def test_emitters_that_a_target_shows_sharp_lie_beside_it(
    described: Microscope, looked_through: Microscope
) -> None:
    spherical = looked_through.model_copy(update={"zernike_rms_waves": {11: 0.15}})
    pupil = pupil_told(described, blur_parameters(spherical, described))
    defocus_um = torch.arange(-24, 25) * 0.25
    peaks = point_spread_function(spherical, defocus_um, (1, 1))[:, 0, 0]
    best_um = float(defocus_um[peaks.argmax()])
    assert abs(best_um) > 0.7
    assert pupil.best_focus_um == pytest.approx(best_um, abs=0.3)
    assert float(pupil.emitters_um(torch.tensor(3.0))) == 3.0 - pupil.best_focus_um


@pytest.mark.parametrize(("quarter_turns", "mirrored"), [(1, False), (2, True), (3, True)])
def test_turned_parameters_turn_the_psf(
    described: Microscope, looked_through: Microscope, quarter_turns: int, mirrored: bool
) -> None:
    parameters = blur_parameters(looked_through, described)
    psf = pupil_told(described, parameters).psf(3.0, RADIUS_PX)
    told = turned_parameters(parameters, quarter_turns, mirrored)
    of_turned = pupil_told(described, told).psf(3.0, RADIUS_PX)
    torch.testing.assert_close(
        of_turned, turned(psf, quarter_turns, mirrored), rtol=1e-3, atol=1e-6
    )
    assert not torch.allclose(of_turned, psf, rtol=0.1, atol=1e-5)


def test_each_image_is_filtered_for_its_own_microscope(
    described: Microscope, looked_through: Microscope
) -> None:
    torch.manual_seed(0)
    network = Filtered(FilteredConfig.model_validate(SIZES)).eval()
    network.attune(described)
    optics = torch.stack([blur_parameters(each, described) for each in (described, looked_through)])
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        both = network(image.expand(2, -1, -1, -1), 3.0, optics)
        alone = [network(image, 3.0, each[None]) for each in optics]
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert float((both[0] - both[1]).abs().max()) > 1e-3


def test_what_it_is_made_for_counts_only_by_what_it_is_not_told(
    described: Microscope, looked_through: Microscope
) -> None:
    aberrated = described.model_copy(update={"zernike_rms_waves": {11: -0.2}})
    parameters = blur_parameters(looked_through, described)
    one, other = (
        pupil_told(each, parameters).psf(3.0, RADIUS_PX) for each in (described, aberrated)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_trained_only_where_all_optics_are_told(described: Microscope, share: float) -> None:
    config = TrainConfig.model_validate(
        {
            "name": "a",
            "architecture": "filtered",
            "architecture_config": SIZES,
            "microscope": "olympus-20x-0.75",
            "simulation": {"phantoms": [{"phantom": "beads"}], "known_optics_share": share},
        }
    )
    if share == 1:
        make_training(config, described)
    else:
        with pytest.raises(FluoFocusError, match="known_optics_share: 1"):
            make_training(config, described)
