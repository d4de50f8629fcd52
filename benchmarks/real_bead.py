"""A model trained from a calibration only, on the real bead that was calibrated from.

    python benchmarks/real_bead.py bead-air-na085.tif runs/bead-air-na085/bead-air-na085.safetensors

Each plane of the measured focus scan is refocused to the plane in focus, and the bead's
lateral width compared with that of the real plane in focus. The training saw no
measured image; the calibration saw this stack.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import fluofocus
from fluofocus.io import read_stack
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.units import FloatArray

STEPS_UM = (-3.0, -2.4, -1.5, -0.9, 0.9, 1.5, 2.4, 3.0)


def main() -> None:
    """Refocus, measure, print a table and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", type=Path)
    parser.add_argument("model")
    parser.add_argument("--pixel-um", type=float, default=0.13)
    parser.add_argument("--z-step-um", type=float, default=0.3)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    parser.add_argument("--figure", type=Path, help="picture to write")
    arguments = parser.parse_args()
    pixel_um, step_um = arguments.pixel_um, arguments.z_step_um
    stack = read_stack(arguments.stack, pixel_size_um=pixel_um, z_step_um=step_um)
    planes = np.asarray(stack).squeeze().astype(np.float32)
    focus = int(planes.max(axis=(1, 2)).argmax())
    centre = np.array(np.unravel_index(planes[focus].argmax(), planes[focus].shape))[None]

    def width_um(image: FloatArray) -> float:
        return float(lateral_fwhm(image, centre, pixel_size_um=pixel_um).fwhm_um[0])

    true_um = width_um(planes[focus])
    lines = [
        f"Plane {focus} is in focus; lateral FWHM there: {micrometres(true_um)}.",
        "",
        "| recorded at | FWHM there | refocused | off by |",
        "|---|---|---|---|",
    ]
    shown = []
    for z_um in STEPS_UM:
        index = focus + round(z_um / step_um)
        if not 0 <= index < len(planes):
            continue
        refocused = fluofocus.refocus(
            stack, model=arguments.model, z_um=[-z_um], plane=index, pixel_size_um=pixel_um
        )
        image = np.asarray(refocused, dtype=np.float32).squeeze()
        here, after = width_um(planes[index]), width_um(image)
        off = percent(after / true_um - 1)
        lines.append(f"| {z_um:+.1f} µm | {micrometres(here)} | {micrometres(after)} | {off} |")
        shown.append((z_um, planes[index], image))
    text = "\n".join(lines)
    print(text)
    if arguments.output:
        head = (
            "# From one calibration to a real bead\n\nWritten by `python benchmarks/real_bead.py`; "
            "the stack is that of `configs/microscopes/bead-air-na085.yaml`.\n"
            "The model was trained on simulations only (`configs/bead-air-na085.yaml`).\n\n"
            "![Planes as recorded, and refocused](../pictures/real-bead.png)\n\n"
        )
        arguments.output.write_text(f"{head}{text}\n", encoding="utf-8")
    if arguments.figure:
        draw(shown, planes[focus], centre[0], arguments.figure)


def micrometres(width_um: float) -> str:
    """Return a width as text, a dash where it could not be measured."""
    return f"{width_um:.3f} µm" if np.isfinite(width_um) else "–"


def percent(share: float) -> str:
    """Return a difference as text, a dash where it could not be measured."""
    return f"{share:+.0%}" if np.isfinite(share) else "–"


def draw(
    shown: list[tuple[float, FloatArray, FloatArray]],
    focused: FloatArray,
    centre: FloatArray,
    path: Path,
) -> None:
    """Show recorded planes above, what was made from them below, and the real focus."""
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    y, x = (int(value) for value in centre)
    window = (slice(max(0, y - 32), y + 32), slice(max(0, x - 32), x + 32))
    figure = Figure(figsize=(2 * (len(shown) + 1), 4.4), layout="constrained")
    axes = figure.subplots(2, len(shown) + 1)
    columns = [(f"{z_um:+.1f} µm", above, below) for z_um, above, below in shown]
    columns.append(("real focus", focused, focused))
    for column, (title, above, below) in zip(axes.T, columns, strict=True):
        for axis, image in zip(column, (above, below), strict=True):
            axis.imshow(image[window], cmap="gray")
            axis.set_xticks([])
            axis.set_yticks([])
        column[0].set_title(title)
    axes[0, 0].set_ylabel("recorded")
    axes[1, 0].set_ylabel("refocused to 0")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
