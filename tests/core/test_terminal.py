"""The last doors of text: nothing that comes from outside controls a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import io
import logging
import sys

import pytest
from rich.table import Table
from rich.text import Text

from fl_platform.core.streams import Guarded, guard_streams
from fl_platform.core.terminal import Terminal
from fl_platform.core.text import visible
from fl_platform.report.formats import csv_text

HOSTILE = [
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\u202egnp.exe", "a\x00b", "\x7f",
    "a\u2028b", "\ufeffa", "caf\udce9", "\x1b]8;;file:///etc\x1b\\x",
]  # fmt: skip
CONTROL = set("\x00\x07\x1b\x9b\r\x7f\u202e\u2028\ufeff\udce9")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_reaches_a_terminal_as_a_code(text, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    guards = guard_streams()
    print(text, file=sys.stderr)
    logging.getLogger("fl_platform.test").warning("skipped: %s", text)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    table.add_row(Text(text))
    for console in (Terminal(width=200), Terminal(error=True, width=200)):
        console.print(text)
        console.print(table)
    guards.finish()
    assert not set(out.getvalue()) & CONTROL
    assert out.getvalue().count("\N{REPLACEMENT CHARACTER}") >= 1


def test_markup_is_shown_and_colours_of_our_own_stay():
    out = io.StringIO()
    guarded = Guarded(out)
    console = Terminal(force_terminal=True, color_system="standard", width=80)
    console.file = guarded
    table = Table(box=None, show_header=False)
    table.add_row("[bold]x[/] [/]")
    console.print(table)
    console.print("[link=file:///etc]y[/link] :smile:", style="red")
    assert "[bold]x[/] [/]" in out.getvalue()
    assert "\x1b[31m[link=file:///etc]y[/link] :smile:\x1b[0m" in out.getvalue()


def test_what_is_harmless_stays():
    text = "tab\tβ ± 1\u202f000 \N{GRINNING FACE}\nnext"
    assert visible(text) == text


FORMULAS = ["=cmd|' /C calc'!A1", "+1+1", "-2+3+cmd", "@SUM(1)", "\t=1", "\r=1", " =1", "=1\n=2"]


@pytest.mark.parametrize("formula", FORMULAS, ids=ascii)
def test_no_cell_of_a_csv_is_a_formula(formula):
    rows = [{"name": formula, formula: 1.5, "value": -0.25, "text": "-0.5", "none": None}]
    head, row = csv.reader(io.StringIO(csv_text(rows)))
    assert head[1].startswith("'")
    assert row[0].startswith("'")
    assert row[1:] == ["1.5", "-0.25", "-0.5", ""]
    assert not set("".join(head + row)) & CONTROL
