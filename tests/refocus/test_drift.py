"""Axial drift, found and undone."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, origin_um, read_stack
from fluofocus.models.bundle import load_model
from fluofocus.optics.microscope import preset
from fluofocus.refocus.drift import (
    Drift,
    _shift_between,
    _VirtualStack,
    estimate_drift,
    undo_drift,
)
from fluofocus.simulate.stack import simulate_stack

TRUE_UM = np.array([0.0, 0.7, 3.1, 5.9, 2.0, -1.3])
"""How far each frame's focal plane lies from that of the first."""


def test_a_drifting_sample_is_brought_back(tmp_path: Path) -> None:
    microscope = preset("olympus-20x-0.75")
    order = np.argsort(TRUE_UM)
    scan = simulate_stack(
        microscope,
        "nuclei",
        shape_yx=(224, 224),
        planes_um=TRUE_UM[order],
        seed=9_810_001,
        peak_photons=3000,
        phantom_parameters={"thickness_um": 3.0, "count_per_1000_um2": 12},
    )
    places = np.argsort(order)
    voxel = (1.0, microscope.pixel_size_um, microscope.pixel_size_um)
    times_s = [60.0 * frame for frame in range(len(places))]
    frames = make_stack(scan.counts[places], "TYX", voxel, times_s=times_s)
    model = load_model("air20x-nuclei")
    steps: list[tuple[int, int]] = []
    drift = estimate_drift(frames, model, progress=lambda *step: steps.append(step))
    assert steps[-1] == (6, 6)
    np.testing.assert_allclose(drift.distance_um, -TRUE_UM, atol=0.5)
    assert np.sqrt(np.mean((drift.distance_um + TRUE_UM) ** 2)) < 0.3
    frames = frames.assign_coords(X=frames.coords["X"] + 50.0)
    undo_drift(frames, model, drift, tmp_path / "back.ome.tif")
    back = read_stack(tmp_path / "back.ome.tif")
    assert back.dims == ("T", "Y", "X")
    assert back.coords["T"].values.tolist() == times_s
    assert origin_um(back)[1:] == (0.0, 50.0)
    assert back.attrs["provenance"]["drift"]["reference_frame"] == 0
    truth = scan.clean_counts[places[0]]
    for frame in range(1, 6):
        before, after = (
            np.corrcoef(np.ravel(stack[frame]), truth.ravel())[0, 1]
            for stack in (frames.values, back.values)
        )
        if abs(TRUE_UM[frame]) >= 1.5:
            assert 1 - after < 0.6 * (1 - before)


def test_drift_is_found_in_a_crowd() -> None:
    microscope = preset("olympus-20x-0.75")
    true_um = np.array([0.0, -6.0, 2.0, 5.0])
    order = np.argsort(true_um)
    scan = simulate_stack(
        microscope,
        "worm",
        shape_yx=(160, 160),
        planes_um=true_um[order],
        seed=9_810_003,
        peak_photons=3000,
        phantom_parameters={"neurons": 180},
    )
    voxel = (1.0, microscope.pixel_size_um, microscope.pixel_size_um)
    frames = make_stack(scan.counts[np.argsort(order)], "TYX", voxel)
    drift = estimate_drift(frames, load_model("air20x-nuclei"))
    np.testing.assert_allclose(drift.distance_um, -true_um, atol=0.8)


def _stack_and_template() -> tuple[np.ndarray, np.ndarray]:
    """Return stacks 2 planes apart, and outer planes in which all was drawn 5 planes apart."""
    noise = np.random.default_rng(1).normal(size=(2, 40, 16, 16))
    specimen, ghost = gaussian_filter1d(noise, 1.5, axis=1) * np.array([1, 3])[:, None, None, None]
    template, stack = specimen[10:31].copy(), specimen[8:29].copy()
    for planes, start in ((template, 10), (stack, 5)):
        for part in (slice(0, 6), slice(15, 21)):
            planes[part] = ghost[start : start + 21][part]
    return stack.astype(np.float32), template.astype(np.float32)


def test_what_the_model_is_unsure_of_counts_less() -> None:
    stack, template = _stack_and_template()
    unsure = np.ones_like(stack)
    unsure[:6] = unsure[15:] = 10
    plain = _shift_between(
        _VirtualStack.of(stack[None]), _VirtualStack.of(template[None]), (-10, 10)
    )
    weighted = _shift_between(
        _VirtualStack.of(np.stack([stack, unsure])),
        _VirtualStack.of(np.stack([template, unsure])),
        (-10, 10),
    )
    assert abs(weighted[0] - 2) < 0.3
    assert abs(plain[0] - 2) > 1
    nearby = _shift_between(
        _VirtualStack.of(stack[None]), _VirtualStack.of(template[None]), (-1, 1)
    )
    assert abs(nearby[0]) <= 1


def test_the_model_is_told_a_calibrated_microscope(tmp_path: Path) -> None:
    microscope = preset("olympus-20x-0.75")
    scan = simulate_stack(
        microscope,
        "nuclei",
        shape_yx=(128, 128),
        planes_um=[0.0, 4.0],
        seed=9_810_004,
        phantom_parameters={"thickness_um": 6.0},
    )
    voxel = (1.0, microscope.pixel_size_um, microscope.pixel_size_um)
    frames = make_stack(scan.counts, "TYX", voxel)
    model = load_model("air20x-nuclei")
    calibrated = microscope.model_copy(update={"is_calibrated": True})
    average, told = (
        estimate_drift(frames, model, microscope=each).distance_um[1]
        for each in (microscope, calibrated)
    )
    assert told != average
    assert told == pytest.approx(-4, abs=0.6)
    drift = Drift(np.array([0.0, told]), np.ones(2), 0)
    undo_drift(frames, model, drift, tmp_path / "back.ome.tif", microscope=calibrated)
    back = read_stack(tmp_path / "back.ome.tif")
    assert back.attrs["provenance"]["optics"] == "as calibrated"


def test_what_is_no_time_lapse_is_refused() -> None:
    model = load_model("air20x-nuclei")
    image = make_stack(np.ones((2, 64, 64), np.uint16), "ZYX", (1, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match="single images"):
        estimate_drift(image, model)
    frames = make_stack(np.ones((2, 64, 64), np.uint16), "TYX", (1, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match="no frame 5"):
        estimate_drift(frames, model, reference=5)


def test_the_budget_of_memory_is_kept(tmp_path: Path) -> None:
    model, output = load_model("air20x-nuclei"), tmp_path / "back.ome.tif"
    frames = make_stack(np.ones((2, 64, 64), np.uint16), "TYX", (1, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match=r"budget of 0\.1 GiB"):
        estimate_drift(frames, model, memory_gb=0.1)
    with pytest.raises(FluoFocusError, match=r"budget of 0\.1 GiB"):
        undo_drift(frames, model, Drift(np.zeros(2), np.ones(2), 0), output, memory_gb=0.1)


def test_a_wrong_name_is_refused_before_refocusing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("fluofocus.refocus.drift.refocus")
    frames = make_stack(np.ones((2, 64, 64), np.uint16), "TYX", (1, 0.325, 0.325))
    still = Drift(np.zeros(2), np.ones(2), 0)
    with pytest.raises(FluoFocusError, match="ends in"):
        undo_drift(frames, load_model("air20x-nuclei"), still, tmp_path / "back.tif")


def test_the_table_has_a_row_for_each_frame() -> None:
    table = Drift(np.array([0.0, -1.25]), np.array([1.0, 0.5]), 0).to_csv()
    assert table.splitlines() == [
        "frame,distance_um,correlation",
        "0,0.0000,1.00000",
        "1,-1.2500,0.50000",
    ]
