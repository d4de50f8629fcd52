"""What re-enacting a paper's experiments is made of: parts, what they find, and the page of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from fluofocus.errors import FluoFocusError
from fluofocus.heap import kept_heap
from fluofocus.report.html import Page
from fluofocus.whole_files import write_whole

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
    """What one part found."""

    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Part:
    """One figure or table of a paper: how it is re-enacted."""

    title: str
    run: Callable[[Request, Progress], Section]


@dataclass(frozen=True)
class Reproduction:
    """A paper's experiments, by the names they are asked for with.

    Attributes
    ----------
    title, paper : str
        Heading of the page, and what is reproduced.
    parts : Mapping
        By name.
    models : Mapping
        The shipped model for each role.
    fields : int
        Fields simulated unless another number is asked for.
    """

    title: str
    paper: str
    parts: Mapping[str, Part]
    models: Mapping[str, str]
    fields: int


def run_reproduction(
    reproduction: Reproduction,
    output_dir: str | Path,
    *,
    command: str,
    parts: Sequence[str] = (),
    models: Mapping[str, str] | None = None,
    fields: int | None = None,
    watch: Watch = lambda title: nullcontext(lambda done, total: None),
) -> tuple[Path, list[Section]]:
    """Re-enact a paper's experiments; write ``index.html``, pictures and tables (JSON, Markdown).

    Parameters
    ----------
    command
        What the page says it was made by.
    parts
        Names of the parts to run; all of them if there is none.
    models
        Other models for the roles, by role, and models for further rows of the tables.
    fields
        How many fields to simulate for each part.

    Returns
    -------
    page : Path
    sections : list of Section

    Raises
    ------
    FluoFocusError
        If there is no such part, a model does not suit, or a file cannot be written.
    """
    for name in parts:
        if name not in reproduction.parts:
            raise FluoFocusError(
                f"There is no part {name!r}; choose from {', '.join(reproduction.parts)}."
            )
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    request = Request(
        folder, {**reproduction.models, **(models or {})}, fields or reproduction.fields
    )
    sections = []
    with kept_heap():
        for name in parts or reproduction.parts:
            part = reproduction.parts[name]
            with watch(part.title) as progress:
                sections.append(part.run(request, progress))
    tables = [asdict(table) for section in sections for table in section.tables]
    write_whole(folder / "tables.json", json.dumps(tables, indent=1) + "\n", "tables ")
    introduction = (
        f"{reproduction.paper} Re-enacted by FluoFocus {version('fluofocus')} on simulated "
        f"specimens through a simulated microscope; made by: {command}"
    )
    write_whole(
        folder / "tables.md", _markdown(reproduction.title, introduction, sections), "tables "
    )
    _page(reproduction.title, introduction, sections).write(folder / "index.html")
    return folder / "index.html", sections


def _page(title: str, introduction: str, sections: Sequence[Section]) -> Page:
    page = Page(title)
    page.paragraph(introduction)
    for section in sections:
        page.heading(section.title)
        for paragraph in section.paragraphs:
            page.paragraph(paragraph)
        for table in section.tables:
            page.table(table.header, table.rows, table.caption)
        for figure in section.figures:
            page.figure(figure.path, figure.caption)
    return page


def _markdown(title: str, introduction: str, sections: Sequence[Section]) -> str:
    blocks = [f"# {title}", introduction]
    for section in sections:
        blocks += [f"## {section.title}", *section.paragraphs]
        for table in section.tables:
            lines = [table.header, ("---",) * len(table.header), *table.rows]
            blocks += [f"{table.caption}:", "\n".join(f"| {' | '.join(row)} |" for row in lines)]
    return "\n\n".join(blocks) + "\n"
