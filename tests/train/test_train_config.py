"""Training configurations: what they accept, and the one made for a microscope."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fluofocus.data.simulated import SimulatedSource
from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.models import build_network
from fluofocus.models.bundle import load_model
from fluofocus.optics.microscope import preset, preset_names, save_microscope
from fluofocus.optics.pupil import spherical_rms_waves
from fluofocus.train.config import load_train_config
from fluofocus.train.defaults import default_train_config
from fluofocus.train.first_weights import load_first_weights

SIMULATION = {"phantoms": [{"phantom": "beads"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{name: a, microscope: x", "is not valid YAML"),
        (yaml.safe_dump(["a list"]), "must be a YAML mapping"),
        (yaml.safe_dump({"name": "a", "microscope": "m"}), "either simulation or prepared"),
        (
            yaml.safe_dump(
                {"name": "a", "microscope": "m", "simulation": SIMULATION, "training": {"lr": 1}}
            ),
            r"training\.regression\.lr: Extra inputs",
        ),
        (
            yaml.safe_dump(
                {
                    "name": "a",
                    "microscope": "m",
                    "simulation": SIMULATION,
                    "training": {"scheme": "x"},
                }
            ),
            "training: scheme must be one of regression, deep_z",
        ),
        (
            yaml.safe_dump({"name": "../a", "microscope": "m", "simulation": SIMULATION}),
            "name: String should match",
        ),
        (
            yaml.safe_dump({"name": "a", "microscope": "m.yaml", "simulation": SIMULATION}),
            "Cannot read microscope file",
        ),
    ],
)
def test_wrong_files_are_reported(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FluoFocusError, match=message):
        load_train_config(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2**33}, "seed: Input should be less than or equal to 4294967295"),
        (
            {"simulation": SIMULATION | {"defocus_um": math.inf}},
            r"simulation\.defocus_um: .*finite",
        ),
        ({"start_share": 0.5}, "start_share is of the weights of start_from: name them"),
        (
            {"simulation": None, "prepared": {"dataset": "a.zarr", "defocus_um": math.inf}},
            r"prepared\.defocus_um must be finite",
        ),
        (
            {
                "simulation": None,
                "simulated_stacks": SIMULATION,
                "architecture": "wfcon",
                "training": {"scheme": "wfcon", "gradient_clip": 1.0},
                "precision": "16-mixed",
            },
            "clips gradients by itself, which 16-mixed scales: use precision bf16-mixed",
        ),
    ],
)
def test_impossible_values_are_refused_with_their_names(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    content = {"name": "a", "microscope": "olympus-20x-0.75", "simulation": SIMULATION} | changes
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(FluoFocusError, match=message):
        load_train_config(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FluoFocusError, match="Cannot read training file"):
        load_train_config(tmp_path / "train.yaml")


def test_a_section_without_scheme_is_regression(tmp_path: Path) -> None:
    content = {"name": "a", "microscope": preset_names()[0], "simulation": SIMULATION}
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(content | {"training": {"steps": 5}}), encoding="utf-8")
    config, _ = load_train_config(path)
    assert (config.training.scheme, config.training.steps) == ("regression", 5)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_training_that_can_be_simulated(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"my {name}.yaml"
    save_microscope(preset(name), path)
    config, microscope = load_train_config(path)
    assert config.name == f"my-{name}"
    assert microscope == preset(name)
    network = build_network(config.architecture, config.architecture_config)
    assert network.config.distance_range_um == config.simulation.defocus_um
    if config.start_from is not None:
        load_first_weights(network, config.start_from)
    wavelength_um = microscope.emission_wavelength_nm / 1000
    depth_of_field_um = (
        microscope.immersion_index * wavelength_um / microscope.numerical_aperture**2
    )
    assert config.simulation.defocus_um == pytest.approx(10 * depth_of_field_um, abs=0.5)
    for seed in range(20):
        config.simulation.optics.draw(microscope, torch.Generator().manual_seed(seed))


def test_images_through_a_mask_are_not_turned_by_default(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "masked.yaml"
    save_microscope(preset("leica-63x-1.4-oil-double-helix"), path)
    config, _ = load_train_config(path)
    assert not config.simulation.flips_and_rotations
    assert config.start_from is None  # no shipped model has seen such images, and is a swift
    assert not recwarn.list  # of two sides of focus that look alike


def test_the_default_training_yields_pairs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    save_microscope(preset("leica-40x-1.3-oil"), path)
    config, microscope = load_train_config(path)
    changes = {"crop_px": 64, "planes_per_specimen": 4, "specimens_in_memory": 1}
    simulation = config.simulation.model_copy(update=changes | {"microscopes_in_memory": 1})
    pair = SimulatedSource(microscope, simulation, seed=0).pair(0)
    assert pair["target"].shape == (4, 64, 64)
    assert all(value.isfinite().all() for value in pair.values())


def test_the_name_can_be_given(tmp_path: Path) -> None:
    save_microscope(preset("leica-40x-1.3-oil"), tmp_path / "mine.yaml")
    assert default_train_config(tmp_path / "mine.yaml", "worms")["name"] == "worms"


@pytest.mark.parametrize("waves", [0.12, -0.12])
def test_the_default_training_keeps_the_sign_of_spherical_aberration(
    waves: float, tmp_path: Path
) -> None:
    objective = preset("olympus-20x-0.75").model_copy(update={"zernike_rms_waves": {11: waves}})
    save_microscope(objective, tmp_path / "mine.yaml")
    content = default_train_config(tmp_path / "mine.yaml")
    low, high = content["simulation"]["optics"]["spherical_rms_waves"]
    assert (waves + low) * waves > 0
    assert (waves + high) * waves > 0
    assert content["simulation"]["flips_and_rotations"]
    assert ("positive" if waves > 0 else "negative") in " ".join(content["limits"])
    first = load_model(content["start_from"]).card.microscope
    assert spherical_rms_waves(first) * waves > 0


def test_the_default_training_keeps_the_direction_of_coma(tmp_path: Path) -> None:
    aberrated = preset("olympus-20x-0.75").model_copy(update={"zernike_rms_waves": {8: 0.05}})
    save_microscope(aberrated, tmp_path / "mine.yaml")
    content = default_train_config(tmp_path / "mine.yaml")
    assert not content["simulation"]["flips_and_rotations"]


def test_an_objective_without_aberration_is_noted(tmp_path: Path) -> None:
    changes = {"zernike_rms_waves": {}, "emitter_depth_um": 0.0}
    save_microscope(preset("olympus-20x-0.75").model_copy(update=changes), tmp_path / "mine.yaml")
    with pytest.warns(FluoFocusWarning, match="look alike"):
        default_train_config(tmp_path / "mine.yaml")
