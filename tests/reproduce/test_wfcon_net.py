"""WFCON-Net re-enacted: slices, scores, methods, and the page of stand-ins."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.models import build_network, build_stack_network
from fluofocus.models.bundle import Model, ModelCard, StackModel, TrainingRange, save_model
from fluofocus.models.cards import StackCard, TrainedStacks
from fluofocus.optics.microscope import preset
from fluofocus.prepare.normalise import normalisation_from_stack
from fluofocus.prepare.register_psf import REACH_ZYX
from fluofocus.reproduce import REPRODUCTIONS, run_reproduction
from fluofocus.reproduce.reproduction import LEFT_OUT
from fluofocus.reproduce.wfcon_net import (
    bench,
    figure_1,
    figure_3,
    figure_4,
    figure_8,
    methods,
    setting,
    slices,
)
from fluofocus.reproduce.wfcon_net.bench import Bench
from fluofocus.reproduce.wfcon_net.coverage import coverage
from fluofocus.reproduce.wfcon_net.deconvolution import Deconvolution
from fluofocus.reproduce.wfcon_net.methods import (
    CONFOCAL,
    DECONVOLVED,
    DEEP_Z_PLUS,
    FLAT,
    GAN,
    L1,
    MISREGISTERED,
    VGG,
    WFCON,
    WIDEFIELD,
    Method,
    groups,
    made,
)
from fluofocus.reproduce.wfcon_net.registration import by_correlation, by_psf
from fluofocus.reproduce.wfcon_net.scores import score
from fluofocus.reproduce.wfcon_net.slices import Field, Kind, draw_field

REPRODUCTION = REPRODUCTIONS["wfcon-net"]
THIN_UM, SIDE = 6.0, 48
KINDS = tuple(replace(kind, thickness_um=THIN_UM) for kind in slices.REGIONS[:2])
NONE = dict.fromkeys(REPRODUCTION.models, LEFT_OUT)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SIDE_PX", SIDE)
    monkeypatch.setattr(methods, "ITERATIONS", 4)
    for module in (slices, bench, setting, figure_3):
        monkeypatch.setattr(module, "REGIONS", KINDS)
    monkeypatch.setattr(bench, "_kept", {})


@pytest.fixture
def field() -> Field:
    return draw_field(KINDS[1], 5)


def stack_model(**config: Any) -> StackModel:
    torch.manual_seed(1)
    config = {"width": "compact", **config}
    card = StackCard(
        name="random",
        title="random weights",
        architecture="wfcon",
        architecture_config=config,
        microscope=preset(slices.MICROSCOPE),
        training=TrainedStacks(
            z_step_um=0.5, planes=12, crop_px=SIDE, pixel_size_um=0.1083, target_modality="confocal"
        ),
        created=datetime(2020, 1, 1, tzinfo=UTC),
        fluofocus_version="0.1.0",
    )
    return StackModel(card, build_stack_network("wfcon", config).eval())


def plane_model(reach_um: float) -> Model:
    torch.manual_seed(1)
    config = {"encoder_channels": [4, 4], "decoder_channels": [4, 4], "residual_blocks": 1}
    card = ModelCard(
        name="random",
        title="random weights",
        architecture="swift",
        architecture_config=config,
        microscope=preset(slices.MICROSCOPE),
        training=TrainingRange(
            defocus_um=(-reach_um, reach_um), pixel_size_um=0.1083, target_modality="confocal"
        ),
        created=datetime(2020, 1, 1, tzinfo=UTC),
        fluofocus_version="0.1.0",
    )
    return Model(card, build_network("swift", config).eval())


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    paths = {}
    for role in REPRODUCTION.models:
        model = plane_model(1.0) if role == DEEP_Z_PLUS else stack_model()
        paths[role] = str(tmp_path / f"{len(paths)}.safetensors")
        save_model(model, paths[role])
    return paths


def test_a_field_holds_noisy_wide_field_and_clean_confocal(field: Field) -> None:
    assert field.counts.shape == field.truth.shape == (12, SIDE, SIDE)
    np.testing.assert_allclose(field.depths_um[[0, -1]], [0.25, THIN_UM - 0.25])
    again = draw_field(KINDS[1], 5)
    np.testing.assert_array_equal(again.counts, field.counts)
    other = draw_field(KINDS[1], 6)
    assert not np.array_equal(other.counts, field.counts)
    # neighbouring planes of the confocal stack differ smoothly, those of the recorded one by noise
    rough = [np.abs(np.diff(x, 2, axis=2)).mean() / x.std() for x in (field.counts, field.truth)]
    assert rough[0] > 1.5 * rough[1]


def test_nuclei_are_seen_in_another_channel() -> None:
    cells, nuclei = Kind("cells"), Kind("nuclei", stain="nuclei")
    assert cells.microscope.emission_wavelength_nm == 525
    assert nuclei.microscope.emission_wavelength_nm == 461
    assert nuclei.microscope.emitter_depth_um == 20


def test_the_truth_itself_is_perfect_and_haze_is_forgiven_by_the_fit(field: Field) -> None:
    scores = score(made(Method(CONFOCAL), None, field), field.truth, 0.1083)
    assert scores.rmse.max() == 0
    np.testing.assert_allclose(scores.ssim, 1, atol=1e-5)
    assert scores.fine.mean() == pytest.approx(1, abs=1e-3)
    blurred = score(gaussian_filter(field.truth, (0, 2, 2)), field.truth, 0.1083)
    assert blurred.fine.mean() < 0.6
    hazy = score(0.5 * field.truth + 0.3, field.truth, 0.1083)
    assert hazy.rmse.min() > 0.1
    assert hazy.fitted_rmse.max() < 1e-4
    np.testing.assert_allclose(hazy.signal, 0.5 * scores.signal, rtol=1e-3)


def test_a_network_is_scored_in_the_units_of_its_targets(field: Field) -> None:
    model = stack_model()
    stack = made(Method(WFCON), model, field)
    normalisation = normalisation_from_stack(field.counts)
    seen = torch.from_numpy(normalisation.apply(field.counts.astype(np.float32)))
    with torch.inference_mode():
        expected = model.network(seen[None, None])[0, 0].numpy()
    np.testing.assert_allclose(stack, expected, atol=2e-3)


def test_fewer_planes_are_interpolated_from_those_left(field: Field) -> None:
    whole, every_4th = (made(Method(WIDEFIELD, n), None, field) for n in (1, 4))
    kept = every_4th[1::4]
    expected = (every_4th[1] + every_4th[5]) / 2
    np.testing.assert_allclose(every_4th[3], expected, atol=1e-3)
    assert np.corrcoef(kept.ravel(), whole[1::4].ravel())[0, 1] > 0.999
    assert Method(WFCON, 4).name == "WFCON-Net, every 4th plane"


def test_deep_z_plus_makes_each_plane_from_the_middle_of_its_group(field: Field) -> None:
    model = plane_model(1.0)
    found = groups(model, 12)
    assert [plane for plane, _ in found] == [2, 7, 10]
    assert [each for _, span in found for each in span] == list(range(12))
    stack = made(Method(DEEP_Z_PLUS), model, field)
    assert stack.shape == field.truth.shape


def test_richardson_lucy_finds_a_point_again() -> None:
    kind = KINDS[0]
    deconvolve = Deconvolution(kind.microscope, kind.phantom.tissue, (12, 32, 32), 0.5)
    kernel = deconvolve.kernel
    assert kernel.shape == (23, 32, 32)
    light = kernel.sum(axis=(1, 2))
    np.testing.assert_allclose(light, light.mean(), rtol=0.05)
    point = np.zeros((12, 32, 32), np.float32)
    point[6, 10, 20] = 1e5
    seen = deconvolve._filtered(point)
    shifted = np.roll(kernel[5:17], (10, 20), axis=(1, 2))
    np.testing.assert_allclose(seen, 1e5 * shifted, atol=1e-3 * seen.max())
    found = deconvolve(seen + 2, background=2, iterations=20)
    assert np.unravel_index(found.argmax(), found.shape) == (6, 10, 20)
    assert found.max() > 5 * seen.max()


def test_deconvolution_comes_closer_to_the_truth(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "ITERATIONS", 20)
    before, after = (
        score(made(Method(name), None, field), field.truth, 0.1083).fitted_rmse.mean()
        for name in (WIDEFIELD, DECONVOLVED)
    )
    assert after < 0.8 * before


def test_agreement_of_spectra_ends_where_noise_begins() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((32, 64, 64)).astype(np.float32)
    spectrum = np.fft.rfftn(truth)
    fy, fx = np.fft.fftfreq(64, 0.1083)[:, None], np.fft.rfftfreq(64, 0.1083)
    spoilt = np.where(
        np.hypot(fy, fx) > 2, np.fft.rfftn(rng.standard_normal(truth.shape)), spectrum
    )
    found = coverage(np.fft.irfftn(spoilt), truth, 0.1083)
    assert found.lateral_um == pytest.approx(0.5, rel=0.15)
    assert found.axial_um == pytest.approx(1.0, rel=0.1)  # to the finest there is
    same = coverage(truth, truth, 0.1083)
    assert same.lateral_um < 0.2
    assert found.section.shape == (32, 65)


def test_a_section_of_a_spectrum_is_as_oblique_as_its_stack() -> None:
    z, _, x = np.indices((32, 16, 64))
    stack = np.cos(2 * np.pi * (6 * z / 32 + 10 * x / 64)).astype(np.float32)
    section = coverage(stack, stack, 0.1083).section
    peaks = np.argwhere(section > -0.01) - (16, 32)
    assert peaks.tolist() == [[-6, -10], [6, 10]]


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_an_even_stack_holds_no_spectrum(level: float) -> None:
    truth = np.random.default_rng(0).standard_normal((16, 32, 32)).astype(np.float32)
    with np.errstate(all="raise"):
        found = coverage(np.full_like(truth, level), truth, 0.1083)
    assert found.share == 0
    assert found.lateral_um == found.axial_um == np.inf
    assert (found.section == -9).all()


def test_both_registrations_find_a_shift() -> None:
    rng = np.random.default_rng(0)
    points = (rng.random((36, 96, 96)) > 0.998).astype(np.float32)
    sharp, blurred = (gaussian_filter(points, sigma) for sigma in ((0.7, 1, 1), (2, 3, 3)))
    confocal = np.roll(sharp, (1, -2, 3), axis=(0, 1, 2))
    found = [method(confocal, blurred) for method in (by_psf, by_correlation)]
    for each in found:
        assert each.shift_zyx == pytest.approx([1, -2, 3], abs=0.15)
        assert each.profile.argmax() == REACH_ZYX[0] + 1
    psf, correlation = (each.profile.clip(min=0).sum() for each in found)
    assert psf < correlation  # the sharper peak
    assert by_psf(confocal, rng.random(confocal.shape)).shift_zyx is None


def test_the_page_has_all_figures(
    tmp_path: Path, stand_ins: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_8, "FIELD_PX", SIDE)
    thin = tuple(replace(kind, thickness_um=THIN_UM) for kind in figure_4.KINDS)
    monkeypatch.setattr(figure_4, "KINDS", thin)
    first = (Kind("thin", thickness_um=3.0), Kind("thick", thickness_um=THIN_UM))
    monkeypatch.setattr(figure_1, "KINDS", first)
    monkeypatch.setattr(figure_8, "KINDS", dict.fromkeys(first, 8))
    calls: list[str] = []
    real = bench.made
    monkeypatch.setattr(bench, "made", lambda m, *rest: (calls.append(m.name), real(m, *rest))[1])
    page, sections = run_reproduction(REPRODUCTION, tmp_path / "page", fields=1, models=stand_ins)
    assert len(calls) == len(set(calls))  # no stack is made twice for one field
    assert page.read_text(encoding="utf-8").count("data:image/png") == len(REPRODUCTION.parts) == 8
    by_title = {section.title.split(":")[0]: section for section in sections}
    main, by_region = by_title["Figure 3"].tables
    roles = [*REPRODUCTION.models, WIDEFIELD, DECONVOLVED]
    assert [row[0] for row in main.rows] == [row[0] for row in by_region.rows] == roles
    assert main.rows[0][2::2][:2] == ("0.0575", "0.7673")
    assert main.rows[0][1] == main.rows[1][1]  # the same weights
    losses = by_title["Figure 9"].tables[1]
    assert losses.rows[-1] == ("paper", "0.0023", "-0.0330", "0.0082", "-0.1021")
    distances = by_title["Figure 6"].tables[1]
    assert distances.header == ("", "0 µm", "0.5 µm", "1 µm")
    assert [row[0] for row in by_title["Figure 7"].tables[1].rows] == [
        WIDEFIELD,
        L1,
        GAN,
        VGG,
        WFCON,
    ]
    registered = by_title["Figure 8"].tables[1]
    assert [row[0] for row in registered.rows] == [L1, MISREGISTERED]
    assert json.loads((tmp_path / "page" / "tables.json").read_text(encoding="utf-8"))


def test_roles_may_be_left_out(tmp_path: Path) -> None:
    _, (section,) = run_reproduction(REPRODUCTION, tmp_path, parts=["fig3"], fields=1, models=NONE)
    assert [row[0] for row in section.tables[0].rows] == [WIDEFIELD, DECONVOLVED]
    assert f"{FLAT}; {L1}" in section.paragraphs[0]


def test_a_model_that_is_not_there_or_of_the_other_sort_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "draw_field", None)  # nothing is simulated before
    for model, sentence in {"no-such": "no model file no-such", "air20x-beads": "2D=none"}.items():
        with pytest.raises(FluoFocusError, match=sentence):
            run_reproduction(
                REPRODUCTION, tmp_path, parts=["fig6"], fields=1, models={**NONE, FLAT: model}
            )
    with pytest.raises(FluoFocusError, match="Deep-Z\\+: "):
        Bench({DEEP_Z_PLUS: "no-such"}).model(DEEP_Z_PLUS)
