"""Table -> markdown, csv or HTML; every name is escaped for the format it lands in."""

from __future__ import annotations

import csv
import html
import io
import re

from fl_platform.report.tables.base import Entry, Table


def markdown(table: Table) -> str:
    """A GitHub table with its title above and its notes beneath."""
    lines = [f"### {escape_markdown(table.title)}", ""]
    lines.append("| " + " | ".join(escape_markdown(name) for name in table.header) + " |")
    lines.append("| --- |" + " ---: |" * (len(table.header) - 1))
    for row in table.rows:
        lines.append("| " + " | ".join(map(_marked, row)) + " |")
    if table.notes:
        lines += ["", " ".join(escape_markdown(note) for note in table.notes)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """The table's records at full precision, one row each; unknown values are empty."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for record in table.records for name in record))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for record in table.records:
        writer.writerow({name: "" if value != value else value for name, value in record.items()})
    return text.getvalue()


def to_html(table: Table) -> str:
    """A ``figure`` with the table, its title as heading and its notes as caption."""
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
    """``text`` as plain words inside a GitHub table."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", plain)


def _marked(entry: Entry) -> str:
    text = escape_markdown(entry.text)
    if entry.underlined:
        text = f"<ins>{text}</ins>"
    return f"**{text}**" if entry.bold else text


def _html_cell(entry: Entry) -> str:
    tone = f' class="{_slug(entry.tone)}"' if entry.tone else ""
    text = html.escape(entry.text)
    if entry.underlined:
        text = f"<u>{text}</u>"
    return f"<td{tone}><b>{text}</b></td>" if entry.bold else f"<td{tone}>{text}</td>"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
