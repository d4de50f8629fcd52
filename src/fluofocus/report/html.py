"""One self-contained HTML page of headings, paragraphs, tables and figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluofocus.errors import FluoFocusError
from fluofocus.whole_files import write_whole

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}


@dataclass
class Page:
    """A page under construction: add to it from top to bottom, then write it.

    Text is plain text; nothing in it is taken for HTML. Figures are embedded, so that the
    page is a single file that can be sent to somebody.
    """

    title: str
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def heading(self, text: str) -> Page:
        """Add a heading and return the page."""
        return self._add(kind="heading", text=text)

    def paragraph(self, text: str) -> Page:
        """Add a paragraph and return the page."""
        return self._add(kind="paragraph", text=text)

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = ""
    ) -> Page:
        """Add a table and return the page.

        Raises
        ------
        FluoFocusError
            If a row has more or fewer cells than the header.
        """
        if any(len(row) != len(header) for row in rows):
            raise FluoFocusError(f"Every row of the table {caption!r} needs {len(header)} cells.")
        return self._add(kind="table", header=header, rows=rows, caption=caption)

    def figure(self, path: str | Path, caption: str = "") -> Page:
        """Embed a picture (PNG, JPEG or SVG) and return the page.

        Raises
        ------
        FluoFocusError
            If the picture cannot be read or is of another kind.
        """
        path = Path(path)
        media_type = MEDIA_TYPES.get(path.suffix.lower())
        if media_type is None:
            raise FluoFocusError(f"Cannot embed {path.name}: use one of {', '.join(MEDIA_TYPES)}.")
        try:
            content = base64.b64encode(path.read_bytes()).decode("ascii")
        except OSError as error:
            raise FluoFocusError(f"Cannot read figure {path}: {error.strerror}.") from error
        source = f"data:{media_type};base64,{content}"
        return self._add(kind="figure", source=source, caption=caption)

    def to_html(self) -> str:
        """Return the page as HTML."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("fluofocus.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        template = environment.get_template("page.html.jinja")
        return template.render(title=self.title, blocks=self.blocks)

    def write(self, path: str | Path) -> None:
        """Write the page.

        Raises
        ------
        FluoFocusError
            If the file cannot be written.
        """
        write_whole(path, self.to_html(), "page ")

    def _add(self, **block: Any) -> Page:
        self.blocks.append(block)
        return self
