"""A loss that compares features of images, as an encoder trained for something else sees them.

Johnson et al. (ECCV 2016), as WFCON-Net uses it (Li et al. 2022, equation 1): the squared
difference of the features that VGG-19 finds in two images. Its weights come from a file, in the
form that torchvision gives them. A small encoder of our own, trained on simulated fluorescence
images to fill in and denoise them, needs none.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.errors import FluoFocusError

EncoderName = Literal["fluorescence", "vgg19"]
FLUORESCENCE_WEIGHTS = Path(__file__).parent / "encoders" / "fluorescence.safetensors"

_VGG19_TO_RELU3_4 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SPREAD = (0.229, 0.224, 0.225)


class Vgg19(nn.Module):
    """The first ten convolution layers of VGG-19 (Simonyan & Zisserman 2015).

    Its features are those after the last convolution of the third block, before the pooling.
    The paper does not say which ones it compares.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for step in _VGG19_TO_RELU3_4:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU(inplace=True)]
            channels = step
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode ``(N, 1, H, W)`` normalised images, grey as they are."""
        mean, spread = (
            images.new_tensor(values).view(1, 3, 1, 1)
            for values in (_IMAGENET_MEAN, _IMAGENET_SPREAD)
        )
        return [self.features((images - mean) / spread)]


class FluorescenceEncoder(nn.Module):
    """Five 3x3 convolutions; features at a half and at a quarter of the image's size.

    `benchmarks/train_encoder.py` trains it. Features are divided by their spread over the
    images that it was trained on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.finer = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.coarser = nn.Sequential(
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.finer_spread: Tensor
        self.coarser_spread: Tensor
        self.register_buffer("finer_spread", torch.ones(32))
        self.register_buffer("coarser_spread", torch.ones(64))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode ``(N, 1, H, W)`` normalised images."""
        finer = self.finer(images)
        coarser = self.coarser(finer)
        return [
            finer / self.finer_spread.view(1, -1, 1, 1),
            coarser / self.coarser_spread.view(1, -1, 1, 1),
        ]


ENCODERS: dict[EncoderName, type[nn.Module]] = {
    "fluorescence": FluorescenceEncoder,
    "vgg19": Vgg19,
}


class PerceptualLoss:
    """The mean squared difference of the features of two images.

    It is no module, so that its encoder, which is never trained, is in no checkpoint.

    Parameters
    ----------
    name
        Which encoder.
    weights
        File of its weights, ``.safetensors`` or a PyTorch state dict; by default the one that
        comes with the package, which has only those of ``fluorescence``.

    Raises
    ------
    FluoFocusError
        If there is no such file, or it holds no weights of this encoder.
    """

    def __init__(self, name: EncoderName, weights: str | Path | None = None) -> None:
        path = FLUORESCENCE_WEIGHTS if weights is None else Path(weights)
        self.encoder = ENCODERS[name]()
        _load(self.encoder, name, path)
        self.encoder.requires_grad_(False).eval()

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Compare ``(B, 1, Z, H, W)`` stacks plane by plane; a scalar."""
        encoder = self.encoder.to(output.device)
        made, wanted = (stack.transpose(1, 2).flatten(0, 1) for stack in (output, target))
        with torch.no_grad():
            true = encoder(wanted)
        losses = [
            F.mse_loss(one.float(), other.float())
            for one, other in zip(encoder(made), true, strict=True)
        ]
        return torch.stack(losses).mean()


def _load(encoder: nn.Module, name: str, path: Path) -> None:
    """Give an encoder its weights; what else a file holds, such as later layers, is left out."""
    wanted = encoder.state_dict()
    stored = _read(path)
    fitting = {key: stored[key] for key in wanted if key in stored}
    if {k: v.shape for k, v in fitting.items()} != {k: v.shape for k, v in wanted.items()}:
        raise FluoFocusError(
            f"{path} holds no weights of the perceptual encoder {name}: name a file of that "
            "network in perceptual_weights."
        )
    encoder.load_state_dict(fitting)


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FluoFocusError(
            f"There is no file {path} with weights of a perceptual encoder: correct "
            "perceptual_weights, or set perceptual_weight: 0."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, SafetensorError) as error:
        raise FluoFocusError(
            f"{path} is no file of weights, or a damaged one: get it again."
        ) from error
    if not isinstance(content, Mapping):
        raise FluoFocusError(f"{path} holds no weights by name: give a state dict.")
    return content
