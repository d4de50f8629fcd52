"""Filters and deconvolution by a known pupil, and the network behind them."""

from typing import Any

import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.models.filtered import Filtered, FilteredConfig
from fluofocus.models.pupil_filters import KnownPupil, PupilDeconvolution
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.optics.psf import point_spread_function

SMALL = {"encoder_channels": (4, 4), "decoder_channels": (4, 4), "residual_blocks": 1}
NETWORK = SMALL | {"distance_range_um": 2.0}
SIZES: dict[str, Any] = {"filter_radius_px": 24, "pupil_cells": 96, "network": NETWORK}
SIDE_PX = 64


@pytest.fixture(scope="module")
def microscope() -> Microscope:
    return preset("leica-63x-1.4-oil-double-helix")


def attuned(microscope: Microscope, **changes: Any) -> Filtered:
    torch.manual_seed(0)
    network = Filtered(FilteredConfig.model_validate(SIZES | changes)).eval()
    network.attune(microscope)
    return network


def bead_image(microscope: Microscope, defocus_um: float) -> torch.Tensor:
    """Image a bead at row 20, column 40."""
    psf = point_spread_function(microscope, torch.tensor([defocus_um]), (129, 129))
    return psf[None, :, 64 - 20 : 128 - 20, 64 - 40 : 128 - 40]


@pytest.mark.parametrize("depth_um", [-1.6, -0.5, 1.0])
def test_a_bead_is_one_peak_in_the_plane_where_it_lies(
    microscope: Microscope, depth_um: float
) -> None:
    filters = attuned(microscope, filter_offsets_um=(0.0,), noise_shares=(2e-3,)).filters
    image = 1000 * bead_image(microscope, -depth_um) + 3  # the focal plane is below the bead
    planes = torch.tensor([depth_um, -depth_um])[None, :, None, None]
    there, elsewhere = filters(image, planes)[0, :, 0]
    assert divmod(int(there.argmax()), SIDE_PX) == (20, 40)
    assert there.max() > 1.5 * elsewhere.max()


def test_offsets_filter_above_and_below_the_target(microscope: Microscope) -> None:
    image = 1000 * bead_image(microscope, -1.0)
    planes = torch.tensor([[[[0.5]], [[1.0]], [[1.5]]]])
    three = attuned(microscope).filters(image, planes)[0]
    in_plane = three[1, 2:4]  # two filters for each of three offsets
    torch.testing.assert_close(three[0, 4:6], in_plane)
    torch.testing.assert_close(three[2, 0:2], in_plane)


def test_a_matched_filter_finds_what_is_faint_an_inverse_one_is_sharp(
    microscope: Microscope,
) -> None:
    shares = (2e-3, 0.1)
    image = bead_image(microscope, -1.0)
    filters = attuned(microscope, filter_offsets_um=(0.0,), noise_shares=shares).filters
    sharp, matched = filters(image, torch.ones(1, 1, 1, 1))[0, 0]
    assert matched.max() > 1.2 * sharp.max()  # over the same noise
    wide = [int((each > each.max() / 2).sum()) for each in (sharp, matched)]
    assert wide[0] < wide[1]


def test_noise_keeps_its_height_and_an_even_background_does_not_count(
    microscope: Microscope,
) -> None:
    filters = attuned(microscope).filters
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    planes = torch.tensor([-1.0, 0.0, 2.0])[None, :, None, None]
    filtered = filters(noise, planes)
    inside = filtered[..., 32:-32, 32:-32].std(dim=(-2, -1))
    torch.testing.assert_close(inside, torch.ones_like(inside), rtol=0.25, atol=0)
    torch.testing.assert_close(filters(noise + 100, planes), filtered, rtol=0, atol=2e-3)


def test_a_surface_gets_in_each_pixel_what_a_plane_gets(microscope: Microscope) -> None:
    network = attuned(microscope)
    image = torch.rand(1, 1, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    surface = torch.full((1, 1, 1, SIDE_PX, SIDE_PX), 0.4)
    torch.testing.assert_close(network.predict(image, surface).image, network(image, 0.4))
    surface[..., SIDE_PX // 2 :] = -1.2
    flat = network.filters(image, torch.tensor([0.4, -1.2])[None, :, None, None])[0]
    both = network.filters(image, surface[:, 0])[0, 0]
    torch.testing.assert_close(both[..., :32], flat[0, ..., :32])
    torch.testing.assert_close(both[..., 32:], flat[1, ..., 32:])


def test_its_reach_is_that_of_filters_and_network(microscope: Microscope) -> None:
    network = attuned(microscope, deconvolution_iterations=())
    reach = network.receptive_field_px
    assert reach == network.network.receptive_field_px + 24
    size = -(-(2 * reach + 16) // 4) * 4
    image = torch.rand(1, 1, 16, size, generator=torch.Generator().manual_seed(2))
    changed = image.clone()
    changed[..., -8:] += 1
    with torch.inference_mode():
        difference = (network(image, 1.0) - network(changed, 1.0)).abs()
    assert float(difference[..., : size - 8 - reach].max()) < 1e-5
    assert float(difference[..., -8:].max()) > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"filter_radius_px": 20},
        {"filter_step_um": 0.4},
        {"filter_offsets_um": (-0.2, 0.0, 0.2)},
        {"noise_shares": (2e-3, 0.2)},
        {"deconvolution_step_um": 0.5},
        {"deconvolution_iterations": (10, 20)},
        {"pupil_cells": 80},
        {"network": NETWORK | {"distance_range_um": 1.9}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_field_has_an_effect(microscope: Microscope, change: dict[str, Any]) -> None:
    image = 1000 * bead_image(microscope, -1.1)
    with torch.inference_mode():
        plain, changed = (attuned(microscope, **each)(image, 1.1) for each in ({}, change))
    assert not torch.equal(plain, changed)


def test_a_scalar_psf_has_one_field(microscope: Microscope) -> None:
    scalar = microscope.model_copy(update={"psf_model": "scalar"})
    assert attuned(scalar, pupil_fields=1).pupil.fields.any()
    with pytest.raises(FluoFocusError, match="set pupil_fields to 1"):
        attuned(scalar)


def test_a_pupil_too_coarse_for_the_reach_is_refused(microscope: Microscope) -> None:
    with pytest.raises(FluoFocusError, match=r"at least \d+ cells .* set pupil_cells to"):
        attuned(microscope, pupil_cells=32)


def test_kept_spectra_stay_within_their_budget(
    microscope: Microscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters = attuned(microscope).filters
    image = torch.rand(1, 1, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(3))
    planes = torch.linspace(-2, 2, 5)[None, :, None, None]
    kept = filters(image, planes)
    assert len(filters.spectra.sizes) > 3
    size = filters.spectra.sizes[0]
    monkeypatch.setattr("fluofocus.models.pupil_filters.KEPT_BYTES", 3 * size)
    filters.spectra.clear()
    torch.testing.assert_close(filters(image, planes), kept)
    assert len(filters.spectra.sizes) == 3


def deconvolution(microscope: Microscope, *iterations: int) -> PupilDeconvolution:
    pupil = KnownPupil(cells=128, fields=5)
    pupil.attune(microscope, range_um=2.0, radius_px=40)
    return PupilDeconvolution(pupil, radius_px=40, step_um=0.1, iterations=iterations)


def noisy_beads(microscope: Microscope, brightness: tuple[float, float]) -> torch.Tensor:
    """Image two beads, 1 µm off focus, at rows 20 and 44, column 40, over a background."""
    defocus_um = torch.tensor([-1.0])
    psf = point_spread_function(microscope, defocus_um, (161, 161))[None]
    first, second = (
        psf[..., 80 - row : 144 - row, 80 - 40 : 144 - 40] / psf.max() for row in (20, 44)
    )
    image = brightness[0] * first + brightness[1] * second + 3
    return torch.poisson(image, generator=torch.Generator().manual_seed(4))


def test_deconvolution_finds_a_faint_bead_beside_a_bright_one(microscope: Microscope) -> None:
    image = noisy_beads(microscope, (200.0, 30.0))
    there = torch.ones(1, 1, 1, 1)
    (estimate,) = deconvolution(microscope, 30)(image, there)[0, 0]
    assert divmod(int(estimate.argmax()), SIDE_PX) == (20, 40)
    estimate[10:31, 30:51] = 0
    assert divmod(int(estimate.argmax()), SIDE_PX) == (44, 40)
    filters = attuned(microscope, filter_offsets_um=(0.0,), noise_shares=(2e-3,)).filters
    filtered = filters(image, there)[0, 0, 0]
    filtered[10:31, 30:51] = 0
    assert divmod(int(filtered.argmax()), SIDE_PX) != (44, 40)


def test_more_iterations_make_it_sharper(microscope: Microscope) -> None:
    image = noisy_beads(microscope, (400.0, 0.0))
    estimates = deconvolution(microscope, 5, 30)(image, torch.ones(1, 1, 1, 1))[0, 0]
    early, late = (float(each.max() / each[15:26, 35:46].sum()) for each in estimates)
    assert late > 1.3 * early


def test_deconvolution_of_each_pixel_for_its_own_plane(microscope: Microscope) -> None:
    image = noisy_beads(microscope, (100.0, 100.0))
    deconvolve = deconvolution(microscope, 10)
    planes = deconvolve(image, torch.tensor([1.0, -0.42])[None, :, None, None])[0, :, 0]
    surface = torch.ones(1, 1, SIDE_PX, SIDE_PX)
    surface[..., 32:] = -0.38  # the next step is the same
    both = deconvolve(image, surface)[0, 0, 0]
    torch.testing.assert_close(both[:, :32], planes[0, :, :32])
    torch.testing.assert_close(both[:, 32:], planes[1, :, 32:])


def test_background_and_gain_do_not_change_what_is_found(microscope: Microscope) -> None:
    image = noisy_beads(microscope, (100.0, 100.0))
    deconvolve = deconvolution(microscope, 10)
    there = torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(
        deconvolve(0.1 * image + 7, there), 0.1 * deconvolve(image, there), rtol=1e-3, atol=1e-4
    )


def test_an_even_image_gives_nothing(microscope: Microscope) -> None:
    estimate = deconvolution(microscope, 10)(
        torch.full((1, 1, 64, 64), 5.0), torch.ones(1, 1, 1, 1)
    )
    assert not estimate.any()


def test_a_network_behind_filters_that_tells_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="no error_output: leave it out"):
        FilteredConfig.model_validate({"network": {"error_output": True}})
    assert not FilteredConfig().network.error_output


def test_several_input_planes_and_an_expected_error_are_refused(microscope: Microscope) -> None:
    network = attuned(microscope)
    with pytest.raises(ValueError, match="one input plane"):
        network(torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 1))
    with pytest.raises(ValueError, match="no error output"):
        network.decode((torch.zeros(1, 1, 16, 16),), torch.zeros(1, 1, 1), with_error=True)
