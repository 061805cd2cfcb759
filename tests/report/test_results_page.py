"""The tables of the results page are what the files beside it say, to the letter."""

import importlib.util
import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "docs" / "results" / "data"


@pytest.fixture
def claims(tmp_path):
    """The page's script over a copy of the page and its data."""
    shutil.copytree(DATA.parent, tmp_path / "results", ignore=shutil.ignore_patterns("figures"))
    path = tmp_path / "results" / "data" / "claims.py"
    spec = importlib.util.spec_from_file_location("claims", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_its_data_say(claims):
    assert claims.main(["--check"]) == 0


def test_a_page_that_says_something_else_is_noticed(claims):
    text = claims.PAGE.read_text(encoding="utf-8")
    claims.PAGE.write_text(text.replace("STRIKE is the lowest |", "STRIKE is beaten |"))
    assert claims.main(["--check"]) == 1


def test_a_page_that_is_behind_its_data_is_noticed(claims):
    path = claims.HERE / "table1-digits.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(row for row in rows if ",strike," not in row or ",9," not in row))
    assert claims.main(["--check"]) == 1


def test_every_block_of_the_page_has_a_table_and_every_table_a_block(claims):
    text = claims.PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- claims: {name} -->" in text for name in claims.BLOCKS)
    assert text.count("<!-- claims: ") == len(claims.BLOCKS) == text.count("<!-- end -->")
