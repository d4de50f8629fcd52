"""Axial alignment, on stacks whose planes were moved by known amounts."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import preset
from fluofocus.prepare.align import Alignment, align_planes
from fluofocus.simulate.camera import record
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import SpecimenGrid

Array = npt.NDArray[np.float64]

PLANES = 41
FIELD_PX = 448
MARGIN_PX = 16


def turn(angle: float) -> Array:
    """Turn (y, x) from the y axis towards the x axis."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def random_walk(seed: int) -> tuple[Array, Array]:
    """Draw shifts and rotations with steps of up to 2 px and 0.2 degrees, 0 in the middle."""
    rng = np.random.default_rng(seed)
    length, angle = rng.uniform(0, 2, PLANES), rng.uniform(0, 2 * np.pi, PLANES)
    shift = (length[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)).cumsum(axis=0)
    rotation = np.radians(rng.uniform(-0.2, 0.2, PLANES)).cumsum()
    return shift - shift[PLANES // 2], rotation - rotation[PLANES // 2]


def residual_px(alignment: Alignment, shift: Array, rotation: Array) -> Array:
    """Return how far the points of the field are misplaced, rms, plane by plane."""
    axes = [np.linspace(-1, 1, 21) * (size - 1) / 2 for size in alignment.shape_yx]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(2, -1)
    found = zip(alignment.shift_px, alignment.rotation_rad, strict=True)
    errors = []
    for (s, r), true_s, true_r in zip(found, shift, rotation, strict=True):
        off = turn(r) @ points + s[:, None] - turn(true_r) @ points - true_s[:, None]
        errors.append(math.sqrt((off**2).sum(axis=0).mean()))
    return np.array(errors)


@pytest.fixture(scope="module", params=["nuclei", "filaments"])
def photons(request: pytest.FixtureRequest) -> npt.NDArray[np.float32]:
    """Mean photons of a focus scan, periodic in y and x, wider than the field."""
    size = FIELD_PX + 2 * MARGIN_PX
    microscope = preset("olympus-20x-0.75")
    depths = tuple(float(depth) for depth in range(-10, 11))
    grid = SpecimenGrid((size, size), microscope.pixel_size_um, depths, oversampling=1)
    specimen = make_phantom(request.param, {}).draw(grid, torch.Generator().manual_seed(5))
    stack = ImageFormation(microscope, grid, torch.linspace(-10, 10, PLANES))(specimen)
    return (stack * (2000 / stack.max()) + 10).numpy()


def recorded(photons: npt.NDArray[np.float32], shift: Array, rotation: Array) -> Array:
    """Move the planes about the centre, cut out the field and expose a camera."""
    centre = (np.array(photons.shape[1:]) - 1) / 2
    planes = []
    for plane, s, r in zip(photons, shift, rotation, strict=True):
        back = turn(-r)
        offset = centre - back @ (centre + s)
        planes.append(ndimage.affine_transform(plane, back, offset, order=5, mode="grid-wrap"))
    field = np.stack(planes)[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    camera = preset("olympus-20x-0.75").camera
    counts = record(torch.tensor(field), camera, torch.Generator().manual_seed(1))
    return counts.numpy().astype(np.uint16)


def test_a_drifting_scan_is_aligned(photons: npt.NDArray[np.float32]) -> None:
    shift, rotation = random_walk(seed=5)
    moved = recorded(photons, shift, rotation)
    alignment = align_planes(moved)
    residual = residual_px(alignment, shift, rotation)
    assert np.median(residual) <= 0.1
    assert residual.max() <= 0.4
    assert alignment.jumps == ()
    unmoved = photons[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    inner = (slice(None, None, 5), slice(40, -40), slice(40, -40))
    aligned = alignment.apply(moved)
    assert aligned.dtype == np.float32
    for before, after, truth in zip(moved[inner], aligned[inner], unmoved[inner], strict=True):
        likeness = np.corrcoef(after.ravel(), truth.ravel())[0, 1]
        assert likeness >= np.corrcoef(before.ravel(), truth.ravel())[0, 1] - 0.005
        assert likeness > 0.95


def test_a_scan_that_does_not_move_stays(photons: npt.NDArray[np.float32]) -> None:
    shift, rotation = np.zeros((PLANES, 2)), np.zeros(PLANES)
    still = recorded(photons, shift, rotation)
    alignment = align_planes(still)
    assert residual_px(alignment, shift, rotation).max() <= 0.1
    np.testing.assert_allclose(alignment.apply(still), still, atol=0.05)


def blobs(shift: Array, rotation: Array, shape_yx: tuple[int, int] = (131, 164)) -> Array:
    """Draw the same spots in every plane, at exact places, with a little noise."""
    rng = np.random.default_rng(8)
    height, width = shape_yx
    spots = rng.uniform(-0.6, 0.6, (80, 2)) * shape_yx
    brightness = rng.uniform(300, 1000, 80)
    y, x = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    stack = rng.normal(100, 2, (len(rotation), height, width))
    for plane, s, r in zip(stack, shift, rotation, strict=True):
        places = spots @ turn(r).T + s
        along_y = np.exp(-((y[:, None] - places[:, 0]) ** 2) / 8) * brightness
        plane += along_y @ np.exp(-((x[:, None] - places[:, 1]) ** 2) / 8).T
    return stack


SHIFT = np.array([[3.0, -1], [1, 0], [0.5, 0.5], [0, 0], [0.3, -0.7], [-1, -2], [-2.5, -2]])
ROTATION = np.radians([0.6, 0.3, -0.1, 0, 0.2, 0.4, 0.1])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_shift_and_rotation_say_where_a_point_is_found(dtype: type) -> None:
    stack = blobs(SHIFT, ROTATION).astype(dtype)
    alignment = align_planes(stack)
    np.testing.assert_allclose(alignment.shift_px, SHIFT, atol=0.03)
    np.testing.assert_allclose(alignment.rotation_rad, ROTATION, atol=5e-4)
    inner = (slice(None), slice(12, -12), slice(12, -12))
    expected = np.broadcast_to(blobs(np.zeros((1, 2)), np.zeros(1)), stack.shape)
    np.testing.assert_allclose(alignment.apply(stack)[inner], expected[inner], atol=25)


def test_a_jump_is_followed_and_reported() -> None:
    shift = SHIFT + np.array([14.0, -9.0]) * (np.arange(7) >= 5)[:, None]
    alignment = align_planes(blobs(shift, ROTATION))
    np.testing.assert_allclose(alignment.shift_px, shift, atol=0.05)
    assert alignment.jumps == (5,)
    assert alignment.step_px[5] == pytest.approx(math.hypot(14 - 1.3, 9 + 1.3), abs=0.5)
    even = np.linspace(-9, 9, 7)[:, None] * np.ones(2)
    assert align_planes(blobs(even, 0 * ROTATION)).jumps == ()


@pytest.mark.parametrize("kind", ["flat", "dark", "noise"])
@pytest.mark.parametrize("plane", [0, 2, 3, 6])
def test_a_plane_without_detail_goes_along_with_its_neighbour(kind: str, plane: int) -> None:
    stack = blobs(SHIFT, ROTATION)
    noise = np.random.default_rng(1).normal(100, 5, stack.shape[1:])
    stack[plane] = {"flat": 100.0, "dark": 0.0, "noise": noise}[kind]
    alignment = align_planes(stack)
    inner = plane + (plane < 3) - (plane > 3)
    if plane == 3:  # the middle itself: its neighbours are still aligned to each other
        np.testing.assert_allclose(alignment.shift_px[4] - alignment.shift_px[2], [-0.2, -1.2], 0.1)
        return
    np.testing.assert_array_equal(alignment.shift_px[plane], alignment.shift_px[inner])
    others = np.delete(np.arange(7), plane)
    np.testing.assert_allclose(alignment.shift_px[others], SHIFT[others], atol=0.05)


@pytest.mark.parametrize("value", [0, 7])
def test_an_empty_stack_does_not_move(value: int) -> None:
    alignment = align_planes(np.full((5, 30, 20), value, dtype=np.uint8))
    assert not alignment.shift_px.any()
    assert not alignment.rotation_rad.any()
    assert alignment.jumps == ()


def test_one_plane_is_its_own_middle() -> None:
    plane = blobs(np.zeros((1, 2)), np.zeros(1))
    alignment = align_planes(plane)
    assert alignment.jumps == ()
    np.testing.assert_allclose(alignment.apply(plane), plane, rtol=1e-4)


def test_what_cannot_be_aligned_is_refused() -> None:
    stack = blobs(SHIFT, ROTATION)
    for bad, message in (
        (stack[0], "focus scan"),
        (stack[:0], "focus scan"),
        (stack[:, :5], "16 x 16"),
        (np.where(stack > 500, np.nan, stack), "NaN"),
    ):
        with pytest.raises(FluoFocusError, match=message):
            align_planes(bad)
    with pytest.raises(FluoFocusError, match="alignment is for"):
        align_planes(stack).apply(stack[1:])
