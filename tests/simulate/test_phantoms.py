"""Specimens: reproducible, inside the field, and as their parameters say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import preset, save_microscope
from fluofocus.refocus import parse_surface
from fluofocus.simulate.draws import OpticsDraws, PhantomDraw, make_phantom
from fluofocus.simulate.phantoms import PHANTOMS, Beads, Nuclei, Worm
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.train.defaults import default_train_config

PIXEL_UM = 0.5
SHAPE = (96, 128)
GRID = SpecimenGrid(SHAPE, PIXEL_UM, tuple(np.arange(-10, 10.1, 0.25).tolist()), oversampling=1)


def draw(name: str, seed: int = 0) -> Specimen:
    return PHANTOMS[name]().draw(GRID, torch.Generator().manual_seed(seed))


def light(specimen: Specimen) -> list[float]:
    """Photons by slab, and of each ball."""
    slabs = [] if specimen.volume is None else specimen.volume.sum(dim=(1, 2)).tolist()
    return [*slabs, *specimen.ball_photons.tolist()]


@pytest.mark.parametrize("name", sorted(PHANTOMS))
def test_the_seed_decides_the_specimen(name: str) -> None:
    first, again, other = draw(name, 1), draw(name, 1), draw(name, 2)
    assert sum(light(first)) > 0
    assert light(first) == light(again)
    assert first.truth == again.truth
    assert light(first) != light(other)


def test_beads_lie_on_the_surface_that_corrects_for_it() -> None:
    for parameters, surface in (
        ({"surface": "tilt", "tilt_deg": 3.0}, "tilt:3deg"),
        ({"surface": "cylinder", "cylinder_diameter_mm": 0.5}, "cylinder:0.5mm"),
        ({"surface": "plane", "plane_depth_um": -2.0}, "plane:-2um"),
    ):
        beads = Beads(count_per_1000_um2=50, **parameters)  # type: ignore[arg-type]
        specimen = beads.draw(GRID, torch.Generator().manual_seed(0))
        dpm = np.broadcast_to(parse_surface(surface).dpm(SHAPE, PIXEL_UM), SHAPE)
        for bead in specimen.truth:
            y = min(round(bead["y_um"] / PIXEL_UM), SHAPE[0] - 1)
            assert bead["z_um"] == pytest.approx(float(dpm[y, 0]), abs=0.17)


def test_beads_are_as_many_and_as_large_as_asked_for() -> None:
    beads = Beads(count_per_1000_um2=10, diameter_um=0.05)
    specimen = beads.draw(GRID, torch.Generator().manual_seed(0))
    assert len(specimen.truth) == round(10 * 48 * 64 / 1000)
    assert [bead["diameter_um"] for bead in specimen.truth] == pytest.approx([0.05] * 31)


def test_nuclei_have_the_sizes_asked_for_and_lie_in_their_slab() -> None:
    nuclei = Nuclei(diameter_um=2.8, thickness_um=8, clustering=0, count_per_1000_um2=60)
    truth = nuclei.draw(GRID, torch.Generator().manual_seed(0)).truth
    assert np.median([n["diameter_um"] for n in truth]) == pytest.approx(2.8, rel=0.1)
    assert max(abs(n["z_um"]) for n in truth) <= 4.0


def test_nuclei_can_be_flat_and_of_coarse_texture() -> None:
    deep = replace(GRID, depths_um=tuple(0.5 * slab for slab in range(-16, 17)))
    shape = {"diameter_um": 8, "thickness_um": 0.1, "count_per_1000_um2": 1, "clustering": 0}

    def volume(**parameters: float) -> torch.Tensor:
        drawn = Nuclei(**shape, **parameters).draw(deep, torch.Generator().manual_seed(0))
        assert drawn.volume is not None
        return drawn.volume

    heights = [
        int((volume(flatness=flatness).amax(dim=(1, 2)) > 0).sum()) for flatness in (1.0, 0.4)
    ]
    assert heights[1] < 0.6 * heights[0]
    fine, coarse = (volume(texture=0.5, texture_um=size)[16] for size in (0.3, 2.0))
    for grains, least, most in ((fine, 0.0, 0.75), (coarse, 0.85, 1.0)):
        inside = (grains > 0) & (grains.roll(2, dims=1) > 0)
        pair = torch.stack([grains[inside], grains.roll(2, dims=1)[inside]])
        assert least < float(torch.corrcoef(pair)[0, 1]) < most


def test_the_worm_has_its_neurons_where_they_belong_and_in_the_same_order() -> None:
    worms = [Worm().draw(GRID, torch.Generator().manual_seed(seed)).truth for seed in (0, 1)]
    assert len(worms[0]) == 302
    assert [n["id"] for n in worms[0]] == [n["id"] for n in worms[1]]
    assert [n["group"] for n in worms[0]] == [n["group"] for n in worms[1]]
    head = [n["x_um"] for n in worms[0] if n["group"] == "head"]
    assert len(head) / 302 == pytest.approx(2 / 3, abs=0.01)
    assert max(head) < 0.25 * SHAPE[1] * PIXEL_UM


def test_unknown_phantoms_and_parameters_are_refused() -> None:
    with pytest.raises(FluoFocusError, match="beads"):
        make_phantom("pearls", {})
    with pytest.raises(FluoFocusError, match="colour"):
        make_phantom("beads", {"colour": 3})
    with pytest.raises(FluoFocusError, match="diameter_um"):
        make_phantom("beads", {"diameter_um": -1})


def test_tissue_can_be_drawn_from_ranges() -> None:
    draw = PhantomDraw(
        phantom="brain_slice",
        parameters={"scattering_length_um": [30, 100], "neurons_per_1e6_um3": [40, 200]},
    )
    lengths = {
        draw.draw(torch.Generator().manual_seed(seed)).tissue.scattering_length_um  # type: ignore
        for seed in range(5)
    }
    assert len(lengths) == 5
    assert all(30 <= length <= 100 for length in lengths)


def test_whole_numbers_are_drawn_from_ranges() -> None:
    draw = PhantomDraw(phantom="worm", parameters={"neurons": [5, 50]})
    counts = {draw.draw(torch.Generator().manual_seed(seed)).neurons for seed in range(8)}
    assert len(counts) > 3
    assert all(5 <= count <= 50 for count in counts)


def test_numbers_that_yaml_reads_as_words_are_a_range() -> None:
    parameters = yaml.safe_load("{diameter_um: [1e-1, 5e-1]}")
    assert parameters == {"diameter_um": ["1e-1", "5e-1"]}
    words, numbers = (
        PhantomDraw(phantom="beads", parameters=each)
        for each in (parameters, {"diameter_um": [0.1, 0.5]})
    )
    for seed in range(4):
        drawn = words.draw(torch.Generator().manual_seed(seed))
        assert drawn == numbers.draw(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("phantom", "parameters"),
    [
        ("nuclei", {"texture": [0.2, 1.5]}),
        ("nuclei", {"texture": [-0.1, 0.5], "diameter_um": [1, 2]}),
        ("worm", {"neurons": [1, 6000]}),
        ("beads", {"surface": ["plane", "volum"]}),
        ("beads", {"surface": ["plane", "tilt", "volum", "volume"]}),
        ("beads", {"diameter_um": []}),
        ("beads", {"diameter_um": [None, None]}),
        ("beads", {"diameter_um": [0.1, "large"]}),
    ],
)
def test_ranges_of_which_some_draws_fail_are_refused(
    phantom: str, parameters: dict[str, Any]
) -> None:
    name = next(iter(parameters))
    with pytest.raises(FluoFocusError, match=f"{phantom!r} does not take that: {name}"):
        PhantomDraw.model_validate({"phantom": phantom, "parameters": parameters})


def test_optics_stay_possible() -> None:
    water = preset("olympus-20x-0.75").model_copy(update={"coverslip_thickness_um": 0.0})
    optics = OpticsDraws(coverslip_error_um=(-10.0, 10.0))
    thick = [
        optics.draw(water, torch.Generator().manual_seed(seed)).coverslip_thickness_um
        for seed in range(8)
    ]
    assert min(thick) == 0
    assert max(thick) > 0
    for impossible in ({"sample_index": [1, 3]}, {"emitter_depth_um": [-1, 3]}):
        with pytest.raises(ValidationError):
            OpticsDraws.model_validate(impossible)


def test_without_a_coverslip_the_default_training_has_no_error_of_it(tmp_path: Path) -> None:
    dipping = preset("olympus-20x-0.75").model_copy(update={"coverslip_thickness_um": 0.0})
    for name, described in (("dipping", dipping), ("dry", preset("olympus-20x-0.75"))):
        save_microscope(described, tmp_path / f"{name}.yaml")
        optics = default_train_config(tmp_path / f"{name}.yaml")["simulation"]["optics"]
        assert ("coverslip_error_um" in optics) == (name == "dry")
