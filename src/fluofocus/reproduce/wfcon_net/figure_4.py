"""WFCON-Net, Fig. 4: slices with less and with more background, and another stain."""

from __future__ import annotations

from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, models_named
from fluofocus.reproduce.wfcon_net.bench import Bench, open_bench
from fluofocus.reproduce.wfcon_net.methods import CONFOCAL, WFCON, WIDEFIELD, Method, made
from fluofocus.reproduce.wfcon_net.panels import Row, draw_columns
from fluofocus.reproduce.wfcon_net.scores import Scores, score
from fluofocus.reproduce.wfcon_net.setting import SCORED
from fluofocus.reproduce.wfcon_net.slices import DAPI, Kind, draw_field
from fluofocus.reproduce.wfcon_net.tables import score_table
from fluofocus.units import FloatArray

SEED = 9_710_000
KINDS = (
    Kind("less background, cells", neuropil=0.015, scattering_length_um=200),
    Kind("less background, nuclei", neuropil=0.015, scattering_length_um=200, stain="nuclei"),
    Kind("more background, cells", neuropil=0.25, scattering_length_um=30),
    Kind("more background, nuclei", neuropil=0.25, scattering_length_um=30, stain="nuclei"),
)
PAPER = dict(
    zip(
        (kind.name for kind in KINDS),
        (("0.0695", "0.7153"), ("0.1106", "0.6712"), ("0.0544", "0.7501"), ("0.0923", "0.6527")),
        strict=True,
    )
)


def figure_4(request: Request, progress: Progress) -> Section:
    """Restore slices of other kinds than in training."""
    bench = open_bench(request)
    methods = [Method(WIDEFIELD), *bench.present(WFCON)]
    scores: dict[str, list[Scores]] = {}
    rows: list[Row] = []
    progress(0, len(KINDS) * request.fields)
    for number, kind in enumerate(KINDS):
        for index in range(request.fields):
            found, stacks = _restored(bench, methods, kind, SEED + index)
            for name, each in found.items():
                scores.setdefault(f"{kind.name}: {name}", []).append(each)
            if index == 0:
                rows.append(Row(kind.name.replace(", ", "\n"), stacks))
            progress(number * request.fields + index + 1, len(KINDS) * request.fields)
    path = request.folder / "figure-4.png"
    draw_columns(rows, path)
    return Section(
        title="Figure 4: other slices, another stain",
        paragraphs=_paragraphs(request),
        tables=(
            score_table(
                "Against the confocal stacks",
                scores,
                {f"{name}: {WFCON}": values for name, values in PAPER.items()},
            ),
        ),
        figures=(
            Figure(
                path,
                "Planes rich in detail, and x–z sections along the dotted line.",
            ),
        ),
        seed=SEED,
    )


def _paragraphs(request: Request) -> tuple[str, str]:
    return (
        f"{request.fields} slices of each kind. {'; '.join(k.described for k in KINDS)}. "
        "The regions of Figure 3 lie between; the configuration of the shipped model trains with "
        "about as little and as much. Slices of one number hold the same cells. "
        f"{models_named(request, WFCON)}",
        "Nuclei are seen in the channel of DAPI, emission at "
        f"{DAPI['emission_wavelength_nm']:g} nm, by the model that was trained at 525 nm. The "
        "paper's network had never seen nuclei; this configuration trains with them, in the "
        f"channel of 525 nm, in a quarter of its slices. {SCORED}",
    )


def _restored(
    bench: Bench, methods: list[Method], kind: Kind, seed: int
) -> tuple[dict[str, Scores], dict[str, FloatArray]]:
    """Return the scores and stacks of one slice."""
    field = draw_field(kind, seed)
    stacks = {each.name: made(each, bench.model(each.role), field) for each in methods}
    pixel_um = field.microscope.pixel_size_um
    found = {name: score(stack, field.truth, pixel_um) for name, stack in stacks.items()}
    return found, {**stacks, CONFOCAL: field.truth}


PART = Part("Figure 4, other slices and another stain", figure_4, fields=2)
