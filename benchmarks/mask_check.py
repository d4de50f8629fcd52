"""How often images with and without a double-helix mask are taken for each other.

    python benchmarks/mask_check.py --output docs/results/mask-check.md

Each field of beads is imaged with and without the mask at several depths. Brightness, density,
optics and depth are drawn; the check for a model with the mask, and that for one without, judge
all of the images.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pages import publish

from fluofocus.optics.microscope import Microscope, preset
from fluofocus.refocus.mask_check import MASK_ODDS, PAIR_ODDS, mask_log_odds, pair_log_odds
from fluofocus.simulate.camera import record
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.phantoms import Beads
from fluofocus.simulate.specimen import SpecimenGrid
from fluofocus.simulate.stack import simulate_stack

HELIX = preset("leica-63x-1.4-oil-double-helix")
DEFOCUS_UM = (-8.0, 8.0)
"""As the range of a model for it."""

EDGES_UM = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
IMAGES_PER_FIELD = len(EDGES_UM) - 1


@dataclass(frozen=True)
class Judged:
    """One image, and the logarithms of the odds for this mask and for pairs."""

    has_mask: bool
    defocus_um: float
    density: float
    photons: float
    mask_odds: float
    pair_odds: float


def drawn_optics(rng: np.random.Generator) -> Microscope:
    """Return the double-helix microscope with the aberrations that models are trained for."""
    waves = {j: float(0.01 * rng.standard_normal()) for j in range(5, 16)}
    waves[11] = float(rng.uniform(-0.02, 0.02))
    aperture = HELIX.numerical_aperture * rng.uniform(0.985, 1.0)
    return HELIX.model_copy(update={"zernike_rms_waves": waves, "numerical_aperture": aperture})


def judged_field(seed: int, side: int) -> Iterator[Judged]:
    """Image one field at one depth of each interval, on either side, and judge the images."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    density = float(np.exp(rng.uniform(*np.log((8, 60)))))
    beads = Beads(
        surface="plane",
        count_per_1000_um2=density,
        diameter_um=float(rng.uniform(0.04, 0.06)),
        brightness_spread=float(rng.uniform(0.3, 1.2)),
    )
    depths_um = np.array([rng.uniform(*pair) for pair in itertools.pairwise(EDGES_UM)])
    depths_um *= rng.choice([-1, 1], len(depths_um))
    helix = drawn_optics(rng)
    specimen = beads.draw(SpecimenGrid((side, side), HELIX.pixel_size_um, (0.0,)), generator)
    for microscope in (helix, helix.model_copy(update={"pupil_mask": None})):
        planes = torch.tensor(depths_um, dtype=torch.float32)
        for photons, defocus_um in zip(
            ImageFormation(microscope, specimen.grid, planes)(specimen), depths_um, strict=True
        ):
            peak = float(np.exp(rng.uniform(*np.log((100, 5000)))))
            background = float(np.exp(rng.uniform(*np.log((1, 60)))))
            seen = photons * (peak / photons.max()) + background
            image = record(seen, microscope.camera, generator).numpy()
            yield Judged(
                microscope.pupil_mask is not None,
                float(defocus_um),
                density,
                peak,
                mask_log_odds(image, HELIX.pixel_size_um, HELIX, DEFOCUS_UM),
                pair_log_odds(image, HELIX.pixel_size_um, HELIX)[0],
            )


def row(name: str, chosen: list[Judged]) -> str:
    """Return a row of the table."""
    helix = [each for each in chosen if each.has_mask]
    plain = [each for each in chosen if not each.has_mask]
    shares = [
        np.mean([each.mask_odds < MASK_ODDS for each in helix]),
        np.mean([each.mask_odds >= MASK_ODDS for each in plain]),
        np.mean([each.pair_odds > PAIR_ODDS for each in plain]),
        np.mean([each.pair_odds <= PAIR_ODDS for each in helix]),
    ]
    cells = [name, f"{len(helix)} + {len(plain)}", *(f"{share:.1%}" for share in shares)]
    return "| " + " | ".join(cells) + " |"


def bead_rows(judged: list[Judged]) -> list[str]:
    """Return the rows by defocus and, within 3 µm, by brightness and density."""
    near = [each for each in judged if abs(each.defocus_um) <= 3]
    rows = [row("all, within 5 µm", judged), row("within 3 µm", near)]
    for low, high in ((3, 4), (4, 5)):
        rows.append(
            row(f"{low} to {high} µm", [j for j in judged if low < abs(j.defocus_um) <= high])
        )
    for low, high in ((100, 700), (700, 5000)):
        rows.append(
            row(
                f"within 3 µm, {low} to {high} photons",
                [each for each in near if low <= each.photons <= high],
            )
        )
    for low, high in ((8, 20), (20, 60)):
        rows.append(
            row(
                f"within 3 µm, {low} to {high} beads",
                [each for each in near if low <= each.density <= high],
            )
        )
    return rows


def ordinary_rows(images: int, side: int, first_seed: int) -> list[str]:
    """Return how often other structures, without a mask, are taken for pairs."""
    microscope = preset("olympus-20x-0.75")
    rows = []
    for phantom in ("beads", "nuclei", "filaments"):
        odds = []
        for seed in range(first_seed, first_seed + images):
            planes = [float(np.random.default_rng(seed).uniform(-8, 8))]
            stack = simulate_stack(
                microscope, phantom, shape_yx=(side, side), planes_um=planes, seed=seed
            )
            odds.append(pair_log_odds(stack.counts[0], microscope.pixel_size_um, microscope)[0])
        wrong = sum(each > PAIR_ODDS for each in odds)
        rows.append(f"| {phantom} | {images} | {wrong} | {max(odds):.0f} |")
    return rows


def seconds_for(side: int) -> tuple[float, float]:
    """Return the processor time that each check takes."""
    image = np.random.default_rng(0).poisson(100, (side, side))
    times = [time.process_time()]
    mask_log_odds(image, HELIX.pixel_size_um, HELIX, DEFOCUS_UM)
    times.append(time.process_time())
    pair_log_odds(image, HELIX.pixel_size_um, HELIX)
    times.append(time.process_time())
    return times[1] - times[0], times[2] - times[1]


def main() -> None:
    """Judge, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--ordinary", type=int, default=12, help="images of each other structure")
    parser.add_argument("--side", type=int, default=512, help="pixels of a field")
    parser.add_argument("--seed", type=int, default=7000, help="the first of them")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    judged: list[Judged] = []
    for seed in range(options.seed, options.seed + options.fields):
        judged += judged_field(seed, options.side)
        print(f"field {seed}", flush=True)
    with_mask_s, without_s = seconds_for(1024)
    lines = [
        "# Images without their mask",
        "",
        f"Measured by `python benchmarks/mask_check.py` on {options.fields} simulated fields of "
        f"{options.side}x{options.side} pixels, each imaged with and without the mask of "
        f"the preset `leica-63x-1.4-oil-double-helix` at {IMAGES_PER_FIELD} depths; none was "
        "used to choose the check's settings. Drawn are 8 to 60 beads of "
        "40 to 60 nm in 1000 µm², a spread of "
        "brightness of 0.3 to 1.2, 100 to 5000 photons at the image's brightest pixel, 1 to 60 "
        "photons of background, and weak aberrations. Wrong is a warning about an image that suits "
        "the model, missed is none about one that does not. On an image of 1024x1024 pixels the "
        f"check takes {with_mask_s:.2f} s of processor time for a model with the mask, and "
        f"{without_s:.2f} s for one without.",
        "",
        "| defocus | images with + without | model with mask: wrong | missed "
        "| model without: wrong | missed |",
        "|---|---|---|---|---|---|",
        *bead_rows(judged),
        "",
        "Other structures through the preset `olympus-20x-0.75`, up to 8 µm out of focus, given to "
        f"a model without a mask. A warning needs odds whose logarithm is above {PAIR_ODDS:g}.",
        "",
        "| structure | images | wrong warnings | highest logarithm |",
        "|---|---|---|---|",
        *ordinary_rows(options.ordinary, options.side, options.seed),
        "",
    ]
    publish("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
