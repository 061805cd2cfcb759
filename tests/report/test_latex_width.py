"""A LaTeX table fits its page: by the estimate of its text, and by TeX's own width in the end."""

import itertools

import pytest

from fl_platform.report.cells import cells
from fl_platform.report.latex import POINTS, SEPARATION, SIZES, em, latex, layout
from fl_platform.report.tables import (
    accuracy_table,
    best_table,
    claims_table,
    comparison_table,
    cost_table,
    provenance_table,
    worst_case_table,
)
from tests.report.synthetic import grid
from tests.report.test_layout import runs

MAKERS = [
    *(accuracy_table, best_table, claims_table, comparison_table, cost_table),
    *(provenance_table, worst_case_table),
]


def estimated(table, width):
    """Inches that the columns of a table take at its type size."""
    columns, size = layout(table, width)
    total = 2 * SEPARATION * (len(columns) - 1)
    for index, column in enumerate(columns):
        texts = [table.header[index], *(row[index].text for row in table.rows)]
        paragraph = column.partition("p{")[2]
        ems = float(paragraph.removesuffix("em}")) if paragraph else max(map(em, texts))
        total += ems * dict(SIZES)[size]
    return total / POINTS


@pytest.mark.parametrize("maker", MAKERS)
def test_tables_of_known_rules_fit_two_columns(maker):
    assert estimated(maker(cells(grid(preset="official"))), 6.9) <= 6.9


@pytest.mark.parametrize("maker", MAKERS)
def test_of_tables_with_long_names_little_is_left_to_scale(maker):
    assert estimated(maker(cells(runs(8, 12))), 6.9) <= 6.9 * 1.5


def test_narrow_tables_keep_their_natural_columns():
    table = cost_table(cells(grid(defenses=("median", "rfa", "dnc"))))
    assert layout(table, 6.9) == (["l", "r", "r", "r"], "small")
    assert estimated(table, 6.9) < 6.9


@pytest.mark.parametrize(("width", "name"), [(3.3, "table"), (6.9, "table*")])
def test_what_is_too_wide_is_scaled_to_the_line(width, name):
    text = latex(accuracy_table(cells(runs(12, 20))), width)
    assert rf"\begin{{{name}}}" in text
    assert rf"\end{{{name}}}" in text
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in text
    plain = text.replace(r"\{", "").replace(r"\}", "").replace(r"\%", "")
    depths = itertools.accumulate((c == "{") - (c == "}") for c in plain)
    assert min(depths) >= 0
    assert plain.count("{") == plain.count("}")
