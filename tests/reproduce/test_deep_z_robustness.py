"""The sweeps of Deep-Z's robustness: what they change, what they find, what is told to users."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fluofocus.models.bundle import load_model, read_card
from fluofocus.optics.pupil import spherical_rms_waves
from fluofocus.reproduce.deep_z import robustness_fields
from fluofocus.reproduce.deep_z.robustness import PART
from fluofocus.reproduce.deep_z.robustness_fields import make_field
from fluofocus.reproduce.deep_z.robustness_scores import FoundBeads, Score, scores_of, summary
from fluofocus.reproduce.deep_z.robustness_sweeps import (
    SWEEPS,
    TRAINED_PER_1000_UM2,
    Light,
    Scene,
    base_scene,
    trained_ranges,
)
from fluofocus.reproduce.deep_z.robustness_tables import is_trusted
from fluofocus.reproduce.reproduction import Request, Section

MODELS = {"beads": "air20x-beads", "nuclei": "air20x-nuclei"}


def changed(name: str, value: float) -> Scene:
    return SWEEPS[name].change(base_scene(), value, torch.Generator().manual_seed(0))


@pytest.fixture
def _small_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(robustness_fields.SIDE_PX, "beads", 160)
    monkeypatch.setitem(robustness_fields.SIDE_PX, "nuclei", 96)


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _small_fields: None) -> Section:
    kept = {"photons": (30.0, 2000.0), "spherical": (-0.15, 0.15), "distance": (2.0, 16.0)}
    for name in list(SWEEPS):
        if name not in kept:
            monkeypatch.delitem(SWEEPS, name)
    for name, values in kept.items():
        monkeypatch.setitem(SWEEPS, name, replace(SWEEPS[name], values=values))
    steps: list[tuple[int, int]] = []
    section = PART.run(Request(tmp_path, MODELS, 1), lambda *step: steps.append(step))
    assert steps == [(done, 12) for done in range(13)]
    return section


def test_refocusing_ends_where_it_must_and_the_page_says_so(section: Section) -> None:
    trust, warned, photons, spherical, distance = section.tables
    ranges = {row[0]: row[3:] for row in trust.rows}
    assert ranges["spherical aberration"][0] == "0.15 to 0.15"
    assert ranges["distance"][0] == "2 to 2"
    assert ranges["distance"][1] == "–"

    def errors(row: tuple[str, ...], column: int) -> np.ndarray:
        return np.array([float(cell) for cell in row[column].split(" / ")])

    nuclei_after = 8
    dim, bright = (errors(row, nuclei_after) for row in photons.rows)
    assert (dim > 1.2 * bright).all()
    wrong, right, _, told = spherical.rows
    assert (errors(right, nuclei_after) < errors(right, nuclei_after - 1)).all()
    assert (errors(wrong, nuclei_after) > 1.3 * errors(right, nuclei_after)).all()
    assert told[0] == "0.15, told"
    assert (wrong[1], right[1]) == ("", "beads, nuclei")
    assert (wrong[-1], right[-1]) == ("warns", "")
    near, far = distance.rows
    assert errors(far, nuclei_after)[0] > 1.5 * errors(near, nuclei_after)[0]
    assert far[-1] == "refuses without --allow-extrapolation"
    assert len(warned.rows) == 3
    assert [figure.path.name for figure in section.figures] == [
        "robustness-beads.png",
        "robustness-nuclei.png",
        "robustness-expected.png",
    ]
    assert all(figure.path.is_file() for figure in section.figures)


def test_trained_ranges_are_those_of_the_training() -> None:
    for name, counts in TRAINED_PER_1000_UM2.items():
        kind = name.removeprefix("air20x-")
        simulation = yaml.safe_load(Path(f"configs/{name}.yaml").read_text())["simulation"]
        drawn = [
            tuple(each["parameters"]["count_per_1000_um2"])
            for each in simulation["phantoms"]
            if each["phantom"] == kind
        ]
        assert set(drawn) == {counts}
        ranges = trained_ranges(read_card(name))
        optics = simulation["optics"]
        assert ranges["photons"] == tuple(simulation["peak_photons"])
        assert ranges["aperture"] == tuple(optics["relative_numerical_aperture"])
        assert ranges["other Zernikes"] == (0, optics["other_zernike_rms_waves"])
        assert ranges["distance"] == (0, 10)
        assert 0.05 < ranges["spherical"][0] < 0.1
        assert 0.2 < ranges["spherical"][1] < 0.26


def test_each_sweep_changes_what_it_says_from_the_base() -> None:
    for name, sweep in SWEEPS.items():
        assert sweep.base in sweep.values
        assert changed(name, sweep.values[-1]) != base_scene()
    for waves in (-0.3, 0.5):
        microscope = changed("spherical", waves).light.microscope
        assert spherical_rms_waves(microscope) == pytest.approx(waves, abs=1e-4)
    exposure = changed("exposure", 200.0).exposure
    assert (exposure.peak_photons, exposure.background_photons) == (200, pytest.approx(1))
    assert changed("photons", 200.0).exposure.background_photons == 10
    assert changed("objective", 2.0).light.microscope.pixel_size_um == pytest.approx(0.65)


@pytest.mark.usefixtures("_small_fields")
@pytest.mark.parametrize(("kind", "most"), [("beads", 0.18), ("nuclei", 0.5)])
def test_shading_dims_the_corners_but_not_the_middle(
    kind: robustness_fields.Kind, most: float
) -> None:
    microscope = base_scene().light.microscope
    even, shaded = (
        make_field(Light(microscope, 30.0, share), kind, [2.0], 9_762_000).photons[0.0]
        for share in (0.0, 0.9)
    )
    side = len(even)
    middle = (slice(side * 3 // 8, side * 5 // 8),) * 2
    corner = (slice(0, side // 8),) * 2
    ratio = [float(shaded[part].sum() / even[part].sum()) for part in (corner, middle)]
    assert 0.05 < ratio[0] / ratio[1] < most  # out of focus light of nuclei fills the corners


@pytest.mark.usefixtures("_small_fields")
def test_distances_count_from_the_plane_in_focus() -> None:
    light = replace(base_scene().light, count_per_1000_um2=4.0)
    field = make_field(changed("spherical", 0.3).light, "beads", [2.0], 9_762_001)
    sharp = {z: float(image.std()) for z, image in field.photons.items()}
    assert set(sharp) == {-2.0, 0.0, 2.0}
    assert sharp[0.0] > max(sharp[-2.0], sharp[2.0])
    scene = Scene(light, distances_um=(2.0,))
    model = load_model("air20x-beads")
    noise = torch.Generator().manual_seed(1)
    field = make_field(light, "beads", [2.0], 9_762_001)
    scored = summary([s for _, s in scores_of(field, scene, model, noise, told=False)])
    assert scored.found > 0.9
    assert scored.relative_fwhm == pytest.approx(1.1, abs=0.2)
    assert scored.after < 0.7 * scored.before


def test_what_is_trusted() -> None:
    widths = tuple((0.6, 0.5) for _ in range(3))
    score = Score(1.0, 0.4, 0.5, 0.8, 0.1, 0.05, FoundBeads(10, 9, widths))
    good = summary([score])
    assert good.gap_closed == pytest.approx(0.6)
    assert good.honesty == pytest.approx(2)
    assert is_trusted("beads", good)
    assert is_trusted("nuclei", good)
    assert not is_trusted("beads", summary([replace(score, beads=FoundBeads(10, 8, widths))]))
    wide = FoundBeads(10, 10, tuple((0.7, 0.5) for _ in range(3)))
    assert not is_trusted("beads", summary([replace(score, beads=wide)]))
    assert not is_trusted("nuclei", summary([replace(score, correlation_after=0.7)]))
