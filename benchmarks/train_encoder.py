"""Train the small encoder of the perceptual loss, ``fluorescence``, on simulated images.

It learns to fill in and to denoise: given an image with noise and with blank squares, an encoder
and a decoder restore the whole clean image; the decoder is then thrown away (a denoising
autoencoder, Vincent et al. 2008, with the context task of Pathak et al. 2016). Nothing is labelled
and nothing measured: images are confocal and wide-field planes of simulated filaments, nuclei
and beads.

    python benchmarks/train_encoder.py -o src/fluofocus/train/encoders/fluorescence.safetensors

Prints the error on held-out images every 250 steps, and that of the corrupted images themselves.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.data.simulated import SimulatedPairs, SimulationConfig
from fluofocus.optics.microscope import preset
from fluofocus.prepare.turns import turned
from fluofocus.train.perceptual import FluorescenceEncoder

CROP_PX = 96
BATCH = 16
HIDDEN_SQUARES = 12
SQUARE_PX = 10
NOISE = (0.02, 0.3)
HELD_OUT_SEED = 1_000_003


class Decoder(nn.Module):
    """From both features back to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.coarser = nn.Conv2d(64, 64, 3, padding=1)
        self.finer = nn.Conv2d(64 + 32, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, finer: Tensor, coarser: Tensor) -> Tensor:
        """Return ``(N, 1, H, W)``."""
        x = F.relu(self.coarser(coarser))
        x = F.interpolate(x, size=finer.shape[-2:])
        x = F.relu(self.finer(torch.cat([x, finer], dim=1)))
        return F.pixel_shuffle(self.last(x), 2)


def configuration() -> SimulationConfig:
    return SimulationConfig.model_validate(
        {
            "phantoms": [
                {
                    "phantom": "filaments",
                    "parameters": {
                        "length_per_1000_um2_um": [200, 2500],
                        "thickness_um": [0.5, 4],
                        "flatness": [0.02, 0.6],
                    },
                },
                {
                    "phantom": "nuclei",
                    "parameters": {
                        "count_per_1000_um2": [20, 150],
                        "diameter_um": [1.5, 4.5],
                        "thickness_um": [1, 4],
                        "texture": [0.05, 0.5],
                    },
                },
                {
                    "phantom": "beads",
                    "parameters": {
                        "surface": "volume",
                        "count_per_1000_um2": [20, 300],
                        "diameter_um": [0.1, 0.8],
                    },
                },
            ],
            "target_modality": "confocal",
            "defocus_um": 2.0,
            "depth_um": 2.0,
            "z_step_um": [0.2, 0.3],
            "crop_px": CROP_PX,
            "targets_per_image": 4,
            "images_per_specimen": 4,
            "specimens_in_memory": 48,
            "microscopes_in_memory": 2,
            "specimens_per_microscope": 256,
        }
    )


def simulated_images(seed: int, batches: int) -> Tensor:
    """Return 16 clean images for each batch of two specimens' fields."""
    pairs = SimulatedPairs(preset("nikon-60x-1.4-oil"), configuration(), batch_size=2, seed=seed)
    return torch.cat([clean_images(batch) for batch in itertools.islice(pairs, batches)])


def clean_images(batch: dict[str, Tensor]) -> Tensor:
    """Return a batch's confocal and wide-field images ``(N, 1, H, W)``, each from 0 to about 1."""
    images = torch.cat([batch["target"], batch["refocused"]]).flatten(0, 1)
    flat = images.flatten(1)
    low, high = flat.quantile(0.05, dim=1), flat.quantile(0.995, dim=1)
    scale = (high - low).clamp(min=1e-3)[:, None, None]
    return ((images - low[:, None, None]) / scale).clamp(-0.5, 3)[:, None]


def corrupted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise, more where it is bright, and blank squares."""
    count = len(images)
    low, high = NOISE
    level = low * (high / low) ** torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    damaged = images + noise * level * (0.3 + images.clamp(min=0)).sqrt()
    for image in damaged:
        corners = torch.randint(0, CROP_PX - SQUARE_PX, (HIDDEN_SQUARES, 2), generator=generator)
        for row, column in corners.tolist():
            image[:, row : row + SQUARE_PX, column : column + SQUARE_PX] = 0
    return damaged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batches", type=int, default=100, help="of 16 images, to learn from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    known = simulated_images(arguments.seed, arguments.batches)
    truth = simulated_images(HELD_OUT_SEED, 6)
    damaged = corrupted(truth, torch.Generator().manual_seed(HELD_OUT_SEED))
    print(f"corrupted images: {F.l1_loss(damaged, truth):.4f}", flush=True)
    encoder, decoder = FluorescenceEncoder(), Decoder()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    for step in range(1, arguments.steps + 1):
        chosen = known[torch.randint(len(known), (BATCH,), generator=generator)]
        images = turned(chosen, step % 4, bool(step // 4 % 2))
        loss = F.l1_loss(decoder(*encoder(corrupted(images, generator))), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == arguments.steps:
            with torch.no_grad():
                error = F.l1_loss(decoder(*encoder(damaged)), truth)
            print(f"step {step}: {error:.4f}", flush=True)
    save_spreads(encoder, known[:256])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(encoder.state_dict(), arguments.output)
    print(f"{arguments.output.stat().st_size} bytes")


@torch.no_grad()
def save_spreads(encoder: FluorescenceEncoder, images: Tensor) -> None:
    """Note each feature's spread over clean images; one that is never used counts as one."""
    finer, coarser = encoder(images)
    for buffer, features in ((encoder.finer_spread, finer), (encoder.coarser_spread, coarser)):
        spread = features.std(dim=(0, 2, 3))
        buffer.copy_(torch.where(spread > 1e-3 * spread.max(), spread, torch.ones_like(spread)))


if __name__ == "__main__":
    main()
