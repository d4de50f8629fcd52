"""Images are the specimen's emitters convolved in 3D with the point spread function."""

import pytest
import torch

from fluofocus.optics.microscope import Microscope, preset
from fluofocus.optics.psf import point_spread_function
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen, SpecimenGrid

SIZE = 64
DEPTHS = (-1.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def microscope() -> Microscope:
    return preset("olympus-20x-0.75")


@pytest.fixture(scope="module")
def grid(microscope: Microscope) -> SpecimenGrid:
    return SpecimenGrid((SIZE, SIZE), microscope.pixel_size_um, DEPTHS)


def point(grid: SpecimenGrid, slab: int, row: int, column: int) -> Specimen:
    volume = grid.empty_volume()
    volume[slab, row * grid.oversampling, column * grid.oversampling] = 1.0
    return Specimen(grid, volume=volume)


def test_a_plane_catches_as_much_light_in_focus_as_far_from_it(
    microscope: Microscope, grid: SpecimenGrid
) -> None:
    planes = torch.tensor([-4.0, 0.0, 2.0])
    light = ImageFormation(microscope, grid, planes)(point(grid, 1, 30, 30)).sum(dim=(1, 2))
    assert float(light[1]) > 0
    torch.testing.assert_close(light, light[1].expand(3), rtol=0.03, atol=0)


def test_a_point_gives_the_point_spread_function(
    microscope: Microscope, grid: SpecimenGrid
) -> None:
    image = ImageFormation(microscope, grid, torch.tensor([1.0]))(point(grid, 1, 32, 32))[0]
    psf = point_spread_function(microscope, torch.tensor([1.0]), (SIZE + 1, SIZE + 1))[0]
    stacked = torch.stack([image.flatten(), psf[:SIZE, :SIZE].flatten()])
    assert float(torch.corrcoef(stacked)[0, 1]) > 0.999


def test_the_sign_of_defocus_is_focus_minus_emitter(
    microscope: Microscope, grid: SpecimenGrid
) -> None:
    formation = ImageFormation(microscope, grid, torch.tensor([0.0, 1.0]))
    below = formation(point(grid, 0, 32, 32))
    middle = formation(point(grid, 1, 32, 32))
    torch.testing.assert_close(below[0], middle[1], rtol=1e-4, atol=1e-8)
    assert float((below[0] - middle[0]).abs().max()) > 0.01 * float(middle.max())


def test_images_add_up(microscope: Microscope, grid: SpecimenGrid) -> None:
    formation = ImageFormation(microscope, grid, torch.tensor([0.5]))
    one, two = point(grid, 0, 20, 20), point(grid, 2, 40, 30)
    assert one.volume is not None
    assert two.volume is not None
    both = Specimen(grid, volume=one.volume + 3 * two.volume)
    torch.testing.assert_close(
        formation(both), formation(one) + 3 * formation(two), rtol=1e-3, atol=1e-7
    )


def test_a_small_ball_looks_like_a_point_and_a_large_one_wider(
    microscope: Microscope, grid: SpecimenGrid
) -> None:
    formation = ImageFormation(microscope, grid, torch.tensor([0.0]))
    at = torch.tensor([[0.0, 32 * grid.pixel_size_um, 32 * grid.pixel_size_um]])

    def ball(radius_um: float) -> torch.Tensor:
        specimen = Specimen(
            grid,
            ball_positions_um=at,
            ball_photons=torch.ones(1),
            ball_radius_um=torch.tensor([radius_um]),
        )
        return formation(specimen)[0]

    expected = formation(point(grid, 1, 32, 32))[0]
    torch.testing.assert_close(ball(0.02), expected, rtol=0.01, atol=1e-5)
    assert float(ball(1.0).max()) < 0.6 * float(expected.max())
    assert float(ball(1.0).sum()) == pytest.approx(float(expected.sum()), rel=0.01)


def test_depth_dependent_aberration_differs_between_slabs(
    microscope: Microscope, grid: SpecimenGrid
) -> None:
    deep = microscope.model_copy(update={"emitter_depth_um": 30.0})
    planes = torch.tensor([0.0])
    uniform = ImageFormation(deep, grid, planes)
    dependent = ImageFormation(deep, grid, planes, depth_dependent=True)
    middle, top = point(grid, 1, 32, 32), point(grid, 2, 32, 32)
    torch.testing.assert_close(dependent(middle), uniform(middle), rtol=1e-2, atol=1e-3)
    assert float((dependent(top) - uniform(top)).abs().max()) > 1e-3 * float(uniform(top).max())


def test_spherical_aberration_moves_the_best_focus(
    microscope: Microscope, grid: SpecimenGrid
) -> None:
    planes = torch.arange(-6, 7) * 0.5
    perfect = microscope.model_copy(update={"zernike_rms_waves": {}, "emitter_depth_um": 0.0})
    aberrated = perfect.model_copy(update={"zernike_rms_waves": {11: 0.25}})
    assert ImageFormation(perfect, grid, planes).best_focus_um == pytest.approx(0, abs=0.5)
    assert abs(ImageFormation(aberrated, grid, planes).best_focus_um) >= 1.0


def test_some_planes_are_those_of_all(microscope: Microscope, grid: SpecimenGrid) -> None:
    formation = ImageFormation(microscope, grid, torch.tensor([-1.0, 0.0, 2.0]))
    specimen = point(grid, 1, 10, 50)
    torch.testing.assert_close(formation(specimen, [2, 0]), formation(specimen)[[2, 0]])


def test_an_empty_specimen_is_dark(microscope: Microscope, grid: SpecimenGrid) -> None:
    image = ImageFormation(microscope, grid, torch.tensor([0.0]))(Specimen(grid))
    assert image.shape == (1, SIZE, SIZE)
    assert float(image.max()) == 0


def test_empty_slabs_make_no_difference(microscope: Microscope) -> None:
    grid = SpecimenGrid((SIZE, SIZE), microscope.pixel_size_um, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0))
    volume = grid.empty_volume()
    volume[1, 40, 50], volume[3, 60, 60] = 1.0, 2.0
    balls = {
        "ball_positions_um": torch.tensor([[0.0, 5.0, 5.0], [1.0, 9.0, 12.0]]),
        "ball_photons": torch.tensor([1.0, 3.0]),
        "ball_radius_um": torch.tensor([0.2, 0.2]),
    }
    planes = torch.tensor([-1.0, 2.0])
    for specimen, slabs in (
        (Specimen(grid, volume=volume), 3),
        (Specimen(grid, **balls), 2),
        (Specimen(grid, volume=volume, **balls), 4),
    ):
        trimmed = specimen.trimmed()
        assert len(trimmed.grid.depths_um) == slabs
        whole, less = (
            ImageFormation(microscope, each.grid, planes)(each) for each in (specimen, trimmed)
        )
        torch.testing.assert_close(less, whole, rtol=0.02, atol=1e-3 * float(whole.max()))
