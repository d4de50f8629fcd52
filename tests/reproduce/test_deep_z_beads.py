"""Deep-Z's figures 1 and 4, its depth of field and its Supplementary Note 8, on small fields."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.measure.width_samples import Outcome
from fluofocus.optics.microscope import preset
from fluofocus.refocus.slope import steepness_deg
from fluofocus.reproduce.deep_z import bead_fields, depth_of_field, resolution, slopes, surfaces
from fluofocus.reproduce.reproduction import Request, Table
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.specimen import SpecimenGrid

BEADS = "air20x-beads"
MODELS = {"paper's beads": BEADS, "beads": BEADS, "nuclei": "air20x-nuclei"}


def request_in(folder: Path, fields: int = 1) -> Request:
    return Request(folder, MODELS, fields)


def ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


def column(table: Table, name: str, row: int = 0) -> float:
    return float(table.rows[row][table.header.index(name)].split()[0].rstrip("%"))


@pytest.fixture
def air_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test the shipped model through its own microscope in the paper's place."""
    monkeypatch.setitem(bead_fields.PRESETS, "paper's beads", "olympus-20x-0.75")


@pytest.mark.usefixtures("air_only")
def test_refocused_beads_are_as_wide_as_scanned_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "SIDE_PX", 160)
    monkeypatch.setattr(resolution, "INPUTS_UM", (0.0, -8.0))
    monkeypatch.setattr(resolution, "ROLES", ("beads",))
    section = resolution.figure_1(request_in(tmp_path), ignore)
    widths, outcomes = section.tables
    assert [row[0] for row in widths.rows] == ["in focus", "-8 µm"]
    for kind in ("lateral", "axial"):
        refocused, scanned = (column(widths, f"{kind}, {x}") for x in ("refocused", "scanned"))
        assert 0.8 < refocused / scanned < 1.2
        assert column(widths, f"{kind}, difference") == pytest.approx(
            100 * (refocused / scanned - 1), abs=0.2
        )
    for row in outcomes.rows:
        assert int(row[1]) == sum(map(int, row[2:]))
    assert all(figure.path.is_file() for figure in section.figures)


def test_pooled_beads_are_those_of_all_fields() -> None:
    bench = bead_fields.open_bench("beads", MODELS)
    fields = [
        bench.measure(bench.scan(microscope, [-0.5, 0.0, 0.5], seed, (128, 128)).counts)
        for seed, microscope in bench.fields(2, 5)
    ]
    together = bead_fields.pooled(fields)
    assert len(together) == len(fields[0]) + len(fields[1])
    for kind, sample in together.samples.items():
        assert len(sample.fwhm_um) == len(together)
        measured = (each.samples[kind].count(Outcome.MEASURED) for each in fields)
        assert sample.count(Outcome.MEASURED) == sum(measured)


def test_best_focus_is_where_the_papers_microscope_has_its_narrowest_beads() -> None:
    microscope = preset("olympus-20x-deep-z")
    bench = bead_fields.open_bench("paper's beads", MODELS)
    planes_um = np.arange(-3, 4) * 2.0
    scan = bench.scan(microscope, planes_um, 3, (192, 192)).clean_counts
    median_um = [bench.measure(plane).lateral.median_um for plane in scan[2:5]]
    assert np.argmin(median_um) == 1
    assert median_um[1] == pytest.approx(0.9, abs=0.05)  # the paper's Fig. 4


@pytest.mark.usefixtures("air_only")
def test_a_tilt_is_corrected_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "SHAPE_YX", (512, 128))
    monkeypatch.setattr(surfaces, "TILE_PX", 64)
    monkeypatch.setattr(surfaces, "TILT_DEG", 5.0)
    monkeypatch.setitem(bead_fields.BEADS_OF_300_NM, "count_per_1000_um2", 3.0)
    tilted, _ = surfaces.specimens(0.325)
    monkeypatch.setattr(surfaces, "specimens", lambda pixel_um: (tilted,))
    section = surfaces.figure_4(request_in(tmp_path), ignore)
    (table,) = section.tables
    assert table.rows[0][0] == "tilt of 5°"
    raw, automatic = (
        column(table, name) for name in ("raw", "refocused onto the automatic surface")
    )
    assert max(column(table, "refocused"), automatic) < 0.75 * raw
    assert column(table, "in focus") < column(table, "refocused")
    assert column(table, "beads found") > 80
    assert column(table, table.header[-1]) < 1.0
    assert section.figures[0].path.is_file()


def test_beads_lie_on_the_surfaces_that_images_are_refocused_onto() -> None:
    depths_um = tuple(np.arange(-100, 101) * 0.1)
    shape_yx = (surfaces.SHAPE_YX[0], 128)
    grid = SpecimenGrid(shape_yx, 0.325, depths_um)
    for specimen in surfaces.specimens(0.325):
        beads = make_phantom("beads", {**bead_fields.BEADS_OF_300_NM, **specimen.beads})
        positions_um = beads.draw(grid, torch.Generator().manual_seed(1)).ball_positions_um.numpy()
        z_um, y_um, _ = positions_um.T
        dpm_um = specimen.surface.dpm(shape_yx, 0.325)
        rows = np.round(y_um / 0.325).astype(int).clip(0, shape_yx[0] - 1)
        np.testing.assert_allclose(z_um, dpm_um[rows, 0], atol=0.07)
        assert dpm_um.min() == pytest.approx(-dpm_um.max(), abs=0.02)
        assert 7 < dpm_um.max() < 10


@pytest.mark.usefixtures("air_only")
def test_refocusing_extends_the_depth_of_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_of_field, "SIDE_PX", 128)
    monkeypatch.setattr(depth_of_field, "DISTANCES_UM", np.arange(-6, 7) * 2.0)
    monkeypatch.setattr(depth_of_field, "ROLES", ("beads",))
    section = depth_of_field.depth_of_field(request_in(tmp_path), ignore)
    (table,) = section.tables
    assert column(table, "ratio") > 2
    assert column(table, "nominal depth of field, λn/NA²") == 1.04
    assert section.figures[0].path.is_file()


def test_the_good_range_ends_where_the_correlation_falls() -> None:
    distances_um = np.arange(-3.0, 4.0)
    correlation = np.array([0.95, 0.7, 0.95, 1.0, 0.95, 0.85, 0.95])
    assert depth_of_field.good_range_um(distances_um, correlation) == pytest.approx((-1.2, 1.5))
    assert depth_of_field.good_range_um(distances_um, correlation - 0.5) == (0.0, 0.0)
    assert depth_of_field.good_range_um(distances_um, correlation + 0.5) == (-3.0, 3.0)


def test_errors_grow_with_the_slope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slopes, "SIDE_PX", 96)
    monkeypatch.setattr(slopes, "SLOPES_DEG", (5.0, 80.0))
    monkeypatch.setattr(slopes, "AMPLITUDE_UM", 4.0)
    section = slopes.slopes(request_in(tmp_path), ignore)
    (table,) = section.tables
    for role in ("nuclei", "beads"):
        gentle, steep = (column(table, f"{role}, at once ÷ from planes", row) for row in (0, 1))
        assert gentle < 1.06 < steep
    assert "nuclei 5°, beads 5°" in section.paragraphs[1]


@pytest.mark.parametrize("slope_deg", [1.0, 40.0])
def test_waves_are_as_steep_and_as_high_as_asked_for(slope_deg: float) -> None:
    heights_um = slopes.wave_um(slope_deg, 0.325)
    assert steepness_deg(heights_um, 0.325).max() == pytest.approx(slope_deg, rel=1e-2)
    assert np.abs(heights_um).max() <= slopes.AMPLITUDE_UM


def test_a_surface_is_cut_out_of_a_stack_between_its_planes() -> None:
    stack = np.arange(5.0)[:, None, None] * np.ones((5, 2, 2))
    heights_um = np.array([[-1.0, 0.25], [0.5, 1.0]])
    cut = slopes.along(stack, np.array([-1, -0.5, 0, 0.5, 1.0]), heights_um)
    np.testing.assert_allclose(cut, [[0.0, 2.5], [3.0, 4.0]])
