from __future__ import annotations

import base64
import json
import zlib

from fl_platform.tracking.mlflow import ui_view as page


def test_the_saved_view_is_packed_as_mlflow_unpacks_it() -> None:
    saved = json.loads(page.experiment_tags()[page.VIEW_TAG])
    kind, _, packed = saved["state"].partition(";")
    assert kind == "deflate"
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == page.view()
    assert saved["name"] == page.VIEW


def test_every_chart_of_the_view_lies_in_one_of_its_sections() -> None:
    state = page.view()
    sections = {section["uuid"]: section for section in state["compareRunSections"]}
    charts = state["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} <= sections.keys()
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    assert charts[0]["metricKey"] == "test/accuracy"
    assert sections[charts[0]["metricSectionId"]]["display"]


def test_numbers_that_a_run_has_once_stand_at_step_0() -> None:
    assert page.shown_step("result/accuracy_tail", 60) == 0
    assert page.shown_step("time/seconds_training", 60) == 0
    assert page.shown_step("test/accuracy", 60) == 60
    assert page.shown_step("time/local", 60) == 60


def test_mlflows_source_columns_are_filled_where_the_commit_is_known() -> None:
    assert page.run_tags({"commit": "5d640cc"})["mlflow.source.git.commit"] == "5d640cc"
    assert page.run_tags({"commit": ""}) == {}
    assert page.run_tags({"attack": "strike"}) == {}


def test_the_view_leaves_out_parents_and_is_not_sorted_by_time() -> None:
    """MLflow folds runs below their parents where they are sorted by time."""
    state = page.view()
    assert state["searchFilter"] == "tags.attack != ''"
    assert state["orderByKey"] == "tags.`mlflow.runName`"
    assert state["runsHiddenMode"] == "SHOW_ALL"
    assert state["selectedColumns"][:2] == ["params.`Attack rule`", "params.`Defense rule`"]


def test_a_parent_s_description_promises_no_weights() -> None:
    assert "final weights" in page.run_note("0" * 16, trains=True)
    assert "final weights" not in page.run_note("0" * 16, trains=False)
