"""One image in focus everywhere, and the depth of what it shows."""

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack
from fluofocus.io.stack import voxel_size_um
from fluofocus.measure.beads import find_beads, match_beads
from fluofocus.optics.microscope import preset
from fluofocus.refocus.extended_depth import extended_depth
from fluofocus.simulate.stack import simulate_stack


def test_beads_in_a_volume_come_into_focus_and_tell_their_depth() -> None:
    microscope = preset("olympus-20x-0.75")
    scan = simulate_stack(
        microscope,
        "beads",
        shape_yx=(384, 384),
        planes_um=[0.0],
        seed=9_800_001,
        peak_photons=6000,
        phantom_parameters={"surface": "volume", "count_per_1000_um2": 2.0},
    )
    found = extended_depth(
        scan.counts[0],
        "air20x-beads",
        z_um=[float(z) for z in range(-9, 10)],
        pixel_size_um=microscope.pixel_size_um,
    )
    truth = np.array([[bead["y_um"], bead["x_um"], bead["z_um"]] for bead in scan.truth])
    truth = truth[np.abs(truth[:, 2]) <= 8]
    beads = find_beads(found.image.values).yx_px
    matches = match_beads(beads, truth[:, :2] / microscope.pixel_size_um, tolerance=2.0)
    assert len(matches.known_index) >= 0.8 * len(truth)
    rows, columns = np.round(beads[matches.found_index]).astype(int).clip(0, 383).T
    error = found.depth_um.values[rows, columns] - truth[matches.known_index, 2]
    assert np.isfinite(error).mean() > 0.9
    assert np.nanmedian(np.abs(error)) <= 1.0
    assert np.isnan(found.depth_um.values).mean() > 0.5
    assert voxel_size_um(found.depth_um)[1] == microscope.pixel_size_um
    assert found.image.attrs["provenance"]["fused"] == "complex wavelets"


def test_one_plane_and_time_lapses_are_refused_unrefocused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("fluofocus.refocus.extended_depth.refocus")
    frames = make_stack(np.ones((2, 64, 64), np.uint16), "TYX", (1, 0.325, 0.325))
    with pytest.raises(FluoFocusError, match="several, like --z"):
        extended_depth(frames[0], "air20x-beads", z_um=[1.0])
    frames[:, 20, 20] = 500
    with pytest.raises(FluoFocusError, match="one by one"):
        extended_depth(frames, "air20x-beads", z_um=[0.0, 1.0])


def test_the_budget_of_memory_is_kept() -> None:
    image = np.ones((64, 64), np.uint16)
    with pytest.raises(FluoFocusError, match=r"budget of 0\.1 GiB"):
        extended_depth(image, "air20x-beads", pixel_size_um=0.325, memory_gb=0.1)
