"""What re-enacting a paper's experiments is made of: parts, what they find, and the page of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from fluofocus.errors import FluoFocusError
from fluofocus.heap import kept_heap
from fluofocus.models.bundle import read_any_card, shipped_models
from fluofocus.report.html import Page
from fluofocus.whole_files import write_whole

ALL = "all"
LEFT_OUT = "none"
"""In place of a model: its role is left out."""
Progress = Callable[[int, int], None]
Watch = Callable[[str], AbstractContextManager[Progress]]
"""Called with a part's title; gives what to call with the fields done and all of them."""


@dataclass(frozen=True)
class Request:
    """What a part is run with.

    Attributes
    ----------
    folder : Path
        Where its pictures go.
    models : Mapping
        The role of each model, as the tables name it, and its name or file.
    fields : int
        How many held-out fields to simulate.
    """

    folder: Path
    models: Mapping[str, str]
    fields: int


def models_named(request: Request, *roles: str) -> str:
    """Name the models of some roles, or of all, and the roles without one."""
    asked = {role: request.models[role] for role in roles or request.models}
    used = [f"{role}: {model}" for role, model in asked.items() if model != LEFT_OUT]
    without = [role for role, model in asked.items() if model == LEFT_OUT]
    named = f"Models: {'; '.join(used)}." if used else "No models."
    return f"{named} Left out for want of a model: {'; '.join(without)}." if without else named


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A picture that was written, and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """What one part found, from specimens and noise with seeds from ``seed``.

    ``made_by`` is the command that makes this section alone; `run_reproduction` fills it in.
    """

    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    seed: int
    made_by: str = ""


@dataclass(frozen=True)
class Part:
    """One figure or table of a paper: how it is re-enacted, on how many fields as a rule."""

    title: str
    run: Callable[[Request, Progress], Section]
    fields: int


@dataclass(frozen=True)
class Reproduction:
    """A paper's experiments, by the names they are asked for with.

    Attributes
    ----------
    name : str
        What it is asked for with on the command line.
    title, paper : str
        Heading of the page, and what is reproduced.
    parts : Mapping
        By name.
    models : Mapping
        The shipped model for each role; one that does not ship is left out.
    adds_rows : bool
        Whether a model of another role adds a row to the tables.
    leaves_out : bool
        Whether roles may be without a model.
    """

    name: str
    title: str
    paper: str
    parts: Mapping[str, Part]
    models: Mapping[str, str]
    adds_rows: bool = True
    leaves_out: bool = True

    def models_with(self, others: Mapping[str, str]) -> dict[str, str]:
        """Return the model of each role, shipped or given, or that it is left out.

        Raises
        ------
        FluoFocusError
            If a role or a model given does not exist, or one is left out that is needed.
        """
        for role, model in others.items():
            if role not in self.models and (model == LEFT_OUT or not self.adds_rows):
                raise FluoFocusError(
                    f"{self.name} has no role {role!r}; choose from {', '.join(self.models)}."
                )
            if model != LEFT_OUT:
                read_any_card(model)
            elif not self.leaves_out:
                raise FluoFocusError(
                    f"{self.name} cannot leave out {role!r}: name a model in place of {LEFT_OUT!r}."
                )
        shipped = shipped_models()
        own = {role: name if name in shipped else LEFT_OUT for role, name in self.models.items()}
        return {**own, **others}

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return the names of parts to run: all of them for none, and for ``all``.

        Raises
        ------
        FluoFocusError
            If there is no such part.
        """
        for name in names:
            if name not in (*self.parts, ALL):
                raise FluoFocusError(
                    f"There is no part {name!r}; choose from {', '.join(self.parts)}, {ALL}."
                )
        return list(self.parts) if not names or ALL in names else list(dict.fromkeys(names))


def run_reproduction(
    reproduction: Reproduction,
    output_dir: str | Path,
    *,
    parts: Sequence[str] = (),
    models: Mapping[str, str] | None = None,
    fields: int | None = None,
    resume: bool = False,
    watch: Watch = lambda title: nullcontext(lambda done, total: None),
) -> tuple[Path, list[Section]]:
    """Re-enact a paper's experiments; write ``index.html``, pictures and tables (JSON, Markdown).

    The page is written anew after each part.

    Parameters
    ----------
    parts
        Names of the parts to run; all of them if there is none, or ``all`` is among them.
    models
        Other models for the roles, by role, and models for further rows of the tables.
    fields
        How many fields to simulate for each part, in place of each part's own number.
    resume
        Take parts that the folder holds already, made by the same command and version with
        models of the same weights.

    Returns
    -------
    page : Path
    sections : list of Section

    Raises
    ------
    FluoFocusError
        If there is no such part, role or model, a model does not suit, or a file cannot be
        written.
    """
    names = reproduction.chosen(parts)
    chosen_models = reproduction.models_with(models or {})
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    with kept_heap():
        for name in names:
            part = reproduction.parts[name]
            request = Request(folder, chosen_models, fields or part.fields)
            made_by = _made_by(reproduction.name, name, request.fields, models or {})
            record = folder / f"{name}.json"
            weights = _weights(request.models)
            section = _finished(record, made_by, weights) if resume else None
            if section is None:
                with watch(part.title) as progress:
                    section = replace(part.run(request, progress), made_by=made_by)
                write_whole(record, _to_json(section, weights), "record ")
            sections.append(section)
            _write_page(reproduction, sections, folder)
    return folder / "index.html", sections


def _made_by(paper: str, part: str, fields: int, models: Mapping[str, str]) -> str:
    roles = [text for role, model in models.items() for text in ("--model", f"{role}={model}")]
    return shlex.join(["fluofocus", "reproduce", paper, part, "--fields", str(fields), *roles])


def _weights(models: Mapping[str, str]) -> dict[str, str]:
    """Return what tells the weights of each role's model from all others."""
    weights = {}
    for role, model in models.items():
        with suppress(FluoFocusError):  # which the part itself tells, if it needs this model
            weights[role] = read_any_card(model).weights_sha256
    return weights


def _to_json(section: Section, weights: Mapping[str, str]) -> str:
    content = {"version": version("fluofocus"), "weights": weights} | asdict(section)
    return json.dumps(content, indent=1, default=str, ensure_ascii=False) + "\n"


def _finished(record: Path, made_by: str, weights: Mapping[str, str]) -> Section | None:
    """Return the section that a folder holds, if nothing that it was made by has changed."""
    if not record.is_file():
        return None
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        made_with = content["made_by"], content["version"], content["weights"]
        if made_with != (made_by, version("fluofocus"), weights):
            return None
        figures = tuple(
            Figure(record.parent / Path(each["path"]).name, each["caption"])
            for each in content["figures"]
        )
        tables = tuple(
            Table(each["caption"], tuple(each["header"]), tuple(map(tuple, each["rows"])))
            for each in content["tables"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not a whole record: the part is run again
    if not all(figure.path.is_file() for figure in figures):
        return None
    return Section(
        title=content["title"],
        paragraphs=tuple(content["paragraphs"]),
        tables=tables,
        figures=figures,
        seed=content["seed"],
        made_by=made_by,
    )


def _write_page(reproduction: Reproduction, sections: Sequence[Section], folder: Path) -> None:
    """Write all that was found as HTML, Markdown and JSON."""
    tables = [asdict(table) for section in sections for table in section.tables]
    content = json.dumps(tables, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / "tables.json", content, "tables ")
    introduction = (
        f"{reproduction.paper} Re-enacted by FluoFocus {version('fluofocus')} on simulated "
        "specimens through a simulated microscope."
    )
    text = _markdown(reproduction.title, introduction, sections)
    write_whole(folder / "tables.md", text, "tables ")
    _page(reproduction.title, introduction, sections).write(folder / "index.html")


def _page(title: str, introduction: str, sections: Sequence[Section]) -> Page:
    page = Page(title)
    page.paragraph(introduction)
    for section in sections:
        page.heading(section.title)
        for paragraph in (*section.paragraphs, _source(section)):
            page.paragraph(paragraph)
        for table in section.tables:
            page.table(table.header, table.rows, table.caption)
        for figure in section.figures:
            page.figure(figure.path, figure.caption)
    return page


def _source(section: Section, mark: str = "") -> str:
    return f"Made by {mark}{section.made_by}{mark}, seeds from {section.seed}."


def _markdown(title: str, introduction: str, sections: Sequence[Section]) -> str:
    blocks = [f"# {title}", introduction]
    for section in sections:
        blocks += [f"## {section.title}", *section.paragraphs, _source(section, "`")]
        for table in section.tables:
            lines = [table.header, ("---",) * len(table.header), *table.rows]
            rows = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in lines)
            blocks += [f"{table.caption}:", "\n".join(f"| {row} |" for row in rows)]
    return "\n\n".join(blocks) + "\n"
