"""``fluofocus measure fwhm``: its table, figure and words agree with what is known."""

import csv
import inspect
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib.image import imread

from fluofocus import Microscope, make_stack, simulate_stack, write_stack
from fluofocus.cli.measurement import fwhm
from fluofocus.measure.resolution import WINDOW_PX
from fluofocus.measure.widths import MIN_CONTRAST, NOISE_THRESHOLD

PIXEL_UM, STEP_UM, FIRST_UM = 0.1, 0.5, -4.0
FWHM_PER_SIGMA = 2.3548200450309493
YX = [(y, x) for y in (15, 45, 75) for x in (15, 45, 75)]


def scan(sigma_px: float, sigma_planes: float = 2.5, seed: int = 0) -> np.ndarray:
    """A noisy stack of nine Gaussian beads of these widths, and a pair that touches."""
    z, y, x = np.indices((17, 90, 90))
    signal = np.zeros(z.shape)
    for yc, xc in [*YX, (60, 30), (60, 36)]:
        lateral = ((y - yc) ** 2 + (x - xc) ** 2) / sigma_px**2
        signal += np.exp(-0.5 * (lateral + ((z - 8) / sigma_planes) ** 2))
    return np.random.default_rng(seed).poisson(100 + 2000 * signal).astype(np.uint16)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beads")

    def save(name: str, data: np.ndarray, dims: str = "ZYX", **positions: object) -> None:
        stack = make_stack(data, dims, (STEP_UM, PIXEL_UM, PIXEL_UM), **positions)
        write_stack(folder / name, stack)

    sharp, wide = scan(1.5), scan(1.8, seed=1)
    (folder / "other").mkdir()
    save("sharp.ome.tif", sharp, origin_um=(FIRST_UM, 0, 0))
    save("wide.ome.tif", wide)
    save("other/sharp.ome.tif", sharp[8], "YX")
    save("image.ome.tif", sharp[8], "YX")
    dusty = sharp[8].copy()
    dusty[2:5, 40:43] = 60000
    save("dusty.ome.tif", dusty, "YX")
    save("movie.ome.tif", sharp[:2], "TYX")
    save("uneven.ome.tif", sharp[:4], z_um=[0, 1, 2, 5])
    save("empty.ome.tif", np.random.default_rng(2).poisson(100, (64, 64)).astype(np.uint16), "YX")
    holed = sharp.astype(np.float32)
    holed[3, 4, 5] = np.nan
    save("holed.ome.tif", holed)
    tifffile.imwrite(folder / "unsized.tif", sharp[8])
    tifffile.imwrite(folder / "unstepped.tif", sharp)
    return folder


@pytest.fixture
def measured(run: Callable, files: Path, tmp_path: Path) -> Callable:
    """Measure files of the folder into a new one; returns the outcome, its rows and the folder."""

    def command(names: str, options: str = "") -> tuple[object, list[dict[str, str]], Path]:
        images = " ".join(str(files / name) for name in names.split())
        given = options.format(files=files)
        outcome = run(f"measure fwhm {images} -o {tmp_path / 'out'} {given}")
        assert outcome.code == 0, outcome.err
        with (tmp_path / "out" / "beads.csv").open(encoding="utf-8") as table:
            return outcome, list(csv.DictReader(table)), tmp_path / "out"

    return command


def test_an_image_gives_a_row_for_each_bead_and_a_figure(measured: Callable) -> None:
    outcome, rows, folder = measured("image.ome.tif")
    assert len(rows) == 11
    assert {path.name for path in folder.iterdir()} == {"beads.csv", "widths.png"}
    assert imread(folder / "widths.png").std() > 0.05
    alone = [row for row in rows if row["lateral"] == "measured"]
    assert len(alone) == 9
    assert [row["lateral"] for row in rows if row not in alone] == ["touching"] * 2
    for row in alone:
        assert row["file"] == "image.ome.tif"
        assert float(row["fwhm_lateral_um"]) == pytest.approx(FWHM_PER_SIGMA * 0.15, rel=0.06)
        assert float(row["amplitude"]) == pytest.approx(2000, rel=0.1)
        for axis in "yx":
            assert float(row[f"{axis}_um"]) == pytest.approx(PIXEL_UM * float(row[f"{axis}_px"]))
        assert row["z_um"] == row["fwhm_axial_um"] == row["axial"] == ""
    places = {(round(float(row["y_px"])), round(float(row["x_px"]))) for row in alone}
    assert places == set(YX)
    assert "image.ome.tif: 11 beads found" in outcome.out
    assert "9 measured, 2 touching, 0 cut by the edge, 0 not converged" in outcome.out


def test_beads_that_dust_hides_are_told_of_and_found_with_less_contrast(
    measured: Callable,
) -> None:
    outcome, rows, _ = measured("dusty.ome.tif")
    assert len(rows) == 1
    assert "maxima stand out from the noise" in outcome.err
    assert "lower --min-contrast" in outcome.err
    outcome, rows, _ = measured("dusty.ome.tif", "--min-contrast 0.01")
    assert len(rows) == 12
    assert "--min-contrast" not in outcome.err


def test_a_stack_gives_axial_widths_and_the_height_of_each_bead(measured: Callable) -> None:
    outcome, rows, _ = measured("sharp.ome.tif")
    alone = [row for row in rows if row["axial"] == "measured"]
    assert len(alone) == 9
    for row in alone:
        expected_um = FWHM_PER_SIGMA * 2.5 * STEP_UM
        assert float(row["fwhm_axial_um"]) == pytest.approx(expected_um, rel=0.06)
        assert float(row["z_um"]) == FIRST_UM + STEP_UM * int(row["plane"])
        assert abs(int(row["plane"]) - 8) <= 1
    assert outcome.out.count("2 touching") == 2  # of the lateral and of the axial widths


def test_sizes_given_come_before_those_of_the_file(measured: Callable) -> None:
    _, rows, _ = measured("sharp.ome.tif", "--pixel-size 0.2 --z-step 1")
    lateral, axial = (
        np.median([float(row[f"fwhm_{kind}_um"]) for row in rows if row[kind] == "measured"])
        for kind in ("lateral", "axial")
    )
    assert lateral == pytest.approx(FWHM_PER_SIGMA * 0.3, rel=0.03)
    assert axial == pytest.approx(FWHM_PER_SIGMA * 2.5, rel=0.03)


def test_two_files_are_compared_and_called_by_path_where_names_are_alike(
    measured: Callable, files: Path
) -> None:
    outcome, rows, _ = measured("sharp.ome.tif other/sharp.ome.tif")
    names = [str(files / "sharp.ome.tif"), str(files / "other" / "sharp.ome.tif")]
    assert [row["file"] for row in rows] == [names[0]] * 11 + [names[1]] * 11
    table = outcome.out.split("\n\n")[1].splitlines()
    assert [line.split()[:4] for line in table[1:4]] == [
        [names[0], "lateral", "9", "11"],
        [names[0], "axial", "9", "11"],
        [names[1], "lateral", "9", "11"],
    ]


def test_against_another_stack_says_how_the_widths_differ(measured: Callable) -> None:
    outcome, rows, _ = measured("wide.ome.tif", "--against {files}/sharp.ome.tif")
    assert {row["file"] for row in rows} == {"wide.ome.tif", "sharp.ome.tif"}
    (_, lateral, axial, _) = outcome.out.split("\n\n")[2].splitlines()
    name, kind, difference, distance = lateral.split()
    assert (name, kind) == ("wide.ome.tif", "lateral")
    assert float(difference.rstrip("%")) == pytest.approx(20, abs=3)
    assert float(distance) == 1.0  # the distributions do not overlap
    assert abs(float(axial.split()[2].rstrip("%"))) < 3
    assert float(axial.split()[3]) < 0.9


def test_simulated_beads_have_the_width_that_the_aperture_gives(
    run: Callable, tmp_path: Path
) -> None:
    microscope = Microscope(
        numerical_aperture=0.5,
        emission_wavelength_nm=500,
        pixel_size_um=0.1,
        sample_index=1.0,
        psf_model="scalar",
    )
    beads = {"surface": "plane", "diameter_um": 0.05, "count_per_1000_um2": 30}
    stack = simulate_stack(
        microscope,
        "beads",
        shape_yx=(192, 192),
        planes_um=[-0.2, 0, 0.2],
        seed=5,
        phantom_parameters=beads,
    )
    write_stack(tmp_path / "i.ome.tif", make_stack(stack.counts[1], "YX", (math.nan, 0.1, 0.1)))
    outcome = run(f"measure fwhm {tmp_path}/i.ome.tif -o {tmp_path}/out")
    median_um = float(outcome.out.split("median ")[1].split()[0])
    # 0.51 of the wavelength over the aperture; the nearest Gaussian is 3 to 6 % narrower.
    assert 0.93 * 0.51 < median_um < 0.98 * 0.51


REFUSED = [
    ("missing.tif", "missing.tif does not exist"),
    ("empty.ome.tif", "empty.ome.tif: No bead stands out", "--threshold"),
    ("holed.ome.tif", "holed.ome.tif", "NaN"),
    ("movie.ome.tif", "movie.ome.tif has axes T, Y, X"),
    ("uneven.ome.tif", "uneven.ome.tif are not evenly spaced", "--z-step"),
    ("unsized.tif", "pixel size of unsized.tif", "--pixel-size"),
    ("unstepped.tif --pixel-size 0.1", "planes of unstepped.tif", "--z-step"),
    ("image.ome.tif --pixel-size 0", "--pixel-size must be a length above zero"),
    ("image.ome.tif --window 3", "window of 3 pixels"),
    ("image.ome.tif --threshold -1", "threshold must be a number above zero"),
    ("image.ome.tif --min-contrast 1", "share from 0 to below 1", "--min-contrast"),
    ("image.ome.tif --against empty.ome.tif", "empty.ome.tif: No bead"),
    ("image.ome.tif --against missing.tif", "missing.tif does not exist"),
    ("image.ome.tif missing.tif", "missing.tif does not exist"),
]


@pytest.mark.parametrize(("words", "sentence"), [(words, said) for words, *said in REFUSED])
def test_bad_input_gives_one_sentence_and_no_file(
    run: Callable, files: Path, tmp_path: Path, words: str, sentence: list[str]
) -> None:
    given = " ".join(str(files / word) if ".tif" in word else word for word in words.split())
    outcome = run(f"measure fwhm {given} -o {tmp_path / 'out'}")
    (error,) = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    assert all(part in error for part in sentence), error
    assert outcome.code == 2
    assert outcome.out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_measuring(
    run: Callable, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluofocus.cli.console.os.access", lambda *_: False)
    outcome = run(f"measure fwhm {files}/missing.tif -o {tmp_path}/out")
    assert outcome.code == 2
    assert "cannot be written into" in outcome.err


def test_a_table_that_cannot_be_written_leaves_nothing_half_done(
    run: Callable, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "beads.csv").mkdir()
    outcome = run(f"measure fwhm {files}/image.ome.tif -o {tmp_path}")
    assert outcome.code == 2
    assert "Cannot write table" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["beads.csv"]


def test_defaults_are_those_of_the_library() -> None:
    parameters = inspect.signature(fwhm).parameters
    assert parameters["window"].default == WINDOW_PX
    assert parameters["threshold"].default == NOISE_THRESHOLD
    assert parameters["min_contrast"].default == MIN_CONTRAST
