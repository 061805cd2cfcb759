"""The report as one page: no script, no resource from elsewhere, every name escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Folded:
    """A table that waits behind a click."""

    table: Table


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, pictures and tables in reading order."""

    title: str
    items: Sequence[str | Picture | Table | Folded] = ()


def page(title: str, headline: Sequence[str], facts: str, sections: Sequence[Section]) -> str:
    """The whole document.

    Args:
        title: Name of the experiment.
        headline: The findings, one sentence each; the first is printed large.
        facts: One line on runs, seeds, code and data.
        sections: In reading order; empty ones are left out.
    """
    kept = [part for part in sections if part.items]
    contents = "".join(
        f'<a href="#part{index}">{html.escape(part.title)}</a>' for index, part in enumerate(kept)
    )
    lead = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in headline)
    body = "".join(_section(index, part) for index, part in enumerate(kept))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Says to the browser what the file promises: nothing is fetched, nothing is run.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{html.escape(title)}</h1><div class='lead'>{lead}</div>"
        f'<p class="facts">{html.escape(facts)}</p></header>'
        f"<nav>{contents}</nav><main>{body}</main></body></html>\n"
    )


def _section(index: int, part: Section) -> str:
    pieces = "".join(_item(item) for item in part.items)
    return f'<section id="part{index}"><h2>{html.escape(part.title)}</h2>{pieces}</section>'


def _item(item: str | Picture | Table | Folded) -> str:
    if isinstance(item, Picture):
        return _image(item)
    if isinstance(item, Table):
        return to_html(item)
    if isinstance(item, Folded):
        title = html.escape(item.table.title)
        return f"<details><summary>{title}</summary>{to_html(item.table)}</details>"
    return f"<p>{html.escape(item)}</p>"


def _image(picture: Picture) -> str:
    # Vector, and as an image rather than inline: ids of several drawings cannot meet.
    data = io.BytesIO()
    with styled():
        settle(picture.figure)
        picture.figure.savefig(data, format="svg", metadata={"Date": None})
    source = base64.b64encode(data.getvalue()).decode("ascii")
    caption = html.escape(picture.caption)
    width = round(picture.figure.get_size_inches()[0] * 130)
    return (
        f'<figure><img alt="{caption}" style="width:{width}px"'
        f' src="data:image/svg+xml;base64,{source}"><figcaption>{caption}</figcaption></figure>'
    )


STYLE = """
:root{--ink:#1c1c1c;--soft:#5c5c5c;--line:#d9d9d9;--paper:#fff;--wash:#f6f6f4}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:var(--paper);
font:15px/1.5 system-ui,"Liberation Sans",Helvetica,Arial,sans-serif}
header,nav,main{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
h1{font-size:15px;font-weight:600;letter-spacing:.02em;color:var(--soft);margin:0 0 10px}
.lead p{margin:0 0 8px;font-size:16px;max-width:62em}
.lead p:first-child{font-size:25px;line-height:1.3;font-weight:600;margin-bottom:14px}
.facts{color:var(--soft);font-size:13px;margin:14px 0 22px;overflow-wrap:anywhere}
nav{position:sticky;top:0;background:var(--paper);padding-top:9px;padding-bottom:9px;
border-bottom:1px solid var(--line);display:flex;flex-wrap:wrap;gap:4px 18px;z-index:1}
nav a{color:#0072b2;text-decoration:none;font-size:13px}
nav a:hover{text-decoration:underline}
section{margin:34px 0 46px;scroll-margin-top:44px}
h2{font-size:20px;margin:0 0 12px}
h3{font-size:14px;margin:0 0 8px;overflow-wrap:anywhere}
figure{margin:0 0 30px}
figcaption{color:var(--soft);font-size:13px;max-width:70em;margin-top:6px}
img{max-width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 11px;text-align:right;white-space:nowrap;border-bottom:1px solid #ececec}
th:first-child{text-align:left;padding-left:0}
thead th{border-bottom:1.5px solid var(--ink);font-weight:600}
tbody th{font-weight:500}
tr.rule>*{border-bottom:1.5px solid #9a9a9a}
tbody tr:hover{background:var(--wash)}
td b{font-weight:700}
td.agrees::before{content:"= ";color:#0072b2}td.agrees{color:#0072b2}
td.differs::before{content:"\\2260\\00a0";color:#b34700}td.differs{color:#b34700;font-weight:600}
td.cannot-tell{color:var(--soft)}
td.diverged,td.incomplete{white-space:normal;min-width:9em}td.diverged{background:#fbe9dc}td.incomplete{background:#f1f1ee}
details{margin:8px 0}summary{cursor:pointer;color:#0072b2;font-size:14px}
details>figure{margin-top:10px}
@media(max-width:640px){header,nav,main{padding-left:14px;padding-right:14px}
.lead p:first-child{font-size:20px}}
@media print{nav{display:none}section{break-inside:avoid-page}.wide{overflow:visible}}
"""
