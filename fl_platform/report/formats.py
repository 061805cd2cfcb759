"""Tables as markdown, CSV or HTML; every text is escaped for its format."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fl_platform.core.text import visible
from fl_platform.report.tables.table import Table, TableEntry

_FORMULA = re.compile(r"\s*[=+\-@\t\r]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|-|")


def markdown(table: Table) -> str:
    """GitHub table with the title above and the notes below."""
    lines = [f"### {escape_markdown(table.title)}", ""]
    lines.append("| " + " | ".join(escape_markdown(name) for name in table.header) + " |")
    lines.append("| --- |" + " ---: |" * (len(table.header) - 1))
    for row in table.rows:
        lines.append("| " + " | ".join(map(_marked, row)) + " |")
    if table.notes:
        lines += ["", " ".join(escape_markdown(note) for note in table.notes)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Records of the table at full precision, one row per record; unknown values are empty."""
    return csv_text(table.records)


def csv_text(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as CSV: the one writer of it. A number that is no number is empty.

    A spreadsheet runs a text that begins with =, +, -, @, a tab or a carriage return as a formula,
    unless an apostrophe stands before it; characters that control a terminal are replaced.
    """
    rows = [{csv_cell(name): csv_cell(v) for name, v in record.items()} for record in records]
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """``value`` for one cell.

    >>> csv_cell("=cmd|' /C calc'!A1"), csv_cell(-0.5), csv_cell("-0.5"), csv_cell("-")
    ("'=cmd|' /C calc'!A1", -0.5, '-0.5', '-')
    """
    if not isinstance(value, str):
        return "" if value is None or value != value else value
    text = visible(value)
    return f"'{text}" if _FORMULA.match(value) and not _NUMBER.fullmatch(text) else text


def to_html(table: Table) -> str:
    """HTML ``figure`` with the title as heading and the notes as caption."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.header)
    body = []
    for index, row in enumerate(table.rows):
        last = bool(table.rule_after) and index + 1 == table.rule_after
        cells = "".join(_html_cell(entry) for entry in row[1:])
        first = f'<th scope="row">{html.escape(row[0].text)}</th>'
        row_class = ' class="rule"' if last else ""
        body.append(f"<tr{row_class}>{first}{cells}</tr>")
    notes = html.escape(" ".join(table.notes))
    return (
        f'<figure class="table"><h3>{html.escape(table.title)}</h3><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<figcaption>{notes}</figcaption></figure>"
    )


def escape_markdown(text: str) -> str:
    """``text`` escaped for a cell of a GitHub table."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", plain)


def _marked(entry: TableEntry) -> str:
    text = escape_markdown(entry.text)
    if entry.underlined:
        text = f"<ins>{text}</ins>"
    return f"**{text}**" if entry.bold else text


def _html_cell(entry: TableEntry) -> str:
    style = f' class="{_slug(entry.style)}"' if entry.style else ""
    text = html.escape(entry.text)
    if entry.underlined:
        text = f"<u>{text}</u>"
    return f"<td{style}><b>{text}</b></td>" if entry.bold else f"<td{style}>{text}</td>"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
