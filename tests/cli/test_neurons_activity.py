"""``fluofocus neurons activity``: what it writes, what it says, and what it refuses."""

import csv
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluofocus.cli.activity import activity as verb
from fluofocus.io import make_stack, write_stack
from fluofocus.neurons import segment_neurons
from fluofocus.neurons.activity import ACTIVE_NEURONS
from fluofocus.neurons.clustering import SIGMA
from fluofocus.optics.microscope import preset
from fluofocus.simulate.activity import simulate_activity
from fluofocus.simulate.calcium import draw_traces

FRAMES, PIXEL_UM, STEP_UM = 40, 0.325, 1.0
PLACES_PX = np.array([(y, x) for y in (10, 30) for x in (12, 34, 56, 78, 100)])
DEMIXED = "--model air20x-nuclei --demix --microscope olympus-20x-0.75"
WRITTEN = {
    "traces.csv",
    "neurons.csv",
    "settings.json",
    "places.png",
    "depths.png",
    "clusters.png",
}
DROPPED = [0.28 * frame + (0.28 if frame >= 20 else 0.0) for frame in range(FRAMES)]


@pytest.fixture(scope="module")
def brightness() -> np.ndarray:
    """Traces of ten neurons: six that flash together, and four at other times."""
    times = np.arange(FRAMES)
    first, second = (
        sum(np.exp(-(times - at).clip(0) / 4) * (times >= at) for at in onsets)
        for onsets in ((5, 17, 33), (11, 25))
    )
    return 1 + np.stack([first] * 6 + [second] * 4)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, brightness: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("films")
    y, x = np.indices((40, 112))
    shapes = np.stack(
        [np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 2.5**2)) for cy, cx in PLACES_PX]
    )
    rng = np.random.default_rng(0)
    red = rng.poisson(100 + 400 * np.tile(shapes.sum(axis=0), (FRAMES, 1, 1)))
    green = rng.poisson(100 + 200 * np.tensordot(brightness.T, shapes, 1))
    both = np.stack([red, green], axis=1).astype(np.uint16)
    jump = np.where(np.arange(FRAMES) < 20, 1.0, 1.8)[:, None, None]
    voxel = (STEP_UM, PIXEL_UM, PIXEL_UM)

    def save(name: str, values: np.ndarray, dims: str = "TYX", **options: Any) -> None:
        write_stack(folder / name, make_stack(values.astype(np.uint16), dims, voxel, **options))

    save("both.ome.tif", both, "TCYX")
    save("swapped.ome.tif", both[:, ::-1], "TCYX")
    save("dropped.ome.tif", both, "TCYX", times_s=DROPPED)
    save("red.ome.tif", both[:, 0])
    save("green.ome.tif", both[:, 1])
    save("short.ome.tif", both[:-2, 1])
    save("brighter.ome.tif", both[:, 1] * jump)
    save("noise.ome.tif", rng.poisson(100, red.shape))
    save("scans.ome.tif", np.stack([both // 2 + 50, both, both // 2 + 50], axis=2), "TCZYX")
    save("still.ome.tif", both[0], "CYX")
    (folder / "dropped.txt").write_text("\n".join(map(str, DROPPED)))
    (folder / "words.txt").write_text("0.0\nsoon\n")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by the names of its columns."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize(
    "recording",
    ["both.ome.tif", "dropped.ome.tif", "red.ome.tif {films}/green.ome.tif", "scans.ome.tif"],
)
def test_traces_neurons_and_clusters_are_those_recorded(
    run: Callable, films: Path, tmp_path: Path, brightness: np.ndarray, recording: str
) -> None:
    outcome = run(
        f"neurons activity {films}/{recording.format(films=films)} -o {tmp_path}/out "
        "--frame-rate 3.6"
    )
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == WRITTEN
    neurons, traces = rows(folder / "neurons.csv"), rows(folder / "traces.csv")
    assert len(neurons) == 10
    assert [float(row["time_s"]) for row in traces] == pytest.approx(np.arange(FRAMES) / 3.6, 1e-4)
    found_px = np.array([[float(row["y_um"]), float(row["x_um"])] for row in neurons]) / PIXEL_UM
    true = np.linalg.norm(found_px[:, None] - PLACES_PX, axis=2).argmin(axis=1)
    np.testing.assert_allclose(found_px, PLACES_PX[true], atol=0.3)
    for row, index in zip(neurons, true, strict=True):
        trace = [float(frame[f"neuron_{row['neuron']}"]) for frame in traces]
        assert np.corrcoef(trace, brightness[index])[0, 1] > 0.98
        assert row["cluster"] == ("1" if index < 6 else "2")
        assert float(row["z_um"]) == pytest.approx(STEP_UM if "scans" in recording else 0.0)
    assert sorted(int(row["rank"]) for row in neurons) == list(range(1, 11))
    assert "10 neurons over 40 frames; the 10 most active form 2 clusters of 6, 4." in outcome.out
    record = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert record["clusters"] == [6, 4]
    assert record["settings"]["frame_rate_hz"] == 3.6
    assert record["settings"]["recordings"][0].endswith(recording.split()[0])
    for name in WRITTEN:
        if name.endswith(".png"):
            assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_channels_can_be_chosen(run: Callable, films: Path, tmp_path: Path) -> None:
    for name, options in (("both", ""), ("swapped", "--red 1 --green 0"), ("wrong", "")):
        file = "swapped" if name == "wrong" else name
        command = f"neurons activity {films}/{file}.ome.tif -o {tmp_path}/{name} {options}"
        assert run(command).code == 0
    both, swapped, wrong = (
        (tmp_path / name / "traces.csv").read_text() for name in ("both", "swapped", "wrong")
    )
    assert both == swapped != wrong


def test_neurons_too_unlike_are_still_tabulated(run: Callable, films: Path, tmp_path: Path) -> None:
    command = f"neurons activity {films}/both.ome.tif -o {tmp_path}/out --sigma 0.001"
    outcome = run(f"{command} --background 10")
    assert outcome.code == 0, outcome.err
    assert "None of the 10 neurons resembles another one" in outcome.err
    assert {row["cluster"] for row in rows(tmp_path / "out" / "neurons.csv")} == {"1"}
    record = json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))
    assert record["background"] == record["settings"]["background"] == 10


@pytest.mark.parametrize("reading", ["--less-haze", "--demix --microscope olympus-20x-0.75"])
def test_a_film_of_one_plane_is_refocused(run: Callable, tmp_path: Path, reading: str) -> None:
    traces = draw_traces(8, 26, seed=3, clusters=2, shared_rate_hz=0.3)
    lapse = simulate_activity(
        preset("olympus-20x-0.75"),
        traces,
        seed=3,
        shape_yx=(64, 160),
        worm_parameters={"bend_um": 2.0},
    )
    film = make_stack(lapse.counts[:, :, 0], "TCYX", (np.nan, PIXEL_UM, PIXEL_UM))
    write_stack(tmp_path / "film.ome.tif", film)
    outcome = run(
        f"neurons activity {tmp_path}/film.ome.tif -o {tmp_path}/out --model air20x-nuclei "
        f"--z=-8:8:2 --clusters 2 {reading}"
    )
    assert outcome.code == 0, outcome.err
    middle = lapse.positions_um + lapse.motion_um[13]
    found = np.array(
        [[float(row[f"{axis}_um"]) for axis in "zyx"] for row in rows(tmp_path / "out/neurons.csv")]
    )
    nearest = np.linalg.norm(found[:, None, 1:] - middle[:, 1:], axis=2).argmin(axis=1)
    off_um = found - middle[nearest]
    assert len(found) >= 5
    assert np.median(np.abs(off_um[:, 0])) < 1.5
    assert np.ptp(found[:, 0]) > 3  # they do not all lie in the plane that was recorded
    record = json.loads((tmp_path / "out/settings.json").read_text(encoding="utf-8"))
    assert record["settings"]["model"] == "air20x-nuclei"
    assert record["settings"]["demix"] == ("demix" in reading)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("red.ome.tif {f}/short.ome.tif", "40 frames and the green one 38"),
        ("both.ome.tif --times {f}/dropped.txt", "frames 20 do not follow"),
        ("dropped.ome.tif", "frames 20 do not follow"),
        ("both.ome.tif --times {f}/words.txt", "number of seconds per line"),
        ("both.ome.tif --times {f}/dropped.txt --frame-rate 3", "either --frame-rate or --times"),
        ("both.ome.tif --frame-rate 0", "--frame-rate must be above zero"),
        ("red.ome.tif {f}/brighter.ome.tif", "jumps at frames 20"),
        ("both.ome.tif --clusters 11", "11 clusters cannot be formed of 10 neurons"),
        ("both.ome.tif --active 4 --clusters 5", "5 clusters cannot be formed of 4 neurons"),
        ("noise.ome.tif {f}/green.ome.tif", "shares no detail"),
        ("both.ome.tif --diameter 12", "no neurons in both.ome.tif"),
        ("red.ome.tif", "has one channel only"),
        ("both.ome.tif {f}/green.ome.tif", "has 2 channels: say which one with --red"),
        ("both.ome.tif --red 1", "are both channel 1"),
        ("both.ome.tif --green 2", "has no channel 2"),
        ("still.ome.tif", "is no time-lapse"),
        ("scans.ome.tif --model air20x-nuclei", "leave out --model"),
        ("both.ome.tif --model air20x-nuclei --demix", "--demix needs what took the film"),
        ("both.ome.tif --sigma 0", "must be above 0, not 0"),
        ("both.ome.tif --background nan", "a number of counts, not nan"),
        ("both.ome.tif --demix --microscope olympus-20x-0.75", "how deep the neurons lie"),
        (f"both.ome.tif {DEMIXED} --less-haze", "leave out either demix or less haze"),
        (f"both.ome.tif {DEMIXED} --pixel-size 0.5", "has pixels of 0.5 µm, but Olympus"),
        (f"scans.ome.tif {DEMIXED}", "leave out --model"),
        ("both.ome.tif --model no-such-model", "no-such-model"),
    ],
)
def test_what_cannot_be_analysed_is_refused_in_one_sentence(
    run: Callable, films: Path, tmp_path: Path, words: str, message: str
) -> None:
    outcome = run(f"neurons activity {films}/{words.format(f=films)} -o {tmp_path}/out")
    assert outcome.code == 2
    error = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "out").exists()


def test_defaults_are_those_of_the_library() -> None:
    shown, ours = (inspect.signature(each).parameters for each in (verb, segment_neurons))
    assert shown["diameter"].default == ours["diameter_um"].default
    assert shown["threshold"].default == ours["threshold"].default
    assert shown["active"].default == ACTIVE_NEURONS
    assert shown["sigma"].default == SIGMA
