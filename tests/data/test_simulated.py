"""Streams of simulated pairs: functions of their number, disjoint, and true to their labels."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch.utils.data import DataLoader

from fluofocus.data.simulated import SimulatedPairs, SimulatedSource, SimulationConfig
from fluofocus.data.simulated_stacks import SimulatedStackPairs, StackSimulationConfig
from fluofocus.errors import FluoFocusError
from fluofocus.optics.description import NOLL_INDICES, PARAMETERS, turned_parameters
from fluofocus.optics.double_helix import design_double_helix
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.prepare.turns import turned

HELIX = Microscope(
    numerical_aperture=0.8,
    emission_wavelength_nm=600,
    excitation_wavelength_nm=560,
    pixel_size_um=0.15,
)
SMALL: dict[str, Any] = {
    "phantoms": [{"phantom": "beads", "parameters": {"count_per_1000_um2": 30}}],
    "crop_px": 32,
    "defocus_um": 2.0,
    "depth_um": 2.0,
    "targets_per_image": 2,
    "planes_per_specimen": 6,
    "specimens_in_memory": 3,
    "images_per_specimen": 2,
    "microscopes_in_memory": 2,
    "specimens_per_microscope": 4,
}


def _stream(**options: Any) -> SimulatedPairs:
    config = SimulationConfig.model_validate(SMALL)
    options = {"batch_size": 2, "seed": 4} | options
    return SimulatedPairs(preset("olympus-20x-0.75"), config, **options)


def _batches(pairs: Any, count: int) -> list[dict[str, torch.Tensor]]:
    return list(itertools.islice(pairs, count))


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def test_shapes_and_types() -> None:
    (batch,) = _batches(_stream(), 1)
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "image": (2, 1, 32, 32),
        "target": (2, 2, 32, 32),
        "dpm_um": (2, 1, 2),
        "optics": (2, PARAMETERS),
    }
    assert all(value.dtype == torch.float32 for value in batch.values())
    assert float(batch["dpm_um"].abs().max()) <= 2.0


def test_a_batch_is_a_function_of_its_number() -> None:
    whole = _batches(_stream(), 6)
    late = _batches(_stream(start_batch=4), 2)
    assert all(_equal(a, b) for a, b in zip(whole[4:], late, strict=True))
    assert not _equal(whole[0], whole[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    loader = DataLoader(_stream(start_batch=1), batch_size=None, num_workers=workers)
    expected = _batches(_stream(start_batch=1), 4)
    assert all(_equal(a, b) for a, b in zip(expected, _batches(loader, 4), strict=True))


def test_streams_and_seeds_are_disjoint() -> None:
    streams = [
        _stream(stream=0, streams=2),
        _stream(stream=1, streams=2),
        _stream(seed=5, stream=0, streams=2),
    ]
    images = [
        image for stream in streams for batch in _batches(stream, 2) for image in batch["image"]
    ]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(images, 2))


def test_a_target_at_no_distance_is_the_input_without_noise() -> None:
    config = SimulationConfig.model_validate(SMALL | {"peak_photons": (2e4, 2e4)})
    source = SimulatedSource(preset("olympus-20x-0.75"), config, seed=0)
    found = 0
    for number in range(40):
        pair = source.pair(number)
        for distance, target in zip(pair["dpm_um"][0].tolist(), pair["target"], strict=True):
            if distance == 0:
                found += 1
                correlation = torch.corrcoef(torch.stack([pair["image"].ravel(), target.ravel()]))
                assert correlation[0, 1] > 0.98
    assert found > 0


def test_turning_turns_input_and_target_alike() -> None:
    turning, straight = (
        SimulatedSource(
            preset("olympus-20x-0.75"),
            SimulationConfig.model_validate(SMALL | {"flips_and_rotations": flips}),
            seed=0,
        )
        for flips in (True, False)
    )
    ways = set()
    for number in range(12):
        one, other = turning.pair(number), straight.pair(number)
        matching = [
            way
            for way in itertools.product(range(4), (False, True))
            if _equal(one, _turned(other, *way))
        ]
        assert len(matching) == 1
        ways.update(matching)
    assert len(ways) > 3


def _turned(pair: dict[str, torch.Tensor], *way: Any) -> dict[str, torch.Tensor]:
    images = {key: turned(pair[key], *way) for key in ("image", "target")}
    return pair | images | {"optics": turned_parameters(pair["optics"], *way)}


def test_several_inputs_are_different_planes_in_reach_of_the_targets() -> None:
    config = SimulationConfig.model_validate(SMALL | {"planes_per_specimen": 12})
    source = SimulatedSource(preset("olympus-20x-0.75"), config, seed=0)
    for number in range(10):
        pair = source.pair(number, 3)
        assert pair["image"].shape == (3, 32, 32)
        assert pair["dpm_um"].shape == (3, 2)
        assert float(pair["dpm_um"].abs().max()) <= 2.0
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(pair["image"], 2))


def test_batches_have_one_or_several_inputs() -> None:
    config = SimulationConfig.model_validate(SMALL | {"input_planes": 3})
    pairs = SimulatedPairs(preset("olympus-20x-0.75"), config, batch_size=1, seed=4)
    counts = [batch["image"].shape[1] for batch in _batches(pairs, 24)]
    assert set(counts) == {1, 2, 3}
    assert 10 <= counts.count(1) <= 20


@pytest.mark.parametrize("share", [0.0, 1.0, 0.5])
def test_the_share_of_fields_whose_optics_are_told(share: float) -> None:
    config = SimulationConfig.model_validate(SMALL | {"known_optics_share": share})
    source = SimulatedSource(preset("olympus-20x-0.75"), config, seed=0)
    told = [float(source.pair(number)["optics"][0]) for number in range(12)]
    assert set(told) == ({share} if share in (0, 1) else {0.0, 1.0})


def test_told_optics_may_be_wider_than_those_to_be_guessed() -> None:
    optics = {"spherical_rms_waves": [-0.02, 0.02]}
    drawn = {"known_optics_share": 0.5, "wider_known_optics": True, "optics": optics}
    config = SimulationConfig.model_validate(SMALL | drawn)
    assert config.optics.widened().spherical_rms_waves == pytest.approx((-0.06, 0.06))
    source = SimulatedSource(preset("olympus-20x-0.75"), config, seed=0)
    every = [source._draw_optics(number) for number in range(24)]
    place = 4 + NOLL_INDICES.index(11)
    spread = {
        share: torch.stack([o.parameters[place] for o in every if o.told_share == share]).std()
        for share in (0.0, 1.0)
    }
    assert spread[1.0] > 1.5 * spread[0.0]


def test_images_without_signal_are_reported() -> None:
    dark = SMALL | {"peak_photons": (1e-9, 1e-9), "background_photons": (1e-9, 1e-9)}
    quiet = preset("olympus-20x-0.75")
    camera = quiet.camera.model_copy(update={"read_noise_electrons": 0.0})
    source = SimulatedSource(
        quiet.model_copy(update={"camera": camera}), SimulationConfig.model_validate(dark), seed=0
    )
    with pytest.raises(FluoFocusError, match="raise peak_photons"):
        source.pair(0)


def test_no_microscope_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = SimulatedSource._draw_optics

    def noted(self: SimulatedSource, number: int) -> Any:
        drawn.append(number)
        return draw(self, number)

    monkeypatch.setattr(SimulatedSource, "_draw_optics", noted)
    config = SimulationConfig.model_validate(SMALL | {"microscopes_in_memory": 1})
    source = SimulatedSource(preset("olympus-20x-0.75"), config, seed=5)
    for number in range(60):  # windows of three specimens pass from microscope to microscope
        source.pair(number)
    assert len(drawn) == len(set(drawn)) >= 7


def test_confocal_targets_show_less_of_what_is_out_of_focus() -> None:
    microscope = preset("leica-63x-1.4-oil")
    config = {
        "phantoms": [{"phantom": "filaments", "parameters": {"thickness_um": 3.0}}],
        "depth_um": 2.0,
        "defocus_um": 2.0,
        "z_step_um": (0.25, 0.25),
        "crop_px": 48,
        "planes_per_specimen": 6,
        "specimens_in_memory": 2,
        "microscopes_in_memory": 1,
        "flips_and_rotations": False,
    }
    haze = {}
    inputs = []
    for modality in ("widefield", "confocal"):
        simulation = SimulationConfig.model_validate({**config, "target_modality": modality})
        source = SimulatedPairs(microscope, simulation, batch_size=1, seed=0).source(0)
        pairs = [source.pair(number) for number in range(4)]
        targets = torch.stack([pair["target"] for pair in pairs]).flatten(1)
        bright = targets.amax(dim=1)
        haze[modality] = (targets - targets.amin(dim=1)[:, None]).mean(dim=1) / bright
        inputs.append(torch.stack([pair["image"] for pair in pairs]))
    torch.testing.assert_close(*inputs)
    assert (haze["confocal"] < 0.8 * haze["widefield"]).all()


def test_a_mask_is_in_the_path_of_the_inputs_only(tmp_path: Path) -> None:
    design_double_helix(HELIX, 2.0, kind="rings", refinement_steps=0).save(tmp_path / "m.npz")
    masked = HELIX.model_copy(update={"pupil_mask": tmp_path / "m.npz"})
    config = SimulationConfig.model_validate(
        {
            "phantoms": [{"phantom": "beads", "parameters": {"surface": "plane"}}],
            "depth_um": 1.0,
            "defocus_um": 2.0,
            "z_step_um": (0.5, 0.5),
            "crop_px": 64,
            "planes_per_specimen": 5,
            "sharp_share": 0.0,
            "specimens_in_memory": 1,
            "microscopes_in_memory": 1,
            "flips_and_rotations": False,
            "target_modality": "confocal",
        }
    )
    with_mask, without = (
        SimulatedPairs(m, config, batch_size=1, seed=0).source(0).pair(0) for m in (masked, HELIX)
    )
    for what, alike in (("image", False), ("refocused", False), ("target", True)):
        r = torch.corrcoef(torch.stack([p[what].flatten() for p in (with_mask, without)]))[0, 1]
        assert (float(r) > 0.999) == alike, what
    assert with_mask["refocused"].shape == with_mask["target"].shape


@pytest.mark.parametrize(
    ("pairs", "kind"),
    [(SimulatedPairs, SimulationConfig), (SimulatedStackPairs, StackSimulationConfig)],
)
def test_apertures_that_no_objective_has_are_refused_at_once(pairs: Any, kind: Any) -> None:
    microscope = preset("olympus-20x-0.75")
    beads = {"phantoms": SMALL["phantoms"]}
    optics = {"relative_numerical_aperture": [1.0, 1.4]}
    with pytest.raises(FluoFocusError, match=r"immersion_index 1: stay below 1\.33\."):
        pairs(microscope, kind.model_validate(beads | {"optics": optics}), batch_size=1, seed=1)
    optics = {"relative_numerical_aperture": [1.0, 1.33]}
    pairs(microscope, kind.model_validate(beads | {"optics": optics}), batch_size=1, seed=1)


def test_confocal_targets_need_an_excitation_wavelength() -> None:
    microscope = preset("olympus-20x-0.75").model_copy(update={"excitation_wavelength_nm": None})
    config = SimulationConfig.model_validate(
        {"phantoms": [{"phantom": "beads"}], "target_modality": "confocal"}
    )
    with pytest.raises(FluoFocusError, match="excitation_wavelength_nm"):
        SimulatedPairs(microscope, config, batch_size=1, seed=0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("peak_photons", [20000, 300], "runs from low to high, not from 20000 to 300"),
        ("peak_photons", [300, math.inf], "finite"),
        ("background_photons", [0, 10], "greater than 0"),
        ("z_step_um", [0, 0], "greater than 0"),
        ("z_step_um", [0.6, 0.4], "from low to high"),
        ("depth_um", math.inf, "finite"),
        ("defocus_um", math.inf, "finite"),
    ],
)
@pytest.mark.parametrize("kind", [SimulationConfig, StackSimulationConfig])
def test_impossible_ranges_are_refused(
    kind: type[BaseModel], field: str, value: Any, message: str
) -> None:
    if kind is StackSimulationConfig and field not in ("peak_photons", "background_photons"):
        return
    with pytest.raises(ValidationError, match=rf"(?s){field}.*{message}"):
        kind.model_validate({"phantoms": SMALL["phantoms"], field: value})


@pytest.mark.parametrize("changes", [{"sharp_share": 1.0}, {"planes_per_specimen": 2}])
def test_one_plane_is_left_for_the_input_where_all_are_sharp(changes: dict[str, Any]) -> None:
    config = SimulationConfig.model_validate(SMALL | {"sharp_share": 0.8} | changes)
    pair = SimulatedSource(preset("olympus-20x-0.75"), config, seed=0).pair(0)
    assert pair["target"].shape == (2, 32, 32)
