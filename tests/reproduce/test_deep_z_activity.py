"""Deep-Z's Fig. 3 re-enacted: what its tables and pictures hold."""

from pathlib import Path

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity import NeuronActivity
from fluofocus.neurons.activity_registration import FrameMotion
from fluofocus.neurons.clustering import spectral_clusters
from fluofocus.reproduce.deep_z import activity
from fluofocus.reproduce.deep_z.activity import DEEP_Z, DEMIXED, INPUT, PAPERS_WORM, PART, SCAN
from fluofocus.reproduce.deep_z.activity_scores import MEASURES, score_activity
from fluofocus.reproduce.reproduction import Request, Section
from fluofocus.simulate.activity import ActivityTimeLapse
from fluofocus.simulate.calcium import draw_traces

SMALL = {
    "NEURONS": 16,
    "FRAMES": 30,
    "SHAPE_YX": (80, 320),
    "WORM": {"bend_um": 2.0},
    "REFOCUSED_UM": (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0),
    "SCANNED_UM": (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0),
    "ACTIVE": 9,
    "CLUSTERS": 2,
    "STEADY_FRAMES": 3,
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Section, list[int]]:
    """The part on one small worm, and the steps that it told of."""
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(activity, name, value)
        for name in (DEEP_Z, DEMIXED, SCAN):
            patch.setitem(activity.PLANES_UM, name, SMALL["REFOCUSED_UM"])
        folder = tmp_path_factory.mktemp("fig3")
        request = Request(folder, {PAPERS_WORM: "air20x-nuclei"}, fields=1)
        section = PART.run(request, lambda done, total: steps.append((done, total)))
    return section, steps


def test_refocusing_finds_more_neurons_and_their_traces(
    outcome: tuple[Section, list[int]],
) -> None:
    section, _ = outcome
    means, each, _ = section.tables
    rows = {row[0]: dict(zip(means.header, row, strict=True)) for row in means.rows}
    assert list(rows) == [INPUT, DEEP_Z, DEMIXED, SCAN, "known"]
    assert rows["known"]["neurons"] == "16"
    assert int(rows[INPUT]["right"]) <= int(rows[DEEP_Z]["right"]) <= 16
    assert int(rows[DEMIXED]["neurons"]) <= int(rows[DEEP_Z]["neurons"])  # of the same stack
    for way in (DEEP_Z, DEMIXED, SCAN):
        assert float(rows[way]["r, median"]) > 0.9
    assert [row[0] for row in each.rows] == [INPUT, DEEP_Z, DEMIXED, SCAN]
    assert each.header[2:] == MEASURES


def test_demixing_is_tried_with_less_that_is_known(outcome: tuple[Section, list[int]]) -> None:
    section, _ = outcome
    means, _, told = section.tables
    rows = {row[0]: dict(zip(told.header, row, strict=True)) for row in told.rows}
    true, *off, missed = rows.values()
    assert len(off) == 2
    for row in (true, *off):
        assert float(row["r, median"]) > 0.9
    demixed = dict(zip(means.header, means.rows[2], strict=True))
    assert int(missed["neurons"]) < int(demixed["neurons"])


def test_intensities_are_kept_and_the_work_is_told(outcome: tuple[Section, list[int]]) -> None:
    section, steps = outcome
    varies, together = section.paragraphs[-1].split("varies by ")[1].split("together by ")
    assert float(varies.split("%")[0]) < 15
    assert float(together.split("%")[0]) < 2
    assert steps == [(done, 35) for done in range(36)]


def test_pictures_are_there(outcome: tuple[Section, list[int]]) -> None:
    section, _ = outcome
    names = [figure.path.name for figure in section.figures]
    assert names == [f"figure-3-{name}.png" for name in ("places", "depths", "clusters", "traces")]
    for figure in section.figures:
        assert figure.path.read_bytes().startswith(b"\x89PNG")


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FluoFocusError, match="no-such-model"):
        PART.run(
            Request(tmp_path, {PAPERS_WORM: "no-such-model"}, fields=1), lambda done, total: None
        )


def test_scores_count_wrong_neurons_and_wrong_clusters() -> None:
    traces = draw_traces(6, 60, seed=2, clusters=2, active_share=1.0)
    y_um = 10.0 * np.arange(6)
    lapse = ActivityTimeLapse(
        counts=np.zeros((60, 2, 3, 8, 8), np.uint16),
        planes_um=(-1.0, 0.0, 1.0),
        pixel_size_um=0.5,
        positions_um=np.column_stack([np.zeros(6), y_um, np.zeros(6)]),
        diameters_um=np.full(6, 3.0),
        traces=traces,
        motion_um=np.zeros((60, 3)),
        best_focus_um=0.0,
    )

    def found(brightness: np.ndarray, off_um: np.ndarray) -> NeuronActivity:
        resting = brightness.mean(axis=1)
        delta_f = brightness - resting[:, None]
        return NeuronActivity(
            structure=np.zeros((3, 8, 8)),
            labels=np.zeros((3, 8, 8), dtype=int),
            ids=np.arange(1, 7),
            centroids_px=np.column_stack([np.ones(6), (y_um + off_um) / 0.5, np.zeros(6)]),
            traces=brightness,
            resting=resting,
            delta_f=delta_f,
            times_s=traces.times_s,
            background=0.0,
            motion=FrameMotion(np.zeros((60, 3)), np.zeros(60), np.ones(60), 30),
            ranking=np.arange(6),
            active=np.arange(6),
            clusters=spectral_clusters(delta_f / resting[:, None], clusters=2),
        )

    planes = lapse.planes_um
    exact = score_activity(found(traces.brightness, np.zeros(6)), lapse, planes)
    assert (exact.found, exact.right, exact.active_right, exact.clusters) == (6, 6, 6, 2)
    np.testing.assert_allclose(exact.correlations, 1)
    assert exact.rand_index == exact.rand_index_all == 1
    away = score_activity(found(traces.brightness, 5.0 * (np.arange(6) == 3)), lapse, planes)
    assert (away.found, away.right, away.active_right) == (6, 5, 5)
    np.testing.assert_allclose(away.correlations, [1, 1, 1, 0, 1, 1])
    other = int(np.flatnonzero(traces.cluster != traces.cluster[0])[0])
    order = np.arange(6)
    order[[0, other]] = other, 0
    swapped = score_activity(found(traces.brightness[order], np.zeros(6)), lapse, planes)
    assert swapped.correlations[[0, other]].max() < 0.9
    assert swapped.rand_index < 1
