"""The numbers of runs that the pages state are those that the commands plan."""

import re
from pathlib import Path

import pytest

from fl_platform.grid.plan import plan_grid

ROOT = Path(__file__).parents[2]
TABLES = {  # first column in docs/performance.md -> the command
    "Table 1, CIFAR-10": "table1 task=cifar10",
    "Table 1, FEMNIST": "table1 task=femnist",
    "Table 1, ImageNet-12": "table1 task=imagenet12",
    "Table 2 (ImageNet-12, NNM)": "table2",
    "Figures 1 and 2 (CIFAR-10, 100 clients, no attack)": "fig2",
    "Figure 4 (ImageNet-12, bucketing)": "fig4",
    "Figure 7 (ImageNet-12, nu)": "fig7",
    "Figure 8 (CIFAR-10, heterogeneity)": "fig8",
}
PAPERS = [
    (name.removesuffix(" task.data.root=PATH"), int(count))
    for name, count in re.findall(
        r"^\| `fl-platform grid ([^`]*)` \| [^|]* \| (\d+) \|",
        (ROOT / "docs" / "papers.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
]
COSTS = [
    (TABLES[name], int(count.replace(",", "")))
    for name, count in re.findall(
        r"^\| ((?:Table|Figure)s? \d[^|]*?) \| ([\d,]+) \| [\d,.]+ h \|",
        (ROOT / "docs" / "performance.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
]
MANY = 250  # more are planned at night


def test_all_tables_are_read():
    assert len(COSTS) == len(TABLES)
    assert len(PAPERS) >= 9


@pytest.mark.parametrize(
    ("command", "count"),
    [
        pytest.param(*each, marks=[pytest.mark.nightly] if each[1] > MANY else [], id=each[0])
        for each in dict(PAPERS + COSTS).items()
    ],
)
def test_as_many_runs_are_planned(command, count):
    assert len(plan_grid(command.split(), ROOT)[1]) == count
