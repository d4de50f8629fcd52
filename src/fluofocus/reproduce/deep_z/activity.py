"""Deep-Z, Fig. 3: the activity of a worm's neurons, from a film of one plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from fluofocus.heap import give_back
from fluofocus.io.stack import make_stack
from fluofocus.models.bundle import Model, load_model
from fluofocus.neurons.activity import NeuronActivity, analyse_activity, median_in_time
from fluofocus.neurons.activity_checks import background_levels
from fluofocus.neurons.activity_reading import Refocus
from fluofocus.neurons.activity_registration import FrameMotion, register_frames
from fluofocus.neurons.segment import segment_neurons
from fluofocus.neurons.traces import neuron_traces
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.refocus.engine import refocus
from fluofocus.report.activity_figures import plot_activity_clusters
from fluofocus.report.activity_places import plot_activity_places, plot_neuron_depths
from fluofocus.reproduce.deep_z.activity_demixing import Film
from fluofocus.reproduce.deep_z.activity_panels import draw_traces_beside_truth
from fluofocus.reproduce.deep_z.activity_scores import (
    MEASURES,
    ActivityScore,
    cells_of,
    positions_um,
    score_activity,
)
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.simulate.activity import GREEN, RED, ActivityTimeLapse, simulate_activity
from fluofocus.simulate.calcium import FRAME_RATE_HZ, draw_traces
from fluofocus.units import AnyArray

SEED = 9_660_000
PAPERS_WORM = "paper's worm"
MICROSCOPE = "olympus-20x-0.75"
FITC_NM = {"emission_wavelength_nm": 525.0, "excitation_wavelength_nm": 485.0}
NEURONS, FRAMES, SHAPE_YX = 120, 126, (112, 1280)
WORM = {"body_diameter_um": 20.0, "bend_um": 3.0}
REFOCUSED_UM = tuple(float(z) for z in range(-10, 11))
SCANNED_UM = tuple(float(z) for z in range(-8, 9, 2))
RECORDED_UM = (0.0,)
CLUSTERS, ACTIVE, STEADY_FRAMES = 3, 70, 12

INPUT, DEEP_Z, DEMIXED, SCAN = "input plane only", "Deep-Z", "Deep-Z, demixed", "full scans"
PLANES_UM = {
    INPUT: RECORDED_UM,
    DEEP_Z: REFOCUSED_UM,
    DEMIXED: REFOCUSED_UM,
    SCAN: SCANNED_UM,
}
PAPER = {INPUT: ("99", ""), DEEP_Z: ("155", "3"), SCAN: ("about 150", "")}
"""Neurons and clusters in the paper."""


@dataclass(frozen=True)
class _Result:
    """One recording, its analyses by name, and how they compare with the truth.

    ``otherwise`` are scores of demixing by what is told of the microscope; ``steadiness`` is
    what `_steadiness` returns.
    """

    lapse: ActivityTimeLapse
    activities: Mapping[str, NeuronActivity]
    scores: Mapping[str, ActivityScore]
    otherwise: Mapping[str, ActivityScore]
    green: AnyArray
    steadiness: tuple[float, float]


def figure_3(request: Request, progress: Progress) -> Section:
    """Compare activity from a refocused film of one plane with that of the film and of scans."""
    model = load_model(request.models[PAPERS_WORM])
    total = request.fields * (FRAMES + STEADY_FRAMES + 2)  # images to refocus
    done = count(1)

    def step() -> None:
        progress(next(done), total)

    progress(0, total)
    results = [_measure(model, SEED + number, step) for number in range(request.fields)]
    return Section(
        title="Figure 3: neuron activity from a film of one plane",
        paragraphs=_paragraphs(request, results),
        tables=(_means(results), _each(results), _told(results)),
        figures=_figures(results[0], request),
        seed=SEED,
    )


def _paragraphs(request: Request, results: Sequence[_Result]) -> tuple[str, ...]:
    steady, common = np.mean([result.steadiness for result in results], axis=0)
    return (
        f"{request.fields} held-out worms of {NEURONS} neurons, three quarters of them in "
        f"{CLUSTERS} clusters, in {SHAPE_YX[0]} x {SHAPE_YX[1]} pixels of the preset "
        f"{MICROSCOPE}: {FRAMES} frames at {FRAME_RATE_HZ} Hz of one plane, in red (nuclei) and "
        f"green (calcium, {FITC_NM['emission_wavelength_nm']:g} nm), while the worm drifts by 2 "
        f"µm and jitters by 0.15 µm. {PAPERS_WORM}: {request.models[PAPERS_WORM]}; it was not "
        "told the optics.",
        "Frames are registered by the red film. The median of red over time is refocused, and "
        "each frame of green; the paper refocuses each frame of red too, and takes the median "
        f"then. The planes are {_described(REFOCUSED_UM)}, in the paper 0.5 µm apart. Neurons, "
        "traces, the most active neurons and clusters are found as in the paper. In the row "
        f"{DEMIXED} the neurons are the same, but their brightness is fitted to the film itself, "
        "by the images that neurons so deep have through the objective, described without its "
        "aberrations; the paper does not do this. The last table is of other descriptions, and of "
        "neurons that were missed. Full scans are, in every frame, "
        f"{_described(SCANNED_UM)}.",
        f"Right are neurons that are known ones, of all and of the {ACTIVE} most active. r is the "
        f"correlation of a trace with the true one, over these {ACTIVE}, and 0 for those that are "
        "no known one, or one without events. ARI is the adjusted Rand index of the clusters "
        "over the right ones that belong to one; in 'ARI, all' those that belong to none count "
        "as one more cluster.",
        f"Whether intensities are the same in all frames: {STEADY_FRAMES} frames of red, which "
        f"does not change, were refocused too. The median neuron varies by {steady:.1%} "
        f"(standard deviation over frames), all of them together by {common:.2%}.",
    )


def _described(planes_um: Sequence[float]) -> str:
    first, second, *_, last = planes_um
    return f"{len(planes_um)} from {first:g} to {last:g} µm, {second - first:g} µm apart"


def _measure(model: Model, seed: int, step: Callable[[], None]) -> _Result:
    """Record a worm, and analyse its scans, then its film in all ways."""
    give_back()
    lapse = _recorded(seed)
    scans = _analysed(lapse, SCANNED_UM)
    film = lapse.counts[:, :, [SCANNED_UM.index(0.0)]]
    lapse = replace(lapse, counts=film, planes_um=RECORDED_UM)  # the scans take a gigabyte
    give_back()

    def virtual(image: AnyArray) -> AnyArray:
        pixel_um = lapse.pixel_size_um
        stack = refocus(image, model, z_um=REFOCUSED_UM, pixel_size_um=pixel_um)
        step()
        return np.asarray(stack.values)

    motion = register_frames(lapse.counts[:, RED])
    refocused = _analysed(lapse, REFOCUSED_UM, motion=motion, refocus=virtual)
    reading = Film(lapse.counts, refocused, REFOCUSED_UM, _green_microscope())
    activities = {
        INPUT: _analysed(lapse, RECORDED_UM, motion=motion),
        DEEP_Z: refocused,
        DEMIXED: reading.demixed(),
        SCAN: scans,
    }
    otherwise = reading.demixed_otherwise()
    return _Result(
        lapse,
        activities,
        {name: score_activity(each, lapse, PLANES_UM[name]) for name, each in activities.items()},
        {name: score_activity(each, lapse, REFOCUSED_UM) for name, each in otherwise.items()},
        virtual(median_in_time(lapse.counts[:, GREEN], motion)[0]),
        _steadiness(lapse.counts[:, RED], motion, virtual, refocused),
    )


def _recorded(seed: int) -> ActivityTimeLapse:
    """Simulate one worm; each frame is a scan, whose middle plane is the film."""
    return simulate_activity(
        preset(MICROSCOPE),
        draw_traces(NEURONS, FRAMES, seed=seed, clusters=CLUSTERS),
        seed=seed,
        shape_yx=SHAPE_YX,
        planes_um=SCANNED_UM,
        worm_parameters=WORM,
        green_microscope=_green_microscope(),
    )


def _green_microscope() -> Microscope:
    return preset(MICROSCOPE).model_copy(update=FITC_NM)


def _analysed(
    lapse: ActivityTimeLapse,
    planes_um: Sequence[float],
    *,
    motion: FrameMotion | None = None,
    refocus: Refocus | None = None,
) -> NeuronActivity:
    step_um = planes_um[1] - planes_um[0] if len(planes_um) > 1 else 1.0
    voxel_um = (step_um, lapse.pixel_size_um, lapse.pixel_size_um)

    def segment(structure: AnyArray) -> AnyArray:
        stack = make_stack(structure.astype(np.float32), "ZYX", voxel_um, z_um=planes_um)
        return segment_neurons(stack).labels

    return analyse_activity(
        lapse.counts[:, RED],
        lapse.counts[:, GREEN],
        segment,
        times_s=lapse.traces.times_s,
        refocus=refocus,
        motion=motion,
        active=ACTIVE,
    )


def _steadiness(
    red: AnyArray, motion: FrameMotion, virtual: Refocus, activity: NeuronActivity
) -> tuple[float, float]:
    """Refocus some frames of red, which does not change; return how much neurons still do.

    Returns
    -------
    each, common : float
        Relative standard deviation over frames of the median neuron, and of all neurons
        together, their median in each frame.
    """
    chosen = np.linspace(0, len(red) - 1, STEADY_FRAMES).astype(int).tolist()
    stacks = (virtual(motion.apply(red[frame], frame)[0]) for frame in chosen)
    _, traces = neuron_traces(stacks, activity.labels)
    traces -= background_levels(red).mean()
    relative = traces / traces.mean(axis=1, keepdims=True)
    return float(np.median(relative.std(axis=1))), float(np.median(relative, axis=0).std())


def _means(results: Sequence[_Result]) -> Table:
    rows = []
    for name in PLANES_UM:
        numbers = np.mean([result.scores[name].numbers() for result in results], axis=0)
        neurons, clusters = PAPER.get(name, ("", ""))
        found, *cells, count = cells_of(numbers)
        rows.append((name, found, neurons, *cells, count, clusters))
    known = ("known", str(NEURONS), "", *[""] * (len(MEASURES) - 2), str(CLUSTERS), "")
    return Table(
        f"Neurons and their activity, means over {len(results)} recordings",
        ("", MEASURES[0], "in the paper", *MEASURES[1:], "in the paper"),
        (*rows, known),
    )


def _each(results: Sequence[_Result]) -> Table:
    return Table(
        "The same in each recording",
        ("", "recording", *MEASURES),
        tuple(
            (name, str(number), *cells_of(result.scores[name].numbers()))
            for name in PLANES_UM
            for number, result in enumerate(results, start=1)
        ),
    )


def _told(results: Sequence[_Result]) -> Table:
    return Table(
        f"{DEMIXED}, with other knowledge, means over {len(results)} recordings",
        ("", *MEASURES),
        tuple(
            (name, *cells_of(np.mean([r.otherwise[name].numbers() for r in results], axis=0)))
            for name in results[0].otherwise
        ),
    )


def _figures(result: _Result, request: Request) -> tuple[Figure, ...]:
    places, depths, clusters, traces = (
        request.folder / f"figure-3-{name}.png"
        for name in ("places", "depths", "clusters", "traces")
    )
    activity, pixel_um = result.activities[DEEP_Z], result.lapse.pixel_size_um
    plot_activity_places(activity, result.green, places, pixel_size_um=pixel_um)
    plot_neuron_depths(positions_um(activity, REFOCUSED_UM, pixel_um), depths)
    plot_activity_clusters(activity, clusters)
    draw_traces_beside_truth(result.lapse, activity, REFOCUSED_UM, traces)
    return (
        Figure(
            places,
            "a: medians over time, refocused from one plane, maximum along z; circles mark the "
            f"{ACTIVE} most active neurons, in the colours of their clusters.",
        ),
        Figure(depths, "b: all neurons that were localised, their depths as colours."),
        Figure(
            clusters,
            f"c: the {ACTIVE} most active neurons by cluster: how alike they are, their "
            "activity, and the eigenvalues whose gap tells the number of clusters.",
        ),
        Figure(
            traces,
            "Activity refocused (colour) and true (black), each over its own mean: neurons from "
            "the best correlated to the least, of those that are known ones.",
        ),
    )


PART = Part("Figure 3, neuron activity", figure_3, fields=2)
