"""Light in scattering tissue: none is lost but to absorption and pinholes, and depth blurs."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fluofocus.optics.microscope import Microscope, preset
from fluofocus.optics.psf import point_spread_function
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.simulate.tissue import Tissue
from fluofocus.simulate.tissue_imaging import TissueImaging

SIZE = 96
DEPTHS = (-8.0, 0.0, 8.0)
CLEAR = Tissue(thickness_um=18.0)
MURKY = Tissue(thickness_um=18.0, scattering_length_um=10.0)


@pytest.fixture(scope="module")
def widefield() -> Microscope:
    return preset("nikon-60x-1.4-oil").model_copy(update={"emitter_depth_um": 0.0})


@pytest.fixture(scope="module")
def confocal(widefield: Microscope) -> Microscope:
    return widefield.with_modality("confocal")


def grid_of(microscope: Microscope) -> SpecimenGrid:
    return SpecimenGrid((SIZE, SIZE), microscope.pixel_size_um, DEPTHS, oversampling=1)


def point(microscope: Microscope, slab: int, tissue: Tissue) -> Specimen:
    grid = grid_of(microscope)
    volume = grid.empty_volume()
    volume[slab, SIZE // 2, SIZE // 2] = 1.0
    return Specimen(grid, volume=volume, tissue=tissue)


def focused(microscope: Microscope, tissue: Tissue) -> Tensor:
    """Image a point in focus in each slab, ``(slabs, y, x)``."""
    images = TissueImaging(microscope, grid_of(microscope), torch.tensor(DEPTHS), tissue)
    return torch.stack([images(point(microscope, slab, tissue), [slab])[0] for slab in range(3)])


def test_scattering_is_the_integral_that_it_stands_for() -> None:
    angle = 0.1 / math.sqrt(0.9)
    frequency, depth = torch.tensor([0.0, 0.05, 0.7, 4.0]), 13.0
    above = (torch.arange(20000) + 0.5) * depth / 20000
    for focus in (-3.0, 0.0, 5.0, 13.0, 20.0):
        reach = (above - focus).abs() * 2 * math.pi * angle
        lost = (1 - torch.exp(-frequency[:, None] * reach)).mean(dim=1) * depth
        transfer = MURKY.scattering_transfer(
            frequency, torch.tensor(focus - 9.0), torch.tensor(depth - 9.0)
        )
        torch.testing.assert_close(transfer, torch.exp(-lost / 10.0), atol=1e-4, rtol=0)


def test_unscattered_light_decays_with_depth_and_all_light_arrives() -> None:
    depths = torch.tensor([-9.0, -4.0, 1.0])
    fine = MURKY.scattering_transfer(torch.tensor(1e6), depths, depths)
    torch.testing.assert_close(fine, torch.exp(torch.tensor([0.0, -0.5, -1.0])), atol=1e-3, rtol=0)
    all_light = MURKY.scattering_transfer(torch.tensor(0.0), depths, depths)
    torch.testing.assert_close(all_light, torch.ones(3))


def test_a_widefield_camera_catches_all_light_from_every_depth(widefield: Microscope) -> None:
    light = focused(widefield, MURKY).sum(dim=(1, 2))
    torch.testing.assert_close(light, torch.ones(3), atol=0.01, rtol=0)


def test_absorption_takes_light_on_both_ways(widefield: Microscope) -> None:
    dark = MURKY.model_copy(update={"absorption_length_um": 20.0})
    light = focused(widefield, dark).sum(dim=(1, 2))
    expected = torch.exp(-2 * torch.tensor([1.0, 9.0, 17.0]) / 20.0)
    torch.testing.assert_close(light, expected, atol=0.01, rtol=0.01)


def test_a_confocal_image_loses_what_scatters_both_ways(confocal: Microscope) -> None:
    clear, murky = focused(confocal, CLEAR), focused(confocal, MURKY)
    left = murky.amax(dim=(1, 2)) / clear.amax(dim=(1, 2))
    once = torch.exp(-torch.tensor([1.0, 9.0, 17.0]) / 10.0)
    assert (left > once**2).all()  # what is scattered close to the focus still arrives
    assert (left[1:] < 0.7 * once[1:]).all()


def test_deeper_is_blurrier_and_near_the_surface_nothing_changes(widefield: Microscope) -> None:
    clear, murky = focused(widefield, CLEAR), focused(widefield, MURKY)
    left = (murky.amax(dim=(1, 2)) / clear.amax(dim=(1, 2))).tolist()
    assert 0.85 < left[0] < 1
    assert left[0] > 1.5 * left[1] > 2 * left[2]


@pytest.mark.parametrize("spacing_um", [None, 4.17])
@pytest.mark.parametrize("modality", ["widefield", "confocal"])
def test_without_scattering_it_is_the_point_spread_function(
    widefield: Microscope, modality: str, spacing_um: float | None
) -> None:
    microscope = widefield.model_copy(
        update={"modality": modality, "pinhole_spacing_um": spacing_um}
    )
    grid = replace(grid_of(microscope), oversampling=2)
    volume = grid.empty_volume()
    volume[1, SIZE, SIZE] = 1.0
    seen = TissueImaging(microscope, grid, torch.tensor([0.5]), CLEAR)(Specimen(grid, volume))[0]
    psf = point_spread_function(microscope, torch.tensor([0.5]), (2 * SIZE,) * 2, oversampling=2)
    expected = psf[0, ::2, ::2]
    torch.testing.assert_close(seen, expected, rtol=0, atol=0.02 * float(expected.max()))


def test_tissue_makes_image_formation_scatter(widefield: Microscope) -> None:
    plain = ImageFormation(widefield, grid_of(widefield), torch.tensor([0.0]))
    through = plain(point(widefield, 1, MURKY))
    assert float(through.max()) < 0.6 * float(plain(point(widefield, 1, CLEAR)).max())


def test_the_aberration_of_an_index_mismatch_grows_with_depth(widefield: Microscope) -> None:
    images = TissueImaging(
        widefield, grid_of(widefield), torch.tensor(DEPTHS), CLEAR, depth_dependent=True
    )
    peaks = [
        float(images(point(widefield, slab, CLEAR), [slab]).max()) for slab in range(len(DEPTHS))
    ]
    assert peaks[2] < 0.9 * peaks[1]


def test_a_spinning_disk_lets_haze_in_and_keeps_what_is_in_focus(confocal: Microscope) -> None:
    disk, single = confocal, confocal.model_copy(update={"pinhole_spacing_um": None})
    haze, focus = (
        [
            float(
                TissueImaging(each, grid_of(each), torch.tensor([plane]), CLEAR)(
                    point(each, 1, CLEAR)
                ).sum()
            )
            for each in (disk, single)
        ]
        for plane in (6.0, 0.0)
    )
    assert haze[0] > 2 * haze[1]
    assert focus[0] == pytest.approx(focus[1], rel=0.05)


def test_an_oblong_field_is_imaged_like_a_square_one(widefield: Microscope) -> None:
    peaks = []
    for shape in ((SIZE, SIZE), (SIZE, SIZE + 32)):
        grid = SpecimenGrid(shape, widefield.pixel_size_um, DEPTHS)
        volume = grid.empty_volume()
        volume[0, 60, 60] = 1.0
        images = TissueImaging(widefield, grid, torch.tensor([-8.0, -7.5]), MURKY)
        peaks.append(images(Specimen(grid, volume=volume)).amax(dim=(1, 2)))
    torch.testing.assert_close(peaks[0], peaks[1], rtol=0.02, atol=0)
