import math

import pytest

from fl_platform.report.cells import cells
from fl_platform.report.tables import (
    accuracy_table,
    best_table,
    claims_table,
    comparison_table,
    cost_table,
    provenance_table,
    worst_case_table,
)
from tests.report.synthetic import frame, grid


def text(table, row, column):
    line = next(line for line in table.rows if line[0].text == row)
    return line[table.header.index(column)]


def runs(values, **common):
    return [{"seed": seed, "accuracy_tail": v} | common for seed, v in enumerate(values)]


def test_entries_by_hand():
    found = cells(
        frame(
            *runs([48.0, 50.0, 52.0], attack="lie"),
            *runs([40.0, 42.0], attack="ipm"),
            {"seed": 2, "attack": "ipm", "status": "DIVERGED", "accuracy_tail": 0.0},
            {"seed": 0, "attack": "mimic", "status": "DIVERGED"},
            {"seed": 0, "attack": "none", "status": "FAILED"},
            *runs([44.0, 44.0, 44.0], attack="absent"),
        )
    )
    table = accuracy_table(found)
    assert text(table, "LIE", "Median").text == "50.00 ± 2.00"
    assert text(table, "IPM", "Median").text == "41.00 ± 1.41 (n=2), div (1 of 3)"
    assert text(table, "Mimic", "Median").text == "div (1 of 1)"
    assert text(table, "No attack", "Median").text == "failed (1 of 1)"
    assert table.rule_after == 2
    assert "n = 3" in " ".join(table.notes)


def test_bold_needs_support():
    clear = runs([40.0, 41.0, 42.0]) + runs([60.0, 61.1, 62.0], attack="lie")
    assert text(accuracy_table(cells(frame(*clear))), "STRIKE", "Median").bold
    close = runs([40.0, 41.0, 42.0]) + runs([41.0, 40.0, 45.0], attack="lie")
    table = accuracy_table(cells(frame(*close)))
    assert not any(entry.bold for row in table.rows for entry in row)
    assert "nothing is bold" in " ".join(table.notes)


def test_the_best_defense_of_a_row_is_underlined_and_a_diverged_one_never():
    rows = runs([60.0, 61.0, 62.0]) + runs([40.0, 41.1, 42.0], defense="rfa")
    found = cells(frame(*rows))
    assert text(accuracy_table(found), "STRIKE", "Median").underlined
    assert not text(accuracy_table(found), "STRIKE", "RFA").underlined
    assert best_table(found).records[0]["best"] == "Median"
    lost = [{"seed": 3, "status": "DIVERGED"}, *rows, *runs([50.0, 51.2, 52.0], defense="dnc")]
    assert best_table(cells(frame(*lost))).records[0]["best"] == "DnC"


def test_reference_rows_are_never_the_lowest_attack():
    rows = runs([1.0, 1.1, 1.2], attack="absent") + runs([60.0, 61.1, 62.0], attack="lie")
    rows += runs([70.0, 71.3, 72.0], attack="ipm")
    found = cells(frame(*rows))
    assert text(worst_case_table(found), "Median", worst_case_table(found).header[1]).text == (
        "61.03 ± 1.00 (n=3) LIE"
    )
    assert claims_table(found).records[0]["lowest"] == "LIE"


def test_beside_the_paper_by_hand():
    # Published: STRIKE on CIFAR-10, Median 48.29 ± 0.40; LIE 49.20 ± 3.27.
    rows = runs([48.0, 48.5, 48.1]) + runs([70.0, 70.2, 69.8], attack="lie")
    rows += runs([50.0], attack="ipm")
    table = comparison_table(cells(frame(*rows)))
    said = {row[0].text: row for row in table.rows}
    assert said["STRIKE"][5].text == "agrees"
    assert said["STRIKE"][3].text == "48.29 ± 0.40"
    assert said["STRIKE"][4].text.startswith("−0.09 [")
    assert said["LIE"][5].text == "differs"
    assert said["IPM"][5].text == "cannot tell (n = 1)"
    assert said["IPM"][4].text == "−1.68"
    assert "Assumption" in " ".join(table.notes)


def test_table_two_has_no_deviation_hence_no_verdict():
    rows = runs([39.0, 40.0, 41.0], task="imagenet12", mixing="nnm")
    (line,) = comparison_table(cells(frame(*rows))).rows
    assert line[3].text == "39.61 ± unknown"
    assert line[5].text == "cannot tell (the paper prints no deviation)"


def test_what_the_paper_does_not_print_is_not_compared():
    assert comparison_table(cells(frame({"task": "digits"}))) is None
    assert comparison_table(cells(frame({"defense": "krum"}))) is None
    assert comparison_table(cells(frame({"mixing": "bucketing(s=2)"}))) is None


def test_of_a_sweep_only_the_usual_strength_is_compared():
    table = comparison_table(cells(frame({"nu": 0.5}, {"nu": 1.0}, {"nu": 2.0})))
    assert [row[0].text for row in table.rows] == ["STRIKE (nu=1)"]


def test_a_diverged_attack_marks_the_worst_case():
    rows = [{"attack": "lie"}, {"attack": "ipm", "status": "DIVERGED"}]
    table = worst_case_table(cells(frame(*rows)))
    assert table.rows[0][1].text == "50.00 (n=1) LIE; diverged under IPM"


def test_cost_counts_finished_runs():
    rows = [{"seconds": 10.0}, {"seed": 1, "seconds": 20.0}]
    rows.append({"seed": 2, "seconds": 1e6, "status": "FAILED"})
    table = cost_table(cells(frame(*rows)))
    assert table.rows[0][1].text == "15.0"
    assert table.records[0]["total_seconds"] == 30


def test_provenance_names_all_sources():
    table = provenance_table(cells(frame({"dirty": "true"}, {"seed": 1, "commit": "e" * 40})))
    line = dict(zip(table.header, (entry.text for entry in table.rows[0]), strict=True))
    assert line["n"] == "2"
    assert line["Commit"] == "cccccccccc, eeeeeeeeee + uncommitted changes"
    assert line["Data"] == "dddddddd"
    assert line["Device"] == "cpu"
    assert line["Seeds"] == "0 1"
    assert table.records[0]["data_digest"] == "d" * 64


def test_records_hold_full_precision():
    (row,) = accuracy_table(cells(frame(*runs([1 / 3, 2 / 3])))).records
    assert row["mean"] == 0.5
    assert row["n"] == 2
    assert row["diverged"] == 0
    assert row["sd"] == pytest.approx(math.sqrt(1 / 18))


def test_settings_do_not_mix():
    with pytest.raises(ValueError, match="one setting, got 2"):
        accuracy_table(cells(grid(seeds=[0]))[:1] + cells(grid(task="digits", seeds=[0]))[:1])
