"""Table -> LaTeX that fits the width of a page's column, whatever the names are.

The type is made smaller first, then the widest columns are wrapped, and what is too wide even so
is scaled by LaTeX itself, which knows the true widths.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from fl_platform.report.tables.table import Table, TableEntry

POINTS = 72.27  # TeX's points per inch
SIZES = (("small", 9.0), ("footnotesize", 8.0), ("scriptsize", 7.0))  # of a 10-point class
SEPARATION = 4.0  # points on each side of a column
ONE_COLUMN_AT_MOST = 4.0  # inches: wider tables cross both columns
_BREAKS = "(=_"
_PACKAGES = r"% \usepackage{array,booktabs,graphicx,textcomp} \usepackage[T1]{fontenc}"
_SPECIAL = {
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


def latex(table: Table, width: float = 6.9) -> str:
    """A ``table`` environment (``table*`` above 4 inches) that is at most ``width`` inches wide.

    Its first line names the packages that it needs.
    """
    columns, size = layout(table, width)
    environment = "table*" if width > ONE_COLUMN_AT_MOST else "table"
    label = "".join(c if c.isalnum() or c in ".-" else "-" for c in table.name)
    caption = " ".join(map(escape_latex, [f"{table.title}.", *table.notes]))
    lines = [
        _PACKAGES,
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        rf"\{size}\setlength{{\tabcolsep}}{{{SEPARATION:g}pt}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{''.join(columns)}}}",
        r"\toprule",
        " & ".join(map(_broken, table.header, columns)) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        lines.append(" & ".join(map(_marked, row, columns)) + r" \\")
        if table.rule_after and index + 1 == table.rule_after:
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\end{{{environment}}}"]
    return "\n".join(lines) + "\n"


def layout(table: Table, width: float) -> tuple[list[str], str]:
    """The columns of ``tabular`` and the size of the type for a table of ``width`` inches."""
    texts = [
        [name, *(row[index].text for row in table.rows)] for index, name in enumerate(table.header)
    ]
    natural = [max(map(em, column)) for column in texts]
    room = width * POINTS - 2 * SEPARATION * (len(texts) - 1)
    for name, points in SIZES:
        if sum(natural) * points <= room:
            return ["l", *"r" * (len(texts) - 1)], name
    least = [max(_widest_word(text) for text in column) for column in texts]
    widths = _shrunk(natural, least, room / points)
    sides = ["raggedright", *["raggedleft"] * (len(texts) - 1)]
    return [
        ("l" if side == "raggedright" else "r")
        if wide == whole
        else rf">{{\{side}\arraybackslash}}p{{{math.floor(10 * wide) / 10:g}em}}"
        for side, wide, whole in zip(sides, widths, natural, strict=True)
    ], name


def em(text: str) -> float:
    """About how wide ``text`` is, in the size of its type: Computer Modern's mean widths."""
    return sum(
        0.78
        if letter in "±−×–mwMW"
        else 0.30
        if letter in " .,;:!|'()[]iljtf"
        else 0.72
        if letter.isupper()
        else 0.52
        for letter in text
    )


def escape_latex(text: str) -> str:
    """``text`` as plain words in LaTeX; control characters become spaces."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(_SPECIAL.get(letter, letter) for letter in plain)


def _shrunk(natural: Sequence[float], least: Sequence[float], room: float) -> list[float]:
    """Column widths of at most ``room`` together: the widest give way first, down to a word."""
    low, high = 0.0, max(natural)
    for _ in range(40):
        limit = (low + high) / 2
        widths = [min(n, max(limit, m)) for n, m in zip(natural, least, strict=True)]
        low, high = (limit, high) if sum(widths) <= room else (low, limit)
    return [min(n, max(low, m)) for n, m in zip(natural, least, strict=True)]


def _widest_word(text: str) -> float:
    """Of words between spaces or breaks; a number and its deviation stay together."""
    words = re.split(rf" |(?<=[{_BREAKS}])", text.replace(" ± ", "±"))
    return max(map(em, words)) + 0.7


def _broken(text: str, column: str) -> str:
    """``text`` in LaTeX; in a column of paragraphs a line may end after ``_``, ``(`` or ``=``."""
    escaped = escape_latex(text)
    if column in ("l", "r"):
        return escaped
    return re.sub(rf"(\\_|[{_BREAKS}])(?=.)", r"\1\\allowbreak{}", escaped)


def _marked(entry: TableEntry, column: str) -> str:
    text = _broken(entry.text, column)
    if entry.underlined:
        text = rf"\underline{{{text}}}"
    return rf"\textbf{{{text}}}" if entry.bold else text
