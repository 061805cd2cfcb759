import math

import pytest

from fl_platform.report.cells import cells, differing_titles, usual_strength
from tests.report.synthetic import frame, grid


def only(*rows):
    found = cells(frame(*rows))
    assert len(found) == 1
    return found[0]


def test_finished_diverged_failed_and_running_are_told_apart():
    cell = only(
        {"seed": 0, "accuracy_tail": 40.0},
        {"seed": 1, "accuracy_tail": 60.0},
        {"seed": 2, "accuracy_tail": 8.33, "status": "DIVERGED"},
        {"seed": 3, "accuracy_tail": 1.0, "status": "FAILED"},
        {"seed": 4, "accuracy_tail": 1.0, "status": "RUNNING"},
        {"seed": 5, "accuracy_tail": 1.0, "status": "KILLED"},
        {"seed": 6, "accuracy_tail": math.nan},
    )
    assert cell.values == {0: 40.0, 1: 60.0}
    assert cell.summary().mean == 50
    assert cell.diverged == (2,)
    assert cell.failed == (3, 6)
    assert cell.unfinished == (4, 5)
    assert cell.total == 7


def test_runs_that_differ_in_more_than_the_seed_never_share_a_cell():
    base = {"seed": 0}
    changes = [
        {"preset": "official"},
        {"beta": 0.1},
        {"mixing": "nnm"},
        {"clients": 10},
        {"rounds": 5},
        {"byzantine_fraction": 0.1},
        {"nu": 0.5},
        {"task": "digits"},
    ]
    assert len(cells(frame(base, *(base | change for change in changes)))) == 1 + len(changes)


def test_the_same_configuration_twice_counts_once_and_finished_wins():
    cell = only(
        {"accuracy_tail": 40.0, "status": "KILLED"},
        {"accuracy_tail": 41.0},
        {"accuracy_tail": 42.0, "status": "FAILED"},
    )
    assert cell.values == {0: 41.0}
    assert cell.total == 1


def test_seeds_that_differ_where_no_label_shows_it_are_not_averaged():
    told = {"accuracy_tail": 40.0, "setting": "lr=0.1"}
    cell = only(
        {"seed": 0} | told,
        {"seed": 1} | told,
        {"seed": 2, "accuracy_tail": 90.0, "setting": "lr=0.5"},
    )
    assert cell.values == {0: 40.0, 1: 40.0}
    assert cell.conflicting == (2,)
    assert only({"seed": 0} | told, {"seed": 2} | told).conflicting == ()


def test_variants_stand_in_tables_of_their_own():
    rows = frame(*({"variant": f"task.state={state}"} for state in ("all", "parameters")))
    found = cells(rows.assign(config_hash=["one", "two"]))
    assert [cell.conflicting for cell in found] == [(), ()]
    titles = differing_titles([cell.setting for cell in found])
    assert titles == ["task.state=all", "task.state=parameters"]


def test_unlike_configurations_under_one_seed_are_left_out():
    cell = only({"config_hash": "one"}, {"config_hash": "two"}, {"seed": 1})
    assert cell.conflicting == (0,)
    assert set(cell.values) == {1}


def test_accuracy_is_selectable():
    rows = frame({"accuracy_tail": 1.0, "accuracy_last": 2.0, "accuracy_best": 3.0})
    assert [cells(rows, kind)[0].values[0] for kind in ("tail", "last", "best")] == [1, 2, 3]


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="status"):
        cells(frame({}).drop(columns="status"))


def test_cells_stand_in_the_order_of_the_paper():
    shuffled = grid().sample(frac=1, random_state=3)
    found = cells(shuffled)
    rows = list(dict.fromkeys(cell.row for cell in found))
    assert rows[:3] == ["No attack", "Absent", "BitFlip"]
    assert rows[-1] == "STRIKE"
    assert [c.column for c in found][:3] == ["Mean", "Multi-Krum", "Median"]


def test_of_a_sweep_the_strength_nearest_to_one_is_usual():
    rows = [{"nu": nu} for nu in (0.25, 0.75, 2.0)]
    assert [c.nu for c in usual_strength(cells(frame(*rows, {"attack": "lie"})))] == [None, 0.75]


def test_short_titles_say_what_differs():
    found = cells(frame({"beta": 0.1}, {"beta": 0.5}, {"beta": math.nan}))
    assert differing_titles([c.setting for c in found]) == ["β = 0.1", "β = 0.5", "no beta"]
    assert "CIFAR-10" in differing_titles([found[0].setting])[0]
