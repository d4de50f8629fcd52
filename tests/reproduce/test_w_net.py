"""W-Net re-enacted: exposure, truth, scores, classical methods, and the page of a stand-in."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.measure.localisation import locate
from fluofocus.models import build_network
from fluofocus.models.bundle import Model, ModelCard, TrainingRange, save_model
from fluofocus.optics.microscope import Microscope
from fluofocus.reproduce import REPRODUCTIONS, run_reproduction
from fluofocus.reproduce.reproduction import LEFT_OUT
from fluofocus.reproduce.w_net import fields, figure_2, methods, scores, sweep, tuning
from fluofocus.reproduce.w_net.classical import matched_filter, richardson_lucy
from fluofocus.reproduce.w_net.fields import Bench, Kind, Plane, open_bench
from fluofocus.reproduce.w_net.methods import HELIX, U_NET, W_NET, WIDEFIELD
from fluofocus.reproduce.w_net.native import extent
from fluofocus.reproduce.w_net.scores import curve, interval, resampled, score_image
from fluofocus.reproduce.w_net.sweep import Sweep
from fluofocus.simulate.camera import expected_counts
from fluofocus.simulate.image_formation import ImageFormation

REPRODUCTION = REPRODUCTIONS["w-net"]
TINY = {
    "refocusing": {
        "encoder_channels": [4, 4],
        "decoder_channels": [4, 4],
        "residual_blocks": 1,
        "distance_range_um": 8.0,
    }
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(fields, "SIDE_PX", 160)
    monkeypatch.setattr(fields, "BEAD_COUNT", 6)
    monkeypatch.setattr(fields, "_EXPOSURE_SEARCH_UM", np.array([0.0, 4.2]))
    return open_bench()


@pytest.fixture
def stand_in(tmp_path: Path, bench: Bench) -> Callable[..., str]:
    def make(microscope: Microscope, reach_um: float) -> str:
        torch.manual_seed(0)
        card = ModelCard(
            name="stand-in",
            title="random weights",
            architecture="w_net",
            architecture_config=TINY,
            microscope=microscope,
            training=TrainingRange(defocus_um=(-reach_um, reach_um), pixel_size_um=0.072),
            created=datetime(2020, 1, 1, tzinfo=UTC),
            fluofocus_version="0.1.0",
        )
        path = tmp_path / f"stand-in-{reach_um:g}.safetensors"
        save_model(Model(card, build_network("w_net", TINY)), path)
        return str(path)

    return make


@pytest.fixture
def masked(bench: Bench) -> Microscope:
    assert bench.masked.pupil_mask is not None
    return bench.masked.model_copy(update={"pupil_mask": Path(bench.masked.pupil_mask.name)})


def test_the_median_bead_sets_the_exposure(bench: Bench) -> None:
    field = bench.field(3)
    middle = int(field.specimen.ball_photons.argsort()[2])  # of six
    centred = torch.tensor([[0.0, 80 * 0.072, 80 * 0.072]])
    alone = replace(
        field.specimen,
        ball_positions_um=centred,
        ball_photons=field.specimen.ball_photons[middle : middle + 1],
        ball_radius_um=field.specimen.ball_radius_um[:1],
    )
    focused = ImageFormation(bench.plain, bench.grid, torch.zeros(1))(alone)
    assert float(focused.max()) == pytest.approx(fields.MEDIAN_PEAK_PHOTONS, rel=0.02)
    helix = ImageFormation(bench.masked, bench.grid, torch.tensor([0.0, 4.2]))(alone)
    assert float(helix.max()) * bench.longer == pytest.approx(float(focused.max()), rel=0.03)


def test_the_truth_lies_aside_by_the_same_length_in_every_field(bench: Bench) -> None:
    shifts = []
    for seed in (7, 9):
        field = bench.field(seed)
        recorded = field.specimen.ball_positions_um[:, 1:].numpy()
        (shift,) = np.unique((field.known_px * 0.072 - recorded).round(4), axis=0)
        assert np.hypot(*shift) == pytest.approx(fields.REGISTRATION_ERROR_UM, abs=2e-4)
        shifts.append(shift)
        found = locate(field.confocal, min_contrast=0.001)
        np.testing.assert_allclose(
            np.sort(found, axis=0), np.sort(field.known_px, axis=0), atol=0.15
        )
    assert np.hypot(*(shifts[0] - shifts[1])) > 0.01


def test_a_field_is_the_same_each_time_and_the_mask_has_its_own_noise(bench: Bench) -> None:
    field = bench.field(3)
    first, again = (Plane(bench, 1.5).record(bench.field(3)) for _ in range(2))
    for kind in Kind:
        np.testing.assert_array_equal(first[kind], again[kind])
    other = Plane(bench, 2.0).record(field)
    assert not np.array_equal(first[Kind.WIDEFIELD], other[Kind.WIDEFIELD])
    backgrounds = [np.median(first[kind]) for kind in (Kind.HELIX, Kind.LONG)]
    level = fields.BACKGROUND_PHOTONS * bench.longer
    expected = float(expected_counts(torch.tensor(level), bench.masked.camera))
    assert backgrounds == pytest.approx([expected] * 2, abs=1.5)


def test_the_confocal_image_itself_is_perfect(bench: Bench) -> None:
    field = bench.field(7)
    score = score_image(field.confocal, field, 0.072, noise_threshold=1.0, noise=0.01)
    assert score.correlation == pytest.approx(1)
    assert score.counted.sum() == 6
    np.testing.assert_array_equal(score.matched, score.counted)
    assert np.sqrt(score.square_um2.max()) < 0.01
    assert not score.spurious.any()
    nothing = score_image(field.confocal, field, 0.072, noise_threshold=1e9, noise=1.0)
    assert not nothing.matched.any()
    assert nothing.counted.sum() > 0


def test_false_finds_count_against_and_are_resampled(bench: Bench) -> None:
    field = bench.field(7)
    spoilt = field.confocal.copy()
    spoilt[60:110:24, 60:110:24] += float(field.confocal.max())
    both = [
        score_image(image, field, 0.072, noise_threshold=1.0, noise=0.01)
        for image in (field.confocal, spoilt)
    ]
    held = curve([(z, [score]) for z, score in zip((0.0, 1.0), both, strict=True)])
    known, false = both[1].counted.sum(), both[1].spurious.sum()
    assert false > 0
    np.testing.assert_allclose(held.jaccard(), [1, both[1].matched.sum() / (known + false)])
    low, high = interval(held.jaccard(resampled(len(field.known_px), 0)))
    assert low[1] < held.jaccard()[1] < high[1]
    assert low[0] == high[0] == 1


@pytest.mark.parametrize("z_um", [0.0, 3.0])
def test_classical_methods_bring_the_lobes_together(bench: Bench, z_um: float) -> None:
    plane = Plane(bench, z_um)
    image = np.roll(1000 * plane.helix_psf, (10, -7), axis=(0, 1)) + 5
    bead_px = (90, 73)
    brightest = locate(image, min_contrast=0.5)[0]
    assert np.hypot(*(brightest - bead_px)) > 5
    made = (
        matched_filter(image, plane.helix_psf, noise_share=1e-4),
        richardson_lucy(image, plane.helix_psf, background=5, iterations=30),
    )
    for sharp in made:
        found = locate(sharp, min_contrast=0.5)
        np.testing.assert_allclose(found, [bead_px], atol=0.05)
        assert sharp.max() > 3 * np.ptp(image)


def test_a_depth_of_field_is_measured_by_the_native_index(bench: Bench) -> None:
    field = bench.field(7)
    perfect = score_image(field.confocal, field, 0.072, noise_threshold=1.0, noise=0.01)
    nothing = replace(perfect, matched=np.zeros_like(perfect.matched))
    planes = (-2.0, -1.0, *methods.NATIVE_UM, 1.0, 2.0)
    held = {
        name: curve([(z, [perfect if abs(z) <= reach else nothing]) for z in planes])
        for name, reach in ((methods.SCANNED, 0.2), (HELIX, 1.0))
    }
    found = extent(Sweep(bench, held, {}), HELIX, 0.2)
    assert found.threshold == pytest.approx(0.8)
    assert found.range.length_um == pytest.approx(2.4)
    np.testing.assert_allclose(found.length_interval_um, 2.4)


def test_the_page_is_made_with_the_models_there_are(
    stand_in: Callable[..., str],
    masked: Microscope,
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coarse = (-3.0, 1.5, 6.0)
    monkeypatch.setattr(methods, "PLANES_UM", coarse)
    for module in (methods, tuning, figure_2):
        monkeypatch.setattr(module, "COARSE_UM", coarse)
    monkeypatch.setattr(methods, "ITERATIONS", 2)
    monkeypatch.setattr(tuning, "FIELDS", 1)
    monkeypatch.setattr(scores, "RESAMPLINGS", 40)
    measured = sweep._measure
    runs = []
    monkeypatch.setattr(sweep, "_measure", lambda *given: (runs.append(1), measured(*given))[1])
    models = {
        HELIX: stand_in(masked, 8),
        WIDEFIELD: stand_in(bench.plain, 4),
        W_NET: LEFT_OUT,
        U_NET: LEFT_OUT,
    }
    page, sections = run_reproduction(REPRODUCTION, tmp_path / "page", fields=1, models=models)
    assert runs == [1]
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png") == 2
    assert f"Left out for want of a model: {W_NET}; {U_NET}." in text
    planes, means = sections[0].tables
    cells = {(row[0], row[1]): row[2:] for row in planes.rows}
    assert cells["+6 µm", WIDEFIELD][0] == "beyond training"
    assert cells["-3 µm", HELIX][-1] == "JI 0.77, 70.1 nm"
    assert {row[0]: row[3] for row in means.rows}[WIDEFIELD] == "–"
    table, others = sections[2].tables
    assert [row[2] for row in table.rows] == ["0.726", "0.726", "0.653", "0.581"]
    assert len(others.rows) == len(planes.rows) / 3
    assert json.loads((tmp_path / "page" / "tables.json").read_text(encoding="utf-8"))


def test_models_that_do_not_suit_are_refused(
    stand_in: Callable[..., str], bench: Bench, tmp_path: Path
) -> None:
    with pytest.raises(FluoFocusError, match="no model for any role"):
        run_reproduction(
            REPRODUCTION, tmp_path, models=dict.fromkeys(REPRODUCTION.models, LEFT_OUT)
        )
    wrong = {**dict.fromkeys(REPRODUCTION.models, LEFT_OUT), HELIX: stand_in(bench.plain, 4)}
    with pytest.raises(FluoFocusError, match="needs double helix ones"):
        run_reproduction(REPRODUCTION, tmp_path, models=wrong)
