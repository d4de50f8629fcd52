"""From focus scans of two microscopes to a model, with the commands of the how-to.

    python benchmarks/from_scans.py --output docs/results/from-scans.md

Simulates wide-field and confocal scans of the same microtubules, the confocal ones shifted
sideways and in z as by another stage, each field with optics of its own. Then
``fluofocus prepare`` and ``fluofocus train`` make a model of them, starting from one that only
refocuses, and the first fields of ``fluofocus reproduce deep-z-plus`` score it. A run that was
stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from pages import publish

from fluofocus.io import make_stack, write_stack
from fluofocus.optics.microscope import preset
from fluofocus.reproduce import REPRODUCTIONS, deep_z_plus
from fluofocus.reproduce.reproduction import Request
from fluofocus.simulate.stack import simulate_stack

SEED = 9_950_000
SIDE_PX, MARGIN_PX = 384, 8
PLANES_UM = tuple(round(0.2 * step, 1) for step in range(-11, 12))
KEPT = slice(2, -2)
FIRST_MODEL = "oil63x-microtubules"
TRAINED = "Deep-Z+, from scans"


def main() -> None:
    """Simulate, prepare, train, score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=10, help="scanned by both microscopes")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--held-out", type=int, default=4, help="fields to score on")
    parser.add_argument("--folder", type=Path, default=Path("runs/from-scans"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    scans = [make_scans(arguments.folder, index) for index in range(arguments.fields)]
    model = train(arguments.folder, scans, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        models = {**REPRODUCTIONS["deep-z-plus"].models, TRAINED: str(model)}
        request = Request(Path(folder), models, arguments.held_out)
        table = deep_z_plus.figure_5(request, lambda done, total: None).tables[0]
    lines = [
        "# From scans to a model",
        "",
        f"Written by `{shlex.join(['python', *sys.argv])}`.",
        "",
        f"{arguments.fields} fields of {SIDE_PX} x {SIDE_PX} pixels, scanned by a wide-field and "
        f"by a confocal microscope (seeds from {SEED}), {arguments.steps} steps of training from "
        f"{FIRST_MODEL}. `prepare` aligned, registered and cut them; the two were shifted against "
        "each other by up to 6 pixels and two planes. Scored on the first "
        f"{arguments.held_out} fields of [Deep-Z+](deep-z-plus.md), which were not in training:",
        "",
        "| " + " | ".join(table.header) + " |",
        "|---" * len(table.header) + "|",
        *("| " + " | ".join(row) + " |" for row in table.rows),
        "",
    ]
    publish("\n".join(lines), arguments.output)


def make_scans(folder: Path, index: int) -> tuple[Path, Path]:
    """Write the two scans of one field, the confocal one from a stage that stands elsewhere."""
    paths = folder / "widefield" / f"{index}.ome.tif", folder / "confocal" / f"{index}.ome.tif"
    if all(path.exists() for path in paths):
        return paths
    generator = torch.Generator().manual_seed(SEED + index)
    microscope = deep_z_plus.OPTICS.draw(preset(deep_z_plus.MICROSCOPE), generator)
    shift_z, shift_y, shift_x = (
        int(torch.randint(-most, most + 1, (), generator=generator)) for most in (2, 6, 6)
    )
    side = SIDE_PX + 2 * MARGIN_PX
    for path, modality in zip(paths, ("widefield", "confocal"), strict=True):
        counts = simulate_stack(
            microscope.model_copy(update={"modality": modality}),
            "filaments",
            shape_yx=(side, side),
            planes_um=PLANES_UM,
            seed=SEED + index,
            peak_photons=deep_z_plus.PEAK_PHOTONS,
            background_photons=deep_z_plus.BACKGROUND_PHOTONS,
            phantom_parameters=deep_z_plus.MICROTUBULES,
        ).counts
        z, y, x = (shift_z, shift_y, shift_x) if modality == "confocal" else (0, 0, 0)
        seen = counts[
            KEPT.start + z : len(counts) + KEPT.stop + z,
            MARGIN_PX + y : MARGIN_PX + y + SIDE_PX,
            MARGIN_PX + x : MARGIN_PX + x + SIDE_PX,
        ]
        pixel_um = microscope.pixel_size_um
        path.parent.mkdir(parents=True, exist_ok=True)
        write_stack(path, make_stack(seen, "ZYX", (0.2, pixel_um, pixel_um)))
    return paths


def train(folder: Path, scans: list[tuple[Path, Path]], steps: int) -> Path:
    """Make a model of the scans with the two commands."""
    dataset = folder / "pairs.zarr"
    how = {"region_px": 128, "planes": 17, "registration": "psf"}
    (folder / "prepare.yaml").write_text(yaml.safe_dump(how))
    config = {
        "name": "from-scans",
        "microscope": deep_z_plus.MICROSCOPE,
        "start_from": FIRST_MODEL,
        "architecture_config": {"distance_range_um": 1.6},
        "precision": "bf16-mixed",
        "prepared": {"dataset": str(dataset), "defocus_um": 1.6},
        "training": {"steps": steps, "learning_rate": 1e-3, "warmup_steps": 100},
        "output_dir": str(folder),
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    inputs, targets = ([str(pair[which]) for pair in scans] for which in (0, 1))
    where = ["-c", str(folder / "prepare.yaml"), "-o", str(dataset)]
    if not dataset.exists():
        fluofocus("prepare", *inputs, *(x for path in targets for x in ("--target", path)), *where)
    fluofocus("train", str(folder / "train.yaml"), "--resume")
    return folder / "from-scans" / "from-scans.safetensors"


def fluofocus(*arguments: str) -> None:
    """Run a command; it says what it does."""
    subprocess.run([sys.executable, "-m", "fluofocus", *arguments], check=True)


if __name__ == "__main__":
    main()
