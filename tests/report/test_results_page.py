"""The tables of the results pages are what the files beside it say, to the letter."""

import pandas as pd
import pytest


@pytest.fixture
def claims(page_script):
    """The page's script over a copy of the page and its data."""
    return page_script("claims")


def test_the_page_says_what_its_data_say(claims):
    assert claims.main(["--check"]) == 0


def test_a_page_that_says_something_else_is_noticed(claims):
    page = claims.PAGES[0]
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("STRIKE is the lowest |", "STRIKE is beaten |"))
    assert claims.main(["--check"]) == 1


def test_a_page_that_is_behind_its_data_is_noticed(claims):
    path = claims.HERE / "table1-digits.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(row for row in rows if ",strike," not in row or ",9," not in row))
    assert claims.main(["--check"]) == 1


@pytest.mark.parametrize(
    "name", ["delay-digits", "delay-tables", "bucketing-exp2", "table1-cifar10"]
)
def test_another_accuracy_in_the_data_is_noticed(claims, name):
    path = claims.HERE / f"{name}.csv"
    rows = pd.read_csv(path, keep_default_na=False, dtype=str)
    rows["accuracy_tail"] = [str(float(value) - 3) for value in rows["accuracy_tail"]]
    rows.to_csv(path, index=False)
    assert claims.main(["--check"]) == 1


def test_every_block_of_the_pages_has_a_table_and_every_table_a_block(claims):
    text = "".join(page.read_text(encoding="utf-8") for page in claims.PAGES)
    assert all(f"<!-- claims: {name} -->" in text for name in claims.BLOCKS)
    assert text.count("<!-- claims: ") == len(claims.BLOCKS) == text.count("<!-- end -->")
