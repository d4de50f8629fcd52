"""Drift undone, as in Deep-Z's Supplementary Note 1."""

from pathlib import Path

import numpy as np
import pytest

from fluofocus.reproduce.deep_z import drift
from fluofocus.reproduce.deep_z.drift import PART, SPECIMENS, drift_path_um
from fluofocus.reproduce.reproduction import Request


def test_drifting_specimens_are_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "SEED", 9_757_002)
    monkeypatch.setattr(drift, "FRAMES", 5)
    monkeypatch.setitem(SPECIMENS, "nuclei", drift.Specimen("nuclei", (112, 112), {}))
    few = {"neurons": 80}
    monkeypatch.setitem(SPECIMENS, "worm", drift.Specimen("worm", (96, 256), few))
    steps: list[tuple[int, int]] = []
    request = Request(tmp_path, {"nuclei": "air20x-nuclei"}, 1)
    section = PART.run(request, lambda *step: steps.append(step))
    assert steps == [(0, 2), (1, 2), (2, 2)]
    (table,) = section.tables
    assert [row[0].split(",")[0] for row in table.rows] == ["nuclei", "worm"]
    for row in table.rows:
        error, slope, recorded, back, known = map(float, row[2:7])
        assert error < 1.0
        assert slope == pytest.approx(1, abs=0.25)
        assert 1 - back < 0.8 * (1 - recorded)
        assert known > recorded
    assert [figure.path.name for figure in section.figures] == ["drift.png", "drift-frames.png"]
    assert all(figure.path.is_file() for figure in section.figures)


def test_a_drift_starts_at_zero_jumps_and_stays_within_its_range() -> None:
    paths = np.array([drift_path_um(np.random.default_rng(seed)) for seed in range(200)])
    assert paths.shape == (200, drift.FRAMES)
    assert (paths[:, 0] == 0).all()
    assert np.abs(paths).max() <= drift.MOST_UM
    assert np.abs(paths).max() > 0.9 * drift.MOST_UM
    assert (np.abs(np.diff(paths)).max(axis=1) > 2.5).mean() > 0.8
    np.testing.assert_array_equal(paths % drift.STEP_UM, 0)
