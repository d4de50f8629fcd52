"""``fluofocus neurons activity``: which neurons are active when, and which go together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from fluofocus.cli.activity_inputs import frame_times_s, frames_of, open_channels
from fluofocus.cli.console import named_microscope, note, progress, require_folder, say
from fluofocus.errors import FluoFocusError

if TYPE_CHECKING:
    import xarray as xr

    from fluofocus.neurons.activity import NeuronActivity
    from fluofocus.neurons.activity_reading import Refocus
    from fluofocus.neurons.demixing import Demixing
    from fluofocus.optics.microscope import Microscope
    from fluofocus.units import AnyArray

TRACES, NEURONS, SETTINGS = "traces.csv", "neurons.csv", "settings.json"
PIXEL_TOLERANCE = 0.01
PICTURES = ("places.png", "depths.png", "clusters.png")


def activity(
    recording: Annotated[
        Path,
        typer.Argument(metavar="RED", help="Red channel, or both channels.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    green_recording: Annotated[
        Path | None, typer.Argument(metavar="[GREEN]", help="Green channel, if not in the first.")
    ] = None,
    red: Annotated[int | None, typer.Option(min=0, help="Channel of nuclei, from 0.")] = None,
    green: Annotated[int | None, typer.Option(min=0, help="Channel of calcium, from 0.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Refocuses a film of one plane: shipped model or .safetensors file."),
    ] = None,
    z: Annotated[
        str, typer.Option("--z", help="Planes to refocus to, in µm from the film's plane.")
    ] = "-10:10:1",
    microscope: Annotated[
        str | None, typer.Option(help="What took the film, YAML file or preset.")
    ] = None,
    demix: Annotated[
        bool,
        typer.Option(
            "--demix", help="Read traces from the film, by neurons' places and the microscope."
        ),
    ] = False,
    diameter: Annotated[float, typer.Option(help="Diameter of a neuron in µm.")] = 2.8,
    threshold: Annotated[
        float, typer.Option(help="Share of the typical neuron's height that counts.")
    ] = 0.2,
    less_haze: Annotated[
        bool, typer.Option("--less-haze", help="Subtract the light around each neuron.")
    ] = False,
    active: Annotated[
        int, typer.Option(min=1, help="How many of the most active neurons to cluster.")
    ] = 70,
    clusters: Annotated[
        int | None, typer.Option(min=1, help="How many clusters; by the eigengap if not given.")
    ] = None,
    sigma: Annotated[
        float, typer.Option(help="Width of the similarity of neurons; larger for long films.")
    ] = 1.5,
    background: Annotated[
        float | None, typer.Option(help="Counts of green without any fluorescence.")
    ] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames per second, in place of the file's.")
    ] = None,
    times: Annotated[
        Path | None, typer.Option(help="Seconds of each frame, one per line: finds dropped ones.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the file's.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, in place of the file's.")
    ] = None,
) -> None:
    """Read neurons' activity from a time-lapse in two channels; a film of one plane is refocused.

    Writes traces, neurons and settings as tables, and three pictures.
    """
    from fluofocus.neurons.activity import analyse_activity, median_in_time

    require_folder(output)
    files = [str(file) for file in (recording, green_recording) if file is not None]
    structure, calcium = open_channels(files, (red, green), pixel_size, z_step)
    described = None if microscope is None else named_microscope(microscope)
    refocus = None if model is None else _refocusing(structure, model, z, described)
    if demix and model is None:
        raise FluoFocusError("--demix needs to know how deep the neurons lie: give --model.")
    field = _Field.of(structure, None if model is None else z)
    demixing = field.demixing(described, diameter) if demix else None
    with progress(f"Analysing {recording.name}") as update:
        found = analyse_activity(
            frames_of(structure),
            frames_of(calcium),
            lambda median: field.segment(median, diameter, threshold),
            times_s=frame_times_s(structure, frame_rate, times),
            refocus=refocus,
            demix=demixing,
            less_haze=less_haze,
            voxel_size_um=field.voxel_um,
            active=active,
            clusters=clusters,
            sigma=sigma,
            background=background,
            progress=update,
        )
    median = median_in_time(frames_of(calcium), found.motion)
    written = _write(output, found, field, median if refocus is None else refocus(median[0]))
    settings = {
        "recordings": files,
        "red": red,
        "green": green,
        "model": model,
        "z": None if model is None else z,
        "microscope": microscope,
        "demix": demix,
        "diameter_um": diameter,
        "threshold": threshold,
        "less_haze": less_haze,
        "active": active,
        "clusters": clusters,
        "sigma": sigma,
        "background": background,
        "frame_rate_hz": frame_rate,
        "times": None if times is None else str(times),
        "pixel_size_um": pixel_size,
        "z_step_um": z_step,
    }
    _write_settings(output, settings, found)
    _tell(found, [*written, output / SETTINGS])


def _refocusing(film: xr.DataArray, model: str, z: str, described: Microscope | None) -> Refocus:
    """Return what makes virtual stacks of a film's images."""
    from fluofocus.io import voxel_size_um
    from fluofocus.models.bundle import load_model
    from fluofocus.refocus import parse_z_range, refocus
    from fluofocus.refocus.microscope_check import advice

    if "Z" in film.dims:
        raise FluoFocusError(
            f"{film.name} has {film.sizes['Z']} planes in each frame: leave out --model to "
            "analyse them as they are, or give a film of one plane."
        )
    if (hint := advice(model, described)) is not None:
        note(hint)
    loaded, planes_um, pixel_um = load_model(model), parse_z_range(z), voxel_size_um(film)[2]

    def virtual(image: AnyArray) -> AnyArray:
        stack = refocus(image, loaded, z_um=planes_um, pixel_size_um=pixel_um, microscope=described)
        return np.asarray(stack.values)

    return virtual


@dataclass(frozen=True)
class _Field:
    """Where the voxels of the stacks that are analysed lie, in µm."""

    name: str
    planes_um: Sequence[float]
    voxel_um: tuple[float, float, float]
    first_yx_um: tuple[float, float]

    @classmethod
    def of(cls, lapse: xr.DataArray, z: str | None) -> _Field:
        """Return that of a time-lapse, or of its virtual stacks with planes ``z``."""
        from fluofocus.io import origin_um, voxel_size_um
        from fluofocus.refocus import parse_z_range

        z_um, y_um, x_um = voxel_size_um(lapse)
        first_z_um, first_y_um, first_x_um = origin_um(lapse)
        count = lapse.sizes.get("Z", 1)
        planes_um = [first_z_um + (z_um * plane if plane else 0.0) for plane in range(count)]
        if z is not None:
            planes_um = list(parse_z_range(z))
        step_um = planes_um[1] - planes_um[0] if len(planes_um) > 1 else x_um
        return cls(str(lapse.name), planes_um, (step_um, y_um, x_um), (first_y_um, first_x_um))

    def segment(self, median: AnyArray, diameter_um: float, threshold: float) -> AnyArray:
        """Return the labels of the neurons in the median of red."""
        from fluofocus.io import make_stack
        from fluofocus.neurons import segment_neurons

        stack = make_stack(
            median.astype(np.float32), "ZYX", self.voxel_um, z_um=self.planes_um, name=self.name
        )
        found = segment_neurons(stack, diameter_um=diameter_um, threshold=threshold)
        if not len(found):
            raise FluoFocusError(
                f"There are no neurons in {self.name}: check --red, --diameter, and whether the "
                "channel shows more than noise."
            )
        return found.labels

    def demixing(self, microscope: Microscope | None, diameter_um: float) -> Demixing:
        """Return what reads traces from the film."""
        from fluofocus.neurons.demixing import Demixing

        if microscope is None:
            raise FluoFocusError("--demix needs what took the film: give --microscope.")
        pixel_um = self.voxel_um[2]
        if abs(microscope.pixel_size_um / pixel_um - 1) > PIXEL_TOLERANCE:
            raise FluoFocusError(
                f"{self.name} has pixels of {pixel_um:g} µm, but {microscope.name} takes them of "
                f"{microscope.pixel_size_um:g} µm: give the microscope of this film, or "
                "--pixel-size if the file is wrong."
            )
        return Demixing(microscope, self.planes_um, diameter_um)

    def positions_um(self, activity: NeuronActivity) -> AnyArray:
        """Return where the neurons are, ``(N, 3)``, z, y, x."""
        z, y, x = activity.centroids_px.T
        planes = np.interp(z, np.arange(len(self.planes_um)), self.planes_um)
        _, y_um, x_um = self.voxel_um
        first_y_um, first_x_um = self.first_yx_um
        return np.column_stack([planes, first_y_um + y * y_um, first_x_um + x * x_um])


def _write(
    folder: Path, found: NeuronActivity, field: _Field, green_median: AnyArray
) -> list[Path]:
    """Write tables and pictures, and return their paths."""
    from fluofocus.neurons.activity_tables import neurons_to_csv, traces_to_csv
    from fluofocus.report.activity_figures import plot_activity_clusters
    from fluofocus.report.activity_places import plot_activity_places, plot_neuron_depths

    folder.mkdir(parents=True, exist_ok=True)
    positions_um = field.positions_um(found)
    traces, neurons = folder / TRACES, folder / NEURONS
    places, depths, clusters = (folder / name for name in PICTURES)
    traces_to_csv(found, traces)
    neurons_to_csv(found, positions_um, neurons)
    plot_activity_places(found, green_median, places, pixel_size_um=field.voxel_um[2])
    plot_neuron_depths(positions_um, depths)
    plot_activity_clusters(found, clusters)
    return [traces, neurons, places, depths, clusters]


def _write_settings(folder: Path, settings: dict[str, Any], found: NeuronActivity) -> None:
    """Write how the tables were made, and what was found on the way."""
    from fluofocus.whole_files import write_whole

    record = {
        "software": f"fluofocus {version('fluofocus')}",
        "settings": settings,
        "neurons": len(found.ids),
        "clusters": np.bincount(found.clusters.cluster).tolist(),
        "background": found.background,
        "reference_frame": found.motion.reference,
        "shift_px": np.round(found.motion.shift_px, 3).tolist(),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    write_whole(folder / SETTINGS, f"{text}\n", "settings ")


def _tell(found: NeuronActivity, written: Sequence[Path]) -> None:
    sizes = np.bincount(found.clusters.cluster).tolist()
    groups = f"{len(sizes)} cluster{'s' * (len(sizes) > 1)} of {', '.join(map(str, sizes))}"
    say(
        f"{len(found.ids)} neurons over {found.traces.shape[1]} frames; the "
        f"{len(found.active)} most active form {groups}."
    )
    say(f"Wrote {', '.join(map(str, written))}.")
