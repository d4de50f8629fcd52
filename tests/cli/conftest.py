"""A folder with a model, good images and bad ones, and a way to run the command line in it."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file, save_file

from fluofocus.cli import main
from fluofocus.io import make_stack, write_stack
from fluofocus.models import build_network
from fluofocus.models.bundle import (
    CARD_KEY,
    DIGEST_KEY,
    ErrorCalibration,
    Model,
    ModelCard,
    TrainingRange,
    save_model,
)
from fluofocus.optics.microscope import preset

PIXEL_UM = 0.325
SMALL_SWIFT = {"encoder_channels": [8, 8], "decoder_channels": [8, 8], "residual_blocks": 1}
MICROSCOPE = "{numerical_aperture: 0.75, emission_wavelength_nm: 520, pixel_size_um: 0.15%s}"
TRAINING = "{name: toy, microscope: olympus-20x-0.75, simulation: {phantoms: [%s]}%s}"


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, what it said, and the names that are new in the folder."""

    code: int
    out: str
    err: str
    new: set[str]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    spots = 600 * (rng.random((40, 40)) > 0.98)
    counts = rng.poisson(100 + spots).astype(np.uint16)
    _write_images(folder, counts)
    _write_beads(folder, rng)
    _write_models(folder)
    _write_texts(folder)
    return folder


@pytest.fixture
def run(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], Outcome]:
    """Run a command, its words parted by blanks, in the prepared folder, and clean up later."""
    monkeypatch.chdir(prepared)

    def command(words: str) -> Outcome:
        before = set(prepared.iterdir())
        with warnings.catch_warnings():
            try:
                main(words.split())
            except SystemExit as stop:
                code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err, {path.name for path in set(prepared.iterdir()) - before})

    return command


def _write_images(folder: Path, counts: np.ndarray) -> None:
    def save(name: str, data: np.ndarray, dims: str = "YX", pixel_um: float = PIXEL_UM) -> None:
        write_stack(folder / name, make_stack(data, dims, (1.0, pixel_um, pixel_um)))

    holed = counts.astype(np.float32)
    holed[3, 4] = np.nan
    bright = counts.copy()
    bright[:20] = 65535
    save("good.ome.tif", counts)
    save("good.ome.zarr", counts)
    save("time.ome.tif", np.stack([counts, counts + 7]), "TYX")
    save("time.ome.zarr", np.stack([counts, counts + 7]), "TYX")
    save("stack.ome.tif", np.stack([counts] * 3), "ZYX")
    save("coarse.ome.tif", counts, pixel_um=0.65)
    save("dark.ome.tif", np.zeros_like(counts))
    save("constant.ome.tif", np.full((40, 40), 7.5, np.float32))
    save("nan.ome.tif", holed)
    save("bright.ome.tif", bright)
    save("timegap.ome.tif", np.stack([counts, 0 * counts]), "TYX")
    tifffile.imwrite(folder / "unsized.tif", counts)
    tifffile.imwrite(folder / "mask.tif", counts > 150)
    tifffile.imwrite(folder / "colour.tif", np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(folder / "heights.tif", np.full((40, 40), 2, np.float32))
    tifffile.imwrite(folder / "heights-small.tif", np.full((20, 30), 2, np.float32))
    tifffile.imwrite(folder / "heights-nan.tif", np.full((40, 40), np.nan, np.float32))
    whole = (folder / "good.ome.tif").read_bytes()
    (folder / "cut.ome.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tif").write_text("no picture " * 50)
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "nothing.zarr").mkdir()
    (folder / "folder").mkdir()


def _write_beads(folder: Path, rng: np.random.Generator) -> None:
    z, y, x = np.ogrid[-5:6, -20:20, -20:20]

    def bead(at_y: int = 0, at_x: int = 0) -> np.ndarray:
        spread = 1.5 + 0.1 * z**2
        return np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * spread**2)) / spread**2

    def save(name: str, signal: np.ndarray, dims: str = "ZYX") -> None:
        noisy = rng.poisson(100 + signal).astype(np.float32)
        write_stack(folder / name, make_stack(noisy, dims, (0.5, 0.15, 0.15)))

    save("bead.ome.tif", 5000 * bead())
    save("bead-2d.ome.tif", 5000 * bead()[5], "YX")
    save("bead-none.ome.tif", 0 * bead())
    save("bead-two.ome.tif", 5000 * (bead(-12, -12) + bead(8, 8)))
    clipped = np.minimum(rng.poisson(100 + 5000 * bead()), 600).astype(np.uint16)
    save_stack = make_stack(clipped, "ZYX", (0.5, 0.15, 0.15))
    write_stack(folder / "bead-bright.ome.tif", save_stack)
    holed = (100 + 5000 * bead()).astype(np.float32)
    holed[2, 2, 2] = np.nan
    write_stack(folder / "bead-nan.ome.tif", make_stack(holed, "ZYX", (0.5, 0.15, 0.15)))


def _write_models(folder: Path) -> None:
    torch.manual_seed(1)
    card = ModelCard(
        name="toy",
        title="random weights",
        architecture="swift",
        architecture_config=SMALL_SWIFT,
        microscope=preset("olympus-20x-0.75"),
        training=TrainingRange(defocus_um=(-10, 10), pixel_size_um=PIXEL_UM),
        created=datetime(2024, 2, 29, tzinfo=UTC),
        fluofocus_version="0.1.0",
    )
    path = folder / "toy.safetensors"
    text = save_model(Model(card, build_network("swift", SMALL_SWIFT)), path).model_dump_json()
    able = card.model_copy(
        update={
            "name": "able",
            "training": card.training.model_copy(update={"input_planes": 2, "optics_told": True}),
            "error": ErrorCalibration(scale=1.0, probabilities=(0.9,), half_widths=(2.3,)),
        }
    )
    save_model(Model(able, build_network("swift", SMALL_SWIFT)), folder / "able.safetensors")
    config = {"refocusing": SMALL_SWIFT, "sharpening": SMALL_SWIFT}
    two = card.model_copy(
        update={"name": "two", "architecture": "w_net", "architecture_config": config}
    )
    save_model(Model(two, build_network("w_net", config)), folder / "two.safetensors")
    weights, whole = load_file(path), path.read_bytes()

    def save(name: str, text: str, digest: str) -> None:
        save_file(weights, folder / name, metadata={CARD_KEY: text, DIGEST_KEY: digest})

    save("tampered.safetensors", text.replace("10.0", "99.0"), _digest(text))
    future = json.dumps(json.loads(text) | {"format_version": 7})
    save("future.safetensors", future, _digest(future))
    save_file(weights, folder / "foreign.safetensors")
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    torch.save(weights, folder / "pickle.pt")


def _write_texts(folder: Path) -> None:
    beads = "{phantom: beads}"
    texts = {
        "air.yaml": MICROSCOPE % "",
        "aperture.yaml": MICROSCOPE.replace("0.75", "1.2") % "",
        "endless.yaml": MICROSCOPE.replace("0.15", ".inf") % "",
        "misspelt.yaml": MICROSCOPE % ", pixle_size: 3",
        "corrupt.yaml": "name: [1, 2\nb: }",
        "list.yaml": "- 1\n- 2",
        "train-field.yaml": TRAINING % (beads, ", speed: 3"),
        "train-phantom.yaml": TRAINING % ("{phantom: dragons}", ""),
        "train-start.yaml": TRAINING % (beads, ", start_from: nothing.ckpt"),
        "train-microscope.yaml": (TRAINING % (beads, "")).replace("olympus", "toy"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
