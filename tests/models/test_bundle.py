"""Model files: what goes in comes back, and nothing else is let in."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from fluofocus.errors import FluoFocusError
from fluofocus.models import MODELS, Architecture, build_network, bundle
from fluofocus.models.bundle import (
    Model,
    ModelCard,
    TrainingRange,
    load_model,
    load_stack_model,
    read_any_card,
    read_card,
    save_model,
    shipped_models,
)
from fluofocus.models.cards import StackCard
from fluofocus.optics.microscope import preset

SMALL: dict[str, dict[str, Any]] = {"deep_z": {"width": "compact"}}


def make_card(architecture: str = "swift", **changes: Any) -> ModelCard:
    return ModelCard(
        **{
            "name": "air20x-test",
            "title": "A test",
            "architecture": architecture,
            "architecture_config": SMALL.get(architecture, {}),
            "microscope": preset("olympus-20x-0.75"),
            "training": TrainingRange(defocus_um=(-10, 10), pixel_size_um=0.325),
            "created": datetime(2024, 2, 29, tzinfo=UTC),
            "fluofocus_version": "0.1.0",
            "scores": {"pearson at 4 µm": 0.97},
            "limits": ("thin samples only",),
        }
        | changes
    )


def make_model(architecture: str = "swift") -> Model:
    torch.manual_seed(0)
    card = make_card(architecture)
    return Model(card, build_network(architecture, card.architecture_config).eval())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(make_model(), path)
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], *, redigest: bool) -> None:
    """Change a file's card; with ``redigest`` also forge the digest of the card."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    card = json.loads(metadata[bundle.CARD_KEY])
    change(card)
    metadata[bundle.CARD_KEY] = json.dumps(card)
    if redigest:
        digest = hashlib.sha256(metadata[bundle.CARD_KEY].encode()).hexdigest()
        metadata[bundle.DIGEST_KEY] = digest
    save_file(load_file(path), path, metadata=metadata)


@pytest.mark.parametrize("architecture", MODELS)
def test_every_network_comes_back_the_same(architecture: str, tmp_path: Path) -> None:
    model = make_model(architecture)
    written = save_model(model, tmp_path / "m.safetensors")
    random_numbers = torch.get_rng_state()
    loaded = load_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), random_numbers)
    assert loaded.card == written == read_card(str(tmp_path / "m.safetensors"))
    assert written == model.card.model_copy(update={"weights_sha256": written.weights_sha256})
    assert len(written.weights_sha256) == 64
    assert not loaded.network.training
    weights = [m.weight for m in loaded.network.modules() if isinstance(m, nn.Conv2d)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(image, 3.0), model.network(image, 3.0))


def test_the_loaded_network_can_be_trained_further(saved: Path) -> None:
    network = load_model(saved).network
    image, error, _ = network.predict(torch.rand(1, 2, 32, 32), torch.rand(1, 2, 1))
    (image.sum() + error.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_card_is_read_without_weights(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "build_network", lambda *_: pytest.fail("built a network"))
    monkeypatch.setattr(bundle, "weights_digest", lambda *_: pytest.fail("read weights"))
    assert read_card(saved).microscope == preset("olympus-20x-0.75")


def test_names_resolve_to_shipped_models(
    saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path)
    assert shipped_models() == {"model": saved}
    assert load_model("model").card == read_card(saved)
    with pytest.raises(FluoFocusError, match=r"no shipped model of that name \(shipped: model\)"):
        load_model("modle")


def test_every_shipped_model_loads() -> None:
    for name in shipped_models():
        is_of_stacks = isinstance(read_any_card(name), StackCard)
        model = load_stack_model(name) if is_of_stacks else load_model(name)
        assert model.card.name == name


def set_defocus(card: dict[str, Any]) -> None:
    card["training"]["defocus_um"] = [-100, 100]


@pytest.mark.parametrize("read", [read_card, load_model])
def test_an_edited_card_is_refused(read: Callable[[Path], object], saved: Path) -> None:
    rewrite(saved, set_defocus, redigest=False)
    with pytest.raises(FluoFocusError, match=r"card of .* was edited or damaged"):
        read(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 3, "aberrations": []}, "has model format 3, this FluoFocus reads to 2"),
        ({"format_version": None}, "has model format None"),
        ({"architecture": "w_net_9"}, "a network 'w_net_9', which this FluoFocus does not know"),
        ({"architecture_config": {"depth": 3}}, "configuration of architecture 'swift' is wrong"),
        ({"new_field": 1}, "new_field: Extra inputs"),
        ({"normalisation": "other"}, "normalisation: "),
        ({"training": {"defocus_um": [3, -3], "pixel_size_um": 1}}, "from low to high"),
        ({"architecture": "deep_z", "architecture_config": {}}, "do not fit the network"),
        ({"weights_sha256": "0" * 64}, "weights in .* are damaged"),
    ],
)
def test_a_forged_or_newer_card_is_refused(
    change: dict[str, Any], message: str, saved: Path
) -> None:
    rewrite(saved, lambda card: card.update(change), redigest=True)
    with pytest.raises(FluoFocusError, match=message):
        load_model(saved)


class GiantConfig(BaseModel):
    features: int = 10**8


class Giant(nn.Linear):
    def __init__(self, config: GiantConfig) -> None:
        super().__init__(config.features, config.features)  # 40 petabytes


def test_a_card_that_asks_for_a_giant_network_allocates_nothing(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "giant", Architecture(GiantConfig, Giant, "too large"))
    change = {"architecture": "giant", "architecture_config": {}}
    rewrite(saved, lambda card: card.update(change), redigest=True)
    with pytest.raises(FluoFocusError, match="do not fit the network of its card"):
        load_model(saved)


def test_changed_weights_are_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    with pytest.raises(FluoFocusError, match=r"weights in .* are damaged"):
        load_model(saved)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
@pytest.mark.parametrize("read", [read_card, load_model])
def test_a_truncated_file_is_refused(
    read: Callable[[Path], object], keep: int, saved: Path
) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(FluoFocusError, match="or a damaged one"):
        read(saved)


def test_a_card_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", "[" * 100_000):
        path = tmp_path / "m.safetensors"
        save_file({"w": torch.zeros(1)}, path, metadata={bundle.CARD_KEY: text})
        with pytest.raises(FluoFocusError, match="is damaged"):
            read_card(path)


def test_weights_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(FluoFocusError, match="no FluoFocus model card"):
        load_model(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("as_zip", [True, False])
def test_pickles_are_never_opened(as_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save(Bomb(), path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(FluoFocusError, match="is a PyTorch pickle"):
        load_model(path)


def test_only_finite_weights_and_proper_names_are_saved(tmp_path: Path) -> None:
    model = make_model()
    with pytest.raises(FluoFocusError, match=r"must be named \*\.safetensors, not model\.pt"):
        save_model(model, tmp_path / "model.pt")
    with pytest.raises(FluoFocusError, match="Cannot write"):
        save_model(model, tmp_path / "missing" / "model.safetensors")
    next(model.network.parameters()).data.fill_(torch.nan)
    with pytest.raises(FluoFocusError, match="not finite"):
        save_model(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(FluoFocusError, match="No space left on device"):
        save_model(make_model("deep_z"), saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_cards_refuse_what_is_not_finite() -> None:
    with pytest.raises(ValidationError, match="finite"):
        make_card(scores={"pearson": float("nan")})
