"""Parts are chosen, recorded and taken up again."""

from dataclasses import replace
from pathlib import Path

import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import shipped_models
from fluofocus.reproduce import REPRODUCTIONS
from fluofocus.reproduce.reproduction import (
    Figure,
    Part,
    Progress,
    Reproduction,
    Request,
    Section,
    Table,
    models_named,
    run_reproduction,
)

runs: list[str] = []


def part(name: str) -> Part:
    def run(request: Request, progress: Progress) -> Section:
        runs.append(name)
        picture = request.folder / f"{name}.png"
        picture.write_bytes(b"\x89PNG")
        table = Table(f"Table of {name}", ("", "|Δz|"), (("fields", str(request.fields)),))
        return Section(f"Part {name}", ("Words.",), (table,), (Figure(picture, "Picture"),), seed=7)

    return Part(name, run, fields=3)


PAPER = Reproduction(
    name="paper",
    title="A paper",
    paper="Somebody et al.",
    parts={"one": part("one"), "two": part("two")},
    models={"role": "model"},
)


@pytest.fixture(autouse=True)
def none_run() -> None:
    runs.clear()


@pytest.mark.parametrize("parts", [(), ("all",), ("one", "all")])
def test_all_parts_run_by_default_and_when_asked_for(tmp_path: Path, parts: tuple[str]) -> None:
    _, sections = run_reproduction(PAPER, tmp_path, parts=parts)
    assert runs == ["one", "two"]
    assert [section.made_by for section in sections] == [
        "fluofocus reproduce paper one --fields 3",
        "fluofocus reproduce paper two --fields 3",
    ]


def test_each_part_says_how_it_was_made(tmp_path: Path) -> None:
    page, _ = run_reproduction(
        PAPER, tmp_path, parts=["two"], fields=5, models={"mine": "air20x-beads"}
    )
    command = "fluofocus reproduce paper two --fields 5 --model mine=air20x-beads"
    assert f"Made by {command}, seeds from 7." in page.read_text(encoding="utf-8")
    markdown = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert f"`{command}`" in markdown
    assert r"|  | \|Δz\| |" in markdown


def test_finished_parts_are_taken_up_again(tmp_path: Path) -> None:
    _, first = run_reproduction(PAPER, tmp_path, parts=["one"])
    _, both = run_reproduction(PAPER, tmp_path, resume=True)
    assert runs == ["one", "two"]
    assert both[0] == first[0]
    run_reproduction(PAPER, tmp_path, resume=True)
    assert runs == ["one", "two"]


@pytest.mark.parametrize("damage", ["fields", "record", "picture", "none asked for"])
def test_parts_are_run_again_where_they_do_not_fit(tmp_path: Path, damage: str) -> None:
    run_reproduction(PAPER, tmp_path, parts=["one"])
    if damage == "record":
        (tmp_path / "one.json").write_text('{"made_by": ')
    if damage == "picture":
        (tmp_path / "one.png").unlink()
    fields = 4 if damage == "fields" else None
    run_reproduction(
        PAPER, tmp_path, parts=["one"], fields=fields, resume=damage != "none asked for"
    )
    assert runs == ["one", "one"]


def test_parts_are_run_again_with_a_model_that_was_trained_anew(tmp_path: Path) -> None:
    model = tmp_path / "mine.safetensors"
    for shipped in ("air20x-beads", "air20x-beads", "air20x-nuclei"):
        model.write_bytes(shipped_models()[shipped].read_bytes())
        run_reproduction(PAPER, tmp_path, parts=["one"], models={"role": str(model)}, resume=True)
    assert runs == ["one", "one"]


def test_a_part_that_is_not_there_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FluoFocusError, match="no part 'three'; choose from one, two, all"):
        run_reproduction(PAPER, tmp_path, parts=["one", "three"])
    assert not runs


@pytest.mark.parametrize(
    ("role", "model", "sentence"),
    [
        (
            "beed",
            "air20x-beads",
            "deep-z has no role 'beed'; choose from beads, nuclei, ",
        ),
        ("beads", "none", "deep-z cannot leave out 'beads': name a model in place of 'none'"),
        ("beads", "no-such", "There is no model file no-such"),
    ],
)
def test_models_that_no_part_can_use_are_refused_before_the_work(
    tmp_path: Path, role: str, model: str, sentence: str
) -> None:
    paper = replace(REPRODUCTIONS["deep-z"], parts=PAPER.parts)
    with pytest.raises(FluoFocusError, match=sentence):
        run_reproduction(paper, tmp_path / "page", models={role: model})
    assert not runs
    assert not (tmp_path / "page").exists()
    with pytest.raises(FluoFocusError, match="no role 'beed'"):
        PAPER.models_with({"beed": "none"})


def test_roles_whose_model_does_not_ship_are_left_out_unless_one_is_given() -> None:
    paper = replace(PAPER, models={"role": "air20x-beads", "other": "never-trained"})
    assert paper.models_with({}) == {"role": "air20x-beads", "other": "none"}
    given = paper.models_with({"other": "air20x-nuclei", "role": "none"})
    assert given == {"role": "none", "other": "air20x-nuclei"}
    request = Request(Path(), paper.models_with({}), fields=1)
    text = models_named(request)
    assert text == "Models: role: air20x-beads. Left out for want of a model: other."
    assert models_named(request, "other").startswith("No models.")
