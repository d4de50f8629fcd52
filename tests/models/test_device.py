"""What a device can do is found out from PyTorch, also from one that does not tell."""

import pytest
import torch

from fluofocus.models.device import computes_in_bfloat16


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_a_processor_computes_in_bfloat16_if_it_says_so(
    instructions: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert computes_in_bfloat16(torch.device("cpu")) is expected


def test_a_pytorch_that_does_not_tell_trains_in_full_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_in_bfloat16(torch.device("cpu"))


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
def test_so_does_a_gpu_from_compute_capability_8_on(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert computes_in_bfloat16(torch.device("cuda")) is expected
