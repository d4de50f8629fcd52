"""Axial drift, found and undone."""

from pathlib import Path

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, read_stack
from fluofocus.models.bundle import load_model
from fluofocus.optics.microscope import preset
from fluofocus.refocus.drift import Drift, estimate_drift, undo_drift
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
    frames = make_stack(scan.counts[places], "TYX", voxel)
    model = load_model("air20x-nuclei")
    steps: list[tuple[int, int]] = []
    drift = estimate_drift(frames, model, progress=lambda *step: steps.append(step))
    assert steps[-1] == (6, 6)
    np.testing.assert_allclose(drift.distance_um, -TRUE_UM, atol=0.5)
    assert np.sqrt(np.mean((drift.distance_um + TRUE_UM) ** 2)) < 0.3
    undo_drift(frames, model, drift, tmp_path / "back.ome.tif")
    back = read_stack(tmp_path / "back.ome.tif")
    assert back.dims == ("T", "Y", "X")
    assert back.attrs["provenance"]["drift"]["reference_frame"] == 0
    truth = scan.clean_counts[places[0]]
    for frame in range(1, 6):
        before, after = (
            np.corrcoef(np.ravel(stack[frame]), truth.ravel())[0, 1]
            for stack in (frames.values, back.values)
        )
        if abs(TRUE_UM[frame]) >= 1.5:
            assert 1 - after < 0.6 * (1 - before)


def test_what_is_no_time_lapse_is_refused() -> None:
    model = load_model("air20x-nuclei")
    image = make_stack(np.ones((2, 64, 64), np.uint16), "ZYX", (1, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match="single images"):
        estimate_drift(image, model)
    frames = make_stack(np.ones((2, 64, 64), np.uint16), "TYX", (1, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match="no frame 5"):
        estimate_drift(frames, model, reference=5)


def test_the_table_has_a_row_for_each_frame() -> None:
    table = Drift(np.array([0.0, -1.25]), np.array([1.0, 0.5]), 0).to_csv()
    assert table.splitlines() == [
        "frame,distance_um,correlation",
        "0,0.0000,1.00000",
        "1,-1.2500,0.50000",
    ]
