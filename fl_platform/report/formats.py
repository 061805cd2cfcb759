"""Tables as markdown, LaTeX, CSV or HTML; every text is escaped for its format."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable

from fl_platform.report.tables.table import Table, TableEntry

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "–": "--",
    "β": r"$\beta$",
    "ν": r"$\nu$",
    "κ": r"$\kappa$",
    "ρ": r"$\rho$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "…": r"\ldots{}",
}


def markdown(table: Table) -> str:
    """GitHub table with the title above and the notes below."""
    lines = [f"### {escape_markdown(table.title)}", ""]
    lines.append("| " + " | ".join(escape_markdown(name) for name in table.header) + " |")
    lines.append("| --- |" + " ---: |" * (len(table.header) - 1))
    for row in table.rows:
        lines.append("| " + " | ".join(_marked(e, "**{}**", escape_markdown) for e in row) + " |")
    if table.notes:
        lines += ["", " ".join(escape_markdown(note) for note in table.notes)]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    r"""LaTeX ``table`` environment; requires ``\usepackage{booktabs}`` and T1 font encoding."""
    width = len(table.header)
    lines = [
        r"% \usepackage{booktabs} \usepackage[T1]{fontenc} \usepackage{textcomp}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}. {' '.join(map(escape_latex, table.notes))}}}",
        rf"\label{{tab:{_slug(table.name)}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(escape_latex(name) for name in table.header) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        lines.append(" & ".join(_marked(e, r"\textbf{{{}}}", escape_latex) for e in row) + r" \\")
        if table.rule_after and index + 1 == table.rule_after:
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Records of the table at full precision, one row per record; unknown values are empty."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for record in table.records for name in record))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for record in table.records:
        writer.writerow({name: "" if value != value else value for name, value in record.items()})
    return text.getvalue()


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


RENDERERS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", markdown),
    "latex": ("tex", latex),
    "csv": ("csv", to_csv),
}


def escape_markdown(text: str) -> str:
    """``text`` escaped for a cell of a GitHub table."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", plain)


def escape_latex(text: str) -> str:
    """``text`` escaped for LaTeX; control characters become spaces."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(_LATEX.get(letter, letter) for letter in plain)


def _marked(entry: TableEntry, bold: str, escape: Callable[[str], str]) -> str:
    text = escape(entry.text)
    return bold.format(text) if entry.bold else text


def _html_cell(entry: TableEntry) -> str:
    style = f' class="{_slug(entry.style)}"' if entry.style else ""
    text = html.escape(entry.text)
    return f"<td{style}><b>{text}</b></td>" if entry.bold else f"<td{style}>{text}</td>"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
