"""``fluofocus neurons segment``: what it writes, what it says, and what it refuses."""

import csv
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fluofocus.cli import neurons as verb
from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.neurons import SEGMENTATIONS, segment_neurons

KNOWN_UM = np.array([[-3, 7, 8], [-1, 14, 20], [1.5, 6, 21], [3, 16, 6], [0, 11, 13.5]])
PLANES_UM = np.arange(-5, 5.1, 0.5)
VOXEL_UM = (0.5, 0.325, 0.325)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    z, y, x = np.meshgrid(
        PLANES_UM, 0.325 * np.arange(72), 0.325 * np.arange(80), indexing="ij", sparse=True
    )
    signal = 100.0 + sum(
        400 * np.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / 2)
        for cz, cy, cx in KNOWN_UM
    )
    counts = np.random.default_rng(0).poisson(signal).astype(np.uint16)
    objects = [
        {"kind": "nucleus", "z_um": cz, "y_um": cy, "x_um": cx}
        for cz, cy, cx in [*KNOWN_UM.tolist(), [0.0, 3.0, 3.0], [9.0, 3.0, 3.0]]
    ]
    (folder / "scan.json").write_text(json.dumps({"settings": {}, "objects": objects}))

    def save(name: str, values: np.ndarray, dims: str = "ZYX") -> None:
        write_stack(
            folder / name, make_stack(values, dims, VOXEL_UM, z_um=PLANES_UM[: len(values)])
        )

    save("scan.ome.tif", counts)
    save("noise.ome.tif", np.random.default_rng(1).poisson(100, counts.shape).astype(np.uint16))
    holed = counts.astype(np.float32)
    holed[3, 4, 5] = np.nan
    save("nan.ome.tif", holed)
    frames = make_stack(np.stack([counts, counts]), "TZYX", VOXEL_UM)
    write_stack(folder / "time.ome.tif", frames)
    image = make_stack(counts[10], "YX", (np.nan, 0.325, 0.325))
    write_stack(folder / "image.ome.tif", image)
    tifffile.imwrite(folder / "unsized.tif", counts)
    return folder


def table(path: Path) -> np.ndarray:
    """The numbers of a table of neurons, one row each."""
    header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    assert header == ["neuron", "z_um", "y_um", "x_um", "diameter_um", "mean_brightness"]
    return np.array(rows, float)


@pytest.mark.parametrize("method", SEGMENTATIONS)
def test_table_picture_and_labels_agree_and_the_truth_is_compared(
    run: Callable, scans: Path, tmp_path: Path, method: str
) -> None:
    outcome = run(
        f"neurons segment {scans}/scan.ome.tif -o {tmp_path}/n.csv --method {method} "
        f"--truth {scans}/scan.json --labels {tmp_path}/labels.ome.tif"
    )
    assert outcome.code == 0, outcome.err
    rows = table(tmp_path / "n.csv")
    order = np.argsort(rows[:, 1])
    np.testing.assert_allclose(rows[order, 1:4], KNOWN_UM[np.argsort(KNOWN_UM[:, 0])], atol=0.15)
    scan, labels = (read_stack(f) for f in (scans / "scan.ome.tif", tmp_path / "labels.ome.tif"))
    np.testing.assert_allclose(labels.coords["Z"], scan.coords["Z"])
    numbers = labels.sel(
        {axis: rows[:, column].tolist() for axis, column in (("Z", 1), ("Y", 2), ("X", 3))},
        method="nearest",
    ).values
    assert np.einsum("iii->i", numbers).tolist() == rows[:, 0].tolist()
    for number, brightness in zip(rows[:, 0], rows[:, 5], strict=True):
        inside = scan.values[labels.values == number]
        assert inside.mean() == pytest.approx(brightness, rel=1e-4)
    assert labels.attrs["provenance"]["neurons"]["method"] == method
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")
    words = [line.split() for line in outcome.out.splitlines()]
    assert words[2][:5] == ["6", "5", "5", "1", "0"]  # known, found, matched, missed, spurious
    assert "above or below the stack, not counted: 1." in outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"n.csv", "n.png", "labels.ome.tif"}


def test_an_image_is_segmented_and_compared_by_place(
    run: Callable, scans: Path, tmp_path: Path
) -> None:
    outcome = run(
        f"neurons segment {scans}/image.ome.tif -o {tmp_path}/n.csv --truth {scans}/scan.json"
    )
    assert outcome.code == 0, outcome.err
    rows = table(tmp_path / "n.csv")
    assert (rows[:, 1] == 0).all()
    known, found, matched = (int(word) for word in outcome.out.splitlines()[2].split()[:3])
    assert known == 7
    assert found == matched == len(rows) >= 3


def test_sizes_of_voxels_can_be_given(run: Callable, scans: Path, tmp_path: Path) -> None:
    command = f"neurons segment {scans}/unsized.tif -o {tmp_path}/n.csv"
    assert run(f"{command} --pixel-size 0.325 --z-step 0.5").code == 0
    rows = table(tmp_path / "n.csv")
    np.testing.assert_allclose(np.sort(rows[:, 1]) - 5, np.sort(KNOWN_UM[:, 0]), atol=0.15)


def test_defaults_are_those_of_the_library() -> None:
    ours = inspect.signature(segment_neurons).parameters
    shown = inspect.signature(verb.segment).parameters
    assert shown["method"].default == ours["method"].default
    assert shown["diameter"].default == ours["diameter_um"].default
    assert shown["threshold"].default == ours["threshold"].default


REFUSED = [
    ("noise.ome.tif", "There are no neurons in", "--diameter"),
    ("nan.ome.tif", "nan.ome.tif holds NaN"),
    ("time.ome.tif", "T (2)", "select one time point"),
    ("missing.tif", "does not exist"),
    ("unsized.tif", "pixel size of unsized.tif is not stated", "--pixel-size"),
    ("unsized.tif --pixel-size 0.3", "distance between the planes", "--z-step"),
    ("scan.ome.tif --diameter 0.6", "less than 2 pixels"),
    ("scan.ome.tif --diameter -3", "above zero"),
    ("scan.ome.tif --threshold 2", "share between 0 and 1"),
    ("scan.ome.tif --method magic", "no segmentation 'magic'", "watershed, spots"),
    ("scan.ome.tif --truth missing.json", "Cannot read missing.json"),
    ("scan.ome.tif --truth air.yaml", "holds no positions"),
    ("scan.ome.tif --labels labels.png", "labels.png cannot be written"),
    ("scan.ome.tif --labels labels.tif", "labels.tif cannot be written"),
    ("scan.ome.tif -o out.txt", "ends in .csv"),
    ("scan.ome.tif -o nowhere/out.csv", "folder nowhere does not exist"),
]


@pytest.mark.parametrize(("words", "expected"), [(words, rest) for words, *rest in REFUSED])
def test_one_sentence_code_2_and_no_file(
    run: Callable, scans: Path, words: str, expected: list[str]
) -> None:
    before = sorted(scans.iterdir())
    output = "" if "-o" in words else " -o out.csv"
    outcome = run(f"neurons segment {scans}/{words}{output}")
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, outcome.err
    assert all(word in errors[0] for word in expected), errors[0]
    assert outcome.code == 2
    assert outcome.new == set()
    assert sorted(scans.iterdir()) == before
    assert "Traceback" not in outcome.err


def test_the_stack_itself_is_not_overwritten(run: Callable, scans: Path, tmp_path: Path) -> None:
    stack = scans / "scan.ome.tif"
    before = stack.read_bytes()
    outcome = run(f"neurons segment {stack} -o {tmp_path}/n.csv --labels {stack}")
    assert outcome.code == 2
    assert "is the stack itself" in outcome.err
    assert stack.read_bytes() == before
    assert not list(tmp_path.iterdir())
