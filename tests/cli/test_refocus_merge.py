"""``fluofocus refocus --merge``: the maximum of virtual stacks, and what it refuses."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import fluofocus
from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, read_stack, voxel_size_um, write_stack
from fluofocus.refocus import merge_stacks
from fluofocus.refocus.merged import refocus_merged

MODEL = "--model toy.safetensors"
SCAN_Z_UM = np.arange(-3.0, 4.0, 2.0)


@pytest.fixture
def out(prepared: Path) -> Iterator[Path]:
    """Where the results go, with a scan of four planes that differ; emptied afterwards."""
    folder = prepared / "out"
    folder.mkdir()
    counts = np.random.default_rng(3).poisson(200, (4, 40, 44)).astype(np.uint16)
    counts += 3000 * (np.random.default_rng(4).random((4, 40, 44)) > 0.98).astype(np.uint16)
    write_stack(
        folder / "scan.ome.tif", make_stack(counts, "ZYX", (2, 0.325, 0.325), z_um=SCAN_Z_UM)
    )
    yield folder
    shutil.rmtree(folder)


def alone(out: Path, plane: int, z_um: list[float]) -> np.ndarray:
    """Refocus one plane of the scan, to distances from itself."""
    scan = read_stack(out / "scan.ome.tif")
    return fluofocus.refocus(scan, out.parent / "toy.safetensors", plane=plane, z_um=z_um)


@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_the_maximum_is_written_with_the_z_of_the_scan(
    run: Callable, out: Path, ending: str
) -> None:
    command = f"refocus out/scan.ome.tif {MODEL} --plane 1 --plane 3 --merge --z -2:2:1"
    outcome = run(f"{command} -o out/a.ome.{ending}")
    assert (outcome.code, outcome.out) == (0, f"Wrote out/a.ome.{ending}.\n"), outcome.err
    assert "10/10" in outcome.err
    assert "-3 to 1 µm" in outcome.err
    merged = read_stack(out / f"a.ome.{ending}")
    stacks = [alone(out, 1, [-2, -1, 0, 1, 2]), alone(out, 3, [-6, -5, -4, -3, -2])]
    first, second = (stack.values for stack in stacks)
    assert (first > second).any()
    assert (second > first).any()
    np.testing.assert_array_equal(merged.values, np.maximum(first, second))
    np.testing.assert_array_equal(merged.values, merge_stacks(stacks, [-1, 3]).values)
    assert merged.coords["Z"].values.tolist() == [-3, -2, -1, 0, 1]
    assert voxel_size_um(merged) == pytest.approx((1, 0.325, 0.325))
    record = merged.attrs["provenance"]
    assert (record["merged"], record["input_z_um"]) == ("maximum", [-1, 3])
    assert [each["plane"] for each in record["stacks"]] == [1, 3]
    assert [each["z_um"][0] for each in record["stacks"]] == [-2, -6]
    assert record["stacks"][0]["model"]["name"] == "toy"


def test_planes_that_only_one_input_reaches_are_its_own(run: Callable, out: Path) -> None:
    command = f"refocus out/scan.ome.tif {MODEL} --plane 0 --plane 3 --merge --z -10:12:11"
    assert run(f"{command} -o out/a.ome.tif").code == 0
    merged = read_stack(out / "a.ome.tif")
    assert merged.coords["Z"].values.tolist() == [-13, -2, 9]
    low, middle = alone(out, 0, [-10, 1]).values
    other, high = alone(out, 3, [-5, 6]).values
    np.testing.assert_array_equal(merged.values, [low, np.maximum(middle, other), high])


def test_planes_that_none_reaches_are_refused_or_extrapolated_from_the_nearest(
    run: Callable, out: Path
) -> None:
    command = f"refocus out/scan.ome.tif {MODEL} --plane 0 --plane 3 --merge --z 0:18:9"
    outcome = run(f"{command} -o out/a.ome.tif")
    assert outcome.code == 2
    assert "outside the range" in outcome.err
    assert [path.name for path in out.iterdir()] == ["scan.ome.tif"]
    assert run(f"{command} --allow-extrapolation -o out/a.ome.tif").code == 0
    stacks = read_stack(out / "a.ome.tif").attrs["provenance"]["stacks"]
    assert [each["z_um"] for each in stacks] == [[0, 9], [-6, 3, 12]]
    assert [each.get("extrapolated_um") for each in stacks] == [None, [-6, 12]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--z 1", "two input planes or more"),
        ("--plane 1 --z 1", "two input planes or more"),
        ("--plane 1 --plane 2", "either planes (--z"),
        ("--plane 1 --plane 1 --z 1", "given once"),
        ("--plane 1 --plane 9 --z 1", "no plane 9"),
        ("--plane 0 --plane 3 --z -10:-8:1", "Plane 3 of the input reaches none"),
        ("--plane 1 --plane 2 --z 1 --uncertainty", "leave out --merge or --uncertainty"),
        ("--plane 1 --plane 2 --z 1 --intermediate", "leave out --merge or --intermediate"),
        ("--plane 1 --plane 2 --surface plane:1um", "leave out --merge or --surface"),
        ("--plane 1 --plane 2 --z 1 --scheduler tcp://host:1", "leave out --merge or --scheduler"),
        ("--plane 1 --plane 2 --z 1 -o out/a.png", "a name that ends in"),
        ("--plane 1 --plane 2 --z 1 -o out/scan.ome.tif", "is the image itself"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    run: Callable, out: Path, options: str, said: str
) -> None:
    before = (out / "scan.ome.tif").read_bytes()
    output = "" if "-o" in options.split() else "-o out/a.ome.tif"
    outcome = run(f"refocus out/scan.ome.tif {MODEL} --merge {options} {output}")
    assert outcome.code == 2
    assert said in outcome.err
    assert [path.name for path in out.iterdir()] == ["scan.ome.tif"]
    assert (out / "scan.ome.tif").read_bytes() == before


def test_stacks_larger_than_the_memory_allowed_are_refused(prepared: Path) -> None:
    huge = make_stack(np.zeros((2, 1024, 1024), np.uint8), "ZYX", (2.0, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match=r"take 0\.3 GiB of memory, more than the 0\.1 GiB"):
        refocus_merged(
            huge,
            prepared / "toy.safetensors",
            plane=[0, 1],
            z_um=np.arange(41) * 0.1,
            memory_gb=0.1,
        )
