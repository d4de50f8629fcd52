"""Figure 2 and Table 1 of Deep-Z: what is measured, and that what is measured can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from fluofocus.io import make_stack
from fluofocus.neurons import NeuronMatches
from fluofocus.neurons.detected import Neurons
from fluofocus.reproduce.deep_z import segmentation, worms
from fluofocus.reproduce.deep_z.segmentation import AT_ONCE, INPUT, MERGED, ONE, SCAN, Comparison
from fluofocus.reproduce.deep_z.worm_figures import HEAD, draw_neurons
from fluofocus.reproduce.reproduction import Request, Section, Table

MODELS = {worms.SPECIALIST: "air20x-nuclei", worms.GENERAL: "air20x-nuclei"}
SMALL = (80, 240)
PLANES_UM = tuple(float(z) for z in range(-10, 11))


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Section]:
    """Run both parts on one small worm that both share."""
    steps: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (worms, segmentation):
            patch.setattr(module, "SHAPE_YX", SMALL)
            patch.setattr(module, "PLANES_UM", PLANES_UM)
        patch.setattr(worms, "WORM", {"neurons": 40, "body_diameter_um": 18.0, "bend_um": 2.0})
        worms.scanned_worm.cache_clear()
        request = Request(tmp_path_factory.mktemp("worms"), MODELS, 1)
        found = {
            part.title: part.run(request, lambda *step: steps.append(step))
            for part in (worms.PART, segmentation.PART)
        }
        assert worms.scanned_worm.cache_info().misses == 1
    worms.scanned_worm.cache_clear()
    assert steps[0] == (0, 1)
    assert steps[-1] == (8, 8)
    return found


def rows(table: Table) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the rows by their first two cells."""
    return {row[:2]: row[2:] for row in table.rows}


def test_refocusing_is_nearer_to_the_scan_than_the_image_is(sections: dict[str, Section]) -> None:
    scores = rows(sections["Figure 2"].tables[0])
    for metric, better in (("SSIM", 1), ("RMSE", -1), ("correlation", 1)):
        image, refocused = (
            np.array([float(cell.split()[0]) for cell in scores[metric, name]])
            for name in (worms.INPUT, worms.SPECIALIST)
        )
        assert len(image) == len(worms.DISTANCES_UM) + 1
        assert (better * (refocused - image)[2:] > 0).all()
        assert (better * np.diff(image[:-1]) < 0).all()  # farther planes are less like it
    assert scores["SSIM", worms.SPECIALIST] == scores["SSIM", worms.GENERAL]


def test_more_neurons_of_the_scan_are_found_in_virtual_stacks(
    sections: dict[str, Section],
) -> None:
    watershed, spots, truth, head = sections["Table 1"].tables
    of_scan = {
        row[0]: (float(row[3]), row[4], float(row[6]), float(row[7]))
        for row in watershed.rows
        if row[1] in ("", worms.SPECIALIST) and row[0] != SCAN
    }
    assert list(of_scan) == [INPUT, ONE, MERGED, AT_ONCE]
    count, share, recall, precision = of_scan[ONE]
    scan = next(row for row in watershed.rows if row[0] == SCAN)
    assert share == f"{count / float(scan[3]):.0%}"
    assert count * precision == pytest.approx(recall * float(scan[3]), abs=0.3)
    assert min(of_scan[name][2] for name in (ONE, MERGED, AT_ONCE)) > of_scan[INPUT][2]
    assert scan[5] == "146 (100%)"
    assert len(watershed.header) == len(spots.header) + 3
    known = rows(truth)
    assert float(known[SCAN, ""][1]) > float(known[ONE, worms.SPECIALIST][1])
    assert len(head.rows) == len(watershed.rows) - 1
    assert sections["Table 1"].seed == worms.SEED


def test_pictures_are_written(sections: dict[str, Section]) -> None:
    names = [figure.path.name for section in sections.values() for figure in section.figures]
    assert names == ["figure-2.png", "table-1-worm.png", "table-1-head.png"]
    for section in sections.values():
        for figure in section.figures:
            assert figure.path.stat().st_size > 20_000


def test_two_planes_are_used_together_where_both_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).poisson(200, (41, 32, 32)).astype(np.uint16)
    scan = make_stack(counts, "ZYX", (0.5, 0.325, 0.325), z_um=worms.PLANES_UM)
    worm = worms.ScannedWorm(scan, np.zeros((0, 3)))
    kinds = {
        kind[0]: stack
        for kind, stack in segmentation._stacks(worm, {"nuclei": worms.load_model("air20x-nuclei")})
    }
    for stack in (kinds[ONE], kinds[MERGED], kinds[AT_ONCE]):
        assert stack.coords["Z"].values.tolist() == list(worms.PLANES_UM)
    alone = scan.coords["Z"].values < -6
    for name in (MERGED, AT_ONCE):
        same = (kinds[name].values == kinds[ONE].values).all(axis=(1, 2))
        np.testing.assert_array_equal(same, alone)
    assert (kinds[MERGED].values >= kinds[ONE].values).all()


def test_the_head_is_counted_apart() -> None:
    scan = make_stack(np.zeros((41, 8, 100)), "ZYX", (0.5, 1.0, 1.0), z_um=worms.PLANES_UM)
    known_um = np.array([[0.0, 4, 10], [0, 4, 20], [0, 4, 60], [50, 4, 70]])
    found_um = np.array([[1.0, 4, 10], [0, 4, 61], [0, 4, 90]])
    comparison = Comparison()
    comparison.add(found_um, known_um[:3], worms.ScannedWorm(scan, known_um), 2.8)
    assert comparison.head == [(1, 2)]
    assert (comparison.scan[0].matched, comparison.scan[0].spurious) == (2, 1)
    assert comparison.truth[0].known_count == 3  # one lies above the scan
    pooled = segmentation._pooled(comparison.scan * 2)
    assert isinstance(pooled, NeuronMatches)
    assert (pooled.recall, pooled.precision) == (2 / 3, 2 / 3)
    assert np.abs(pooled.dz_um).max() == 1


def test_regions_hold_the_most_neurons_of_each_part() -> None:
    known_px = np.array([[0.0, 100, 90], [0, 100, 100], [0, 90, 900], [0, 100, 1700]])
    (head, of_head), *_, (rear, of_rear) = worms.regions(known_px, (192, 2048))
    assert (head, rear) == ("head", "rear")
    assert of_head[1].start <= 90 < 100 < of_head[1].stop <= 2048 // 3
    assert of_rear[1].start <= 1700 < of_rear[1].stop
    assert of_head[0].stop - of_head[0].start == worms.REGION_PX


def test_neurons_outside_the_part_shown_are_not_counted(tmp_path: Path) -> None:
    stack = make_stack(np.eye(50, 200)[None], "ZYX", (1.0, 1.0, 1.0))
    centroids = np.array([[0.0, 5, 20], [0, 5, 150]])
    neurons = Neurons(np.zeros(stack.shape, np.int32), centroids, np.ones(2), np.ones(2))
    draw_neurons({"a": (stack, neurons), "b": (stack.isel(Z=0), neurons)}, HEAD, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5_000
