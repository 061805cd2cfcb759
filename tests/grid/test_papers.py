"""Restated papers: their lists, their published values, and which runs these belong to."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.core.outside import OutsideError
from fl_platform.grid.papers import papers, restated, show_paper, show_papers
from fl_platform.grid.runner import plan_grid
from fl_platform.grid.spec import read_grid
from fl_platform.report.published import PublishedCell, Restated, read_published
from fl_platform.report.statistics import band_verdict
from fl_platform.report.write import write_report
from tests.report.synthetic import run

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "conf" / "experiment" / "papers"
# Means of the last five evaluations over three seeds, as the authors' tables print them.
EXP2 = {
    ("alike", "none"): {"mean": 93.20, "krum": 90.36, "median": 90.80, "rfa": 92.92},
    ("sorted", "none"): {"mean": 92.73, "krum": 37.33, "median": 64.27, "rfa": 78.93},
    ("alike", "bucketing"): {"mean": 93.17, "krum": 91.64, "median": 91.91, "rfa": 93.00},
    ("sorted", "bucketing"): {"mean": 92.67, "krum": 53.15, "median": 78.60, "rfa": 91.17},
}


def test_each_paper_has_a_source_an_open_point_and_values_or_none_at_hand():
    found = {grid.name: grid for grid in papers(REPOSITORY)}
    assert {f"papers/{path.stem}" for path in FOLDER.glob("*.yaml")} <= set(found)
    assert {"table1", "table2"} <= set(found)
    for grid in found.values():
        assert grid.paper.source
        assert grid.paper.address.startswith("https://")
        assert grid.unknown
        said = " ".join(grid.unknown)
        assert grid.paper.origin or "no numbers at hand" in said


def test_published_cells_are_what_the_authors_tables_print():
    cells = read_published(FOLDER / "bucketing_exp2.csv")
    assert len(cells) == 20
    assert all(len(cell.curves) == 3 and cell.every == 30 for cell in cells)
    for (order, mixing), row in EXP2.items():
        for defense, printed in row.items():
            key = {f"partition.order={order}", f"mixing={mixing}", f"defense={defense}"}
            cell = next(c for c in cells if key <= set(c.overrides))
            tails = [sum(curve[-5:]) / 5 for curve in cell.curves.values()]
            assert sum(tails) / 3 == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize(("name", "cells", "points"), [("exp1", 20, 150), ("exp3", 60, 20)])
def test_every_published_curve_has_its_points(name, cells, points):
    found = read_published(FOLDER / f"bucketing_{name}.csv")
    assert len(found) == cells
    assert {len(curve) for cell in found for curve in cell.curves.values()} == {points}


@pytest.mark.parametrize("name", ["bucketing_exp2", "ndss2021_cifar10"])
def test_published_values_belong_to_planned_runs(name):
    grid, planned = plan_grid([f"papers/{name}", "seed=0"], REPOSITORY)
    found = restated(REPOSITORY, f"papers/{name}", [0])
    assert set(found.cells) <= {run.config_hash for run in planned}
    assert len(found.cells) == len(read_published(grid.paper.values))
    assert {cell.tail for cell in found.cells.values()} == {5}


def test_runs_of_experiments_2_and_3_that_are_the_same_have_one_name():
    of_krum = ["attack=mimic", "defense=krum", "mixing=bucketing"]
    typed = ["experiment=papers/bucketing_exp2", *of_krum, "partition.order=sorted"]
    two = compose(typed, REPOSITORY)
    typed = ["experiment=papers/bucketing_exp3", *of_krum, "worker.momentum=0.0"]
    three = compose(typed, REPOSITORY)
    assert config_hash(two) == config_hash(three)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("attack,seed,every,curve\nmimic,0,30,10 101\n", "line 2: .*101, which is no accuracy"),
        ("attack,seed,every,curve\nmimic,0,30,10\nmimic,0,30,10\n", "line 3: .*twice"),
        ("attack,mean,sd,n\nmimic,50,,\n", "line 2: expected seed, every and curve, or mean"),
        ("attack,seed,every,curve\nmimic,x,30,10\n", "line 2"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, text, told):
    (tmp_path / "values.csv").write_text(text)
    with pytest.raises(OutsideError, match=told):
        read_published(tmp_path / "values.csv")


def test_a_band_is_widened_by_our_own_interval():
    assert band_verdict([50.0, 50.1, 49.9], 48.0, 49.0) == "differs"
    assert band_verdict([50.0, 53.0, 47.0], 48.0, 49.0) == "agrees"
    assert band_verdict([48.5, 48.6, 48.7], 48.0, 49.0) == "agrees"
    assert band_verdict([48.5, 48.6], 48.0, 49.0) == "cannot tell"
    assert band_verdict([48.5, 48.6, 48.7], float("nan"), 49.0) == "cannot tell"


def report_of(tmp_path, cells, values):
    import pandas as pd

    rows = [
        run(
            task="mnist",
            attack="mimic",
            defense=defense,
            seed=seed,
            config_hash=f"{defense}{seed}",
            run_id=f"{defense}{seed}",
            beta=float("nan"),
            accuracy_tail=value,
        )
        for defense, of_defense in values.items()
        for seed, value in enumerate(of_defense)
    ]
    curves = pd.DataFrame(
        [
            {"run_id": row["run_id"], "key": "test/accuracy", "step": step, "value": 0.5}
            for row in rows
            for step in (30, 60)
        ]
    )
    paper = Restated("A paper", "its authors", ("One point is open.",), cells)
    paths = write_report(pd.DataFrame(rows), curves, [], tmp_path, figures=("png",), restated=paper)
    return {path.relative_to(tmp_path).as_posix(): path for path in paths}


def test_a_report_sets_published_values_and_curves_beside_the_runs_of_that_configuration(tmp_path):
    curves = {seed: (20.0, value) for seed, value in enumerate((48.0, 50.0, 52.0))}
    cell = PublishedCell(("attack=mimic",), curves, every=30)
    known = {f"{defense}{seed}": cell for defense in ("median", "krum") for seed in range(3)}
    values = {
        "median": (49.0, 50.0, 51.0),
        "krum": (60.0, 60.5, 61.0),
        "rfa": (50.0, 50.0, 50.0),  # of another configuration than the published one
    }
    files = report_of(tmp_path, known, values)
    (name,) = (name for name in files if name.startswith("tables/published") and "csv" in name)
    import pandas as pd

    table = pd.read_csv(files[name]).set_index("defense")
    assert dict(table["verdict"]) == {"median": "agrees", "krum": "differs"}
    assert table.loc["krum", "difference"] == pytest.approx(10.5)
    assert table.loc["median", "published_low"] == 48.0
    assert table.loc["median", "published_sd"] == pytest.approx(2.0)
    assert any(name.startswith("figures/published-curves") for name in files)
    page = files["index.html"].read_text()
    assert "One point is open." in page
    assert "1 agree, 1 differ" in page


def test_a_single_printed_value_gives_a_difference_and_no_verdict(tmp_path):
    printed = PublishedCell(("attack=mimic",), printed=(40.0, float("nan"), 1))
    files = report_of(tmp_path, {f"median{i}": printed for i in range(3)}, {"median": (1, 2, 3)})
    (name,) = (name for name in files if name.startswith("tables/published") and ".md" in name)
    text = files[name].read_text()
    assert "−38.00" in text
    assert "cannot tell" in text


def test_the_list_and_the_details_are_printed():
    out = Console(width=200, record=True, file=io.StringIO())
    show_papers(REPOSITORY, out)
    listed = out.export_text()
    assert "papers/bucketing_exp2" in listed
    assert "20 cells, 60 curves" in listed
    assert "no numbers at hand" in listed
    show_paper("papers/bucketing_exp3", REPOSITORY, out)
    told = out.export_text()
    assert "runs: 240" in told
    assert "run: fl-platform grid papers/bucketing_exp3 task.data.root=PATH" in told
    assert "axis: worker.momentum: 0.0, 0.9" in told
    with pytest.raises(ConfigError, match="quick restates no paper; these do: papers/"):
        show_paper("quick", REPOSITORY, out)
    meant = (
        r"^papers: there is no experiment 'bucketing_exp2'; did you mean 'papers/bucketing_exp2'\?"
    )
    with pytest.raises(ConfigError, match=meant) as refused:
        show_paper("bucketing_exp2", REPOSITORY, out)
    assert "quick" not in str(refused.value)


def test_the_printed_command_has_a_data_folder_only_for_data_from_files(tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    values = "attack,defense,mean,sd,n\nnone,median,80,,3\n"
    (folder / "mine.csv").write_text(values)
    for name, task in (("embedded", "digits"), ("files", "mnist")):
        paper = "paper: {source: x, values: mine.csv}, unknown: [y]"
        axes = f"axes: {{task: {task}, attack: none, defense: median, seed: 0}}"
        (folder / f"{name}.yaml").write_text(f"grid: {{{axes}, {paper}}}\n")
    out = Console(width=200, record=True, file=io.StringIO())
    for name in ("embedded", "files"):
        show_paper(name, tmp_path, out)
    told = out.export_text()
    assert "published: 1 cell\n" in told
    assert "run: fl-platform grid embedded\n" in told
    assert "run: fl-platform grid files task.data.root=PATH\n" in told


def test_an_experiment_that_restates_nothing_has_no_published_values():
    assert restated(REPOSITORY, "quick", [0]) is None
    assert restated(REPOSITORY, "grid", [0]) is None


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ("{address: x}", "expected source and others"),
        ("{source: x, year: y}", "expected texts below source, address, values, origin"),
        ("{source: x, values: none.csv}", "grid.paper.values: expected a file at"),
    ],
)
def test_a_wrong_paper_node_is_refused(tmp_path, node, told):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"# @package _global_\ngrid:\n  paper: {node}\n")
    with pytest.raises(ConfigError, match=told):
        read_grid("mine", tmp_path)
