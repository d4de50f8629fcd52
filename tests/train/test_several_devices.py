"""Two processes train one network, each on pairs of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import load_model
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig
from fluofocus.train.run import run_training

SCRIPT = """
import sys
from pathlib import Path
import torch
from fluofocus.train import run
from fluofocus.train.config import load_train_config

make, finish, seen = run.make_training, run._finish, []

def watched(*inputs, **options):
    training = make(*inputs, **options)
    network, encode = training.network, training.network.encode

    def watched_encode(images, optics=None):
        if network.training:
            seen.append(images.clone())
        return encode(images, optics)

    network.encode = watched_encode
    network.train()
    return training

def record(trainer, training, data, directory):
    state = {key: value.clone() for key, value in training.state_dict().items()}
    held_out = data.validation_batches()[0]["image"]
    torch.save(
        {"state": state, "seen": seen, "held_out": held_out},
        Path(sys.argv[1]).parent / f"rank-{trainer.global_rank}.pt",
    )
    finish(trainer, training, data, directory)

if __name__ == "__main__":
    torch.set_num_threads(1)
    run.make_training, run._finish = watched, record
    config, microscope = load_train_config(sys.argv[1])
    run.run_training(
        config, microscope, devices=2, strategy="ddp", accelerator="cpu", workers=0,
        show_progress=False,
    )
"""


@pytest.mark.parametrize("scheme", ["regression", "adversarial"])
def test_two_processes_share_gradients_but_not_pairs(
    scheme: str, tmp_path: Path, tiny: Callable[..., TrainConfig]
) -> None:
    config = tiny(scheme, validation_batches=2)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"MASTER_ADDR": "127.0.0.1"},
    )
    assert finished.returncode == 0, finished.stderr
    one, other = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(2))
    assert len(one["seen"]) >= 6
    images = [image for rank in (one, other) for batch in rank["seen"] for image in batch]
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    assert not torch.equal(one["held_out"], other["held_out"])
    for name, value in one["state"].items():
        torch.testing.assert_close(other["state"][name], value, rtol=0, atol=1e-7, msg=name)
    assert load_model(config.output_dir / "tiny" / "tiny.safetensors").card.steps in (3, 6)


def test_more_devices_than_there_are_are_refused(
    tiny: Callable[..., TrainConfig], microscope: Microscope
) -> None:
    config = tiny()
    with pytest.raises(FluoFocusError, match="ask for at most"):
        run_training(config, microscope, devices=1000, accelerator="cpu")
    assert not (config.output_dir / config.name).exists()
