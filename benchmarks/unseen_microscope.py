"""One model for many microscopes, or one for each: nuclei through microscopes never trained on.

    python benchmarks/unseen_microscope.py --output docs/results/unseen-microscope.md

Trains a specialist, which starts from the model for many microscopes, on simulated nuclei
through one microscope and nothing else, and compares what it closes of the gap with what the
model for many does, told that microscope's calibration and not. No training draws such a
microscope where optics have to be guessed: its aberrations are beyond those ranges, though
within the wider ones of optics that are told. Its aperture is beyond both. The second table has
microscopes whose point spread functions psfmodels computed (Aguet et al. 2009;
installed by the ``test`` extra), aberrated by coverslip and sample alone. A training that was
stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psfmodels
import torch
from held_out_fields import NUCLEI_DISTANCES_UM, Field, nuclei_pairs, optics
from pages import publish
from torch import Tensor

import fluofocus
from fluofocus.measure.image import gap_closed
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope, preset, save_microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.simulate.draws import OpticsDraws, uniform
from fluofocus.simulate.phantoms import Nuclei
from fluofocus.train.config import TrainConfig, load_train_config
from fluofocus.train.run import run_training

SEED = 9_300_000
NAME = "nuclei-one-microscope"
ONE_MICROSCOPE = {
    "optics": OpticsDraws().model_dump(),
    "known_optics_share": 0.0,  # always the same, so there is nothing to tell
    "wider_known_optics": False,
    "input_planes": 1,
}
PSFMODELS_COVERSLIP_ERROR_UM = (20.0, 40.0)
PSFMODELS_DEPTH_UM = (0.0, 15.0)


def main() -> None:
    """Train the specialist, measure, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="air20x-nuclei")
    parser.add_argument("--config", default="configs/air20x-nuclei.yaml", help="training draws")
    parser.add_argument("--specialist", default="configs/air20x-nuclei.yaml")
    parser.add_argument("--steps", type=int, default=4000, help="of the specialist's training")
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--peak-photons", type=float, default=2000.0)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    unseen = next(iter(optics(arguments.config, "outside", 1, SEED)))
    unseen = unseen.model_copy(update={"is_calibrated": True})
    specialist = load_model(str(train_specialist(unseen, arguments)))
    model = load_model(arguments.model)
    rows = {
        "trained for this microscope alone": gaps(specialist, [unseen], False, arguments),
        "one for many, told": gaps(model, [unseen], True, arguments),
        "one for many, not told": gaps(model, [unseen], False, arguments),
    }
    others = list(psfmodels_microscopes(arguments))
    reference = {
        f"one for many, {'told' if told else 'not told'}": gaps(
            model, others, told, arguments, psf_of_psfmodels
        )
        for told in (True, False)
    }
    text = "\n".join(
        [
            "# Microscopes never trained on",
            "",
            f"Written by `{shlex.join(['python', *sys.argv])}`.",
            f"Share of the gap to the true plane that is closed, nuclei, {arguments.fields} fields "
            f"for each row, {arguments.peak_photons:g} photons, seeds from {SEED}.",
            "",
            "## One microscope more aberrated than those that have to be guessed",
            "",
            *table(rows),
            "",
            "## Point spread functions of psfmodels",
            "",
            *table(reference),
            "",
        ]
    )
    publish(text, arguments.output)


def train_specialist(microscope: Microscope, arguments: argparse.Namespace) -> Path:
    """Train for one microscope, or go on with it; return the model's file."""
    folder = Path("runs") / NAME
    made = folder / f"{NAME}.safetensors"
    if made.exists():
        return made
    config, _ = load_train_config(arguments.specialist)
    assert config.simulation is not None
    place = Path("runs") / f"{NAME}.yaml"
    place.parent.mkdir(exist_ok=True)
    save_microscope(microscope, place)
    content = config.model_dump() | {
        "name": NAME,
        "microscope": str(place),
        "start_from": arguments.model,
        "simulation": config.simulation.model_dump() | ONE_MICROSCOPE,
        "training": config.training.model_dump() | {"steps": arguments.steps},
    }
    specialist = TrainConfig.model_validate(content)
    run_training(specialist, microscope, resume=(folder / "checkpoints" / "last.ckpt").exists())
    return made


def gaps(
    model: Model,
    microscopes: Sequence[Microscope],
    told: bool,
    arguments: argparse.Namespace,
    psf: Callable[..., Tensor] = point_spread_function,
) -> list[float]:
    """Return the share of the gap closed at each distance."""
    scores: dict[float, list[tuple[float, float]]] = {d: [] for d in NUCLEI_DISTANCES_UM}
    for index in range(arguments.fields):
        microscope = microscopes[index % len(microscopes)]
        field = Field(
            microscope,
            Nuclei(),
            arguments.side,
            torch.arange(-20, 21) * 0.5,
            torch.arange(-16, 17) * 0.5,
            SEED + 10 * (index + 1),
            arguments.peak_photons,
            psf=psf,
        )
        for distance, pair in nuclei_pairs(field):
            output = fluofocus.refocus(
                pair.image,
                model,
                z_um=[pair.distance_um],
                pixel_size_um=field.pixel_um,
                microscope=microscope if told else None,
            )
            plane = np.asarray(output).reshape(pair.image.shape)
            scores[distance].append(pair.correlations(plane))
    means = [np.mean(scores[distance], axis=0) for distance in NUCLEI_DISTANCES_UM]
    return [float(gap_closed(r_out, r_in)) for r_in, r_out in means]


def psfmodels_microscopes(arguments: argparse.Namespace) -> Iterable[Microscope]:
    """Draw microscopes that only coverslip and sample aberrate."""
    generator = torch.Generator().manual_seed(SEED + 1)
    for _ in range(arguments.fields):
        yield preset("olympus-20x-0.75").model_copy(
            update={
                "zernike_rms_waves": {},
                "coverslip_thickness_um": 170.0 + uniform(PSFMODELS_COVERSLIP_ERROR_UM, generator),
                "emitter_depth_um": uniform(PSFMODELS_DEPTH_UM, generator),
                "is_calibrated": True,
            }
        )


def psf_of_psfmodels(
    microscope: Microscope,
    defocus_um: Tensor,
    shape_yx: tuple[int, int],
    *,
    oversampling: int = 1,
    device: torch.device | str | None = None,
) -> Tensor:
    """Compute with psfmodels; defocus is counted from its brightest plane."""
    side = min(shape_yx) - 1 + min(shape_yx) % 2  # psfmodels wants it odd
    z_um = defocus_um.numpy().astype(float) + brightest_um(microscope)
    fine_um = microscope.pixel_size_um / oversampling
    planes = psfmodels.make_psf(
        list(z_um), side, dxy=fine_um, oversample_factor=1, **layers(microscope)
    )
    psf = torch.zeros((len(z_um), *shape_yx), dtype=torch.float64)
    top, left = shape_yx[0] // 2 - side // 2, shape_yx[1] // 2 - side // 2
    psf[:, top : top + side, left : left + side] = torch.from_numpy(np.array(planes))
    frequencies = (torch.fft.fftfreq(n, fine_um, dtype=torch.float64) for n in shape_yx)
    over_y, over_x = (torch.sinc(f * microscope.pixel_size_um) for f in frequencies)
    pixels: Tensor = torch.fft.ifft2(torch.fft.fft2(psf) * over_y[:, None] * over_x).real
    total = pixels.sum(dim=(1, 2)).max() / oversampling**2
    return (pixels / total).float().to(device)


@functools.cache
def _brightest_um(content: str) -> float:
    lens = Microscope.model_validate_json(content)
    z_um = np.arange(-200, 201) * 0.25
    peaks = psfmodels.make_psf(list(z_um), 5, dxy=0.1, oversample_factor=1, **layers(lens))
    return float(z_um[np.asarray(peaks).max(axis=(1, 2)).argmax()])


def brightest_um(microscope: Microscope) -> float:
    """Return where on psfmodels' axis the image of a point is brightest."""
    return _brightest_um(microscope.model_dump_json())


def layers(lens: Microscope) -> dict[str, Any]:
    """Return the microscope in the arguments of psfmodels."""
    return {
        "NA": lens.numerical_aperture,
        "wvl": lens.emission_wavelength_nm / 1000,
        "pz": lens.emitter_depth_um,
        "ns": lens.sample_index,
        "ni": lens.immersion_index,
        "ni0": lens.immersion_index,
        "tg": lens.coverslip_thickness_um,
        "tg0": lens.design_coverslip_thickness_um,
        "ng": lens.coverslip_index,
        "ng0": lens.design_coverslip_index,
        "ti0": lens.design_working_distance_um,
    }


def table(rows: dict[str, list[float]]) -> list[str]:
    """Format as Markdown."""
    heads = [f"{distance:g} µm" for distance in NUCLEI_DISTANCES_UM]
    lines = ["| model | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return lines


if __name__ == "__main__":
    main()
