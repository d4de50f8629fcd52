"""Surfaces against their formulas, and what they refuse."""

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fluofocus.errors import FluoFocusError
from fluofocus.refocus import (
    cylinder,
    from_array,
    from_points,
    parse_surface,
    parse_z_range,
    plane,
    polynomial,
    tilt,
)

SHAPE = (41, 61)
PIXEL_UM = 0.5


def coordinates() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[-20:21, -30:31] * PIXEL_UM
    return y, x


def test_plane_is_flat() -> None:
    np.testing.assert_array_equal(plane(-3).dpm(SHAPE, PIXEL_UM), np.full(SHAPE, -3, np.float32))


def test_tilt_rises_with_y_about_its_default_axis() -> None:
    y, _ = coordinates()
    expected = math.tan(math.radians(1.5)) * y + 2
    dpm = tilt(1.5, offset_um=2).dpm(SHAPE, PIXEL_UM)
    np.testing.assert_allclose(dpm, expected, atol=1e-5)


def test_tilt_does_not_change_along_its_axis() -> None:
    y, x = coordinates()
    dpm = tilt(2, axis_deg=30).dpm(SHAPE, PIXEL_UM)
    along = x * math.cos(math.radians(30)) + y * math.sin(math.radians(30))
    across = y * math.cos(math.radians(30)) - x * math.sin(math.radians(30))
    assert abs(np.corrcoef(dpm.ravel(), along.ravel())[0, 1]) < 0.5
    np.testing.assert_allclose(dpm, math.tan(math.radians(2)) * across, atol=1e-5)


def test_tilt_of_ninety_degrees_falls_along_x() -> None:
    dpm = tilt(1, axis_deg=90).dpm(SHAPE, PIXEL_UM)
    assert (np.diff(dpm, axis=1) < 0).all()
    np.testing.assert_allclose(np.diff(dpm, axis=0), 0, atol=1e-5)


def test_cylinder_is_a_circle_with_its_apex_nearest_to_the_objective() -> None:
    radius = 50.0
    y, _ = coordinates()
    dpm = cylinder(2 * radius).dpm(SHAPE, PIXEL_UM).astype(float)
    np.testing.assert_allclose((radius - dpm) ** 2 + y**2, radius**2, rtol=1e-6)
    assert dpm.min() == dpm[20, 30] == 0
    np.testing.assert_allclose(cylinder(-2 * radius).dpm(SHAPE, PIXEL_UM), -dpm, atol=1e-6)


def test_cylinder_apex_moves_across_the_axis() -> None:
    dpm = cylinder(14400, axis_deg=90, apex_um=-10, offset_um=1).dpm(SHAPE, PIXEL_UM)
    assert np.unravel_index(dpm.argmin(), SHAPE)[1] == 50
    assert dpm.min() == pytest.approx(1)


def test_polynomial_orders_its_terms_by_degree() -> None:
    y, x = coordinates()
    dpm = polynomial([1, 0.2, -0.1, 0.03, 0.02, -0.01, 0.001]).dpm(SHAPE, PIXEL_UM)
    expected = 1 + 0.2 * x - 0.1 * y + 0.03 * x**2 + 0.02 * x * y - 0.01 * y**2 + 0.001 * x**3
    np.testing.assert_allclose(dpm, expected, rtol=1e-5, atol=1e-4)


def test_a_surface_through_points_meets_them() -> None:
    random = np.random.default_rng(2)
    places = random.uniform(0, 1, (12, 2)) * [600, 400]
    heights = 3 + 0.01 * places[:, 0] + 2 * np.sin(places[:, 1] / 150)
    points = np.column_stack([places, heights])
    dpm = from_points(points).dpm((401, 601), 0.3)
    rows, columns = np.round(places[:, ::-1]).astype(int).T
    np.testing.assert_allclose(dpm[rows, columns], heights, atol=0.1)
    in_um = np.column_stack([(places - [300, 200]) * 0.3, heights])
    np.testing.assert_allclose(from_points(in_um, unit="um").dpm((401, 601), 0.3), dpm, atol=1e-3)


def test_three_points_are_a_plane(tmp_path: Path) -> None:
    y, x = coordinates()
    path = tmp_path / "points.csv"
    path.write_text("name,x_um,y_um,z_um\na,0,0,1\nb,10,0,2\nc,0,-5,3\n")
    surface = parse_surface(str(path))
    np.testing.assert_allclose(surface.dpm(SHAPE, PIXEL_UM), 1 + 0.1 * x - 0.4 * y, atol=1e-4)
    assert surface.description.startswith("points.csv, 3 points")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x_px,y_px,z_um\n0,0,1\n5,5,2\n9,9,2\n", "not all on one line"),
        ("x_px,y_px,z_um\n0,0,1\n0,0,2\n9,3,2\n", "two points at one place"),
        ("x_px,y_px,z_um\n", "three points or more"),
        ("x,y,z\n0,0,1\n", "no file of control points"),
        ("x_px,y_px,z_um\n0,0,high\n", "no file of control points"),
        ("x_px,y_px,z_um\n0,0,nan\n1,1,0\n1,0,0\n", "height in µm"),
    ],
)
def test_impossible_points_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(content)
    with pytest.raises(FluoFocusError, match=message):
        parse_surface(str(path))


def test_one_coefficient_is_a_plane() -> None:
    np.testing.assert_array_equal(polynomial([2.5]).dpm(SHAPE, 1.0), plane(2.5).dpm(SHAPE, 1.0))


def test_array_must_have_the_size_of_the_image() -> None:
    surface = from_array(np.zeros((4, 5)))
    assert surface.dpm((4, 5), 0.3).shape == (4, 5)
    with pytest.raises(FluoFocusError, match="4x5 pixels but the image has 5x4"):
        surface.dpm((5, 4), 0.3)


def test_arrays_that_differ_have_other_descriptions() -> None:
    assert from_array(np.zeros((4, 5))).description != from_array(np.ones((4, 5))).description


@pytest.mark.parametrize(
    ("text", "surface"),
    [
        ("plane:3um", plane(3)),
        ("plane:-500nm", plane(-0.5)),
        ("tilt:1.5deg", tilt(1.5)),
        ("tilt:-1.5°,axis=30deg,offset=2um", tilt(-1.5, axis_deg=30, offset_um=2)),
        ("tilt:10mrad", tilt(math.degrees(0.01))),
        ("cylinder:7.2mm", cylinder(7200)),
        ("cylinder:-1e2 um,axis=90deg,apex=5µm", cylinder(-100, axis_deg=90, apex_um=5)),
        ("poly:1,-0.02,3e-3", polynomial([1, -0.02, 3e-3])),
    ],
)
def test_parsed_surface_is_the_one_written(text: str, surface) -> None:
    parsed = parse_surface(text)
    np.testing.assert_allclose(parsed.dpm(SHAPE, PIXEL_UM), surface.dpm(SHAPE, PIXEL_UM))


def test_description_of_a_formula_parses_back() -> None:
    surface = cylinder(7200.123, axis_deg=12.5, apex_um=3, offset_um=-1)
    parsed = parse_surface(surface.description)
    np.testing.assert_array_equal(parsed.dpm(SHAPE, 1.0), surface.dpm(SHAPE, 1.0))


def test_surface_file_is_read(tmp_path) -> None:
    heights = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    tifffile.imwrite(tmp_path / "dpm.tif", heights)
    surface = parse_surface(str(tmp_path / "dpm.tif"))
    np.testing.assert_array_equal(surface.dpm(SHAPE, 1.0), heights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sphere:3um", "is no surface"),
        ("", "is no surface"),
        ("tilt:1.5", "number with a unit"),
        ("tilt:1.5um", "number with a unit"),
        ("tilt:1.5deg,apex=2um", "tilt takes axis=, offset="),
        ("plane:3um,axis=1deg", "plane takes no options"),
        ("cylinder:mm", "number with a unit"),
        ("cylinder:0mm", "diameter 0"),
        ("tilt:90deg", "below 90"),
        ("poly:", "must stand"),
        ("poly:1,x", "must stand"),
        ("poly:1,nan", "finite number"),
        ("missing.tif", "missing.tif"),
    ],
)
def test_bad_surfaces_are_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(FluoFocusError, match=message):
        parse_surface(text)


def test_bad_surface_files_are_refused(tmp_path) -> None:
    (tmp_path / "text.tif").write_text("no picture")
    with pytest.raises(FluoFocusError, match="Cannot read surface"):
        parse_surface(str(tmp_path / "text.tif"))
    tifffile.imwrite(tmp_path / "nan.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(FluoFocusError, match="NaN"):
        parse_surface(str(tmp_path / "nan.tif"))
    stack = np.zeros((3, 8, 8), np.float32)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    with pytest.raises(FluoFocusError, match="one image of heights"):
        parse_surface(str(tmp_path / "stack.tif"))


def test_field_beyond_the_cylinder_is_refused() -> None:
    with pytest.raises(FluoFocusError, match="beyond its radius"):
        parse_surface("cylinder:7um").dpm(SHAPE, PIXEL_UM)


def test_z_range_has_both_ends_and_no_rounding_noise() -> None:
    assert parse_z_range("-10:10:0.5") == [index / 2 for index in range(-20, 21)]
    assert parse_z_range("0:0.3:0.1") == [0.0, 0.1, 0.2, 0.3]
    assert parse_z_range("0:1:0.4") == [0.0, 0.4, 0.8]
    assert parse_z_range("-2.5") == [-2.5]


@pytest.mark.parametrize("text", ["", "a", "1:2", "1:2:3:4", "0:1:nan", "0:inf:1"])
def test_what_is_no_z_range_is_refused(text: str) -> None:
    with pytest.raises(FluoFocusError, match="is no z range"):
        parse_z_range(text)


@pytest.mark.parametrize("text", ["1:0:0.5", "0:1:0", "0:1:-1"])
def test_z_ranges_without_planes_are_refused(text: str) -> None:
    with pytest.raises(FluoFocusError, match="no planes"):
        parse_z_range(text)


def test_a_step_in_the_wrong_unit_is_refused() -> None:
    with pytest.raises(FluoFocusError, match="step in µm"):
        parse_z_range("0:10:0.0005")
