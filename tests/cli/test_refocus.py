"""``fluofocus refocus``: what it writes, what it notes, and how it stops and goes on."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest

from fluofocus.io import read_stack
from fluofocus.refocus import automatic_surface, drift, job, work
from fluofocus.refocus.surface import polynomial

MODEL = "--model toy.safetensors"


@pytest.fixture
def out(prepared: Path) -> Iterator[Path]:
    """Where the results go; emptied before and after."""
    folder = prepared / "out"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "surface",
    [
        "plane:3um",
        "tilt:1.5deg",
        "tilt:1deg,axis=30deg,offset=2um",
        "cylinder:7.2mm",
        "poly:1,0.02,0.01",
        "heights.tif",
    ],
)
def test_every_kind_of_surface_gives_an_image(run: Callable, out: Path, surface: str) -> None:
    outcome = run(f"refocus good.ome.tif {MODEL} --surface {surface} -o out/a.ome.tif")
    assert (outcome.code, outcome.out) == (0, "Wrote out/a.ome.tif.\n")
    image = read_stack(out / "a.ome.tif")
    assert image.dims == ("Y", "X")
    assert np.isfinite(image.values).all()


def test_an_automatic_surface_is_named_and_used(
    run: Callable, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = automatic_surface.FoundSurface(polynomial([1.5]), (1.5,), np.zeros((1, 1)), 0.75)
    monkeypatch.setattr(automatic_surface, "find_surface", lambda *images, **options: found)
    outcome = run(f"refocus good.ome.tif {MODEL} --surface auto -o out/a.ome.tif")
    assert outcome.code == 0
    assert "Found poly:1.5; 75% of what was judged agrees." in outcome.err
    provenance = read_stack(out / "a.ome.tif").attrs["provenance"]
    assert provenance["surface"] == "poly:1.5"


def test_the_depth_of_field_is_extended_into_three_files(run: Callable, out: Path) -> None:
    outcome = run(f"edf good.ome.tif {MODEL} --z -2:2:1 -o out/a.ome.tif")
    assert (outcome.code, outcome.out) == (
        0,
        "Wrote out/a.ome.tif, out/a-depth.ome.tif and out/a.png.\n",
    )
    depth = read_stack(out / "a-depth.ome.tif").values
    assert set(np.unique(depth[np.isfinite(depth)])) <= {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert run(f"edf good.ome.tif {MODEL} -o out/a.png").code == 2


@pytest.mark.parametrize(
    "command",
    [
        "edf good.ome.tif {model} -o good.ome.tif",
        "drift time.ome.tif {model} -o time.ome.tif",
        "drift time.ome.zarr {model} -o time.ome.zarr",
        "stitch good.ome.tif coarse.ome.tif --columns 2 -o coarse.ome.tif",
    ],
)
def test_no_image_is_replaced_by_what_is_made_of_it(run: Callable, command: str) -> None:
    outcome = run(command.format(model=MODEL))
    assert (outcome.code, outcome.new) == (2, set())
    assert "is the image itself: choose another name" in outcome.err


def test_the_depth_map_does_not_replace_the_image(run: Callable, out: Path) -> None:
    shutil.copy("good.ome.tif", out / "a-depth.ome.tif")
    outcome = run(f"edf out/a-depth.ome.tif {MODEL} -o out/a.ome.tif")
    assert outcome.code == 2
    assert not (out / "a.ome.tif").exists()


WORK = [
    "edf good.ome.tif",
    "drift time.ome.tif",
    "refocus time.ome.tif --z 1",
    "refocus good.ome.tif --surface auto",
    "refocus stack.ome.tif --merge --plane 0 --plane 1 --z 1",
]


@pytest.mark.parametrize("command", WORK)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out/a.tif", "choose a name that ends in"),
        ("out/missing/a.ome.tif", "missing does not exist"),
        ("out/foreign.ome.tif", "was not written by FluoFocus"),
    ],
)
def test_a_wrong_name_is_refused_before_any_image_is_read(
    run: Callable, out: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str, said: str
) -> None:
    (out / "foreign.ome.tif").write_text("mine")
    monkeypatch.delattr(job, "_normalise_frames")
    outcome = run(f"{command} {MODEL} -o {name}")
    assert outcome.code == 2, outcome.err
    assert said in outcome.err


def test_edf_refuses_a_wrong_depth_map_and_a_time_lapse_before_refocusing(
    run: Callable, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "a-depth.ome.tif").write_text("mine")
    monkeypatch.delattr(job, "_normalise_frames")
    outcome = run(f"edf good.ome.tif {MODEL} -o out/a.ome.tif")
    assert (outcome.code, "a-depth.ome.tif exists and" in outcome.err) == (2, True)
    outcome = run(f"edf time.ome.tif {MODEL} -o out/b.ome.tif")
    assert (outcome.code, "one by one" in outcome.err) == (2, True)


@pytest.mark.parametrize("command", ["edf good.ome.tif", "drift time.ome.tif"])
def test_the_budget_of_memory_is_kept(run: Callable, out: Path, command: str) -> None:
    outcome = run(f"{command} {MODEL} --memory 0.1 -o out/a.ome.tif")
    assert outcome.code == 2
    assert "budget of 0.1 GiB" in outcome.err


def test_the_budget_of_memory_holds_for_each_step(
    run: Callable, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = drift.Drift(np.zeros(2), np.ones(2), 0)
    monkeypatch.setattr(drift, "estimate_drift", lambda *images, **options: still)
    outcome = run(f"drift time.ome.tif {MODEL} --memory 0.1 -o out/a.ome.tif")
    assert (outcome.code, "budget of 0.1 GiB" in outcome.err) == (2, True)
    monkeypatch.delattr("fluofocus.refocus.engine.ArraySink")  # what a surface is found in
    outcome = run(f"refocus good.ome.tif {MODEL} --surface auto --memory 0.1 -o out/a.ome.tif")
    assert (outcome.code, "budget of 0.1 GiB" in outcome.err) == (2, True)


def test_drift_is_tabulated_and_undone(run: Callable, out: Path) -> None:
    outcome = run(f"drift time.ome.tif {MODEL} -o out/a.ome.tif --microscope olympus-20x-0.75")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "Wrote out/a.ome.tif, out/a.csv and out/a.png."
    frames = read_stack("time.ome.tif").sizes["T"]
    assert len((out / "a.csv").read_text().splitlines()) == 1 + frames
    assert read_stack(out / "a.ome.tif").shape[0] == frames
    assert run(f"drift good.ome.tif {MODEL} -o out/a.ome.tif").code == 2


def test_zarr_and_tiff_give_the_same_time_lapse(run: Callable, out: Path) -> None:
    for ending in ("tif", "zarr"):
        command = f"refocus time.ome.{ending} {MODEL} --z -2:2:2 -o out/a.ome.{ending}"
        assert run(command).code == 0
    tiff, zarr = (read_stack(out / f"a.ome.{ending}") for ending in ("tif", "zarr"))
    assert tiff.dims == zarr.dims == ("T", "Z", "Y", "X")
    assert tiff.sizes["T"] == 2
    np.testing.assert_allclose(tiff.coords["Z"], [-2, 0, 2])
    np.testing.assert_array_equal(tiff.values, zarr.values)


def test_a_cluster_gives_the_same_time_lapse(run: Callable, out: Path) -> None:
    command = f"refocus time.ome.tif {MODEL} --z -2:2:2 -o out/{{}}.ome.zarr"
    assert run(command.format("here")).code == 0
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as workers:
        there = run(f"{command.format('there')} --scheduler {workers.scheduler_address}")
    assert (there.code, there.out) == (0, "Wrote out/there.ome.zarr.\n")
    here, there = (read_stack(out / f"{name}.ome.zarr") for name in ("here", "there"))
    # as near as sums in another order, by another number of threads, are
    np.testing.assert_allclose(here.values, there.values, rtol=1e-5)


def test_progress_is_shown_even_beside_a_long_name(run: Callable, out: Path) -> None:
    shutil.copy(out.parent / "good.ome.tif", out / f"{'long' * 25}.ome.tif")
    outcome = run(f"refocus out/{'long' * 25}.ome.tif {MODEL} --z -2:2:1 -o out/a.ome.tif")
    assert "5/5" in outcome.err
    assert "left" in outcome.err


def test_extrapolation_is_marked_in_the_file(run: Callable, out: Path) -> None:
    command = f"refocus good.ome.tif {MODEL} --z -12:0:6 --allow-extrapolation -o out/a.ome.tif"
    assert run(command).code == 0
    provenance = read_stack(out / "a.ome.tif").attrs["provenance"]
    assert provenance["extrapolated_um"] == [-12, 0]
    assert provenance["trained_um"] == [-10, 10]


def test_resampling_is_noted_and_marked(run: Callable, out: Path) -> None:
    outcome = run(f"refocus coarse.ome.tif {MODEL} --z 1 -o out/a.ome.tif")
    assert outcome.code == 0
    assert "Note: The image's pixels are 0.65 µm" in outcome.err
    result = read_stack(out / "a.ome.tif")
    assert result.attrs["provenance"]["resampled_to_um"] == 0.325
    assert result.sizes["Y"] == 40


def test_undersampling_is_noted_with_the_number(run: Callable, out: Path) -> None:
    outcome = run("microscope show olympus-20x-0.75")
    assert outcome.code == 0
    assert "Note: pixel_size_um 0.325 is larger than the Nyquist pixel 0.195 µm" in outcome.err


@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_ctrl_c_keeps_what_is_done_for_the_same_command(
    run: Callable, out: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    decode, calls = work._decode, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return decode(*arguments)

    command = f"refocus time.ome.tif {MODEL} --z -2:2:2 -o out/{{}}.ome.{ending}"
    assert run(command.format("whole")).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(work, "_decode", interrupted)
        outcome = run(command.format("a"))
    assert outcome.code == 130
    assert "run the same command again" in outcome.err
    assert {path.name for path in out.iterdir()} == {
        f"whole.ome.{ending}",
        f"a.ome.{ending}.partial",
    }

    monkeypatch.setattr(work, "_decode", lambda *given: calls.append(given) or decode(*given))
    calls.clear()
    assert run(command.format("a")).code == 0
    assert len(calls) == 1  # the other frame was kept
    whole, resumed = (read_stack(out / f"{name}.ome.{ending}") for name in ("whole", "a"))
    np.testing.assert_array_equal(whole.values, resumed.values)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("command", "size"),
    [
        (f"refocus good.ome.tif {MODEL} --z -9:9:1 -o out/a.ome.tif", 50_000),
        (f"refocus good.ome.tif {MODEL} --z -9:9:1 -o out/a.ome.zarr", 3_000),
        ("microscope new out/a.yaml", 100),
    ],
)
def test_a_refused_write_leaves_no_file_of_that_name(
    run: Callable, out: Path, command: str, size: int
) -> None:
    with largest_file(size):
        outcome = run(command)
    assert outcome.code == 2, outcome.err
    assert "File too large" in outcome.err
    assert all(path.name.endswith(".partial") for path in out.iterdir())


def test_errors_are_written_as_channels_and_advice_is_given(run: Callable, out: Path) -> None:
    command = "refocus stack.ome.tif --model able.safetensors --plane 2 --plane 0 --z -1:1:1"
    outcome = run(f"{command} --uncertainty -o out/a.ome.tif")
    assert outcome.code == 0, outcome.err
    assert "given no microscope" in outcome.err
    assert "fluofocus calibrate" in outcome.err
    result = read_stack(out / "a.ome.tif")
    assert result.dims == ("C", "Z", "Y", "X")
    assert str(result.coords["C"].values[1]).endswith("expected absolute error")
    assert (result.values[1] > 0).all()


def test_the_intermediate_image_is_written_as_a_channel(run: Callable, out: Path) -> None:
    command = "refocus good.ome.tif --model two.safetensors --z -1:1:1"
    assert run(f"{command} --intermediate -o out/a.ome.tif").code == 0
    assert run(f"{command} -o out/b.ome.tif").code == 0
    both, final = (read_stack(out / f"{name}.ome.tif") for name in "ab")
    assert both.dims == ("C", "Z", "Y", "X")
    assert str(both.coords["C"].values[1]) == "refocused, intermediate"
    np.testing.assert_array_equal(both.values[0], final.values)
    assert not np.allclose(both.values[1], final.values, rtol=1e-2)
