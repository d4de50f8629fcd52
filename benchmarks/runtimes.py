"""Ways to run `swift` on a processor: PyTorch as it is, compiled, or ONNX Runtime.

    python benchmarks/runtimes.py

Times encoding and decoding apart, as the engine runs them, in one process and float32, and
PyTorch as it is also without `fluofocus.heap.kept_heap`.
``torch.compile`` needs a C++ compiler; ONNX Runtime is tried where ``onnxruntime`` and
``onnxscript`` are installed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pages import publish
from torch import Tensor, nn

from fluofocus.heap import kept_heap
from fluofocus.models import build_network
from fluofocus.models.network import RefocusingNetwork

Step = Callable[[], object]


class Encode(nn.Module):
    """An image to features, with tensors only."""

    def __init__(self, network: RefocusingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(1, 1, H, W)``."""
        return self.network.encode(image)


class Decode(nn.Module):
    """Features and distances to planes, with tensors only."""

    def __init__(self, network: RefocusingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, dpm_um: Tensor, *features: Tensor) -> Tensor:
        """Map ``(1, 1, T)`` and features to ``(1, T, H, W)``."""
        return self.network.decode(features, dpm_um).image


def as_it_is(encode: Encode, decode: Decode, image: Tensor, dpm_um: Tensor) -> tuple[Step, Step]:
    """PyTorch, op by op, channels last."""
    features = encode(image)
    return lambda: encode(image), lambda: decode(dpm_um, *features)


def compiled(encode: Encode, decode: Decode, image: Tensor, dpm_um: Tensor) -> tuple[Step, Step]:
    """``torch.compile``, which fuses what it can."""
    fast_encode, fast_decode = torch.compile(encode), torch.compile(decode)
    features = fast_encode(image)
    return lambda: fast_encode(image), lambda: fast_decode(dpm_um, *features)


def onnx(encode: Encode, decode: Decode, image: Tensor, dpm_um: Tensor) -> tuple[Step, Step]:
    """ONNX Runtime, with all its optimisations of the graph."""
    import onnxruntime

    features = encode(image)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    steps = []
    with TemporaryDirectory() as folder:
        for name, module, inputs in (
            ("encode", encode, (image,)),
            ("decode", decode, (dpm_um, *features)),
        ):
            path = Path(folder) / f"{name}.onnx"
            torch.onnx.export(module, inputs, path, dynamo=True, verbose=False)
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
            names = [value.name for value in session.get_inputs()]
            feed = {n: x.contiguous().numpy() for n, x in zip(names, inputs, strict=True)}
            steps.append(lambda session=session, feed=feed: session.run(None, feed))
    return steps[0], steps[1]


WAYS = {
    "as it is": as_it_is,
    "as it is, heap not kept": as_it_is,
    "torch.compile": compiled,
    "ONNX Runtime": onnx,
}


def seconds(step: Step, repeats: int) -> float:
    """Return the shortest time of several."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure, print and, where asked, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--planes", type=int, default=8, help="decoded at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    network = build_network("swift").eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(1, 1, arguments.side, arguments.side)
    dpm_um = torch.linspace(-10, 10, arguments.planes).view(1, 1, -1)
    lines = [
        "# Ways to run swift on a processor",
        "",
        f"Written by `{shlex.join(['python', *sys.argv])}`, {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__}.",
        "",
        f"| way | encode {arguments.side}² (s) | decode {arguments.planes} planes (s) | "
        "first call of both (s) |",
        "|---|---|---|---|",
    ]
    for name, way in WAYS.items():
        start = time.perf_counter()
        try:
            heap = nullcontext() if "not kept" in name else kept_heap()
            with heap, torch.inference_mode():
                encode, decode = way(Encode(network), Decode(network), image, dpm_um)
                decode()
                first = time.perf_counter() - start
                row = [seconds(step, arguments.repeats) for step in (encode, decode)]
        except ImportError as error:
            lines.append(f"| {name} | not installed: {error.name} | | |")
            continue
        lines.append(f"| {name} | {row[0]:.3f} | {row[1]:.3f} | {first:.1f} |")
    publish("\n".join([*lines, ""]), arguments.output)


if __name__ == "__main__":
    main()
