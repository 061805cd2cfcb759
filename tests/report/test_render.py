import csv
import io
from html.parser import HTMLParser

import pytest

from fl_platform.report.formats import markdown, to_csv, to_html
from fl_platform.report.latex import escape_latex, latex
from fl_platform.report.tables import Table, TableEntry

HOSTILE = '<script>alert("1")</script>&|_$%#{}~^\\`*[x](http://e.x)\n\\input{/etc/passwd}'


def table(name="STRIKE", bold=False):
    return Table(
        name="a b",
        title=f"of {name}",
        header=("Attack", name),
        rows=(
            (TableEntry(name), TableEntry("42.90 ± 1.97", bold=bold)),
            (TableEntry("x"), TableEntry("–")),
        ),
        notes=(f"note {name}",),
        records=({"attack": name, "mean": 42.9, "sd": float("nan"), "low": None},),
        rule_after=1,
    )


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.words = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_markdown():
    lines = markdown(table(bold=True)).splitlines()
    assert lines[0] == "### of STRIKE"
    assert lines[2:6] == [
        "| Attack | STRIKE |",
        "| --- | ---: |",
        "| STRIKE | **42.90 ± 1.97** |",
        "| x | – |",
    ]
    assert lines[-1] == "note STRIKE"


def test_latex():
    text = latex(table(bold=True))
    assert r"STRIKE & \textbf{42.90 $\pm$ 1.97} \\" + "\n" + r"\midrule" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"\label{tab:a-b}" in text
    assert r"\textbf" not in latex(table())


def test_csv_keeps_numbers_and_leaves_unknown_empty():
    (row,) = csv.DictReader(io.StringIO(to_csv(table(HOSTILE))))
    assert row == {"attack": HOSTILE, "mean": "42.9", "sd": "", "low": ""}


def test_hostile_names_stay_words_in_html():
    page = Tags()
    page.feed(to_html(table(HOSTILE)))
    known = {"figure", "h3", "div", "table", "thead", "tbody", "tr", "th", "td", "figcaption"}
    assert set(page.tags) == known
    assert HOSTILE in page.words


def test_a_tag_that_is_not_escaped_would_be_seen():
    page = Tags()
    page.feed(to_html(table()).replace("STRIKE", HOSTILE))
    assert "script" in page.tags


def test_hostile_names_stay_words_in_markdown():
    lines = markdown(table(HOSTILE)).splitlines()
    assert len(lines) == len(markdown(table()).splitlines())
    assert "<" not in "".join(lines)
    cells = [line.replace("\\|", "").count("|") for line in lines if line.startswith("|")]
    assert set(cells) == {3}
    assert "](http" not in "".join(lines).replace("\\]", "")


@pytest.mark.parametrize("letter", list('\\{}$&%#_~^<>|"`'))
def test_latex_specials_are_escaped(letter):
    made = escape_latex(f"a{letter}b")
    assert made.startswith("a\\")
    assert made.endswith("b")
    assert made != f"a{letter}b"


def test_latex_of_a_hostile_name_runs_no_command():
    made = escape_latex(HOSTILE)
    assert r"\input" not in made
    assert "\n" not in made
    assert made.count("{") - made.count(r"\{") == made.count("}") - made.count(r"\}")
