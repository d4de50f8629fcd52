"""Simulated stacks as files: an image and a JSON file with its truth each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack
from fluofocus.io.writers import write_stack
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.stack import SimulatedStack, simulate_stack
from fluofocus.units import AnyArray

SUFFIX, CLEAN_SUFFIX = ".ome.tif", "-clean.ome.tif"


def write_simulated_stacks(
    folder: str | Path,
    microscope: Microscope,
    phantom: str,
    *,
    count: int,
    seed: int,
    planes_um: Sequence[float],
    with_clean: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> list[Path]:
    """Simulate stacks with seeds ``seed``, ``seed + 1``, … and write them.

    A stack that is already there, made with the same settings, is kept; so an
    interrupted run goes on where it stopped.

    Parameters
    ----------
    folder
        Where to write ``<phantom>-<seed>.ome.tif`` and ``.json``; made if missing.
    with_clean
        Whether to write the noise-free stacks ``<phantom>-<seed>-clean.ome.tif`` too.
    progress
        Called with the number of stacks done and of all.
    settings
        Further arguments of `simulate_stack`.

    Returns
    -------
    list of Path
        The image files, noise-free ones not counted.

    Raises
    ------
    FluoFocusError
        If a setting is not possible or a file cannot be written.
    """
    folder = Path(folder)
    make_phantom(phantom, dict(settings.get("phantom_parameters") or {}))  # or complain first
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FluoFocusError(
            f"Cannot make folder {folder}: {error.strerror}; choose another."
        ) from error
    paths = []
    for done, number in enumerate(range(seed, seed + count), start=1):
        path = folder / f"{phantom}-{number:05d}.ome.tif"
        arguments = {"phantom": phantom, "seed": number, "planes_um": list(planes_um), **settings}
        record = _as_json({"microscope": microscope.model_dump(mode="json"), **arguments})
        if not _is_there(path, record, with_clean):
            _write(path, simulate_stack(microscope, **arguments), record, with_clean)
        paths.append(path)
        if progress is not None:
            progress(done, count)
    return paths


def clean_path(path: Path) -> Path:
    """Return the name of the noise-free stack that belongs to a simulated one."""
    return path.with_name(path.name.removesuffix(SUFFIX) + CLEAN_SUFFIX)


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Read parameters of a phantom as they are written on the command line: ``name=value``.

    Raises
    ------
    FluoFocusError
        If a text has another form.
    """
    parameters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise FluoFocusError(f"{text!r} is no parameter: write name=value, like tilt_deg=1.5.")
        try:
            parameters[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise FluoFocusError(
                f"The value in {text!r} cannot be read: write a number."
            ) from error
    return parameters


def _is_there(path: Path, record: dict[str, Any], with_clean: bool) -> bool:
    truth = _truth_path(path)
    if not truth.is_file():
        return False
    try:
        made_with = json.loads(truth.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FluoFocusError(
            f"{truth} is not a truth file: move it or choose another folder."
        ) from error
    if made_with != record:
        raise FluoFocusError(
            f"{path} was made with other settings: choose another folder or another seed."
        )
    return path.is_file() and (clean_path(path).is_file() or not with_clean)


def _write(path: Path, stack: SimulatedStack, record: dict[str, Any], with_clean: bool) -> None:
    """Write the images, then the truth, whose presence says that the images are whole."""
    _write_image(path, stack, stack.counts, record)
    if with_clean:
        _write_image(clean_path(path), stack, stack.clean_counts, record)
    truth = _truth_path(path)
    draft = truth.with_name(f"{truth.name}.partial")
    try:
        draft.write_text(json.dumps({"settings": record, "objects": stack.truth}), encoding="utf-8")
        draft.replace(truth)
    except OSError as error:
        raise FluoFocusError(f"Cannot write {truth}: {error.strerror}; free some space.") from error


def _write_image(path: Path, stack: SimulatedStack, data: AnyArray, record: dict[str, Any]) -> None:
    planes = stack.planes_um
    step = (planes[-1] - planes[0]) / (len(planes) - 1) if len(planes) > 1 else math.nan
    pixel = stack.microscope.pixel_size_um
    labelled = make_stack(
        data,
        "ZYX",
        (step, pixel, pixel),
        provenance={"software": f"fluofocus {version('fluofocus')}", "simulated": record},
        z_um=planes,
    )
    write_stack(path, labelled)


def _truth_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(SUFFIX) + ".json")


def _as_json(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record as it comes back from a JSON file, tuples as lists."""
    content: dict[str, Any] = json.loads(json.dumps(record))
    return content
