"""The report as one page: no script, no resource from elsewhere, every name escaped."""

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
from fl_platform.report.tables.base import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure with its file name and the sentence that stands beneath it."""

    name: str
    figure: Figure
    caption: str
    setting: Setting | None = None


@dataclass(frozen=True)
class Collapsed:
    """A table that opens on a click."""

    table: Table


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, pictures and tables in reading order."""

    title: str
    items: Sequence[str | Picture | Table | Collapsed] = ()


def page(title: str, headline: Sequence[str], facts: str, sections: Sequence[Section]) -> str:
    """The whole document, from the template ``page.html.j2``.

    Args:
        title: name of the experiment.
        headline: the findings, one sentence each; the first is printed large.
        facts: one line on runs, seeds, code and data.
        sections: in reading order; empty ones are left out.
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


def _item(item: str | Picture | Table | Collapsed) -> dict[str, str | int]:
    if isinstance(item, Picture):
        # Vector, and as an image rather than inline: ids of several drawings cannot meet.
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
    if isinstance(item, Collapsed):
        return {"kind": "collapsed", "title": item.table.title, "html": to_html(item.table)}
    return {"kind": "text", "text": item}
