"""Extended depth of field, on stacks of which the image in focus everywhere is known."""

import functools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import preset
from fluofocus.prepare import fusion
from fluofocus.prepare.fusion import fuse
from fluofocus.simulate.camera import record
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.units import AnyArray

MICROSCOPE = preset("olympus-20x-0.75").model_copy(
    update={"zernike_rms_waves": {}, "emitter_depth_um": 0.0}
)
PLANES_UM = torch.linspace(-10, 10, 41)
SIDE_PX = 256
TILTED_UM = torch.linspace(-8, 8, SIDE_PX)[:, None].expand(SIDE_PX, SIDE_PX)
PHANTOMS = {"beads": {"count_per_1000_um2": 20}, "nuclei": {}, "filaments": {}}


def by_variance(stack: AnyArray) -> AnyArray:
    """Fuse by a simpler rule: the plane with the greatest variance around each pixel."""
    values, size = stack.astype(np.float64), (1, 9, 9)
    variance = uniform_filter(values**2, size) - uniform_filter(values, size) ** 2
    return np.take_along_axis(stack, variance.argmax(axis=0)[None], axis=0)[0]


def grid_of(depths_um: tuple[float, ...]) -> SpecimenGrid:
    return SpecimenGrid((SIDE_PX, SIDE_PX), MICROSCOPE.pixel_size_um, depths_um, oversampling=1)


def emitters(phantom: str, depth_um: torch.Tensor | None, seed: int) -> tuple[Specimen, Specimen]:
    """Draw a specimen, laid on a surface ``(Y, X)`` or not, and the same in one plane."""
    grid, flat = grid_of(tuple(PLANES_UM.tolist())), grid_of((0.0,))
    generator = torch.Generator().manual_seed(seed)
    drawn = make_phantom(phantom, PHANTOMS[phantom]).draw(grid, generator)
    if drawn.volume is not None:
        projected = drawn.volume.sum(dim=0, keepdim=True)
        volume = drawn.volume
        if depth_um is not None:
            volume = grid.empty_volume().scatter_(0, grid.slab_index(depth_um)[None], projected)
        return Specimen(grid, volume=volume), Specimen(flat, volume=projected)
    balls = {"ball_photons": drawn.ball_photons, "ball_radius_um": drawn.ball_radius_um}
    places, projected = drawn.ball_positions_um.clone(), drawn.ball_positions_um.clone()
    projected[:, 0] = 0
    if depth_um is not None:
        row, column = (places[:, 1:] / grid.spacing_um).long().unbind(dim=1)
        places[:, 0] = PLANES_UM[grid.slab_index(depth_um[row, column])]
    return (
        Specimen(grid, ball_positions_um=places, **balls),
        Specimen(flat, ball_positions_um=projected, **balls),
    )


@functools.cache
def formation() -> tuple[ImageFormation, ImageFormation]:
    grid, flat = grid_of(tuple(PLANES_UM.tolist())), grid_of((0.0,))
    return (
        ImageFormation(MICROSCOPE, grid, PLANES_UM),
        ImageFormation(MICROSCOPE, flat, torch.zeros(1)),
    )


def focus_scan(
    phantom: str, depth_um: torch.Tensor | None, seed: int = 1
) -> tuple[AnyArray, AnyArray]:
    """Return the counts of a focus scan, and photons with every emitter in focus."""
    scanned, in_focus = formation()
    specimen, projected = emitters(phantom, depth_um, seed)
    photons = scanned(specimen)
    photons = photons * (2000 / photons.max()) + 10
    counts = record(photons, MICROSCOPE.camera, torch.Generator().manual_seed(seed + 1))
    return counts.numpy().astype(np.uint16), in_focus(projected)[0].numpy()


def likeness(image: AnyArray, truth: AnyArray) -> float:
    return float(np.corrcoef(image.ravel().astype(float), truth.ravel())[0, 1])


@pytest.mark.parametrize("phantom", PHANTOMS)
def test_a_tilted_specimen_is_in_focus_everywhere(phantom: str) -> None:
    counts, truth = focus_scan(phantom, TILTED_UM)
    plain = fusion._wavelet_image(counts, consent=0.0, with_neighbours=0)
    fused = likeness(fuse(counts).image, truth)
    assert fused >= 0.985
    assert fused > likeness(counts.max(axis=0), truth) + 0.01
    assert fused > likeness(by_variance(counts), truth)
    assert fused > likeness(fusion._reassigned(counts, plain).image, truth) + 0.001


@pytest.mark.parametrize(
    ("phantom", "least"), [("beads", 0.98), ("nuclei", 0.955), ("filaments", 0.92)]
)
def test_a_thick_specimen_is_fused_as_well_as_overlap_lets(phantom: str, least: float) -> None:
    counts, truth = focus_scan(phantom, None)
    fused = likeness(fuse(counts).image, truth)
    assert fused >= least
    assert fused > likeness(counts.max(axis=0), truth) + 0.005
    assert fused > likeness(by_variance(counts), truth) - 0.002


def textured(shape_yx: tuple[int, int], planes: int) -> tuple[AnyArray, npt.NDArray[np.int64]]:
    """Return a texture that comes into focus plane by plane from left to right."""
    rng = np.random.default_rng(3)
    sharp = 1000 + 200 * gaussian_filter(rng.normal(size=shape_yx), 1.0) / 0.28
    plane = np.arange(shape_yx[1]) * planes // shape_yx[1]
    blurred = [gaussian_filter(sharp, 1.5 * distance) for distance in range(planes)]
    stack = [np.choose(np.abs(plane - index), blurred) for index in range(planes)]
    return np.stack(stack), np.broadcast_to(plane, shape_yx)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape_yx", [(130, 201), (64, 128)])
def test_every_pixel_is_one_of_the_stack(dtype: type, shape_yx: tuple[int, int]) -> None:
    stack, plane = textured(shape_yx, 4)
    stack = (stack / 10 if dtype == np.uint8 else stack).astype(dtype)
    fused = fuse(stack)
    assert fused.image.dtype == dtype
    assert fused.image.shape == fused.plane.shape == shape_yx
    np.testing.assert_array_equal(np.take_along_axis(stack, fused.plane[None], 0)[0], fused.image)
    sharp = np.take_along_axis(stack, plane[None], axis=0)[0]
    assert likeness(stack.mean(axis=0), sharp) < 0.95
    assert likeness(fused.image, sharp) > 0.995


def test_depth_follows_the_specimen() -> None:
    stack, plane = textured((128, 256), 4)
    assert np.mean(fuse(stack).plane == plane) > 0.8


@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 1, 9), (3, 7, 5), (1, 40, 33)])
def test_small_stacks_and_single_planes_work(shape: tuple[int, int, int]) -> None:
    stack = np.random.default_rng(0).poisson(50, shape).astype(np.uint16)
    fused = fuse(stack)
    np.testing.assert_array_equal(np.take_along_axis(stack, fused.plane[None], 0)[0], fused.image)
    if len(stack) == 1:
        np.testing.assert_array_equal(fused.image, stack[0])


def test_a_flat_stack_stays_flat() -> None:
    assert (fuse(np.full((4, 50, 60), 300, dtype=np.uint16)).image == 300).all()


@pytest.mark.parametrize("shape_yx", [(64, 96), (61, 70), (16, 16)])
def test_the_transform_keeps_energy_and_inverts(shape_yx: tuple[int, int]) -> None:
    plane = np.random.default_rng(1).normal(size=shape_yx).astype(np.float32)
    padded = fusion._padded(plane, 3)
    assert padded.shape[1] % 8 == padded.shape[2] % 8 == 0
    residue, details = fusion._decompose(padded, 3)
    energy = residue.square().sum() + sum(detail.square().sum() for detail in details)
    assert float(energy) == pytest.approx(float(padded.square().sum()), rel=1e-5)
    back = fusion._compose(residue, details)[: shape_yx[0], : shape_yx[1]]
    np.testing.assert_allclose(back.numpy(), plane, atol=1e-5)


def test_the_filter_is_symmetric_orthonormal_and_has_three_vanishing_moments() -> None:
    low = fusion._low_pass()
    assert len(low) == 6
    np.testing.assert_allclose(low, low[::-1])
    assert low.sum() == pytest.approx(np.sqrt(2))
    for shift, expected in ((0, 1), (2, 0), (4, 0)):
        assert np.vdot(low[: 6 - shift], low[shift:]) == pytest.approx(expected, abs=1e-12)
    for power in range(3):
        moment = (low * (-1.0) ** np.arange(6) * np.arange(6.0) ** power).sum()
        assert abs(moment) < 1e-12


def test_what_cannot_be_fused_is_refused() -> None:
    stack, _ = textured((32, 32), 3)
    for bad, message in (
        (stack[0], "focus scan"),
        (stack[:0], "focus scan"),
        (np.where(stack > 1300, np.inf, stack), "infinite"),
    ):
        with pytest.raises(FluoFocusError, match=message):
            fuse(bad)
