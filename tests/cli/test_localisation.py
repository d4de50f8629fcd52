"""``fluofocus measure localisation`` and ``depth-of-field``: tables, figures, refusals."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib.image import imread

from fluofocus import make_stack, read_stack, write_stack

PIXEL_UM = 0.1
YX = [(y, x) for y in (15, 45, 75) for x in (15, 45, 75)]
Z_UM = np.arange(-2.0, 2.01, 0.5)


def planes(peaks: np.ndarray) -> np.ndarray:
    """Beads as bright as this in each plane, over noise."""
    y, x = np.indices((90, 90))
    signal = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 4) for a, b in YX)
    rng = np.random.default_rng(0)
    return rng.poisson(50 + peaks[:, None, None] * signal).astype(np.uint16)


@pytest.fixture
def files(prepared: Path) -> Path:
    def save(name: str, data: np.ndarray, dims: str = "ZYX", **positions: object) -> None:
        write_stack(prepared / name, make_stack(data, dims, (0.5, PIXEL_UM, PIXEL_UM), **positions))

    save("refocused.ome.tif", planes(np.where(abs(Z_UM) <= 1, 800.0, 0)), z_um=Z_UM)
    save("native.ome.tif", planes(np.where(abs(Z_UM) <= 0.1, 800.0, 0)), z_um=Z_UM)
    save("reference.ome.tif", planes(np.array([3000.0]))[0], "YX")
    save("empty.ome.tif", planes(np.zeros(1))[0], "YX")
    tifffile.imwrite(prepared / "unsized.tif", planes(np.array([3000.0]))[0])
    few = planes(np.array([800.0, 0, 0, 0]))
    tifffile.imwrite(prepared / "unstepped.tif", few, photometric="minisblack")
    binned = planes(np.array([3000.0]))[0].reshape(45, 2, 45, 2).sum(axis=(1, 3))
    coarse = make_stack(binned.astype(np.uint16), "YX", (0.5, 2 * PIXEL_UM, 2 * PIXEL_UM))
    write_stack(prepared / "binned.ome.tif", coarse)
    save("off-focus.ome.tif", planes(np.where(abs(Z_UM) <= 0.1, 800.0, 0)), z_um=Z_UM + 2)
    objects = [{"y_um": PIXEL_UM * y, "x_um": PIXEL_UM * x} for y, x in YX]
    (prepared / "truth.json").write_text(json.dumps({"objects": objects}))
    return prepared


@pytest.mark.parametrize(
    "truth", ["truth.json", "reference.ome.tif", "binned.ome.tif", "unsized.tif"]
)
def test_beads_are_scored_plane_by_plane(run: Callable, files: Path, truth: str) -> None:
    outcome = run(f"measure localisation refocused.ome.tif --truth {truth} -o scores")
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((files / "scores" / "localisation.csv").open()))
    assert [row["Jaccard index"] for row in rows] == ["0.000"] * 2 + ["1.000"] * 5 + ["0.000"] * 2
    assert [float(row["z (µm)"]) for row in rows] == list(Z_UM)
    assert 0 < float(rows[4]["lateral RMSE (nm)"]) < 10
    assert "Jaccard index" in outcome.out
    assert np.ptp(imread(files / "scores" / "localisation.png")[..., 0]) > 0.5


def test_sizes_given_come_before_those_of_all_files(run: Callable, files: Path) -> None:
    for truth in ("reference", "binned"):
        run(f"measure localisation reference.ome.tif --truth {truth}.ome.tif --pixel-size 0.1 -o s")
        (row,) = csv.DictReader((files / "s" / "localisation.csv").open())
        assert row["Jaccard index"] == ("1.000" if truth == "reference" else "0.000")


def test_planes_without_a_distance_get_one(run: Callable, files: Path) -> None:
    words = "measure {} --truth truth.json --pixel-size 0.1 -o steps"
    assert "--z-step" in run(words.format("localisation unstepped.tif")).err
    outcome = run(words.format("localisation unstepped.tif --z-step 0.25"))
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((files / "steps" / "localisation.csv").open()))
    assert [row["z (µm)"] for row in rows] == ["0.00", "0.25", "0.50", "0.75"]
    both = "depth-of-field unstepped.tif --native unstepped.tif --z-step 0.25"
    outcome = run(words.format(both))
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((files / "steps" / "localisation.csv").open()))
    assert [row["z (µm)"] for row in rows] == ["0.00", "0.25", "0.50", "0.75"] * 2


def test_what_counts_as_a_bead_counts_for_a_depth_of_field(run: Callable, files: Path) -> None:
    words = (
        "measure depth-of-field refocused.ome.tif --native native.ome.tif --truth truth.json -o dof"
    )
    refused = run(f"{words} --noise-from unstepped.tif")
    assert "unstepped.tif has 4 planes where 9 are to be located" in refused.err
    assert "no beads in refocused.ome.tif" in run(f"{words} --threshold 1000").err
    assert "above 0, not 0" in run(f"{words} --threshold 0").err
    assert "is a share" in run(f"{words} --min-contrast 1").err
    assert run(f"{words} --noise-from reference.ome.tif --min-contrast 0.2").code == 0


@pytest.mark.parametrize(
    ("focus_um", "native_focus_um", "words"),
    [(0.0, 0.0, ""), (2.0, 2.0, "--focus 2"), (2.0, -3.0, "--focus 2 --native-focus -3")],
)
def test_a_depth_of_field_is_that_of_the_planes_as_good_as_native(
    run: Callable, files: Path, focus_um: float, native_focus_um: float, words: str
) -> None:
    for name, z_um in (("refocused.ome.tif", focus_um), ("native.ome.tif", native_focus_um)):
        moved = read_stack(files / name).compute()
        write_stack(files / name, moved.assign_coords(Z=moved.coords["Z"] + z_um))
    outcome = run(
        "measure depth-of-field refocused.ome.tif --native native.ome.tif --truth truth.json "
        f"{words} -o dof"
    )
    assert outcome.code == 0, outcome.err
    native, *tolerances = [line.split() for line in outcome.out.splitlines()[1:5]]
    assert native[:2] == ["native", "1.000"]
    assert [row[0] for row in tolerances] == ["0%", "10%", "20%"]
    depths = [float(row[-1]) for row in tolerances]
    assert depths == pytest.approx([2.0, 2.1, 2.2], abs=0.051)
    assert (files / "dof" / "localisation.png").is_file()
    rows = list(csv.DictReader((files / "dof" / "localisation.csv").open()))
    assert [float(row["z (µm)"]) for row in rows] == list(Z_UM) * 2  # from the focus


def test_a_threshold_counts_in_the_noise_of_the_recorded_image(run: Callable, files: Path) -> None:
    found = {}
    for name, options in {
        "own": "",
        "recorded": "--noise-from reference.ome.tif",
        "high": "--noise-from native.ome.tif --threshold 1000 --min-contrast 0",
    }.items():
        words = f"measure localisation refocused.ome.tif --truth truth.json {options} -o {name}"
        outcome = run(words)
        assert outcome.code == 0 or name == "high", outcome.err
        found[name] = outcome
    rows = (files / "own" / "localisation.csv").read_text()
    assert (files / "recorded" / "localisation.csv").read_text() == rows
    assert "no beads in refocused.ome.tif" in found["high"].err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("localisation empty.ome.tif --truth truth.json", "no beads in empty.ome.tif"),
        ("localisation reference.ome.tif --truth empty.ome.tif", "no beads in empty.ome.tif"),
        ("localisation reference.ome.tif --truth native.ome.tif", "is no single image"),
        ("localisation time.ome.tif --truth truth.json", "has the axes TYX"),
        ("localisation reference.ome.tif --truth missing.json", "check its name"),
        ("localisation reference.ome.tif --truth truth.json --edge 60", "nothing is left"),
        ("localisation reference.ome.tif --truth truth.json --tolerance 0", "above 0 µm"),
        ("localisation reference.ome.tif --truth truth.json --threshold 0", "above 0, not 0"),
        ("localisation reference.ome.tif --truth truth.json --min-contrast 1", "is a share"),
        (
            "localisation reference.ome.tif --truth truth.json --noise-from native.ome.tif",
            "has 9 planes where 1 are",
        ),
        (
            "depth-of-field reference.ome.tif --native native.ome.tif --truth truth.json",
            "needs a stack",
        ),
        (
            "depth-of-field refocused.ome.tif --native native.ome.tif --truth truth.json "
            "--native-range -1",
            "above 0 µm",
        ),
        (
            "depth-of-field refocused.ome.tif --native off-focus.ome.tif --truth truth.json",
            "say at which z that is with --focus",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(
    run: Callable, files: Path, words: str, complaint: str
) -> None:
    outcome = run(f"measure {words} -o refused")
    assert outcome.code == 2
    assert complaint in outcome.err
    assert not (files / "refused").exists()
