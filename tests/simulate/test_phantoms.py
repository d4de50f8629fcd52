"""Specimens: reproducible, inside the field, and as their parameters say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.refocus import parse_surface
from fluofocus.simulate.draws import PhantomDraw, make_phantom
from fluofocus.simulate.phantoms import PHANTOMS, Beads, Nuclei, Worm
from fluofocus.simulate.specimen import Specimen, SpecimenGrid

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
