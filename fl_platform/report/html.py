"""The report as one HTML page: no script, no external resource, all text escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fl_platform.report.cells import Setting
from fl_platform.report.figures.style import settle, styled
from fl_platform.report.formats import to_html
from fl_platform.report.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """Figure with its file name and caption."""

    name: str
    figure: Figure
    caption: str
    setting: Setting | None = None


@dataclass(frozen=True)
class Collapsible:
    """Table that is folded until a click opens it."""

    table: Table


@dataclass(frozen=True)
class Section:
    """Section of the page: sentences, pictures and tables in reading order."""

    title: str
    items: Sequence[str | Picture | Table | Collapsible] = ()


def page(title: str, headline: Sequence[str], facts: str, sections: Sequence[Section]) -> str:
    """HTML document from the template ``page.html.j2``.

    Args:
        title: Name of the experiment.
        headline: Findings, one sentence each; the first is printed large.
        facts: One line on runs, seeds, code and data.
        sections: Sections in reading order; empty ones are left out.
    """
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    shown = [
        {"title": part.title, "items": [_item(item) for item in part.items]}
        for part in sections
        if part.items
    ]
    style = (folder / "page.css").read_text(encoding="utf-8")
    template = environment.get_template("page.html.j2")
    text = template.render(title=title, headline=headline, facts=facts, sections=shown, style=style)
    return text + "\n"


def _item(item: str | Picture | Table | Collapsible) -> dict[str, str | int]:
    if isinstance(item, Picture):
        # Vector graphics as an image, not inline: element ids of two figures cannot collide.
        data = io.BytesIO()
        with styled():
            settle(item.figure)
            item.figure.savefig(data, format="svg", metadata={"Date": None})
        return {
            "kind": "picture",
            "caption": item.caption,
            "width": round(item.figure.get_size_inches()[0] * 130),
            "data": base64.b64encode(data.getvalue()).decode("ascii"),
        }
    if isinstance(item, Table):
        return {"kind": "table", "html": to_html(item)}
    if isinstance(item, Collapsible):
        return {"kind": "collapsed", "title": item.table.title, "html": to_html(item.table)}
    return {"kind": "text", "text": item}
