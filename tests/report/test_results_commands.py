"""The commands of the results page plan the runs whose rows are kept."""

import shlex
import sys
from pathlib import Path

import pytest

from fl_platform.grid.plan import plan_grid

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "results" / "data"))
try:
    import claims
finally:
    sys.path.pop(0)

SUM = "7b4f473ed0b4ca37760bd2f8ce91b669d7a04419790b8e126cc3607bd5315596"
NAMES = sorted(set(claims.COMMANDS) - {"delay-tables"})  # on a page of its own, name by name
QUICK = 200  # runs; more are planned at night


def words_of(text):
    """The words of each command: a further one alone names what it has instead."""
    first, *others = (shlex.split(part) for part in text.replace("SUM", SUM).split("` and `"))
    yield first
    for other in others:
        instead = {word.partition("=")[0] for word in other}
        whole = "=" not in other[0]
        yield other if whole else [w for w in first if w.partition("=")[0] not in instead] + other


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.nightly] if len(claims.frame(n)) > QUICK else [])
        for n in NAMES
    ],
)
def test_the_command_plans_the_runs_of_the_rows(name):
    planned = {
        run.config_hash[:16]
        for words in words_of(claims.COMMANDS[name])
        for run in plan_grid(words, ROOT)[1]
    }
    rows = set(claims.frame(name)["config_hash"])
    assert rows <= planned
    assert len(planned) == claims.PLANNED.get(name, len(rows))
    assert len(planned) > len(rows) or name not in claims.PLANNED
