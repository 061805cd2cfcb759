"""The summary page says what the rows say, and no number stands outside its blocks."""

import json
import re

import pandas as pd
import pytest


@pytest.fixture
def summary(page_script):
    """The page's script over a copy of the page and its data."""
    return page_script("summary")


def blocks(text):
    """Block name -> its text on the page."""
    return dict(re.findall(r"<!-- claims: ([\w-]+) -->\n(.*?)\n<!-- end -->", text, re.DOTALL))


def test_the_page_says_what_its_data_say_and_another_number_is_noticed(summary):
    assert summary.main(["--check"]) == 0
    text = summary.PAGE.read_text(encoding="utf-8")
    for name, block in blocks(text).items():
        number = re.findall(r"\d+\.\d", block)[-1]
        summary.PAGE.write_text(text.replace(block, block.replace(number, "77.7")), "utf-8")
        assert summary.main(["--check"]) == 1, name


def test_every_block_has_a_table_and_every_table_a_block(summary):
    text = summary.PAGE.read_text(encoding="utf-8")
    assert set(blocks(text)) == set(summary.BLOCKS)
    assert text.count("<!-- claims: ") == len(summary.BLOCKS) == text.count("<!-- end -->")


def test_every_claim_has_a_section_with_a_figure(summary):
    sections = re.split(r"^## ", summary.PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    figures = {part.partition("\n")[0]: part.count("](figures/") for part in sections}
    assert {figures[claim.section] for claim in summary.CLAIMS.values()} == {1}


def test_hand_written_sentences_hold_no_measured_number(summary):
    text = re.sub(r"<!-- claims.*?<!-- end -->", "", summary.PAGE.read_text("utf-8"), flags=re.S)
    settings = {"0.8", "0.5"}  # server momentum and beta of the page on defenses
    assert set(re.findall(r"\d+\.\d+", text)) <= settings
    assert set(re.findall(r"(\d+) (?:%|points)", text)) <= {"90", "95"}  # levels


ROWS = {  # file -> a block that must change with it
    "table1-digits": "strongest",
    "presets-digits": "strongest",
    "delay-digits": "threat",
    "table1-cifar10": "accuracies",
    "cifar10-reduced": "accuracies",
    "femnist": "femnist",
    "heterogeneity-digits": "levels",
    "nnm-digits": "nnm",
    "bucketing-digits": "bucketing",
    "nu-digits": "nu",
    "ablation-digits": "hidden",
    "bucketing-exp3": "restated",
    "skew-digits-skew": "skewed",
}


@pytest.mark.parametrize("name", ROWS)
def test_other_rows_are_noticed(summary, name):
    path = summary.HERE / f"{name}.csv"
    rows = pd.read_csv(path, keep_default_na=False)
    column = "value" if name == "skew-digits-skew" else "accuracy_tail"
    rows[column] = [0.9 * float(value) for value in rows[column]]
    rows.to_csv(path, index=False)
    on_page = blocks(summary.PAGE.read_text(encoding="utf-8"))[ROWS[name]]
    assert "\n".join(summary.BLOCKS[ROWS[name]]()) != on_page


def test_other_tuned_accuracies_are_noticed(summary):
    path = summary.HERE / "tuning_strike_nu_final.json"
    told = json.loads(path.read_text())
    for study in told.values():
        study["looks"][-1]["samples"][0]["test"] = [50.0, 51.0, 52.0, 53.0, 54.0]
    path.write_text(json.dumps(told))
    on_page = blocks(summary.PAGE.read_text(encoding="utf-8"))["nu"]
    assert "\n".join(summary.BLOCKS["nu"]()) != on_page


@pytest.mark.parametrize(
    "name", ["arena-unit-rows", "arena-rules", "defense-fresh", "defense-own", "defense-sign-own"]
)
def test_other_rows_of_defenses_are_noticed(summary, name):
    path = summary.HERE / f"{name}.csv"
    rows = pd.read_csv(path, keep_default_na=False, dtype=str)
    for column in ("end", "low", "high"):
        rows[column] = [str(float(value) - 1) for value in rows[column]]
    if "per_seed" in rows:  # a reference that falls as much would hide the change
        pairs = zip(rows["attack"], rows["per_seed"], strict=True)
        rows["per_seed"] = [
            told if attack == "reference" else " ".join(str(float(v) - 1) for v in told.split())
            for attack, told in pairs
        ]
    rows.to_csv(path, index=False)
    on_page = blocks(summary.PAGE.read_text(encoding="utf-8"))["defended"]
    assert "\n".join(summary.BLOCKS["defended"]()) != on_page
